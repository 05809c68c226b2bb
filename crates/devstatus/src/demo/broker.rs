//! The broker inside the demo: MQTT on a free port of loopback, in this process, nothing on disk. It answers a PINGREQ in
//! the middle of a replay, as the platform does and mosquitto does not.

use std::net::{Ipv4Addr, SocketAddr};

use mqtt5::broker::config::{BrokerConfig, StorageConfig};
use mqtt5::broker::{BrokerShutdownHandle, MqttBroker};
use tokio::task::JoinHandle;

/// Messages that may wait for one client of the broker. What comes beyond is dropped without a word, so this is far above
/// what a fleet's replays and events can amount to; the room is taken only as it is needed.
const CLIENT_MESSAGES_MAX: usize = 16_000_000;

/// Why the demo has no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("cannot start the embedded broker")]
    Start(#[source] mqtt5::MqttError),
    #[error("the embedded broker has no address")]
    Address,
    #[error("the embedded broker ended before it was ready")]
    Ready,
}

/// A broker that runs.
pub struct EmbeddedBroker {
    pub address: SocketAddr,
    shutdown: BrokerShutdownHandle,
    task: JoinHandle<Result<(), mqtt5::MqttError>>,
}

impl EmbeddedBroker {
    /// Starts it and waits until it accepts clients.
    pub async fn start() -> Result<Self, BrokerError> {
        let config = BrokerConfig::new()
            .with_bind_address((Ipv4Addr::LOCALHOST, 0))
            .with_client_channel_capacity(CLIENT_MESSAGES_MAX)
            // Zero: no limit of their own; the fleet is as large as the user says.
            .with_max_retained_messages(0)
            .with_max_retained_message_size(0)
            .with_sys_topics_enabled(false)
            .with_storage(StorageConfig::new().with_persistence(false));
        let mut broker = MqttBroker::with_config(config).await.map_err(BrokerError::Start)?;
        let address = broker.local_addr().ok_or(BrokerError::Address)?;
        let shutdown = broker.shutdown_handle();
        let mut ready = broker.ready_receiver();
        let task = tokio::spawn(async move { broker.run().await });
        ready.wait_for(|ready| *ready).await.map_err(|_| BrokerError::Ready)?;
        Ok(Self { address, shutdown, task })
    }

    /// Ends it and its connections.
    pub async fn stop(self) {
        self.shutdown.shutdown();
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the embedded broker ended with an error"),
            Err(error) => tracing::error!(%error, "the embedded broker ended by a fault of its own"),
        }
    }
}
