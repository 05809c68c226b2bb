-- Drops the events of these devices beyond the number that is kept, and notes which the newest of them was. $1 types, $2 ids,
-- $3 the number. They are found device by device: joined with all events, the planner may read every event there is.
WITH gone AS (
  DELETE FROM {schema}.event
  WHERE ctid = ANY (ARRAY(
    SELECT beyond.ctid
    FROM unnest($1::text[], $2::text[]) AS touched (type, id)
    JOIN {schema}.device ON device.type = touched.type AND device.id = touched.id
    CROSS JOIN LATERAL (
      SELECT ctid FROM {schema}.event WHERE event.device = device.number ORDER BY sequence DESC OFFSET $3
    ) AS beyond
  ))
  RETURNING kept_in
)
UPDATE {schema}.event_order SET dropped = newest.kept_in
FROM (SELECT max(kept_in) AS kept_in FROM gone) AS newest
WHERE event_order.dropped < newest.kept_in
