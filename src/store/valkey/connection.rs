//! The connection to one server or to all nodes of a cluster: found out at the start, kept up by the client library, which
//! follows redirections and failovers. What is asked over it is not known here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue,
    IntoConnectionInfo, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, RedisResult, Script,
    ServerErrorKind, TlsCertificates, TlsMode,
};

use crate::store::StoreError;
use crate::store::settings::{Address, Server, Tls};

/// A node that takes no connection within this time is taken for one that is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than the longest script takes on a busy machine; whoever waits asks again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// With all repetitions and redirections. Also the library's own wait for its first connection has no end otherwise.
const ANSWER_TIMEOUT_IN_ALL: Duration = Duration::from_secs(8);
/// How often the library repeats what failed for want of a node; then the store has failed for now, which its users see,
/// and they ask again themselves.
const REPETITIONS: u32 = 4;
const REPETITION_WAIT_MIN_MS: u64 = 20;
const REPETITION_WAIT_MAX_MS: u64 = 500;
/// A server that is back is noticed within this time.
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(1);

/// What is told of messages that were subscribed to, and of lost connections.
pub type Listener = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Any number of users at once.
#[derive(Clone)]
pub enum Connection {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

/// How a server is reached.
struct Access<'a> {
    server: &'a Server,
    certificates: Option<TlsCertificates>,
}

impl Connection {
    /// Connects to the first of the addresses that answers, and to the whole cluster if it belongs to one.
    pub async fn open(
        server: &Server,
        ca_file: Option<&Path>,
        listener: Listener,
    ) -> Result<Self, StoreError> {
        let access = Access { server, certificates: certificates(server, ca_file)? };
        let mut why = String::new();
        for address in &server.addresses {
            match access.is_cluster(address).await {
                Ok(true) => {
                    return access.cluster(listener).await.map_err(|error| unreachable(server, &error));
                }
                Ok(false) => {
                    let single = access.single(address, listener).await;
                    return single.map_err(|error| unreachable(server, &error));
                }
                Err(error) => {
                    tracing::debug!(host = address.host, port = address.port, %error, "no answer");
                    why = error.to_string();
                }
            }
        }
        Err(unreachable(server, &why))
    }

    /// Whether the keys are spread over several servers.
    pub fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match self.clone() {
            Self::Single(mut connection) => command.query_async(&mut connection).await,
            Self::Cluster(mut connection) => command.query_async(&mut connection).await,
        }
    }

    /// Runs a script. A server that does not have it, because it was started or promoted since, gets it.
    pub async fn run<T: FromRedisValue>(&self, script: &Source, call: &Call) -> RedisResult<T> {
        match self.ask(&call.command("EVALSHA", script.script.get_hash())).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.ask(&call.command("EVAL", script.text)).await
            }
            done => done,
        }
    }

    /// Subscribes to a channel; in a cluster to one that only the nodes of its slot carry.
    pub async fn subscribe(&self, channel: &str) -> RedisResult<()> {
        match self.clone() {
            Self::Single(mut connection) => connection.subscribe(channel).await,
            Self::Cluster(mut connection) => connection.ssubscribe(channel).await,
        }
    }

    pub async fn publish(&self, channel: &str, message: &[u8]) -> RedisResult<()> {
        let command = if self.is_cluster() { "SPUBLISH" } else { "PUBLISH" };
        self.ask(redis::cmd(command).arg(channel).arg(message)).await
    }
}

/// A script in a file of its own.
pub struct Source {
    text: &'static str,
    script: Script,
}

impl Source {
    pub fn new(text: &'static str) -> Self {
        Self { text, script: Script::new(text) }
    }
}

/// What a script is called with. All keys are in one slot.
#[derive(Default)]
pub struct Call {
    pub keys: Vec<Vec<u8>>,
    pub arguments: Vec<Vec<u8>>,
}

impl Call {
    pub fn key(&mut self, key: Vec<u8>) -> &mut Self {
        self.keys.push(key);
        self
    }

    pub fn argument(&mut self, argument: impl Into<Vec<u8>>) -> &mut Self {
        self.arguments.push(argument.into());
        self
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.arguments);
        command
    }
}

impl Access<'_> {
    fn info(&self, address: &Address) -> RedisResult<ConnectionInfo> {
        let Address { host, port } = address.clone();
        let at = if host.starts_with('/') {
            ConnectionAddr::Unix(host.into())
        } else if self.server.tls == Tls::Off {
            ConnectionAddr::Tcp(host, port)
        } else {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        };
        // The third version of the protocol carries messages on the connection that commands go over.
        let mut login =
            RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(self.database());
        if let Some(user) = &self.server.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.server.password {
            login = login.set_password(password.expose());
        }
        Ok(at.into_connection_info()?.set_redis_settings(login))
    }

    fn database(&self) -> i64 {
        self.server.database.as_deref().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    fn client(&self, address: &Address) -> RedisResult<Client> {
        let info = self.info(address)?;
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    async fn is_cluster(&self, address: &Address) -> RedisResult<bool> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let mut connection =
            self.client(address)?.get_multiplexed_async_connection_with_config(&config).await?;
        let info: String = redis::cmd("INFO").arg("cluster").query_async(&mut connection).await?;
        Ok(info.lines().any(|line| line.trim() == "cluster_enabled:1"))
    }

    async fn single(&self, address: &Address, listener: Listener) -> RedisResult<Connection> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_max_delay(RECONNECT_WAIT_MAX)
            .set_push_sender(move |push| {
                listener(push);
                Ok::<(), redis::aio::SendError>(())
            })
            .set_automatic_resubscription();
        let client = self.client(address)?;
        Ok(Connection::Single(client.get_connection_manager_with_config(config).await?))
    }

    async fn cluster(&self, listener: Listener) -> RedisResult<Connection> {
        let nodes: Vec<_> =
            self.server.addresses.iter().map(|address| self.info(address)).collect::<RedisResult<_>>()?;
        let mut builder = ClusterClient::builder(nodes)
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(ANSWER_TIMEOUT)
            .overall_response_timeout(Some(ANSWER_TIMEOUT_IN_ALL))
            .retries(REPETITIONS)
            .min_retry_wait(REPETITION_WAIT_MIN_MS)
            .max_retry_wait(REPETITION_WAIT_MAX_MS)
            .push_sender(move |push| {
                listener(push);
                Ok::<(), redis::aio::SendError>(())
            });
        if self.server.tls != Tls::Off {
            builder = builder.tls(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder.certs(certificates.clone());
        }
        let client = builder.build()?;
        let connecting = client.get_async_connection();
        let connection =
            tokio::time::timeout(ANSWER_TIMEOUT_IN_ALL, connecting).await.unwrap_or_else(|_| {
                Err(RedisError::from((ErrorKind::Io, "the nodes of the cluster cannot be reached in time")))
            })?;
        Ok(Connection::Cluster(connection))
    }
}

fn certificates(server: &Server, ca_file: Option<&Path>) -> Result<Option<TlsCertificates>, StoreError> {
    let Some(path) = ca_file.filter(|_| server.tls != Tls::Off) else { return Ok(None) };
    let root_cert = std::fs::read(path)
        .map_err(|error| StoreError::Open { path: path.to_owned(), why: error.to_string() })?;
    Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) }))
}

fn unreachable(server: &Server, why: &impl ToString) -> StoreError {
    let hosts: Vec<_> =
        server.addresses.iter().map(|address| format!("{}:{}", address.host, address.port)).collect();
    StoreError::Read(format!("cannot use the store at {}: {}", hosts.join(", "), why.to_string()))
}
