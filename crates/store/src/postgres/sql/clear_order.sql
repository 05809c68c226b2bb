-- Takes the places in the order from events that were kept by transactions which this server has not begun yet: the database
-- was restored from a dump of another server, and they would come again as news when its count gets there.
UPDATE {schema}.event SET kept_in = 0
WHERE kept_in > 0 AND kept_in >= txid_snapshot_xmax(txid_current_snapshot())
