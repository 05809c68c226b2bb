//! From a message whose template is known to what it says.

use std::borrow::Cow;

use super::matcher::Role;
use super::pointer::Found;
use super::table::{PayloadForm, TopicEvent, Unit};
use super::template::Captures;
use super::topic_levels::TopicLevels;
use super::values::Meaning;
use super::{Message, PAYLOAD_MAX_BYTES, Parent, Profile};
use crate::name::is_valid_name;
use crate::{Cause, Decoded, DeviceName, Event, EventKind, Session, UnixNanos};
use presence::time_text::TimeText;

/// The type of every parent.
const PARENT_TYPE: &str = "bridge";

/// Why nothing can be made of a message.
type Fault = &'static str;

/// What a payload holds: the values at the profile's pointers, or nothing if it is no JSON.
type Content<'a> = Vec<Found<'a>>;

impl Profile {
    /// Decodes a message whose topic is matched by the template of this role.
    pub(super) fn decode<'a>(
        &'a self,
        role: Role,
        topic: &TopicLevels<'a>,
        message: Message<'a>,
    ) -> Decoded<'a> {
        let decoded = match role {
            Role::Parent => self.under.as_ref().map(|parent| parent.decode(topic, message)),
            Role::Status(index) => self
                .topics
                .get(index)
                .map(|(template, event)| self.status(template.captures(topic), *event, message)),
            Role::Alive(index) => {
                self.alive.get(index).map(|template| self.alive(template.captures(topic), message))
            }
        };
        match decoded {
            Some(Ok(decoded)) => decoded,
            Some(Err(fault)) => Decoded::Undecodable(fault),
            None => Decoded::NoMatch,
        }
    }

    fn alive<'a>(&'a self, mut captures: Captures<'a>, message: Message<'a>) -> Result<Decoded<'a>, Fault> {
        if message.is_retained {
            return Ok(Decoded::Ignored("retained"));
        }
        self.split_captures(&mut captures)?;
        let device = self.device(&captures, &mut Content::new())?;
        Ok(Decoded::Alive { device, parent: self.parent(&captures)?, time: None })
    }

    fn status<'a>(
        &'a self,
        mut captures: Captures<'a>,
        event: Option<TopicEvent>,
        message: Message<'a>,
    ) -> Result<Decoded<'a>, Fault> {
        self.split_captures(&mut captures)?;
        let empty = self.values.of_empty().filter(|_| message.payload.is_empty());
        if empty == Some(Meaning::Removed) {
            return Ok(Decoded::Removed(self.device(&captures, &mut Content::new())?));
        }
        let mut content = match empty {
            Some(_) => vec![Found::Missing; self.pointers.len()],
            None => self.read(message.payload)?,
        };
        let meaning = match (empty, self.payload, self.at) {
            (Some(empty), _, _) => Some(empty),
            (None, PayloadForm::Text, _) => self.values.of_text(message.payload),
            (None, PayloadForm::Json, Some(at)) => self.values.of_found(&content[at]),
            (None, PayloadForm::Json, None) | (None, PayloadForm::None, _) => None,
        };
        match meaning {
            Some(Meaning::Removed) => return Ok(Decoded::Removed(self.device(&captures, &mut content)?)),
            Some(Meaning::Ignored) => return Ok(Decoded::Ignored("ignored_value")),
            _ => {}
        }
        if !self.also.iter().all(|(slot, value)| value.is(&content[*slot])) {
            return Ok(Decoded::Ignored("also"));
        }
        let kind = match (event, meaning) {
            (Some(event), _) => kind_of_topic_event(event),
            (None, Some(meaning)) => kind_of_meaning(meaning),
            (None, None) => return Err("unknown_value"),
        };
        self.event(kind, meaning, captures, content, message).map(Decoded::Event)
    }

    fn event<'a>(
        &'a self,
        mut kind: EventKind,
        meaning: Option<Meaning>,
        captures: Captures<'a>,
        mut content: Content<'a>,
        message: Message<'a>,
    ) -> Result<Event<'a>, Fault> {
        let device = self.device(&captures, &mut content)?;
        let session = match self.session_at {
            Some(slot) => Session::Started(self.time(&content[slot]).ok_or("session")?),
            None => Session::Arrival,
        };
        let time = self.time_at.and_then(|slot| self.time(&content[slot]));
        // The state's own word is a reason where the profile lists it as one.
        let reason = match (self.reason_at.or(self.at), self.payload) {
            (Some(slot), _) => text_of(std::mem::take(&mut content[slot])),
            (None, PayloadForm::Text) => std::str::from_utf8(message.payload).ok().map(Cow::Borrowed),
            (None, PayloadForm::Json | PayloadForm::None) => None,
        };
        let word = reason.as_deref().and_then(|reason| self.words.find(reason.trim_ascii()));
        if let Some(changed) = word.and_then(|word| word.kind)
            && (kind == EventKind::Disconnect || changed == EventKind::Refusal)
        {
            kind = changed;
        }
        let cause = match kind {
            EventKind::Connect => None,
            EventKind::Disconnect if meaning == Some(Meaning::Asleep) => Some(Cause::Asleep),
            EventKind::Disconnect => word.map(|word| word.cause).or(self.words.other),
            EventKind::Takeover => Some(Cause::Takeover),
            EventKind::Refusal => Some(Cause::Refused),
        };
        let is_reason = kind != EventKind::Connect && (self.reason_at.is_some() || word.is_some());
        let parent = self.parent(&captures)?;
        let reason = reason.filter(|_| is_reason);
        Ok(Event { device, kind, session, time, cause, reason, address: None, protocol: None, parent })
    }

    /// The values at all pointers, if the payload is to be read as JSON.
    fn read<'a>(&self, payload: &'a [u8]) -> Result<Content<'a>, Fault> {
        if self.payload == PayloadForm::None {
            return Ok(Content::new());
        }
        if payload.len() > PAYLOAD_MAX_BYTES {
            return Err("payload_too_long");
        }
        if self.pointers.is_empty() {
            return Ok(Content::new());
        }
        if self.payload == PayloadForm::Text {
            let text = std::str::from_utf8(payload).map_err(|_not_utf8| "not_utf8")?;
            return Ok(vec![Found::Text(text.into())]);
        }
        self.pointers.read(payload).map_err(|_malformed| "json")
    }

    fn split_captures(&self, captures: &mut Captures<'_>) -> Result<(), Fault> {
        match &self.split {
            Some(split) if captures[split.from].is_some() => split.apply(captures).ok_or("split"),
            _ => Ok(()),
        }
    }

    fn device<'a>(
        &'a self,
        captures: &Captures<'a>,
        content: &mut Content<'a>,
    ) -> Result<DeviceName<'a>, Fault> {
        let at = |content: &mut Content<'a>, slot: Option<usize>| {
            slot.and_then(|slot| content.get(slot)).cloned().and_then(text_of)
        };
        let id = match self.id.and_then(|slot| captures[slot]) {
            Some(id) => Some(Cow::Borrowed(id)),
            None => at(content, self.id_at),
        };
        let is_captured = |text: &&super::Text| text.captures().all(|slot| captures[slot].is_some());
        let device_type = match self.device_type.as_ref().filter(is_captured) {
            Some(text) => Some(text.fill(captures)),
            None => at(content, self.type_at),
        };
        let id = id.filter(|id| is_valid_name(id)).ok_or("device_id")?;
        let device_type = device_type.filter(|text| is_valid_name(text)).ok_or("device_type")?;
        Ok(DeviceName { device_type, id })
    }

    fn parent<'a>(&'a self, captures: &Captures<'a>) -> Result<Option<DeviceName<'a>>, Fault> {
        self.under.as_ref().map(|parent| parent.device(captures)).transpose()
    }

    /// A time, if there is one that can be read.
    fn time(&self, found: &Found<'_>) -> Option<UnixNanos> {
        let nanos_of_unit = match self.unit? {
            Unit::S => 1_000_000_000,
            Unit::Ms => 1_000_000,
            Unit::Us => 1_000,
            Unit::Rfc3339 => {
                let Found::Text(text) = found else { return None };
                return rfc3339(text).map(UnixNanos);
            }
        };
        match found {
            Found::Integer(count) => count.checked_mul(nanos_of_unit),
            Found::Text(digits) => digits.parse::<i64>().ok()?.checked_mul(nanos_of_unit),
            Found::Float(count) => nanos_of_float(*count, nanos_of_unit),
            Found::Missing | Found::Bool(_) | Found::Compound => None,
        }
        .map(UnixNanos)
    }
}

