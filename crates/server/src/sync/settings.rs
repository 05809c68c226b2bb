//! What the source must know to connect: where, as whom, and how. Built and checked by `config`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::health::ReadyOn;
use formats::catalog::Formats;
use mqtt::settings::{ConnectSettings, Endpoint, Login, MqttVersion};
use presence::StableHash;
use system::tls::ClientTls;

/// Everything the source needs; every value is already checked.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSettings {
    /// The name of one of several sources; `None`: it is the only one.
    pub name: Option<Box<str>>,
    pub endpoint: Endpoint,
    /// For the transports that are encrypted.
    pub tls: ClientTls,
    pub mqtt_version: MqttVersion,
    pub identity: BrokerIdentity,
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
    pub population: PopulationSettings,
    pub share: Share,
    /// How the broker's messages are read.
    pub formats: Arc<Formats>,
}

impl SourceSettings {
    const QUIET_INTERVAL: Duration = Duration::from_secs(2);
    const BACKLOG_MAX_BYTES: usize = 1 << 30;

    /// A connection without login, all else as by default.
    pub fn new(endpoint: Endpoint, identity: BrokerIdentity) -> Self {
        Self {
            name: None,
            endpoint,
            tls: ClientTls::default(),
            mqtt_version: MqttVersion::V311,
            identity,
            login: None,
            keep_alive: ConnectSettings::KEEP_ALIVE,
            clean_session: true,
            session_expiry: Duration::ZERO,
            quiet_interval: Self::QUIET_INTERVAL,
            backlog_max_bytes: Self::BACKLOG_MAX_BYTES,
            population: PopulationSettings::default(),
            share: Share::Everything,
            formats: Arc::default(),
        }
    }

    /// What each connection to the broker needs.
    pub fn connect(&self) -> ConnectSettings {
        ConnectSettings {
            endpoint: self.endpoint.clone(),
            tls: self.tls.clone(),
            mqtt_version: self.mqtt_version,
            login: self.login.clone(),
            keep_alive: self.keep_alive,
            clean_session: self.clean_session,
            session_expiry: self.session_expiry,
            needs_shared_subscriptions: matches!(self.share, Share::Group(_)),
            will: None,
        }
    }

    /// Whether the broker replays retained messages to the live subscription.
    pub fn gets_retained(&self) -> bool {
        match &self.share {
            Share::Everything | Share::Types(_) => self.identity.gets_retained(),
            Share::Group(_) => false,
        }
    }

    /// The live subscription's form of a filter.
    pub fn shared(&self, filter: &str) -> String {
        match &self.share {
            Share::Everything | Share::Types(_) => filter.to_owned(),
            Share::Group(group) => format!("$share/{group}/{filter}"),
        }
    }

    /// Whether this instance takes what is about devices of the type.
    pub fn takes(&self, device_type: &str) -> bool {
        self.share.partition().is_none_or(|partition| partition.holds(device_type))
    }
}

/// Which part of all messages this instance takes; the rest is taken by others that share its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    Everything,
    /// What is about some of the device types.
    Types(Partition),
    /// What the broker gives to this member of the group of a shared subscription.
    Group(String),
}

impl Share {
    pub fn partition(&self) -> Option<Partition> {
        match self {
            Share::Everything | Share::Group(_) => None,
            Share::Types(partition) => Some(*partition),
        }
    }
}

/// One of several parts of all device types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// From 1 on.
    pub number: u32,
    pub of: u32,
}

impl Partition {
    /// Whether the type is in this part: the same for all instances, whatever their version.
    pub fn holds(self, device_type: &str) -> bool {
        StableHash::of(device_type.as_bytes()) % u64::from(self.of) == u64::from(self.number - 1)
    }
}

/// How every retained status is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PopulationSettings {
    /// Device types known beforehand; if there are any, they are taken to be all.
    pub types: Vec<String>,
    /// Devices known beforehand, by type; of a type named here, they are taken to be all.
    pub devices: BTreeMap<String, Vec<String>>,
    /// How many retained messages brokers are known to send to one subscription at most, ascending, at least one.
    pub replay_limits: Vec<u64>,
    /// Time between two repairs in the background.
    pub reconcile_interval: Duration,
    /// Connections that read side by side.
    pub connections: usize,
    /// How sure the population must be before the service counts as ready.
    pub ready_on: ReadyOn,
    /// Whether the broker may be asked for its own counters under `$SYS`; the platform ends the connection for it.
    pub broker_counters: bool,
}

impl Default for PopulationSettings {
    fn default() -> Self {
        Self {
            types: Vec::new(),
            devices: BTreeMap::new(),
            // What the platform's brokers and a stock mosquitto are known to keep for one subscription.
            replay_limits: vec![1_000, 5_000, 50_000],
            reconcile_interval: Duration::from_secs(3_600),
            connections: 4,
            ready_on: ReadyOn::Unproven,
            broker_counters: true,
        }
    }
}

/// Who connects: decides the MQTT client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerIdentity {
    pub organization: String,
    pub application: String,
    pub kind: ApplicationKind,
}

/// The platform's two kinds of application, and a client of any other broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplicationKind {
    /// `{app}`, of any broker but the platform's: every message comes to this client.
    Client,
    /// `a:{org}:{app}`: every message comes to this client.
    Standalone,
    /// `A:{org}:{app}` or `A:{org}:{app}:{instance}`: the instances share the messages.
    Scalable { instance: Option<String> },
}

impl BrokerIdentity {
    /// The MQTT client id, as the platform wants it.
    pub fn client_id(&self) -> String {
        let (org, app) = (&self.organization, &self.application);
        match &self.kind {
            ApplicationKind::Client => app.clone(),
            ApplicationKind::Standalone => format!("a:{org}:{app}"),
            ApplicationKind::Scalable { instance: None } => format!("A:{org}:{app}"),
            ApplicationKind::Scalable { instance: Some(instance) } => format!("A:{org}:{app}:{instance}"),
        }
    }

    /// The client id of an instance of a scalable application: such a session never gets a retained message.
    pub fn client_id_of_instance(&self, instance: &str) -> String {
        format!("A:{}:{}:{instance}", self.organization, self.application)
    }

    /// The client id of a further, standalone connection: a scalable session gets no retained messages.
    pub fn client_id_of(&self, role: &str) -> String {
        match self.kind {
            ApplicationKind::Client => format!("{}-{role}", self.application),
            ApplicationKind::Standalone | ApplicationKind::Scalable { .. } => {
                format!("a:{}:{}-{role}", self.organization, self.application)
            }
        }
    }

    /// Whether the broker replays retained messages to the session itself.
    pub fn gets_retained(&self) -> bool {
        match self.kind {
            ApplicationKind::Client | ApplicationKind::Standalone => true,
            ApplicationKind::Scalable { .. } => false,
        }
    }
}
