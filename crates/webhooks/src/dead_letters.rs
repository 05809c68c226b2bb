//! Messages that an endpoint has rejected for good. A dead letter refers to its event; the event itself is in the history.

use std::collections::VecDeque;

use presence::{Device, DeviceName};
use serde::{Deserialize, Serialize};

/// Beyond it the oldest are dropped: more of them than anybody looks through, 250 bytes each.
pub const DEAD_LETTERS_MAX: usize = 10_000;

/// How long one is kept.
const AGE_MAX_MS: i64 = 30 * 24 * 3_600_000;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The id of the message.
    pub id: String,
    pub event_type: String,
    /// `None`: it is not about a change of a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventPlace>,
    /// When it was given up, in milliseconds since 1970.
    pub at_ms: i64,
    pub why: String,
}

/// Where an event is in the history of its device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPlace {
    #[serde(rename = "type")]
    pub device_type: String,
    pub id: String,
    pub sequence: u64,
}

impl EventPlace {
    pub fn device(&self) -> DeviceName {
        DeviceName::of(Device { device_type: &self.device_type, id: &self.id })
    }
}

/// Those of one endpoint, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetters(VecDeque<DeadLetter>);

impl DeadLetters {
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    pub fn text(&self) -> String {
        serde_json::to_string(&self.0).expect("texts and numbers are JSON")
    }

    pub fn add(&mut self, letter: DeadLetter) {
        let too_old_ms = letter.at_ms - AGE_MAX_MS;
        self.0.retain(|held| held.id != letter.id && held.at_ms > too_old_ms);
        self.0.push_back(letter);
        if self.0.len() > DEAD_LETTERS_MAX {
            self.0.pop_front();
        }
    }

    pub fn remove(&mut self, id: &str) {
        self.0.retain(|held| held.id != id);
    }

    pub fn get(&self, id: &str) -> Option<&DeadLetter> {
        self.0.iter().find(|held| held.id == id)
    }

    /// Newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &DeadLetter> {
        self.0.iter().rev()
    }

    pub fn total(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(number: usize, at_ms: i64) -> DeadLetter {
        let event = EventPlace { device_type: "pump".to_owned(), id: "1".to_owned(), sequence: 7 };
        let (id, why) = (format!("evt_{number}"), "it answers 422".to_owned());
        DeadLetter { id, event_type: "device.connected".to_owned(), event: Some(event), at_ms, why }
    }

    #[test]
    fn the_newest_are_kept_for_a_month_each_once() {
        let mut letters = DeadLetters::default();
        (0..=DEAD_LETTERS_MAX).for_each(|number| letters.add(letter(number, 1)));
        assert_eq!((letters.total(), letters.get("evt_0")), (DEAD_LETTERS_MAX, None));
        letters.add(letter(5, 2));
        assert_eq!(letters.total(), DEAD_LETTERS_MAX);
        assert_eq!(letters.newest_first().next(), Some(&letter(5, 2)));
        letters.remove("evt_5");
        assert_eq!(DeadLetters::parse(&letters.text()).as_ref(), Some(&letters));
        letters.add(letter(9, 2 + AGE_MAX_MS));
        assert_eq!(letters.total(), 1);
    }
}
