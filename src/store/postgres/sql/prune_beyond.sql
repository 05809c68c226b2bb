-- Drops the events of these devices beyond the number that is kept. $1 types, $2 ids, $3 the number.
DELETE FROM {schema}.event USING (
  SELECT device.number, beyond.sequence
  FROM unnest($1::text[], $2::text[]) AS touched (type, id)
  JOIN {schema}.device ON device.type = touched.type AND device.id = touched.id
  CROSS JOIN LATERAL (
    SELECT sequence FROM {schema}.event WHERE event.device = device.number ORDER BY sequence DESC OFFSET $3 LIMIT 1
  ) AS beyond
) AS last
WHERE event.device = last.number AND event.sequence <= last.sequence
