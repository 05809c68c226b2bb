//! What a database must be like to hold our data, looked at when it is opened. By the simple protocol alone: prepared
//! statements are what a connection pooler may break.

use deadpool_postgres::{Object, Pool};
use tokio_postgres::SimpleQueryMessage;

use super::no_connection;

/// What is wrong with a pooler that gives a session to another client after each transaction, and what to do.
pub const SESSIONS_SHARED: &str = "a connection pooler between us and the database shares sessions among its clients \
     (pool_mode = transaction or statement), which notifications and prepared statements do not survive: connect to the \
     database itself, or set pool_mode = session";

/// Encodings in which every name can be kept. Of SQL_ASCII the server knows nothing, so it keeps the bytes as they are.
const ENCODINGS: [&str; 2] = ["UTF8", "SQL_ASCII"];

/// Says in a sentence what the database cannot do; an error on the way is reported by the next use of the database.
pub async fn check(pool: &Pool) -> Result<(), String> {
    let one = pool.get().await.map_err(|error| no_connection(&error))?;
    let encoding = value(&one, "SHOW server_encoding").await.unwrap_or_default();
    if encoding.as_deref().is_some_and(|encoding| !ENCODINGS.contains(&encoding)) {
        let encoding = encoding.unwrap_or_default();
        return Err(format!(
            "the database has the encoding {encoding}, which cannot hold every name: its encoding must be UTF8"
        ));
    }
    let Ok(other) = pool.get().await else { return Ok(()) };
    let shared = shares_sessions(&one, &other).await;
    if !matches!(shared, Ok(false)) {
        // Neither may be used again: a transaction may be open, or its session is not ours.
        drop((Object::take(one), Object::take(other)));
    }
    if shared.unwrap_or(false) { Err(SESSIONS_SHARED.to_owned()) } else { Ok(()) }
}

/// Whether two connections may be served by the same session. One leaves a note in its session; the other keeps a
/// transaction open meanwhile, and with it the session that the pooler has given it. If that is the session with the note, the
/// other finds it there; if not, the first finds it gone.
async fn shares_sessions(one: &Object, other: &Object) -> Result<bool, tokio_postgres::Error> {
    let note = rand::random::<u64>().to_string();
    one.batch_execute(&format!("SELECT set_config('devstatus.note', '{note}', false)")).await?;
    if let Err(error) = other.batch_execute("BEGIN").await {
        // Nothing but a pooler that shares sessions between statements refuses this.
        return error.as_db_error().map(|_| true).ok_or(error);
    }
    let read = "SELECT current_setting('devstatus.note', true)";
    let is_note = |found: Option<String>| found.as_deref() == Some(&*note);
    let shared = is_note(value(other, read).await?) || !is_note(value(one, read).await?);
    other.batch_execute("COMMIT").await?;
    one.batch_execute("SELECT set_config('devstatus.note', '', false)").await?;
    Ok(shared)
}

/// The first column of the first row.
async fn value(client: &Object, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let answer = client.simple_query(sql).await?;
    Ok(answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}
