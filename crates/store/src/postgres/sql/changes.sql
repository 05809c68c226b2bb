-- What has changed since a mark: a row for each counter_shard at least, so that the newest numbers are known even if nothing has.
-- One statement, so one moment. $1 the number of each counter_shard, the first being counter_shard 0; $2 how many devices of each counter_shard.
SELECT
  counter.counter_shard, counter.changed AS newest, {timeline} AS timeline, pg_is_in_recovery() AS standby,
  d.type, d.id, d.received_at, d.kind, d.session, d.time, d.close_code, d.payload, d.others, d.changed
FROM {schema}.counter
LEFT JOIN LATERAL (
  SELECT * FROM {schema}.device
  WHERE device.counter_shard = counter.counter_shard AND device.changed > ($1::bigint[])[counter.counter_shard + 1]
    AND counter.changed > ($1::bigint[])[counter.counter_shard + 1]
  ORDER BY device.changed LIMIT $2
) AS d ON true
ORDER BY counter.counter_shard, d.changed
