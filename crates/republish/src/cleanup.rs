//! Finds what the broker retains of devices that are no longer known or selected: from before this connection, by this instance or
//! another one. It reads over a connection of its own, so that nothing that is published waits for it.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::home_assistant::Discovery;
use crate::settings::RepublishSettings;
use crate::topics::Topics;
use mqtt::connection::{Connection, LinkError, OpenError, Received};
use mqtt::packet::{self, Publish};
use mqtt::reason;
use mqtt::settings::{ConnectSettings, MqttVersion};
use mqtt::transport::{DialError, Dialer};
use presence::DeviceName;
use presence::query::Filter;
use server::registry::{DeviceRegistry, Snapshot};

/// A broker that has sent nothing that it retains for so long has sent all of it.
const QUIET: Duration = Duration::from_secs(2);

/// A reading that takes longer is broken off: a million messages at the thousand a second that some brokers send.
const READING_MAX: Duration = Duration::from_secs(30 * 60);

/// Devices that are found at once, some hundred bytes each. There is another reading if there are more.
pub const FOUND_MAX: usize = 10_000;

/// Why nothing was found out. Only a log line comes of it.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the broker refuses the subscription to {filters} with {reason}")]
    Refused { filters: String, reason: String },
}

/// What one reading looks for.
pub struct Cleanup {
    topics: Topics,
    discovery: Option<Discovery>,
    connect: ConnectSettings,
    client_id: String,
    selector: Filter,
    registry: Arc<DeviceRegistry>,
}

/// What a message of ours begins with.
#[derive(Deserialize)]
struct RetainedDevice {
    #[serde(rename = "type")]
    device_type: String,
    id: String,
}

impl Cleanup {
    pub fn new(settings: &RepublishSettings, registry: Arc<DeviceRegistry>) -> Self {
        Self {
            topics: settings.topics(),
            discovery: settings.discovery(),
            connect: ConnectSettings { will: None, ..settings.connect.clone() },
            client_id: format!("{}-cleanup", settings.client_id),
            selector: settings.selector.clone(),
            registry,
        }
    }

    /// The devices of which something is retained and nothing should be.
    pub async fn run(self) -> Result<Vec<DeviceName>, CleanupError> {
        let dialer = Dialer::new(&self.connect)?;
        let mut connection = Connection::open(&dialer, &self.connect, &self.client_id).await?;
        let discovery = self.discovery.as_ref().map(Discovery::all_devices);
        let filters: Vec<String> = [self.topics.all_devices()].into_iter().chain(discovery).collect();
        connection.subscribe(&filters, 0).await?;
        let end = Instant::now() + READING_MAX;
        let (mut found, mut quiet_at) = (Vec::new(), end);
        while let Ok(received) = timeout_at(quiet_at.min(end), connection.receive()).await {
            match received? {
                Received::Suback(suback) => {
                    if let Some(code) = suback.codes.iter().find(|code| **code >= 0x80) {
                        let reason = reason::subscription_refusal(connection.version(), *code);
                        return Err(CleanupError::Refused { filters: filters.join(", "), reason });
                    }
                    quiet_at = Instant::now() + QUIET;
                }
                Received::Publishes(publishes) => {
                    if publishes.retained > 0 {
                        quiet_at = Instant::now() + QUIET;
                    }
                    self.read(&publishes.packets, connection.version(), &mut found);
                    if found.len() >= FOUND_MAX {
                        break;
                    }
                }
                Received::Unsuback | Received::Puback(_) | Received::Pong | Received::TooLarge => {}
            }
        }
        connection.close().await;
        Ok(found)
    }

    fn read(&self, mut packets: &[u8], version: MqttVersion, found: &mut Vec<DeviceName>) {
        while let Ok(Some(frame)) = packet::frame(packets) {
            if let Ok(publish) = packet::publish(&frame, version)
                && publish.retained
            {
                found.extend(self.leftover(&publish));
            }
            packets = &packets[frame.len..];
        }
    }

    /// The device of a message of ours, if nothing should be retained of it. Messages of others are left alone.
    fn leftover(&self, publish: &Publish<'_>) -> Option<DeviceName> {
        let topic = str::from_utf8(publish.topic).ok()?;
        let discovery = self.discovery.as_ref();
        if let Some(name) = discovery.and_then(|discovery| discovery.device_of(&self.topics, topic)) {
            return (!self.is_wanted(&name)).then_some(name);
        }
        let name = self.topics.device_of(topic)?;
        if self.is_wanted(&name) {
            return None;
        }
        let device: RetainedDevice = serde_json::from_slice(publish.payload).ok()?;
        (device.device_type == *name.device_type && device.id == *name.id).then_some(name)
    }

    fn is_wanted(&self, name: &DeviceName) -> bool {
        if self.selector == Filter::default() {
            return self.registry.read(name.device(), |_| ()).is_some();
        }
        let device = self.registry.read(name.device(), Snapshot::of);
        device.is_some_and(|device| self.selector.admits(&device.traits(&self.selector)))
    }
}
