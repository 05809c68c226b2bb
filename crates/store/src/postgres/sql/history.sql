-- The newest events of a device. $1 type, $2 id, $3 how many are kept of one device, $4 before which sequence, $5 received since,
-- $6 how many.
SELECT * FROM (
  SELECT event.sequence, event.received_at, event.kind, event.session, event.time, event.close_code, event.payload,
    event.is_first_seen
  FROM {schema}.event
  WHERE event.device = (SELECT number FROM {schema}.device WHERE type = $1 AND id = $2)
  ORDER BY event.sequence DESC LIMIT $3
) AS kept
WHERE sequence < $4 AND received_at >= $5
ORDER BY sequence DESC LIMIT $6
