-- Says that instance $1 lives for $3 seconds from now, with the note $2. Who is late joins anew. The table is locked.
--
-- No other may live longer than that from now: if the database's clock was set back, the lease of an instance that has died would
-- else last until the clock is where it was.
WITH shortened AS (
  UPDATE {schema}.instance SET expires = clock_timestamp() + make_interval(secs => $3)
  WHERE id <> $1 AND expires > clock_timestamp() + make_interval(secs => $3)
)
INSERT INTO {schema}.instance (id, note, expires)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (id) DO UPDATE SET
  joined = CASE WHEN instance.expires < clock_timestamp() THEN excluded.joined ELSE instance.joined END,
  expires = excluded.expires, note = excluded.note
