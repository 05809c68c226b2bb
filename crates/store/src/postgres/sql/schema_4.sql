-- Version 4: columns get the names that the rest of the program uses.
ALTER TABLE {schema}.device RENAME COLUMN claim TO kind;
ALTER TABLE {schema}.device RENAME COLUMN heard_at TO received_at;
ALTER TABLE {schema}.device RENAME COLUMN lane TO counter_shard;
ALTER TABLE {schema}.event RENAME COLUMN claim TO kind;
ALTER TABLE {schema}.event RENAME COLUMN heard_at TO received_at;
ALTER INDEX {schema}.event_heard_at RENAME TO event_received_at;
ALTER TABLE {schema}.counter RENAME COLUMN lane TO counter_shard;
ALTER VIEW {schema}.devices RENAME COLUMN heard_at TO received_at;
ALTER VIEW {schema}.events RENAME COLUMN heard_at TO received_at;
