-- Drops events received before $1, at most $2 of them, so that no statement takes long, notes which the newest of them was, and
-- says how many they were.
WITH gone AS (
  DELETE FROM {schema}.event
  WHERE ctid = ANY (ARRAY(SELECT ctid FROM {schema}.event WHERE received_at < $1 LIMIT $2))
  RETURNING kept_in
), noted AS (
  UPDATE {schema}.event_order SET dropped = newest.kept_in
  FROM (SELECT max(kept_in) AS kept_in FROM gone) AS newest
  WHERE event_order.dropped < newest.kept_in
)
SELECT count(*) AS gone FROM gone
