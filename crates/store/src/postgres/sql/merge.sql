-- Merges states about devices, each device once, in the order of their names, so that no two batches wait for each other.
-- $1 counter_shard, $2 how many, $3 and on the columns, $15 who is notified if something has changed.
--
-- Of two states that are one beginning or end each, the greater wins, and that is decided here, on the row as it is when it is
-- this batch's turn. What consists of more, is equal in all but the bytes, or names two sessions that began within a second of
-- each other, stays as it is, locked, and is returned: whoever asked merges it and writes it in the same transaction.
-- (The least moment is raised by a second before a second is taken from it, because it would overflow.)
WITH counter AS (
  UPDATE {schema}.counter SET changed = changed + $2 WHERE counter_shard = $1 RETURNING changed
), incoming AS (
  SELECT * FROM unnest(
    $3::text[], $4::text[], $5::boolean[], $6::smallint[], $7::bigint[], $8::bigint[], $9::integer[], $10::text[],
    $11::text[], $12::bigint[], $13::bytea[], $14::bytea[]
  ) WITH ORDINALITY AS incoming (
    type, id, connected, kind, session, time, close_code, address, reason, received_at, payload, others, n
  )
), merged AS (
  INSERT INTO {schema}.device AS kept (
    type, id, connected, kind, session, time, close_code, address, reason, received_at, payload, others, counter_shard, changed
  )
  SELECT
    i.type, i.id, i.connected, i.kind, i.session, i.time, i.close_code, i.address, i.reason, i.received_at, i.payload, i.others,
    $1, counter.changed - $2 + i.n
  FROM incoming AS i CROSS JOIN counter
  ORDER BY i.n
  ON CONFLICT (type, id) DO UPDATE SET (
    connected, kind, session, time, close_code, address, reason, payload, received_at, counter_shard, changed
  ) = (
    SELECT
      CASE WHEN wins THEN excluded.connected ELSE kept.connected END,
      CASE WHEN wins THEN excluded.kind ELSE kept.kind END,
      CASE WHEN wins THEN excluded.session ELSE kept.session END,
      CASE WHEN wins THEN excluded.time ELSE kept.time END,
      CASE WHEN wins THEN excluded.close_code ELSE kept.close_code END,
      CASE WHEN wins THEN excluded.address ELSE kept.address END,
      CASE WHEN wins THEN excluded.reason ELSE kept.reason END,
      CASE WHEN wins THEN excluded.payload ELSE kept.payload END,
      CASE WHEN needs_merge THEN kept.received_at ELSE greatest(excluded.received_at, kept.received_at) END,
      CASE WHEN needs_merge THEN kept.counter_shard ELSE excluded.counter_shard END,
      CASE WHEN needs_merge THEN kept.changed ELSE excluded.changed END
    FROM (
      SELECT needs_merge, NOT needs_merge AND
        (excluded.session, excluded.kind, excluded.time, excluded.close_code)
        > (kept.session, kept.kind, kept.time, kept.close_code) AS wins
      FROM (
        SELECT kept.others IS NOT NULL OR excluded.others IS NOT NULL
          OR kept.kind NOT IN (1, 4) OR excluded.kind NOT IN (1, 4)
          OR excluded.session <> kept.session AND least(excluded.session, kept.session)
            >= greatest(excluded.session, kept.session, -9223372035854775808) - 1000000000
          OR (excluded.session, excluded.kind, excluded.time, excluded.close_code)
            = (kept.session, kept.kind, kept.time, kept.close_code) AND excluded.payload <> kept.payload AS needs_merge
      ) AS whether
    ) AS outcome
  )
  WHERE kept.others IS NOT NULL OR excluded.others IS NOT NULL
    OR kept.kind NOT IN (1, 4) OR excluded.kind NOT IN (1, 4)
    OR excluded.session <> kept.session AND least(excluded.session, kept.session)
      >= greatest(excluded.session, kept.session, -9223372035854775808) - 1000000000
    OR excluded.received_at > kept.received_at
    OR (excluded.session, excluded.kind, excluded.time, excluded.close_code)
      > (kept.session, kept.kind, kept.time, kept.close_code)
    OR (excluded.session, excluded.kind, excluded.time, excluded.close_code)
      = (kept.session, kept.kind, kept.time, kept.close_code) AND excluded.payload <> kept.payload
  RETURNING type, id, counter_shard, changed
), outcome AS (
  SELECT merged.type, merged.id, merged.counter_shard = $1 AND merged.changed > counter.changed - $2 AS settled
  FROM merged CROSS JOIN counter
)
SELECT
  (SELECT changed FROM counter) AS counter,
  count(*) FILTER (WHERE settled) AS settled,
  coalesce(array_agg(type) FILTER (WHERE NOT settled), '{}') AS types,
  coalesce(array_agg(id) FILTER (WHERE NOT settled), '{}') AS ids,
  CASE WHEN count(*) FILTER (WHERE settled) > 0 THEN pg_notify($15::text, '')::text END AS notified
FROM outcome
