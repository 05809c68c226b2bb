-- Says that instance $1 lives for $3 seconds from now, with the note $2. Who is late joins anew. The table is locked.
INSERT INTO {schema}.instance (id, note, expires)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (id) DO UPDATE SET
  joined = CASE WHEN instance.expires < clock_timestamp() THEN excluded.joined ELSE instance.joined END,
  expires = excluded.expires, note = excluded.note
