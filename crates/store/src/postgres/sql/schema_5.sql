-- Version 5: devices that an administrator had forgotten. An instance that holds an earlier state of one does not write it again.
CREATE TABLE {schema}.tombstone (
  type text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  forgotten_at bigint NOT NULL,
  counter_shard smallint NOT NULL,
  changed bigint NOT NULL,
  PRIMARY KEY (type, id)
);
CREATE INDEX tombstone_changed ON {schema}.tombstone (counter_shard, changed);
