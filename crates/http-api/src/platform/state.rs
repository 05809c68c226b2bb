//! One client's state as the platform writes it, as far as it follows from status messages: the field of what is not known
//! is absent. Of activities only connects and disconnects are known, as status messages tell of no other.

use serde::Serialize;

use crate::describe::ToSchema;
use formats::iot_platform;
use presence::time_text::TimeText;
use presence::{Device, EventKind, Status};
use server::registry::Snapshot;

/// What is known of a client.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientState {
    /// The MQTT client id.
    #[schema(example = "d:demo:elevator:elevator-0049")]
    pub id: String,
    client_type: ClientType,
    pub connection_status: ConnectionStatus,
    /// When the latest session that is known began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_connect_time: Option<TimeText>,
    /// When it ended; absent of a connected client, as the message of its Connect has taken the place of the Disconnect's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_disconnect_time: Option<TimeText>,
    /// `mqttConnect`, `mqttDisconnect`, or `httpPublish`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "mqttDisconnect")]
    last_activity_event: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_activity_time: Option<TimeText>,
    /// The MQTT version: `3.1`, `3.1.1` or `5.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "3.1.1")]
    mqtt_connect_protocol: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum ClientType {
    Device,
    Gateway,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ConnectionStatus {
    Connected,
    Disconnected,
}

impl ConnectionStatus {
    pub fn parse(word: &str) -> Option<Status> {
        match word {
            "connected" => Some(Status::Connected),
            "disconnected" => Some(Status::Disconnected),
            _ => None,
        }
    }
}

impl ClientState {
    pub fn of(snapshot: &Snapshot, organization: &str) -> Self {
        let Snapshot { device_type, id, status, event, .. } = snapshot;
        let message = event.payload.document();
        let details = iot_platform::details(&message);
        let client_id = details
            .client_id
            .filter(|client_id| ClientId::parse(client_id, organization).is_some())
            .map_or_else(|| format!("d:{organization}:{device_type}:{id}"), std::borrow::Cow::into_owned);
        let disconnected = *status == Status::Disconnected;
        Self {
            client_type: if client_id.starts_with("g:") { ClientType::Gateway } else { ClientType::Device },
            id: client_id,
            connection_status: match status {
                Status::Connected => ConnectionStatus::Connected,
                Status::Disconnected => ConnectionStatus::Disconnected,
            },
            last_connect_time: last_connect(snapshot).and_then(presence::Moment::rfc3339),
            last_disconnect_time: event.time.rfc3339().filter(|_| disconnected && is_of_session(event.kind)),
            last_activity_event: activity(event.kind),
            last_activity_time: event.time.rfc3339(),
            mqtt_connect_protocol: details.protocol.and_then(|protocol| version(&protocol)),
        }
    }
}

/// The beginning of the latest session that is known itself. The one that took a client id over is not; a login that was refused
/// and a request over HTTP began none.
pub fn last_connect(snapshot: &Snapshot) -> Option<presence::Moment> {
    let event = &snapshot.event;
    match event.kind {
        EventKind::Connect => Some(event.time),
        EventKind::Disconnect => Some(event.session),
        EventKind::Takeover | EventKind::Refusal | EventKind::FailedLogin | EventKind::Request => None,
    }
}

fn is_of_session(kind: EventKind) -> bool {
    match kind {
        EventKind::Connect | EventKind::Disconnect | EventKind::Takeover => true,
        EventKind::Refusal | EventKind::FailedLogin | EventKind::Request => false,
    }
}

fn activity(kind: EventKind) -> Option<&'static str> {
    match kind {
        EventKind::Connect => Some("mqttConnect"),
        EventKind::Disconnect | EventKind::Takeover | EventKind::Refusal => Some("mqttDisconnect"),
        EventKind::Request => Some("httpPublish"),
        EventKind::FailedLogin => None,
    }
}

/// The platform's name of a protocol, `mqtt4` or `mqtt4-ws`, as the version that its API shows.
fn version(protocol: &str) -> Option<&'static str> {
    match protocol.split('-').next() {
        Some("mqtt3") => Some("3.1"),
        Some("mqtt4") => Some("3.1.1"),
        Some("mqtt5") => Some("5.0"),
        _ => None,
    }
}

/// A client id taken apart: `d:{organization}:{type}:{id}`, or `g:…`.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientId<'a> {
    pub device: Device<'a>,
}

impl<'a> ClientId<'a> {
    /// `None` unless it is one of a device or gateway of this organization.
    pub fn parse(client_id: &'a str, organization: &str) -> Option<Self> {
        let mut parts = client_id.splitn(4, ':');
        let (class, of, device_type, id) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let device = Device { device_type, id };
        let is_ours = matches!(class, "d" | "g") && of == organization;
        (is_ours && device.fits_topic_levels()).then_some(Self { device })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_one_of_this_organization() {
        let device = |device_type, id| Some(ClientId { device: Device { device_type, id } });
        assert_eq!(ClientId::parse("d:org:pump:1", "org"), device("pump", "1"));
        assert_eq!(ClientId::parse("g:org:hub:a:b", "org"), device("hub", "a:b"));
        for other in [
            "d:other:pump:1",
            "a:org:app",
            "A:org:app:1",
            "pump:1",
            "d:org:pump",
            "d:org::1",
            "d:org:pump:",
            "",
        ] {
            assert_eq!(ClientId::parse(other, "org"), None, "{other}");
        }
    }

    #[test]
    fn protocols_are_shown_as_versions() {
        let versions = ["mqtt3", "mqtt4", "mqtt4-ws", "mqtt5-ws", "mqtt-tcp", "iotrest"].map(version);
        assert_eq!(versions, [Some("3.1"), Some("3.1.1"), Some("3.1.1"), Some("5.0"), None, None]);
    }
}
