//! The first connection: how long a start waits for a database, and what it refuses at once because waiting changes nothing.

use std::error::Error;
use std::time::Duration;
use std::{fmt, io};

use deadpool_postgres::{Object, Pool, PoolError};
use tokio::time::{Instant, sleep};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Config, SimpleQueryMessage};
use tokio_rustls::rustls::{self, CertificateError};

use super::tls::{Encryption, HandshakeError};
use super::{connect, no_connection};

/// How long a start waits for a database that cannot be reached: services that start together need some patience.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);

/// Waits for a database that is on its way, or for a standby that is promoted.
pub async fn first_connection(
    pool: &Pool,
    config: &Config,
    encryption: Option<&Encryption>,
) -> Result<Object, String> {
    let started = Instant::now();
    let mut said = false;
    loop {
        let error = match pool.get().await {
            Ok(client) => return Ok(client),
            Err(error) if demands_tls(&error) => {
                return Err(format!(
                    "{}: the server takes no connection without TLS; set ?sslmode=require in --store",
                    no_connection(&error)
                ));
            }
            Err(error) if is_final(&error) => return Err(no_connection(&error)),
            Err(error) if is_read_only(&error) => match read_only_cause(config, encryption).await {
                // Of several servers another may take writes in a moment.
                Some(cause @ ReadOnly::Setting) if config.get_hosts().len() == 1 => {
                    return Err(cause.to_string());
                }
                Some(cause) => cause.to_string(),
                None => no_connection(&error),
            },
            Err(error) => no_connection(&error),
        };
        if started.elapsed() >= PATIENCE {
            return Err(error);
        }
        if !std::mem::replace(&mut said, true) {
            tracing::warn!("the database cannot be used yet: {error}; trying again");
        }
        sleep(PAUSE).await;
    }
}

/// Why a server takes no writes.
enum ReadOnly {
    /// It follows another server, until somebody promotes it.
    Standby,
    /// The server could; a setting of the server, the database or the user forbids it.
    Setting,
}

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReadOnly::Standby => {
                "the server is a standby, which takes no writes: name the primary with --store, or both"
            }
            ReadOnly::Setting => {
                "the database takes no writes, because default_transaction_read_only is on for the server, the database or the \
                 user: set it to off, or name another database with --store"
            }
        })
    }
}

/// Whether a server was reached and passed over because it takes no writes.
fn is_read_only(error: &PoolError) -> bool {
    let PoolError::Backend(error) = error else { return false };
    let is_refusal = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    io_error(error).is_some_and(is_refusal)
}

/// Asks a server that takes no writes why; `None` if it does not answer.
async fn read_only_cause(config: &Config, encryption: Option<&Encryption>) -> Option<ReadOnly> {
    let mut config = config.clone();
    config.target_session_attrs(TargetSessionAttrs::Any);
    let client = connect::pool(config, encryption.cloned()).ok()?.get().await.ok()?;
    let answer = client.simple_query("SELECT pg_is_in_recovery()").await.ok()?;
    answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) if row.get(0) == Some("t") => Some(ReadOnly::Standby),
        SimpleQueryMessage::Row(_) => Some(ReadOnly::Setting),
        _ => None,
    })
}

/// What servers and poolers say in a refusal of a connection without TLS, in lower case.
const TLS_DEMANDS: [&str; 5] =
    ["no encryption", "ssl off", "ssl required", "ssl connection is required", "sslmode=require"];

/// Whether the server refuses the connection because it is not encrypted.
fn demands_tls(error: &PoolError) -> bool {
    let PoolError::Backend(error) = error else { return false };
    error.as_db_error().is_some_and(|refusal| {
        let (code, message) = (refusal.code().code(), refusal.message().to_ascii_lowercase());
        // PgBouncer calls it a violation of the protocol.
        (code.starts_with("28") || code.starts_with("08"))
            && TLS_DEMANDS.iter().any(|demand| message.contains(demand))
    })
}

/// Whether waiting would change nothing: the login is refused, the database is not there, the certificate is not trusted.
fn is_final(error: &PoolError) -> bool {
    let PoolError::Backend(error) = error else { return false };
    match error.as_db_error() {
        Some(refusal) => ["28", "3D", "42"].iter().any(|class| refusal.code().code().starts_with(class)),
        // What the TLS of this side finds wrong with the other.
        None => io_error(error)
            .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData && !is_about_dates(error)),
    }
}

fn io_error(error: &tokio_postgres::Error) -> Option<&io::Error> {
    error.source()?.downcast_ref()
}

/// Whether a certificate is refused because of the time, which may be wrong on this machine until a time server is reached.
fn is_about_dates(error: &io::Error) -> bool {
    let handshake = error.get_ref().and_then(|error| error.downcast_ref::<HandshakeError>());
    let cause = handshake.and_then(|handshake| handshake.cause.get_ref());
    let refusal = cause.and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(
        refusal,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        ))
    )
}
