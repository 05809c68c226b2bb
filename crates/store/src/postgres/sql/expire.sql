-- Deletes those of the devices that have been disconnected since before the moment, and their events. $1 types, $2 ids, $3 the
-- moment.
WITH gone AS (
  DELETE FROM {schema}.device USING unnest($1::text[], $2::text[]) AS named (type, id)
  WHERE device.type = named.type AND device.id = named.id
    AND NOT connected AND time <> -9223372036854775808 AND time < $3
  RETURNING number
)
DELETE FROM {schema}.event USING gone WHERE event.device = gone.number
