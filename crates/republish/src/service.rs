//! Republishes over one connection after the other.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use mqtt::connection::{Connection, LinkError, OpenError};
use mqtt::property::Properties;
use mqtt::reason::{SettingNames, disconnect, login_refusal};
use mqtt::settings::{ConnectSettings, MqttVersion, Will};
use mqtt::transport::{DialError, Dialer};
use server::feed::Feed;
use server::health::Health;
use server::registry::{DeviceRegistry, Snapshot};
use system::backoff::Backoff;
use system::sentence;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::in_flight::ACK_TIMEOUT;
use crate::metrics::RepublishMetrics;
use crate::session::RepublishSession;
use crate::settings::RepublishSettings;

/// The longest wait between two connections: after a restart of the broker everything is there again soon.
const RECONNECT_MAX: Duration = Duration::from_secs(10);

/// Shows what is published as the API does.
pub trait Describe: Send + Sync {
    /// A device, as far as every change of what is shown is a change that the feed tells of.
    fn device(&self, device: &Snapshot) -> Vec<u8>;

    /// The fleet at a glance; `None`: it cannot be told now.
    fn summary(&self) -> BoxFuture<'_, Option<Vec<u8>>>;
}

/// What is published from, and to where.
pub struct Republisher {
    pub settings: RepublishSettings,
    pub registry: Arc<DeviceRegistry>,
    pub feed: Arc<Feed>,
    pub health: Arc<Health>,
    pub describe: Arc<dyn Describe>,
    pub metrics: RepublishMetrics,
}

/// Why a connection ended, or there was none.
#[derive(Debug, thiserror::Error)]
pub enum RepublishError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Open(OpenError),
    #[error("{}", login_refusal(*.version, *.code, .properties, &SETTINGS))]
    Refused { version: MqttVersion, code: u8, properties: Box<Properties> },
    #[error("{}", disconnect(*.code, .properties, &SETTINGS))]
    Disconnected { code: u8, properties: Box<Properties> },
    #[error(transparent)]
    Link(LinkError),
    #[error("the broker has not acknowledged a message within {} seconds", ACK_TIMEOUT.as_secs())]
    NotAcknowledged,
    #[error("the broker keeps no retained messages (Retain Available is 0)")]
    NotRetained,
}

/// The keys of the table.
const SETTINGS: SettingNames = SettingNames {
    broker: "broker in [republish]",
    mqtt_version: "mqtt_version in [republish]",
    client_id: "id in [republish]",
    own_id: "id in [republish]",
    login: "user or password is wrong: check user and password_file in [republish], or the source's, which it uses without them",
    authorization: "check user and password_file in [republish], and that the broker lets this user publish",
};

impl From<LinkError> for RepublishError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Disconnected { code, properties } => RepublishError::Disconnected { code, properties },
            other => RepublishError::Link(other),
        }
    }
}

impl From<OpenError> for RepublishError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Refused { version, code, properties } => {
                RepublishError::Refused { version, code, properties }
            }
            other @ (OpenError::Dial(_)
            | OpenError::Timeout(_)
            | OpenError::Link(_)
            | OpenError::NotOffered(_)) => RepublishError::Open(other),
        }
    }
}

impl Republisher {
    /// Republishes until `shutdown`. What is retained stays, and the topic of the service says that it is offline.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut backoff = Backoff::up_to(RECONNECT_MAX);
        loop {
            let Some(opened) = shutdown.run_until_cancelled(self.open()).await else { break };
            let ended = match opened {
                Ok(connection) => self.publish(connection, &shutdown, &mut backoff).await,
                Err(error) => Err(error),
            };
            match ended {
                Ok(()) => break,
                Err(error) => self.report(&error),
            }
            if shutdown.run_until_cancelled(sleep(backoff.wait())).await.is_none() {
                break;
            }
        }
        self.health.set_republish(None);
    }

    async fn open(&self) -> Result<Connection, RepublishError> {
        let RepublishSettings { connect, client_id, .. } = &self.settings;
        let will = Will { topic: self.settings.topics().service(), payload: OFFLINE.to_owned() };
        let connect = ConnectSettings { will: Some(will), ..connect.clone() };
        let connection = Connection::open(&Dialer::new(&connect)?, &connect, client_id).await?;
        if !connection.offer().retains {
            return Err(RepublishError::NotRetained);
        }
        Ok(connection)
    }

    async fn publish(
        &self,
        connection: Connection,
        shutdown: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Result<(), RepublishError> {
        let RepublishSettings { connect, prefix, .. } = &self.settings;
        tracing::info!(broker = %connect.endpoint, prefix, "statuses are republished");
        self.health.set_republish(None);
        self.metrics.link_up.set(1);
        let mut session = RepublishSession::new(self, connection);
        let ended = session.run(shutdown).await;
        if session.is_online() {
            backoff.reset();
        }
        self.metrics.link_up.set(0);
        self.metrics.failed.inc_by(self.metrics.in_flight.set(0).try_into().unwrap_or(0));
        ended
    }

    /// Logs why nothing is republished, unless it is the same as before.
    fn report(&self, error: &RepublishError) {
        let broker = &self.settings.connect.endpoint;
        let complaint = format!("Statuses are not republished to {broker}: {}.", sentence(error));
        if self.health.set_republish(Some(complaint)) {
            tracing::warn!(%broker, error = %sentence(error), "statuses are not republished at present");
        }
    }
}

/// What the topic of the service says.
pub const ONLINE: &str = "online";
pub const OFFLINE: &str = "offline";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_login_names_the_keys_of_the_table() {
        for (code, key) in [(1, "mqtt_version"), (2, "id in"), (4, "password_file"), (5, "password_file")] {
            let properties = Box::<Properties>::default();
            let refused = OpenError::Refused { version: MqttVersion::V311, code, properties };
            let text = RepublishError::from(refused).to_string();
            assert!(text.contains(key) && text.contains("[republish]"), "{text}");
            assert!(!text.contains("--") && !text.contains("token"), "{text}");
        }
        for code in [0x8e, 0x9c, 0x9d] {
            let ended = LinkError::Disconnected { code, properties: Box::default() };
            let text = RepublishError::from(ended).to_string();
            assert!(text.contains("in [republish]") && !text.contains("--"), "{text}");
        }
    }
}