impl Parent {
    fn device<'a>(&'a self, captures: &Captures<'a>) -> Result<DeviceName<'a>, Fault> {
        let id = Some(self.id.fill(captures)).filter(|id| is_valid_name(id)).ok_or("parent_id")?;
        Ok(DeviceName { device_type: PARENT_TYPE.into(), id })
    }

    fn decode<'a>(&'a self, topic: &TopicLevels<'a>, message: Message<'a>) -> Result<Decoded<'a>, Fault> {
        let captures = self.template.captures(topic);
        let device = self.device(&captures)?;
        let meaning = if message.payload.is_empty() {
            self.values.of_empty()
        } else if message.payload.len() > PAYLOAD_MAX_BYTES {
            return Err("payload_too_long");
        } else if self.pointers.is_empty() {
            self.values.of_text(message.payload)
        } else {
            let content = self.pointers.read(message.payload).map_err(|_malformed| "json")?;
            content.first().and_then(|found| self.values.of_found(found))
        };
        let kind = match meaning.ok_or("unknown_value")? {
            Meaning::Removed => return Ok(Decoded::Removed(device)),
            meaning => kind_of_meaning(meaning),
        };
        Ok(Decoded::Event(Event {
            device,
            kind,
            session: Session::Arrival,
            time: None,
            cause: None,
            reason: None,
            address: None,
            protocol: None,
            parent: None,
        }))
    }
}

