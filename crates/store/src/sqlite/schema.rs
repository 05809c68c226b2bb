//! What the file looks like inside, and how older files become like it. Which statements are run against it, and when, is
//! not known here.

use rusqlite::Connection;

/// Says in the file's header whose it is: "devS".
pub const APPLICATION_ID: i64 = 0x6465_7653;

/// Each step leads from the version of its position to the next. A step that was released is never changed.
const STEPS: &[&str] = &[
    FIRST,
    LOST,
    RETENTION,
    COLUMN_NAMES,
    EVENT_ORDER,
    WEBHOOKS,
    SERIES,
    SOURCES,
    FIRST_SEEN,
    DEVICE_ROW,
    REASONS,
];

/// The version that this program writes.
pub const VERSION: i64 = STEPS.len() as i64;

/// Times are nanoseconds since 1970, NULL if unknown; `received_at` is seconds. The columns of `device` are those of the deciding
/// statement; what else the state consists of, mostly nothing, is in `others`. `payload` is packed: a quarter of the size, so
/// a quarter of the writing.
///
/// The events of a device are a chain, each naming the one before it, and the device names the newest: so an event is written
/// at the end of the table, next to the others of its batch, and costs no index.
const FIRST: &str = "
CREATE TABLE device (
  row INTEGER PRIMARY KEY,
  type TEXT NOT NULL,
  id TEXT NOT NULL,
  connected INTEGER NOT NULL,
  claim INTEGER NOT NULL,
  session INTEGER,
  time INTEGER,
  close_code INTEGER NOT NULL,
  address TEXT,
  heard_at INTEGER NOT NULL,
  changed INTEGER NOT NULL,
  newest_event INTEGER,
  events INTEGER NOT NULL,
  payload BLOB NOT NULL,
  others BLOB
);
CREATE UNIQUE INDEX device_name ON device (type, id);
CREATE TABLE event (
  sequence INTEGER PRIMARY KEY,
  device INTEGER NOT NULL,
  previous INTEGER,
  number INTEGER NOT NULL,
  claim INTEGER NOT NULL,
  session INTEGER,
  time INTEGER,
  close_code INTEGER NOT NULL,
  heard_at INTEGER NOT NULL,
  payload BLOB NOT NULL
);
CREATE TABLE reason (close_code INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE counter (changed INTEGER NOT NULL, sequence INTEGER NOT NULL);
INSERT INTO counter VALUES (0, 0);
CREATE VIEW devices AS SELECT
  type, id,
  CASE connected WHEN 1 THEN 'connected' ELSE 'disconnected' END AS status,
  strftime('%Y-%m-%dT%H:%M:%fZ', time / 1e9, 'unixepoch') AS since,
  strftime('%Y-%m-%dT%H:%M:%fZ', session / 1e9, 'unixepoch') AS session,
  device.close_code AS close_code, reason.text AS reason, address,
  strftime('%Y-%m-%dT%H:%M:%SZ', heard_at, 'unixepoch') AS heard_at
  FROM device LEFT JOIN reason ON claim <> 1 AND reason.close_code = device.close_code;
CREATE VIEW events AS SELECT
  type, id,
  CASE event.claim WHEN 1 THEN 'connect' WHEN 2 THEN 'takeover' WHEN 3 THEN 'refusal' WHEN 5 THEN 'failed_login'
    ELSE 'disconnect' END AS event,
  strftime('%Y-%m-%dT%H:%M:%fZ', event.time / 1e9, 'unixepoch') AS time,
  CASE event.claim WHEN 1 THEN NULL ELSE (event.time - event.session) / 1e9 END AS duration_s,
  event.close_code AS close_code, reason.text AS reason
  FROM event JOIN device ON device.row = event.device
  LEFT JOIN reason ON event.claim <> 1 AND reason.close_code = event.close_code;
";

/// `lost` is a place in the order of the events: some that belong before it never came here. 0: all did.
const LOST: &str = "ALTER TABLE counter ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;";

/// How late it is for everything that is deleted for being old, in seconds since 1970; NULL: not known.
const RETENTION: &str = "ALTER TABLE counter ADD COLUMN retention_time INTEGER;";

/// Columns get the names that the rest of the program uses.
const COLUMN_NAMES: &str = "
DROP VIEW devices;
DROP VIEW events;
ALTER TABLE device RENAME COLUMN claim TO kind;
ALTER TABLE device RENAME COLUMN heard_at TO received_at;
ALTER TABLE event RENAME COLUMN claim TO kind;
ALTER TABLE event RENAME COLUMN heard_at TO received_at;
CREATE VIEW devices AS SELECT
  type, id,
  CASE connected WHEN 1 THEN 'connected' ELSE 'disconnected' END AS status,
  strftime('%Y-%m-%dT%H:%M:%fZ', time / 1e9, 'unixepoch') AS since,
  strftime('%Y-%m-%dT%H:%M:%fZ', session / 1e9, 'unixepoch') AS session,
  device.close_code AS close_code, reason.text AS reason, address,
  strftime('%Y-%m-%dT%H:%M:%SZ', received_at, 'unixepoch') AS received_at
  FROM device LEFT JOIN reason ON kind <> 1 AND reason.close_code = device.close_code;
CREATE VIEW events AS SELECT
  type, id,
  CASE event.kind WHEN 1 THEN 'connect' WHEN 2 THEN 'takeover' WHEN 3 THEN 'refusal' WHEN 5 THEN 'failed_login'
    ELSE 'disconnect' END AS event,
  strftime('%Y-%m-%dT%H:%M:%fZ', event.time / 1e9, 'unixepoch') AS time,
  CASE event.kind WHEN 1 THEN NULL ELSE (event.time - event.session) / 1e9 END AS duration_s,
  event.close_code AS close_code, reason.text AS reason
  FROM event JOIN device ON device.row = event.device
  LEFT JOIN reason ON event.kind <> 1 AND reason.close_code = event.close_code;
";

/// The orders of the events: opening the file to write begins another one, behind the events that are there. So a copy
/// of the file, and the file that was copied, have no order in common from then on.
const EVENT_ORDER: &str = "
CREATE TABLE event_order (row INTEGER PRIMARY KEY, name INTEGER NOT NULL, begins_after INTEGER NOT NULL);
INSERT INTO event_order (name, begins_after) SELECT random(), sequence FROM counter;
";

/// What is kept of the endpoints of webhooks; the text is the worker's.
const WEBHOOKS: &str = "CREATE TABLE webhook (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;";

/// The series of the fleet; `row` is the order of writing, by which old rows are deleted.
const SERIES: &str = "
CREATE TABLE series (
  row INTEGER PRIMARY KEY AUTOINCREMENT,
  step INTEGER NOT NULL,
  start INTEGER NOT NULL,
  figures BLOB NOT NULL
);
CREATE UNIQUE INDEX series_start ON series (step, start);
CREATE INDEX series_order ON series (step);
";

/// The views say from which source a device or an event is. A packed payload of another source than the IoT platform begins with
/// the byte 5, the length of the name, and the name.
const SOURCES: &str = "
DROP VIEW devices;
DROP VIEW events;
CREATE VIEW devices AS SELECT
  type, id,
  CASE connected WHEN 1 THEN 'connected' ELSE 'disconnected' END AS status,
  strftime('%Y-%m-%dT%H:%M:%fZ', time / 1e9, 'unixepoch') AS since,
  strftime('%Y-%m-%dT%H:%M:%fZ', session / 1e9, 'unixepoch') AS session,
  device.close_code AS close_code, reason.text AS reason, address,
  strftime('%Y-%m-%dT%H:%M:%SZ', received_at, 'unixepoch') AS received_at,
  CASE substr(payload, 1, 1) WHEN x'05'
    THEN CAST(substr(payload, 3, unicode(CAST(substr(payload, 2, 1) AS TEXT))) AS TEXT)
    ELSE 'iot-platform' END AS source
  FROM device LEFT JOIN reason ON kind <> 1 AND reason.close_code = device.close_code;
CREATE VIEW events AS SELECT
  type, id,
  CASE event.kind WHEN 1 THEN 'connect' WHEN 2 THEN 'takeover' WHEN 3 THEN 'refusal' WHEN 5 THEN 'failed_login'
    ELSE 'disconnect' END AS event,
  strftime('%Y-%m-%dT%H:%M:%fZ', event.time / 1e9, 'unixepoch') AS time,
  CASE event.kind WHEN 1 THEN NULL ELSE (event.time - event.session) / 1e9 END AS duration_s,
  event.close_code AS close_code, reason.text AS reason,
  CASE substr(event.payload, 1, 1) WHEN x'05'
    THEN CAST(substr(event.payload, 3, unicode(CAST(substr(event.payload, 2, 1) AS TEXT))) AS TEXT)
    ELSE 'iot-platform' END AS source
  FROM event JOIN device ON device.row = event.device
  LEFT JOIN reason ON event.kind <> 1 AND reason.close_code = event.close_code;
";

/// Whether nothing was known of the device when the event came.
const FIRST_SEEN: &str = "ALTER TABLE event ADD COLUMN is_first_seen INTEGER NOT NULL DEFAULT 0;";

/// The newest row that a device was given. SQLite itself would give the newest row again once its device is deleted, and the
/// events of that device, which stay until they are pruned, would be those of the next one.
const DEVICE_ROW: &str = "
ALTER TABLE counter ADD COLUMN device_row INTEGER NOT NULL DEFAULT 0;
UPDATE counter SET device_row =
  max(coalesce((SELECT max(row) FROM device), 0), coalesce((SELECT max(device) FROM event), 0));
";

/// Why sessions ended of other sources than the IoT platform, which have no close codes: until then their reasons were looked up
/// by the code 0, and what was kept for it may be the reason of one of them.
const REASONS: &str = "
DROP VIEW devices;
DROP VIEW events;
ALTER TABLE device ADD COLUMN reason TEXT;
ALTER TABLE event ADD COLUMN reason TEXT;
DELETE FROM reason WHERE close_code = 0;
CREATE VIEW devices AS SELECT
  type, id,
  CASE connected WHEN 1 THEN 'connected' ELSE 'disconnected' END AS status,
  strftime('%Y-%m-%dT%H:%M:%fZ', time / 1e9, 'unixepoch') AS since,
  strftime('%Y-%m-%dT%H:%M:%fZ', session / 1e9, 'unixepoch') AS session,
  device.close_code AS close_code, coalesce(device.reason, reason.text) AS reason, address,
  strftime('%Y-%m-%dT%H:%M:%SZ', received_at, 'unixepoch') AS received_at,
  CASE substr(payload, 1, 1) WHEN x'05'
    THEN CAST(substr(payload, 3, unicode(CAST(substr(payload, 2, 1) AS TEXT))) AS TEXT)
    ELSE 'iot-platform' END AS source
  FROM device LEFT JOIN reason
    ON kind <> 1 AND reason.close_code = device.close_code AND substr(payload, 1, 1) <> x'05';
CREATE VIEW events AS SELECT
  type, id,
  CASE event.kind WHEN 1 THEN 'connect' WHEN 2 THEN 'takeover' WHEN 3 THEN 'refusal' WHEN 5 THEN 'failed_login'
    ELSE 'disconnect' END AS event,
  strftime('%Y-%m-%dT%H:%M:%fZ', event.time / 1e9, 'unixepoch') AS time,
  CASE event.kind WHEN 1 THEN NULL ELSE (event.time - event.session) / 1e9 END AS duration_s,
  event.close_code AS close_code, coalesce(event.reason, reason.text) AS reason,
  CASE substr(event.payload, 1, 1) WHEN x'05'
    THEN CAST(substr(event.payload, 3, unicode(CAST(substr(event.payload, 2, 1) AS TEXT))) AS TEXT)
    ELSE 'iot-platform' END AS source
  FROM event JOIN device ON device.row = event.device
  LEFT JOIN reason
    ON event.kind <> 1 AND reason.close_code = event.close_code AND substr(event.payload, 1, 1) <> x'05';
";

/// What is in the header.
pub fn found(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

/// Whether nothing was ever put into the file.
pub fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", (), |row| row.get(0))
}

/// Takes every step from that version on, all or none.
pub fn migrate(connection: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for step in STEPS.iter().skip(usize::try_from(from).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}
