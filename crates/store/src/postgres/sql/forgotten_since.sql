-- The tombstones after a cursor, each with what the device is now, if anything. $1 the number of each counter_shard.
SELECT t.type, t.id, t.forgotten_at, t.counter_shard, t.changed,
  d.received_at, d.kind, d.session, d.time, d.close_code, d.payload, d.others
FROM {schema}.tombstone AS t LEFT JOIN {schema}.device AS d ON d.type = t.type AND d.id = t.id
WHERE t.changed > ($1::bigint[])[t.counter_shard + 1]
