//! What the source must know to connect: where, as whom, and how. Built and checked by `config`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// Everything the source needs; every value is already checked.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSettings {
    pub endpoint: Endpoint,
    /// PEM file with the certificates to trust; `None`: the system's trust store.
    pub ca_file: Option<PathBuf>,
    pub mqtt_version: MqttVersion,
    pub identity: Identity,
    /// `None`: connect without user name and password (a broker that allows it).
    pub login: Option<Login>,
    pub keep_alive: Duration,
    /// MQTT 3.1.1 clean session, MQTT 5 clean start.
    pub clean_session: bool,
    /// MQTT 5 only: how long the broker keeps the session of an absent client; zero ends it with the connection.
    pub session_expiry: Duration,
    /// How long nothing may arrive after the SUBACK before the replay of retained messages counts as over.
    pub quiet_interval: Duration,
    /// Most bytes that may wait between the socket and the decoder; what arrives beyond is dropped and counted.
    pub backlog_max_bytes: usize,
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
        write!(f, "{}://{}:{}", self.transport.scheme(), self.host, self.port)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    V311,
    V5,
}

/// Who connects: decides the MQTT client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub organization: String,
    pub application: String,
    pub kind: ApplicationKind,
}

/// The platform's two kinds of application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplicationKind {
    /// `a:{org}:{app}`: every message comes to this client.
    Standalone,
    /// `A:{org}:{app}` or `A:{org}:{app}:{instance}`: the instances share the messages.
    Scalable { instance: Option<String> },
}

impl Identity {
    /// The MQTT client id, as the platform wants it.
    pub fn client_id(&self) -> String {
        let (org, app) = (&self.organization, &self.application);
        match &self.kind {
            ApplicationKind::Standalone => format!("a:{org}:{app}"),
            ApplicationKind::Scalable { instance: None } => format!("A:{org}:{app}"),
            ApplicationKind::Scalable { instance: Some(instance) } => format!("A:{org}:{app}:{instance}"),
        }
    }
}

/// User name and password of the MQTT CONNECT: the platform's API key and its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub key: String,
    pub token: Secret,
}
