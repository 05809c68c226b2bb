//! What a client must know to connect: where, as whom, and how.

use std::fmt;
use std::time::Duration;

use system::is_loopback;
use system::secret::Secret;
use system::tls::ClientTls;

/// What a connection needs, beside the client id.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectSettings {
    pub endpoint: Endpoint,
    /// For the transports that are encrypted.
    pub tls: ClientTls,
    pub mqtt_version: MqttVersion,
    /// `None`: connect without user name and password (a broker that allows it).
    pub login: Option<Login>,
    pub keep_alive: Duration,
    /// MQTT 3.1.1 clean session, MQTT 5 clean start.
    pub clean_session: bool,
    /// MQTT 5 only: how long the broker keeps the session of an absent client; zero ends it with the connection.
    pub session_expiry: Duration,
    /// The connection is of no use on a broker without shared subscriptions.
    pub needs_shared_subscriptions: bool,
    /// What the broker publishes if the connection ends without a goodbye.
    pub will: Option<Will>,
}

/// A message that is retained, at quality of service 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    pub topic: String,
    pub payload: String,
}

impl ConnectSettings {
    /// Without login, as MQTT 3.1.1 has it by default.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            tls: ClientTls::default(),
            mqtt_version: MqttVersion::V311,
            login: None,
            keep_alive: Self::KEEP_ALIVE,
            clean_session: true,
            session_expiry: Duration::ZERO,
            needs_shared_subscriptions: false,
            will: None,
        }
    }

    pub const KEEP_ALIVE: Duration = Duration::from_secs(60);
}

/// Where the broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub transport: Transport,
    pub host: String,
    pub port: u16,
    /// The request path of a websocket, `/mqtt` unless the URL names one; unused otherwise.
    pub path: String,
}

impl Endpoint {
    /// Whether others may read what goes to the broker: it is not encrypted and leaves this machine.
    pub fn is_readable_by_others(&self) -> bool {
        !self.transport.is_encrypted() && !is_loopback(&self.host)
    }
}

/// How bytes travel to the broker, one per URL scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `mqtt://`
    Tcp,
    /// `mqtts://`
    Tls,
    /// `ws://`
    Ws,
    /// `wss://`
    Wss,
}

impl Transport {
    /// Whether it is TLS, so that certificates have a meaning.
    pub fn is_encrypted(self) -> bool {
        match self {
            Transport::Tls | Transport::Wss => true,
            Transport::Tcp | Transport::Ws => false,
        }
    }

    pub fn scheme(self) -> &'static str {
        match self {
            Transport::Tcp => "mqtt",
            Transport::Tls => "mqtts",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = (self.transport.scheme(), &self.host, self.port);
        // An IPv6 address has colons of its own.
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    V311,
    V5,
}

/// User name and password of the MQTT CONNECT: the platform's API key and its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub key: String,
    pub token: Secret,
}
