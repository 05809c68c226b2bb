-- Version 9: whether nothing was known of the device when the event came. Instances of the version before go on meanwhile.
ALTER TABLE {schema}.event ADD COLUMN is_first_seen boolean NOT NULL DEFAULT false;
