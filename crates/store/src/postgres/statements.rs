//! The statements, each in a file of its own, with the name of the schema put in. Names cannot be parameters of a statement,
//! and a search path would have to be set again for each connection.

use super::deliveries::DeliveryStatements;

/// All statements for one schema.
pub struct Statements {
    pub merge: String,
    pub settle: String,
    pub add_events: String,
    pub lose_events: String,
    pub named: String,
    pub totals: String,
    /// The name of the table of devices.
    pub device_table: String,
    pub load: String,
    pub changes: String,
    pub cursor: String,
    pub history: String,
    pub events: String,
    pub lock_order: String,
    pub clear_order: String,
    pub renew_order: String,
    pub prune_beyond: String,
    pub prune_expired: String,
    pub expire: String,
    pub lock_counters: String,
    pub forget: String,
    pub prune_tombstones: String,
    pub tombstones: String,
    pub forgotten_since: String,
    pub retention_time: String,
    pub set_retention_time: String,
    pub heartbeat: String,
    pub lock_instances: String,
    pub leave: String,
    pub instances: String,
    pub add_series: String,
    pub replace_series: String,
    pub prune_series: String,
    pub series: String,
    pub deliveries: DeliveryStatements,
}

impl Statements {
    /// `timeline` and `cluster`: the expressions for these, where the server tells them.
    pub fn new(schema: &str, timeline: &str, cluster: &str) -> Self {
        use super::columns::DEVICE;
        let sql = |text: &str| with_schema(text, schema);
        Self {
            merge: sql(include_str!("sql/merge.sql")),
            settle: sql(include_str!("sql/settle.sql")),
            add_events: sql(include_str!("sql/add_events.sql")),
            lose_events: sql("UPDATE {schema}.event_order SET dropped = greatest(dropped, txid_current())"),
            named: sql(&format!(
                "SELECT {DEVICE} FROM {{schema}}.device JOIN unnest($1::text[], $2::text[]) AS named (type, id) USING (type, id)"
            )),
            totals: sql(
                "SELECT type, connected, CASE WHEN connected THEN 0 ELSE close_code END AS close_code, count(*) AS devices
                 FROM {schema}.device GROUP BY 1, 2, 3",
            ),
            device_table: sql("{schema}.device"),
            load: sql(&format!("SELECT {DEVICE} FROM {{schema}}.device")),
            changes: sql(&include_str!("sql/changes.sql").replace("{timeline}", timeline)),
            cursor: sql("SELECT counter_shard, changed FROM {schema}.counter ORDER BY counter_shard"),
            history: sql(include_str!("sql/history.sql")),
            events: sql(&include_str!("sql/events.sql").replace("{timeline}", timeline).replace("{cluster}", cluster)),
            lock_order: sql("SELECT FROM {schema}.event_order FOR UPDATE"),
            clear_order: sql(include_str!("sql/clear_order.sql")),
            renew_order: sql(include_str!("sql/renew_order.sql")),
            prune_beyond: sql(include_str!("sql/prune_beyond.sql")),
            prune_expired: sql(include_str!("sql/prune_expired.sql")),
            expire: sql(include_str!("sql/expire.sql")),
            lock_counters: sql("SELECT FROM {schema}.counter ORDER BY counter_shard FOR UPDATE"),
            forget: sql(include_str!("sql/forget.sql")),
            prune_tombstones: sql(
                "DELETE FROM {schema}.tombstone WHERE (type, id) IN (
                   SELECT type, id FROM {schema}.tombstone ORDER BY forgotten_at DESC, type, id OFFSET $1)",
            ),
            tombstones: sql(
                "SELECT type, id, forgotten_at, counter_shard, changed FROM {schema}.tombstone
                 WHERE changed > ($1::bigint[])[counter_shard + 1]",
            ),
            forgotten_since: sql(include_str!("sql/forgotten_since.sql")),
            retention_time: sql("SELECT time FROM {schema}.retention"),
            set_retention_time: sql("UPDATE {schema}.retention SET time = $1"),
            heartbeat: sql(include_str!("sql/heartbeat.sql")),
            lock_instances: sql("LOCK TABLE {schema}.instance IN SHARE ROW EXCLUSIVE MODE"),
            leave: sql("DELETE FROM {schema}.instance WHERE id = $1 OR expires < clock_timestamp()"),
            instances: sql(
                "SELECT id, note FROM {schema}.instance WHERE expires >= clock_timestamp() ORDER BY joined",
            ),
            add_series: sql(
                "INSERT INTO {schema}.series (step, start, figures) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            ),
            replace_series: sql(
                "INSERT INTO {schema}.series (step, start, figures) VALUES ($1, $2, $3)
                 ON CONFLICT (step, start) DO UPDATE SET figures = excluded.figures",
            ),
            prune_series: sql(
                "DELETE FROM {schema}.series WHERE step = $1 AND place <=
                   (SELECT place FROM {schema}.series WHERE step = $1 ORDER BY place DESC OFFSET $2 LIMIT 1)",
            ),
            series: sql(
                "SELECT start, figures FROM {schema}.series WHERE step = $1 AND start >= $2 AND start < $3 ORDER BY start",
            ),
            deliveries: DeliveryStatements::new(schema),
        }
    }
}

/// The text with the schema's name in its places.
pub fn with_schema(text: &str, schema: &str) -> String {
    text.replace("{schema}", &quoted(schema))
}

/// A name as SQL has it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
