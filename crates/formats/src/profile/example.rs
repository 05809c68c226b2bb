//! A message that a profile reads, made from the profile itself: what a simulated device publishes.

use serde_json::{Map, Value as Json};

use super::pointer::PointerNode;
use super::table::{PayloadForm, TopicEvent, Unit};
use super::template::{CAPTURES_MAX, Level, Template};
use super::values::{Meaning, Value};
use super::{Profile, Topic};
use crate::UnixNanos;
use crate::example::{Example, Report};

/// What is in captures that are neither id nor type.
const ANY_TEXT: &str = "demo";

impl Profile {
    /// A message that says what a device reports; `None` if the profile has none for that.
    pub fn example(&self, report: &Report<'_>) -> Option<Example> {
        let (topic, event) = self.topics.iter().find(|topic| says(topic, report.is_connected))?;
        let mut captures = [ANY_TEXT; CAPTURES_MAX];
        let is_id_the_payload = self.payload == PayloadForm::Text && self.id_at.is_some();
        match self.split.as_ref().map_or(self.id, |_| None) {
            Some(id) => captures[id] = report.id,
            None if is_id_the_payload => {}
            None => return None,
        }
        let meaning = if report.is_connected { Meaning::Connected } else { Meaning::Disconnected };
        let value = match event {
            Some(_) => None,
            None => Some(self.values.example(meaning)?),
        };
        let payload = match self.payload {
            PayloadForm::None => Vec::new(),
            PayloadForm::Text if is_id_the_payload => report.id.as_bytes().to_vec(),
            PayloadForm::Text => match value {
                Some(Value::Text(text)) => text.into_string().into_bytes(),
                _ => Vec::new(),
            },
            PayloadForm::Json => self.example_json(value, report),
        };
        Some(Example { topic: filled(topic, &captures)?, payload, is_retained: self.is_retained })
    }

    fn example_json(&self, value: Option<Value>, report: &Report<'_>) -> Vec<u8> {
        let mut values = vec![Json::Null; self.pointers.len()];
        let mut set = |slot: Option<usize>, value: Json| {
            if let Some(slot) = slot {
                values[slot] = value;
            }
        };
        set(self.time_at, self.example_time(report.time));
        set(self.session_at, self.example_time(report.session));
        for (slot, value) in &self.also {
            set(Some(*slot), json(value));
        }
        if let Some(value) = value {
            set(self.at, json(&value));
        }
        let document = self.pointers.root.example(&values).unwrap_or_else(|| Json::Object(Map::new()));
        document.to_string().into_bytes()
    }

    fn example_time(&self, time: UnixNanos) -> Json {
        match self.unit {
            Some(Unit::S) => (time.0 / 1_000_000_000).into(),
            Some(Unit::Us) => (time.0 / 1_000).into(),
            Some(Unit::Rfc3339) => jiff::Timestamp::from_nanosecond(i128::from(time.0))
                .map_or(Json::Null, |time| time.to_string().into()),
            Some(Unit::Ms) | None => (time.0 / 1_000_000).into(),
        }
    }
}

impl PointerNode {
    /// The document that has these values where the pointers end.
    fn example(&self, values: &[Json]) -> Option<Json> {
        if let Some(value) = self.slot.map(|slot| &values[slot]).filter(|value| !value.is_null()) {
            return Some(value.clone());
        }
        let members = self.children.iter();
        let members: Map<String, Json> =
            members.filter_map(|(name, node)| Some((name.to_string(), node.example(values)?))).collect();
        (!members.is_empty()).then_some(Json::Object(members))
    }
}

fn says((_, event): &Topic, is_connected: bool) -> bool {
    match event {
        None => true,
        Some(TopicEvent::Connect) => is_connected,
        Some(TopicEvent::Disconnect) => !is_connected,
        Some(TopicEvent::Takeover | TopicEvent::Refusal) => false,
    }
}

fn filled(template: &Template, captures: &[&str; CAPTURES_MAX]) -> Option<String> {
    let levels: Vec<String> = template
        .levels
        .iter()
        .map(|level| match level {
            Level::Literal(literal) => literal.to_string(),
            Level::One(slot) => slot.map_or(ANY_TEXT, |slot| captures[slot]).to_owned(),
            Level::Many(slot) => captures[*slot].to_owned(),
            Level::Affixed { prefix, capture, suffix } => format!("{prefix}{}{suffix}", captures[*capture]),
        })
        .collect();
    Some(levels.join("/")).filter(|topic| !topic.is_empty())
}

fn json(value: &Value) -> Json {
    match value {
        Value::Missing | Value::Empty => Json::Null,
        Value::Other => ANY_TEXT.into(),
        Value::Bool(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(text) => text.as_ref().into(),
    }
}
