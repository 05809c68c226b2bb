-- Adds events in their order, of devices that are known; what is kept already is kept once.
INSERT INTO {schema}.event (device, kind, session, time, close_code, received_at, digest, payload, is_first_seen)
SELECT device.number, e.kind, e.session, e.time, e.close_code, e.received_at, e.digest, e.payload, e.is_first_seen
FROM unnest(
  $1::text[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $6::integer[], $7::bigint[], $8::bigint[], $9::bytea[],
  $10::boolean[]
) WITH ORDINALITY AS e (type, id, kind, session, time, close_code, received_at, digest, payload, is_first_seen, n)
JOIN {schema}.device ON device.type = e.type AND device.id = e.id
ORDER BY e.n
ON CONFLICT (device, digest) DO NOTHING
