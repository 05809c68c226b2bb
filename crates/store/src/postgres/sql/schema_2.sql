-- Version 2: the events of all devices stand in one order.

-- The transaction that kept the event; 0 for those that were kept before this step, which have no place in the order. Whoever
-- writes says nothing of it, so instances of the version before go on meanwhile.
ALTER TABLE {schema}.event ADD COLUMN kept_in bigint NOT NULL DEFAULT 0;
ALTER TABLE {schema}.event ALTER COLUMN kept_in SET DEFAULT txid_current();

-- Answers "what was kept after". New entries come at its end.
CREATE INDEX event_kept_in ON {schema}.event (kept_in) WHERE kept_in > 0;

-- Answers "whose event is it".
CREATE UNIQUE INDEX device_number ON {schema}.device (number);

-- One row. dropped: in which transaction the newest event was kept of those that are gone because they were too old or too
-- many, or never came. restored: how often the events were found to be older than the server's own count of transactions.
CREATE TABLE {schema}.event_order (dropped bigint NOT NULL, restored integer NOT NULL);
INSERT INTO {schema}.event_order
SELECT CASE WHEN EXISTS (SELECT FROM {schema}.event) THEN txid_current() ELSE 0 END, 0;
