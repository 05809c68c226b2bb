//! The simulated fleet in the words of another source: each message of the platform that changes what a device is, as that source
//! says it.

use std::collections::HashMap;

use formats::catalog::{Formats, Routed};
use formats::example::{self, Report};
use formats::iot_platform::{self, PlatformMessage};
use formats::{Decoded as Read, UnixNanos};
use presence::{EventKind, Moment};
use simulator::message::StatusMessage;
use simulator::publisher::WireMessage;

/// What was said of each device.
pub struct DemoSpeaker {
    source: String,
    sessions: HashMap<String, DemoSession>,
}

#[derive(Clone, Copy, Default)]
struct DemoSession {
    began: i64,
    number: u64,
}

impl DemoSpeaker {
    pub fn of(source: String) -> Self {
        Self { source, sessions: HashMap::new() }
    }

    /// The message of the source; `None` for takeovers and refused logins, and for late ends.
    pub fn speak(&mut self, message: &StatusMessage) -> Option<WireMessage> {
        let decoded = iot_platform::decode(message.topic.as_bytes(), message.payload.as_bytes());
        let PlatformMessage::Event { device, event, .. } = decoded else { return None };
        let is_connected = match event.kind {
            EventKind::Connect => true,
            EventKind::Disconnect => false,
            EventKind::FailedLogin | EventKind::Request | EventKind::Takeover | EventKind::Refusal => {
                return None;
            }
        };
        let began = event.session.nanos()?;
        let session = self.sessions.entry(device.id.to_owned()).or_default();
        if began < session.began {
            return None;
        }
        if began > session.began {
            *session = DemoSession { began, number: session.number + 1 };
        }
        let report = Report {
            id: device.id,
            is_connected,
            session: UnixNanos(began),
            session_number: session.number,
            time: UnixNanos(event.time.nanos().unwrap_or(began)),
        };
        let example = example::of(&self.source, &report)?;
        Some(WireMessage { topic: example.topic, payload: example.payload, retain: example.is_retained })
    }
}

/// The path of a simulated device of a source.
pub fn path(formats: &Formats, source: &str, id: &str) -> Option<String> {
    let now = UnixNanos(Moment::from_nanos(0).nanos()?);
    let report = Report { id, is_connected: true, session: now, session_number: 1, time: now };
    let example = example::of(source, &report)?;
    match formats.route(example.topic.as_bytes(), &example.payload, example.is_retained) {
        Routed::Other(_, Read::Event(event)) => {
            Some(format!("/{}/{}", event.device.device_type, event.device.id))
        }
        Routed::Other(..) | Routed::Platform | Routed::Nobody => None,
    }
}
