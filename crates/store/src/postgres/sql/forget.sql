-- Drops those of the devices that are disconnected since before the moment, and their events. $1 types, $2 ids, $3 the moment;
-- null: all of them.
WITH gone AS (
  DELETE FROM {schema}.device USING unnest($1::text[], $2::text[]) AS named (type, id)
  WHERE device.type = named.type AND device.id = named.id
    AND ($3::bigint IS NULL OR (NOT connected AND time <> -9223372036854775808 AND time < $3))
  RETURNING number
)
DELETE FROM {schema}.event USING gone WHERE event.device = gone.number
