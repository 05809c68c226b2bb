//! How the database is reached: which server of several, the pool, what becomes of connections that no longer serve.

use std::future::pending;
use std::time::Duration;

use deadpool_postgres::{Connect, Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Socket};
use tokio_util::task::AbortOnDropHandle;

use super::tls::Encryption;
use crate::StoreError;
use crate::settings::{StoreServer, StoreSettings, StoreTls};

/// One that writes, one that follows the others, one that says that this instance lives, and some that answer readers.
const CONNECTIONS_MAX: usize = 8;
/// To connect, login included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A reader that waits longer for a connection is told so.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that has gone without a word is noticed within some ten seconds, whether we wait or write.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);
/// What each session is set to: no parameters of the start, which poolers refuse. A server that does not know one is used all the
/// same.
pub const SESSION: [&str; 4] = [
    // The other way round: the server ends the session of an instance that it has heard nothing of in the midst of a batch, so
    // that what the batch has locked is free for the others before their statements are given up.
    "SET idle_in_transaction_session_timeout = '10s'",
    // Compiling a statement takes a second or two, and where the planner knows little of the tables yet it is done each time.
    "SET jit = off",
    // What is merged is decided on a row as it is when it is a batch's turn.
    "SET default_transaction_isolation = 'read committed'",
    // A connection of the pool may have nothing to do for as long as nothing changes.
    "SET idle_session_timeout = 0",
];

/// Everything needed to connect.
pub fn config(server: &StoreServer) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    for address in &server.addresses {
        config.host(&address.host).port(address.port);
    }
    if let Some(user) = &server.user {
        config.user(user);
    }
    if let Some(password) = &server.password {
        config.password(password.expose());
    }
    if let Some(database) = &server.database {
        config.dbname(database);
    }
    config
        .ssl_mode(match server.tls {
            StoreTls::Off => SslMode::Disable,
            StoreTls::Offered => SslMode::Prefer,
            StoreTls::Required => SslMode::Require,
        })
        // Of several hosts the primary, and after a failover the new one.
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .application_name("devstatus")
        .connect_timeout(CONNECT_TIMEOUT)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES)
        .tcp_user_timeout(UNACKNOWLEDGED_MAX);
    config
}

/// The certificates to trust. They are not looked for where nothing is encrypted.
pub fn encryption(server: &StoreServer, settings: &StoreSettings) -> Result<Option<Encryption>, StoreError> {
    if server.tls == StoreTls::Off {
        return Ok(None);
    }
    match Encryption::trusting(settings.ca_file.as_deref()) {
        Ok(encryption) => Ok(Some(encryption)),
        // A machine without a trust store can still use what is not encrypted.
        Err(_) if server.tls == StoreTls::Offered && settings.ca_file.is_none() => Ok(None),
        Err(error) => Err(StoreError::Read(error.to_string())),
    }
}

/// Keeps each connection on the runtime on which the store was opened: whoever asks for one may have a runtime of its own, which
/// ends before others have finished with the connection.
struct RuntimeConnector<T> {
    runtime: Handle,
    tls: T,
}

impl<T> Connect for RuntimeConnector<T>
where
    T: MakeTlsConnect<Socket> + Clone + Sync + Send + 'static,
    T::Stream: Sync + Send,
    T::TlsConnect: Sync + Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn connect(
        &self,
        config: &tokio_postgres::Config,
    ) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let (config, tls) = (config.clone(), self.tls.clone());
        let connecting = AbortOnDropHandle::new(self.runtime.spawn(async move {
            let (client, connection) = config.connect(tls).await?;
            let carried = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the database is lost");
                }
            });
            Ok((client, carried))
        }));
        Box::pin(async {
            match connecting.await {
                Ok(connected) => connected,
                // The runtime of the store ends, and the service with it; the pool's timeout ends the wait.
                Err(_) => pending().await,
            }
        })
    }
}

/// A pool; nothing is connected yet. Its connections live on the current runtime.
pub fn pool(config: tokio_postgres::Config, encryption: Option<Encryption>) -> Result<Pool, StoreError> {
    // Whether a connection still serves is found out by using it: the user that sees an error gives it up.
    let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let runtime = Handle::current();
    let manager = match encryption {
        Some(tls) => Manager::from_connect(config, RuntimeConnector { runtime, tls }, manager_config),
        None => {
            let tls = tokio_postgres::NoTls;
            Manager::from_connect(config, RuntimeConnector { runtime, tls }, manager_config)
        }
    };
    let set_session = Hook::async_fn(|client, _| {
        Box::pin(async move {
            for setting in SESSION {
                let set = client.batch_execute(setting).await;
                if let Some(error) = set.err().filter(|error| error.as_db_error().is_none()) {
                    return Err(HookError::Backend(error));
                }
            }
            Ok(())
        })
    });
    Pool::builder(manager)
        .post_create(set_session)
        .max_size(CONNECTIONS_MAX)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(WAIT_TIMEOUT))
        .create_timeout(Some(CONNECT_TIMEOUT))
        .recycle_timeout(Some(CONNECT_TIMEOUT))
        .build()
        .map_err(|error| StoreError::Read(error.to_string()))
}
