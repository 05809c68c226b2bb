//! Lists of values, and what a message that holds one of them says.

use super::pointer::Found;
use super::table::{Compare, Literal};

/// What a value says of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Connected,
    Disconnected,
    Asleep,
    Removed,
    Ignored,
    Refused,
}

/// A value of a list, ready to be compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// `"(missing)"`: the pointer finds nothing.
    Missing,
    /// `"(empty)"`: the payload has no bytes.
    Empty,
    /// `"(other)"`: any value that no list names.
    Other,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Box<str>),
}

impl Value {
    pub fn of(literal: &Literal) -> Self {
        match literal {
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Integer(value) => Value::Integer(*value),
            Literal::Float(value) => whole(*value).map_or(Value::Float(*value), Value::Integer),
            Literal::Text(text) => match text.as_str() {
                "(missing)" => Value::Missing,
                "(empty)" => Value::Empty,
                "(other)" => Value::Other,
                text => Value::Text(text.into()),
            },
        }
    }

    /// Whether this is the value that was found in a JSON document.
    pub fn is(&self, found: &Found<'_>) -> bool {
        match (self, found) {
            (Value::Missing, Found::Missing) => true,
            (Value::Bool(value), Found::Bool(found)) => value == found,
            (Value::Integer(value), Found::Integer(found)) => value == found,
            (Value::Integer(value), Found::Float(found)) => whole(*found) == Some(*value),
            (Value::Float(value), Found::Float(found)) => value == found,
            (Value::Text(value), Found::Text(found)) => **value == **found,
            _ => false,
        }
    }

    /// Whether this is the text of a payload.
    pub fn is_text(&self, payload: &[u8], compare: Compare) -> bool {
        let Value::Text(text) = self else { return false };
        let text = text.as_bytes();
        match compare {
            Compare::Exact => text == payload,
            Compare::Trimmed => text.trim_ascii() == payload.trim_ascii(),
            Compare::Caseless => text.trim_ascii().eq_ignore_ascii_case(payload.trim_ascii()),
        }
    }
}

/// 1.0 is 1 in JSON. Integers beyond 2^53 are no statuses.
fn whole(value: f64) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation, reason = "whole and small enough")]
    (value.fract() == 0.0 && value.abs() <= EXACT_MAX).then_some(value as i64)
}

/// The value lists of a profile, or of its parent.
#[derive(Clone, Debug)]
pub(super) struct Values {
    list: Vec<(Value, Meaning)>,
    compare: Compare,
}

impl Values {
    pub fn new(compare: Compare) -> Self {
        Self { list: Vec::new(), compare }
    }

    pub fn add(&mut self, value: Value, meaning: Meaning) {
        self.list.push((value, meaning));
    }

    /// Whether a list holds this value already. Texts that the comparison takes for equal are.
    pub fn holds(&self, value: &Value) -> bool {
        self.list.iter().any(|(known, _)| match (known, value) {
            (known, Value::Text(text)) => known.is_text(text.as_bytes(), self.compare),
            (known, value) => known == value,
        })
    }

    pub fn of_text(&self, payload: &[u8]) -> Option<Meaning> {
        self.find(|value| value.is_text(payload, self.compare)).or_else(|| self.other())
    }

    pub fn of_found(&self, found: &Found<'_>) -> Option<Meaning> {
        let known = self.find(|value| value.is(found));
        // A value that is missing is no other value.
        if *found == Found::Missing { known } else { known.or_else(|| self.other()) }
    }

    /// What a payload without bytes says, if a list names it.
    pub fn of_empty(&self) -> Option<Meaning> {
        self.find(|value| *value == Value::Empty)
    }

    /// A value with this meaning.
    pub fn example(&self, meaning: Meaning) -> Option<Value> {
        self.list.iter().find(|(_, known)| *known == meaning).map(|(value, _)| value.clone())
    }

    fn other(&self) -> Option<Meaning> {
        self.find(|value| *value == Value::Other)
    }

    fn find(&self, is_it: impl Fn(&Value) -> bool) -> Option<Meaning> {
        self.list.iter().find(|(value, _)| is_it(value)).map(|(_, meaning)| *meaning)
    }
}
