-- Begins another order if the one before is of another server. $1: whether some events had places in that.
UPDATE {schema}.event_order SET restored = restored + 1, dropped = txid_current()
WHERE $1 OR dropped >= txid_snapshot_xmax(txid_current_snapshot())
