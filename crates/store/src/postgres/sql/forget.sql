-- Deletes a device and its events, and leaves a tombstone. $1 counter_shard, $2 type, $3 id, $4 the time. All counters are locked.
WITH counter AS (
  UPDATE {schema}.counter SET changed = changed + 1 WHERE counter_shard = $1::smallint RETURNING changed
), gone AS (
  DELETE FROM {schema}.device WHERE type = $2::text AND id = $3::text RETURNING number
), emptied AS (
  DELETE FROM {schema}.event USING gone WHERE event.device = gone.number
)
INSERT INTO {schema}.tombstone (type, id, forgotten_at, counter_shard, changed)
SELECT $2::text, $3::text, $4::bigint, $1::smallint, changed FROM counter
ON CONFLICT (type, id) DO UPDATE SET
  forgotten_at = excluded.forgotten_at, counter_shard = excluded.counter_shard, changed = excluded.changed
