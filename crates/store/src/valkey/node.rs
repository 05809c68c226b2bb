//! One server: how it is reached, and the one connection to it that all users share, made anew when it is lost. Which server
//! is asked for what is not known here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline,
    ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, Value,
};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::StoreError;
use crate::settings::{Address, StoreServer, StoreTls};
use system::files;

/// A node that takes no connection within this time is taken for one that is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than the longest script takes on a busy machine; the waiting task asks again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Who has just failed to connect is not tried again within this time: hundreds may be waiting for it.
const CONNECT_PAUSE: Duration = Duration::from_millis(200);

/// What is told of messages that were subscribed to, and of a lost connection.
pub type PushListener = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// How any of the servers is reached.
pub struct Access {
    server: StoreServer,
    certificates: Option<TlsCertificates>,
    /// Connections live here: whoever asks for one may have a runtime of its own, which ends before others have finished with
    /// the connection.
    runtime: Handle,
}

impl Access {
    /// Connections will live on the current runtime.
    pub fn new(server: &StoreServer, ca_file: Option<&Path>) -> Result<Self, StoreError> {
        let certificates = match ca_file.filter(|_| server.tls != StoreTls::Off) {
            Some(path) => {
                let root_cert = files::read_once(path, system::tls::PEM_MAX_BYTES)
                    .map_err(|error| StoreError::Open { path: path.to_owned(), why: error.to_string() })?;
                Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
            }
            None => None,
        };
        Ok(Self { server: server.clone(), certificates, runtime: Handle::current() })
    }

    /// A connection of its own.
    pub async fn connect(
        &self,
        address: &Address,
        listener: Option<PushListener>,
    ) -> RedisResult<MultiplexedConnection> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        if let Some(listener) = listener {
            config = config.set_push_sender(move |push| {
                listener(push);
                Ok::<(), redis::aio::SendError>(())
            });
        }
        let client = self.client(address)?;
        let connecting = async move { client.get_multiplexed_async_connection_with_config(&config).await };
        match AbortOnDropHandle::new(self.runtime.spawn(connecting)).await {
            Ok(connected) => connected,
            Err(ended) => Err(std::io::Error::from(ended).into()),
        }
    }

    fn client(&self, address: &Address) -> RedisResult<Client> {
        let info = self.info(address)?;
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    fn info(&self, address: &Address) -> RedisResult<ConnectionInfo> {
        let Address { host, port } = address.clone();
        let at = if host.starts_with('/') {
            ConnectionAddr::Unix(host.into())
        } else if self.server.tls == StoreTls::Off {
            ConnectionAddr::Tcp(host, port)
        } else {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        };
        let database = self.server.database.as_deref().and_then(|number| number.parse().ok()).unwrap_or(0);
        // The third version of the protocol tells of a lost connection also where nobody asks anything.
        let mut login = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(database);
        if let Some(user) = &self.server.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.server.password {
            login = login.set_password(password.expose());
        }
        // A request waits for no answer to the one before.
        let tcp = TcpSettings::default().set_nodelay(true);
        Ok(at.into_connection_info()?.set_redis_settings(login).set_tcp_settings(tcp))
    }
}

/// One server, asked by any number of users at once.
pub struct ValkeyNode {
    pub address: Address,
    state: Mutex<NodeState>,
}

#[derive(Default)]
struct NodeState {
    /// With how many there were before it, so that nobody drops one that has replaced the lost one.
    connection: Option<(u64, MultiplexedConnection)>,
    made: u64,
    failed: Option<(Instant, RedisError)>,
}

impl ValkeyNode {
    pub fn new(address: Address) -> Self {
        Self { address, state: Mutex::default() }
    }

    pub async fn ask(&self, access: &Access, command: &Cmd) -> RedisResult<Value> {
        let (number, mut connection) = self.connection(access).await?;
        let answer = command.query_async(&mut connection).await;
        self.drop_if_lost(number, &answer).await;
        answer
    }

    /// Asks for what is on its way here from another server.
    pub async fn ask_ahead(&self, access: &Access, command: &Cmd) -> RedisResult<Value> {
        let (number, mut connection) = self.connection(access).await?;
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ASKING").ignore().add_command(command.clone());
        let answer = pipeline.query_async(&mut connection).await;
        self.drop_if_lost(number, &answer).await;
        let (answer,): (Value,) = answer?;
        Ok(answer)
    }

    async fn connection(&self, access: &Access) -> RedisResult<(u64, MultiplexedConnection)> {
        let state = &mut *self.state.lock().await;
        if let Some((number, connection)) = &state.connection {
            return Ok((*number, connection.clone()));
        }
        if let Some((at, error)) = &state.failed
            && at.elapsed() < CONNECT_PAUSE
        {
            return Err(error.clone());
        }
        match access.connect(&self.address, None).await {
            Ok(connection) => {
                state.made += 1;
                state.connection = Some((state.made, connection.clone()));
                Ok((state.made, connection))
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// An answer that does not come within its time is also a loss: the server may be gone without anyone having said so.
    async fn drop_if_lost<T>(&self, number: u64, answer: &RedisResult<T>) {
        if answer.as_ref().is_err_and(RedisError::is_io_error) {
            let mut state = self.state.lock().await;
            if state.connection.as_ref().is_some_and(|(current, _)| *current == number) {
                state.connection = None;
            }
        }
    }
}
