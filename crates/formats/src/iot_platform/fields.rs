//! The fields of one status message that the rest of the program needs, borrowed from its JSON.
//!
//! Lenient where the platform's own readers are: a field that is missing, null or of another type counts as missing, a
//! number may be written as text and a text as a number. Of a field that occurs twice the last one counts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::time;
use crate::json_members;
use presence::Moment;

/// The fields, each as its JSON text.
#[derive(Debug, Default, PartialEq)]
pub struct Fields<'a> {
    pub action: Option<&'a str>,
    pub time: Option<&'a str>,
    pub client_addr: Option<&'a str>,
    pub client_id: Option<&'a str>,
    pub protocol: Option<&'a str>,
    pub secure: Option<&'a str>,
    pub connect_time: Option<&'a str>,
    pub close_code: Option<&'a str>,
    pub reason: Option<&'a str>,
    pub read_bytes: Option<&'a str>,
    pub read_msg: Option<&'a str>,
    pub write_bytes: Option<&'a str>,
    pub write_msg: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// The fields of a JSON object.
    pub fn read(json: &'a str) -> serde_json::Result<Self> {
        let mut fields = Self::default();
        let taken = json_members::for_each(json, |name, value| {
            if let Some(field) = fields.named(name) {
                *field = Some(value.json);
            }
        });
        if taken.is_some() { Ok(fields) } else { serde_json::from_str(json) }
    }

    fn named(&mut self, name: &str) -> Option<&mut Option<&'a str>> {
        Some(match name {
            "Action" => &mut self.action,
            "Time" => &mut self.time,
            "ClientAddr" => &mut self.client_addr,
            "ClientID" => &mut self.client_id,
            "Protocol" => &mut self.protocol,
            "Secure" => &mut self.secure,
            "ConnectTime" => &mut self.connect_time,
            "CloseCode" => &mut self.close_code,
            "Reason" => &mut self.reason,
            "ReadBytes" => &mut self.read_bytes,
            "ReadMsg" => &mut self.read_msg,
            "WriteBytes" => &mut self.write_bytes,
            "WriteMsg" => &mut self.write_msg,
            _ => return None,
        })
    }
}

/// For what [`json_members`] leaves to serde.
impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            let Some(field) = fields.named(&name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            *field = Some(map.next_value::<&RawValue>()?.get());
        }
        Ok(fields)
    }
}

/// What a field that decides something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldReading<T> {
    /// Missing, null or empty.
    Absent,
    /// There is something, but not what the field is for.
    Unusable,
    Value(T),
}

impl<T> FieldReading<T> {
    /// The value; `None` if it is absent or unusable.
    pub fn value(self) -> Option<T> {
        match self {
            FieldReading::Value(value) => Some(value),
            FieldReading::Absent | FieldReading::Unusable => None,
        }
    }

    fn of(field: Option<&str>, read: impl FnOnce(&str) -> Option<T>) -> Self {
        let Some(json) = field.filter(|json| *json != "null") else {
            return FieldReading::Absent;
        };
        match text_or_number(field) {
            Some(text) if text.is_empty() && json.starts_with('"') => FieldReading::Absent,
            Some(text) if text.len() <= time::TEXT_MAX_BYTES => {
                read(text.trim_ascii()).map_or(FieldReading::Unusable, FieldReading::Value)
            }
            Some(_) | None => FieldReading::Unusable,
        }
    }
}

/// The text of a JSON string.
pub fn text(value: Option<&str>) -> Option<Cow<'_, str>> {
    let json = value?;
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    // Without an early end, so that many bytes are looked at in one go.
    if inner.bytes().fold(false, |found, byte| found | (byte == b'\\')) {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The text of a JSON string, or a number as it is written.
pub fn text_or_number(value: Option<&str>) -> Option<Cow<'_, str>> {
    let json = value?;
    match json.as_bytes().first()? {
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(json)),
        _ => text(value),
    }
}

/// `true`, `false`, 1 or 0, also as text.
pub fn flag(value: Option<&str>) -> Option<bool> {
    let json = value?;
    let text = text_or_number(value).unwrap_or(Cow::Borrowed(json));
    match text.trim_ascii() {
        "1" => Some(true),
        "0" => Some(false),
        word if word.eq_ignore_ascii_case("true") => Some(true),
        word if word.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A close code; negative, fractional and too large ones are unusable.
pub fn code(value: Option<&str>) -> FieldReading<u16> {
    FieldReading::of(value, |text| whole_number(text)?.try_into().ok())
}

/// A counter; negative and fractional ones count as missing.
pub fn counter(value: Option<&str>) -> Option<u64> {
    FieldReading::of(value, whole_number).value()
}

/// Also as writers put it that know floating point only: `91.0`, `9.1e1`.
fn whole_number(text: &str) -> Option<u64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        let is_whole = number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number);
        is_whole.then_some(number as u64)
    })
}

/// A time in one of the forms that `docs/api.md` lists.
pub fn moment(value: Option<&str>) -> FieldReading<Moment> {
    FieldReading::of(value, |text| Moment::exactly(time::nanos(text)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every message that was captured.
    fn captured() -> Vec<String> {
        let lines = include_str!("../../../../tests/data/captured.jsonl").lines();
        lines
            .map(|line| {
                let message: serde_json::Value = serde_json::from_str(line).unwrap();
                message["payload"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    fn assert_read_as_by_serde(json: &str) -> Result<(), TestCaseError> {
        let by_serde: serde_json::Result<Fields<'_>> = serde_json::from_str(json);
        match (Fields::read(json), by_serde) {
            (Ok(fields), Ok(by_serde)) => prop_assert_eq!(fields, by_serde, "{}", json),
            (Err(error), Err(by_serde)) => prop_assert_eq!(error.classify(), by_serde.classify(), "{}", json),
            (fields, _) => prop_assert!(false, "{:?} of {}", fields, json),
        }
        Ok(())
    }

    #[test]
    fn of_a_field_that_occurs_twice_the_last_one_counts_also_behind_an_escaped_name() {
        for json in [r#"{"Action":"a","Action":"b"}"#, r#"{"Action":"a","\u0041ction":"b"}"#] {
            assert_eq!(Fields::read(json).unwrap().action, Some("\"b\""));
        }
    }

    proptest! {
        #[test]
        fn damaged_messages_are_read_as_by_serde(
            which in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            with in prop::sample::select(vec!["", "\"", "\\", "{", "}", "[", ",", ":", " ", "7", "\\u0041", "null", "\n"]),
        ) {
            let messages = captured();
            let mut json = which.get(&messages).clone();
            assert_read_as_by_serde(&json)?;
            let at = json.floor_char_boundary(at.index(json.len() + 1));
            json.insert_str(at, with);
            assert_read_as_by_serde(&json)?;
        }
    }
}
