-- Drops events heard before $1, at most $2 of them, so that no statement takes long.
DELETE FROM {schema}.event
WHERE ctid = ANY (ARRAY(SELECT ctid FROM {schema}.event WHERE heard_at < $1 LIMIT $2))
