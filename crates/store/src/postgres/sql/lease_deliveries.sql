-- Gives holder $1 the leases of the endpoints $2 for $3 seconds from now, as far as no other holds them; returns those that it
-- holds. In the order of their names, so that two instances never wait for each other.
INSERT INTO {schema}.webhook_lease AS lease (endpoint, holder, expires)
SELECT endpoint, $1, clock_timestamp() + make_interval(secs => $3) FROM unnest($2::text[]) AS endpoint ORDER BY endpoint
ON CONFLICT (endpoint) DO UPDATE SET holder = excluded.holder, expires = excluded.expires
WHERE lease.holder = excluded.holder OR lease.expires < clock_timestamp()
RETURNING endpoint
