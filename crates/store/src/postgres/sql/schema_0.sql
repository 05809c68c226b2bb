-- The schema itself, and which version it has.
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE {schema}.version (version bigint NOT NULL);
INSERT INTO {schema}.version VALUES (0);