fn kind_of_topic_event(event: TopicEvent) -> EventKind {
    match event {
        TopicEvent::Connect => EventKind::Connect,
        TopicEvent::Disconnect => EventKind::Disconnect,
        TopicEvent::Takeover => EventKind::Takeover,
        TopicEvent::Refusal => EventKind::Refusal,
    }
}

/// What is no event was handled before.
fn kind_of_meaning(meaning: Meaning) -> EventKind {
    match meaning {
        Meaning::Connected => EventKind::Connect,
        Meaning::Disconnected | Meaning::Asleep | Meaning::Removed | Meaning::Ignored => {
            EventKind::Disconnect
        }
        Meaning::Refused => EventKind::Refusal,
    }
}

fn text_of(found: Found<'_>) -> Option<Cow<'_, str>> {
    match found {
        Found::Text(text) => Some(text),
        Found::Integer(number) => Some(number.to_string().into()),
        Found::Missing | Found::Bool(_) | Found::Float(_) | Found::Compound => None,
    }
}

fn rfc3339(text: &str) -> Option<i64> {
    // The form that most publishers write is read in a tenth of the time.
    if let Some(millis) = text.as_bytes().try_into().ok().and_then(TimeText::millis_of) {
        return i64::try_from(millis).ok()?.checked_mul(1_000_000);
    }
    i64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()
}

/// Some publishers write seconds with a fraction.
fn nanos_of_float(count: f64, nanos_of_unit: i64) -> Option<i64> {
    #[allow(clippy::cast_precision_loss, reason = "a unit has at most ten digits")]
    let nanos = count * nanos_of_unit as f64;
    #[allow(clippy::cast_possible_truncation, reason = "the range was checked")]
    (nanos.abs() < 9.2e18).then_some(nanos as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_the_same_however_it_is_read(millis in 0i64..253_402_207_200_000, at in 0usize..24, byte in b'0'..b'[') {
            let mut text = TimeText::of_millis(millis).as_bytes().to_vec();
            let as_read = |text: &[u8]| {
                let text = std::str::from_utf8(text).unwrap();
                let time = text.parse::<jiff::Timestamp>().ok();
                (rfc3339(text), time.and_then(|time| i64::try_from(time.as_nanosecond()).ok()))
            };
            let (ours, theirs) = as_read(&text);
            prop_assert_eq!(ours, theirs);
            text[at] = byte;
            let (ours, theirs) = as_read(&text);
            prop_assert_eq!(ours, theirs);
        }
    }
}
