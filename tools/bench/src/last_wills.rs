//! The retained states of a source other than the platform, a birth or a last will for each device, and which of them somebody has
//! right. Every third device is disconnected.

use formats::catalog::{Formats, Routed};
use formats::example::{self, Example, Report};
use formats::{Decoded, UnixNanos};
use serde_json::Value;

use crate::Outcome;
use crate::messages::Message;
use crate::organization::count_right;

/// When every session began, 2026-01-01T00:00:00Z; conventions with a time in the message need one.
const BEGINNING: UnixNanos = UnixNanos(1_767_225_600_000_000_000);

pub struct LastWills {
    source: String,
    devices: u32,
}

impl LastWills {
    /// Fails for the platform, and for sources whose states are not retained or not text.
    pub fn of(source: &str, devices: u32) -> Outcome<Self> {
        let fleet = Self { source: source.to_owned(), devices };
        let first = fleet.example("d00000000", true).ok_or("there is no such source with examples")?;
        if !first.is_retained || String::from_utf8(first.payload).is_err() {
            return Err(format!("the states of {source} are not retained texts").into());
        }
        Ok(fleet)
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// Matches the topic of every state.
    pub fn filter(&self) -> String {
        self.example("+", true).map(|example| example.topic).unwrap_or_default()
    }

    pub fn messages(&self) -> impl Iterator<Item = Message> + '_ {
        (0..self.devices).filter_map(|number| {
            let example = self.example(&id(number), is_connected(number))?;
            Some(Message { topic: example.topic, payload: String::from_utf8(example.payload).ok()? })
        })
    }

    /// How many devices a service answers with the state that was published last; asks it for every one.
    pub fn right_at(&self, url: &str) -> Outcome<u32> {
        let formats = Formats::new(std::slice::from_ref(&self.source), &[])?;
        let first = self.example(&id(0), true).ok_or("the source has examples")?;
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

    fn example(&self, id: &str, is_connected: bool) -> Option<Example> {
        let report = Report { id, is_connected, session: BEGINNING, session_number: 1, time: BEGINNING };
        example::of(&self.source, &report)
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
}
