-- Version 3: how late it is for everything that is deleted for being old, in seconds since 1970. One row; NULL: not known.
CREATE TABLE {schema}.retention (time bigint);
INSERT INTO {schema}.retention VALUES (NULL);
