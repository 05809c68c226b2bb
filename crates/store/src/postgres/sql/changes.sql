-- What has changed since a mark: a row for each lane at least, so that the newest numbers are known even if nothing has.
-- One statement, so one moment. $1 the number of each lane, the first being lane 0; $2 how many devices of each lane.
SELECT
  counter.lane, counter.changed AS newest, {timeline} AS timeline, pg_is_in_recovery() AS standby,
  d.type, d.id, d.heard_at, d.claim, d.session, d.time, d.close_code, d.payload, d.others, d.changed
FROM {schema}.counter
LEFT JOIN LATERAL (
  SELECT * FROM {schema}.device
  WHERE device.lane = counter.lane AND device.changed > ($1::bigint[])[counter.lane + 1]
    AND counter.changed > ($1::bigint[])[counter.lane + 1]
  ORDER BY device.changed LIMIT $2
) AS d ON true
ORDER BY counter.lane, d.changed
