//! The states of the devices of a source other than the platform, and which of them somebody has right. Every third device is
//! disconnected.

use formats::catalog::{Formats, Routed};
use formats::example::{self, Example, Report};
use formats::{Decoded, UnixNanos};
use serde_json::Value;

use crate::Outcome;
use crate::messages::Message;
use crate::organization::count_right;

/// When the first session began, 2026-01-01T00:00:00Z; conventions with a time in the message need one.
const BEGINNING: UnixNanos = UnixNanos(1_767_225_600_000_000_000);
/// From the beginning of a device's session to that of the next device.
const SESSION_GAP_NS: i64 = 997_000_000;
/// How long a session lasts.
const SESSION_NS: i64 = 3_601_000_000_000;

pub struct LastWills {
    source: String,
    devices: u32,
}

impl LastWills {
    /// Fails for sources whose states are not retained or not text, and for the platform.
    pub fn of(source: &str, devices: u32) -> Outcome<Self> {
        let fleet = Self::of_any(source, devices)?;
        if fleet.is_retained() {
            Ok(fleet)
        } else {
            Err(format!("the states of {source} are not retained texts").into())
        }
    }

    /// Fails for the platform.
    pub fn of_any(source: &str, devices: u32) -> Outcome<Self> {
        let fleet = Self { source: source.to_owned(), devices };
        fleet.example(0, true).ok_or("there is no such source with examples")?;
        Ok(fleet)
    }

    /// Whether clients retain the states, as texts.
    pub fn is_retained(&self) -> bool {
        self.example(0, true).is_some_and(|first| {
            first.is_retained && !first.topic.starts_with('$') && String::from_utf8(first.payload).is_ok()
        })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// Matches the topic of every state.
    pub fn filter(&self) -> String {
        let report =
            Report { id: "+", is_connected: true, session: BEGINNING, session_number: 1, time: BEGINNING };
        example::of(&self.source, &report).map(|example| example.topic).unwrap_or_default()
    }

    pub fn messages(&self) -> impl Iterator<Item = Message> + '_ {
        (0..self.devices).filter_map(|number| {
            let example = self.example(number, is_connected(number))?;
            Some(Message { topic: example.topic, payload: String::from_utf8(example.payload).ok()? })
        })
    }

    /// What devices and broker send while they are watched: that every device connects, and then that some disconnect.
    pub fn events(&self) -> impl Iterator<Item = Example> + '_ {
        let connects = (0..self.devices).filter_map(|number| self.example(number, true));
        let disconnected = (0..self.devices).filter(|number| !is_connected(*number));
        connects.chain(disconnected.filter_map(|number| self.example(number, false)))
    }

    /// Bytes of the topics and payloads of the messages that say last what devices are.
    pub fn event_bytes(&self) -> u64 {
        let last = (0..self.devices).filter_map(|number| self.example(number, is_connected(number)));
        last.map(|event| (event.topic.len() + event.payload.len()) as u64).sum()
    }

    /// How many devices a service answers with the state that was published last; asks it for every one.
    pub fn right_at(&self, url: &str) -> Outcome<u32> {
        let formats = Formats::new(std::slice::from_ref(&self.source), &[])?;
        let first = self.example(0, true).ok_or("the source has examples")?;
        let Routed::Other(_, Decoded::Event(event)) =
            formats.route(first.topic.as_bytes(), &first.payload, true)
        else {
            return Err("the source does not read its own example".into());
        };
        let device_type = event.device.device_type.into_owned();
        let numbers: Vec<u32> = (0..self.devices).collect();
        count_right(
            url,
            &numbers,
            |number| Ok(format!("/{device_type}/{}", id(*number))),
            |number, body| {
                let action = if is_connected(*number) { "Connect" } else { "Disconnect" };
                serde_json::from_slice::<Value>(body).is_ok_and(|answer| answer["Action"] == action)
            },
        )
    }

    fn example(&self, number: u32, is_connected: bool) -> Option<Example> {
        let session = UnixNanos(BEGINNING.0 + i64::from(number) * SESSION_GAP_NS);
        let time = if is_connected { session } else { UnixNanos(session.0 + SESSION_NS) };
        let id = id(number);
        example::of(&self.source, &Report { id: &id, is_connected, session, session_number: 1, time })
    }
}

fn id(number: u32) -> String {
    format!("d{number:08}")
}

fn is_connected(number: u32) -> bool {
    !number.is_multiple_of(3)
}

#[cfg(test)]
mod tests {
    use super::LastWills;

    #[test]
    fn states_are_of_both_kinds_and_their_filter_matches_them() {
        let fleet = LastWills::of("tasmota", 6).unwrap();
        assert_eq!(fleet.filter(), "tele/+/LWT");
        let messages: Vec<_> = fleet.messages().map(|message| (message.topic, message.payload)).collect();
        assert_eq!(messages[0], ("tele/d00000000/LWT".to_owned(), "Offline".to_owned()));
        assert_eq!(messages[1], ("tele/d00000001/LWT".to_owned(), "Online".to_owned()));
        assert_eq!(messages.len(), 6);
        assert!(LastWills::of("iot-platform", 6).is_err() && LastWills::of("emqx", 6).is_err());
    }

    #[test]
    fn of_what_nobody_retains_every_event_is_sent() {
        let fleet = LastWills::of_any("emqx", 6).unwrap();
        assert!(!fleet.is_retained());
        let topics: Vec<String> = fleet.events().map(|event| event.topic).collect();
        let ends = topics.iter().filter(|topic| topic.ends_with("/disconnected")).count();
        assert_eq!((topics.len(), ends), (8, 2));
        assert!(topics[6].contains("d00000000") && topics[7].contains("d00000003"), "{topics:?}");
        assert!(fleet.event_bytes() > 6 * 50);
    }
}
