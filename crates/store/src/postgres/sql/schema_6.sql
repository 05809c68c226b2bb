-- Version 6: the series of the fleet. place: the order of writing, by which old rows are deleted.
CREATE TABLE {schema}.series (
  step bigint NOT NULL,
  start bigint NOT NULL,
  place bigint GENERATED ALWAYS AS IDENTITY,
  figures bytea NOT NULL,
  PRIMARY KEY (step, start)
);
CREATE INDEX series_order ON {schema}.series (step, place);
