-- Writes states that were merged outside, of devices that this transaction has locked. $1 counter_shard, $2 and on the columns.
UPDATE {schema}.device AS kept SET
  connected = i.connected, kind = i.kind, session = i.session, time = i.time, close_code = i.close_code,
  address = i.address, reason = i.reason, received_at = i.received_at, payload = i.payload, others = i.others,
  counter_shard = $1, changed = i.changed
FROM unnest(
  $2::text[], $3::text[], $4::boolean[], $5::smallint[], $6::bigint[], $7::bigint[], $8::integer[], $9::text[],
  $10::text[], $11::bigint[], $12::bytea[], $13::bytea[], $14::bigint[]
) AS i (
  type, id, connected, kind, session, time, close_code, address, reason, received_at, payload, others, changed
)
WHERE kept.type = i.type AND kept.id = i.id
