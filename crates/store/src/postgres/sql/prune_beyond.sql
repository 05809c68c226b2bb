-- Drops the events of these devices beyond the number that is kept, and notes which the newest of them was. $1 types, $2 ids,
-- $3 the number.
WITH gone AS (
  DELETE FROM {schema}.event USING (
    SELECT device.number, beyond.sequence
    FROM unnest($1::text[], $2::text[]) AS touched (type, id)
    JOIN {schema}.device ON device.type = touched.type AND device.id = touched.id
    CROSS JOIN LATERAL (
      SELECT sequence FROM {schema}.event WHERE event.device = device.number ORDER BY sequence DESC OFFSET $3 LIMIT 1
    ) AS beyond
  ) AS last
  WHERE event.device = last.number AND event.sequence <= last.sequence
  RETURNING event.kept_in
)
UPDATE {schema}.event_order SET dropped = newest.kept_in
FROM (SELECT max(kept_in) AS kept_in FROM gone) AS newest
WHERE event_order.dropped < newest.kept_in
