//! The fields of one status message that the rest of the program needs, borrowed from its JSON.
//!
//! Lenient where the platform's own readers are: a field that is missing, null or of another type counts as missing, a
//! number may be written as text and a text as a number. Of a field that occurs twice the last one counts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::time;
use presence::Moment;

/// The fields, each as its JSON text.
#[derive(Default)]
pub struct Fields<'a> {
    pub action: Option<&'a RawValue>,
    pub time: Option<&'a RawValue>,
    pub client_addr: Option<&'a RawValue>,
    pub client_id: Option<&'a RawValue>,
    pub protocol: Option<&'a RawValue>,
    pub secure: Option<&'a RawValue>,
    pub connect_time: Option<&'a RawValue>,
    pub close_code: Option<&'a RawValue>,
    pub reason: Option<&'a RawValue>,
    pub read_bytes: Option<&'a RawValue>,
    pub read_msg: Option<&'a RawValue>,
    pub write_bytes: Option<&'a RawValue>,
    pub write_msg: Option<&'a RawValue>,
}

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
        while let Some(FieldName(name)) = map.next_key()? {
            let field = match name.as_ref() {
                "Action" => &mut fields.action,
                "Time" => &mut fields.time,
                "ClientAddr" => &mut fields.client_addr,
                "ClientID" => &mut fields.client_id,
                "Protocol" => &mut fields.protocol,
                "Secure" => &mut fields.secure,
                "ConnectTime" => &mut fields.connect_time,
                "CloseCode" => &mut fields.close_code,
                "Reason" => &mut fields.reason,
                "ReadBytes" => &mut fields.read_bytes,
                "ReadMsg" => &mut fields.read_msg,
                "WriteBytes" => &mut fields.write_bytes,
                "WriteMsg" => &mut fields.write_msg,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *field = Some(map.next_value()?);
        }
        Ok(fields)
    }
}

/// A field's name, borrowed unless it is written with escapes.
struct FieldName<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for FieldName<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = FieldName<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<FieldName<'de>, E> {
        Ok(FieldName(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<FieldName<'de>, E> {
        Ok(FieldName(Cow::Owned(name.to_owned())))
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

    fn of(field: Option<&RawValue>, read: impl FnOnce(&str) -> Option<T>) -> Self {
        let Some(json) = field.map(RawValue::get).filter(|json| *json != "null") else {
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
pub fn text(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let json = value?.get();
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The text of a JSON string, or a number as it is written.
pub fn text_or_number(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let json = value?.get();
    match json.as_bytes().first()? {
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(json)),
        _ => text(value),
    }
}

/// `true`, `false`, 1 or 0, also as text.
pub fn flag(value: Option<&RawValue>) -> Option<bool> {
    let json = value?.get();
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
pub fn code(value: Option<&RawValue>) -> FieldReading<u16> {
    FieldReading::of(value, |text| whole_number(text)?.try_into().ok())
}

/// A counter; negative and fractional ones count as missing.
pub fn counter(value: Option<&RawValue>) -> Option<u64> {
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
pub fn moment(value: Option<&RawValue>) -> FieldReading<Moment> {
    FieldReading::of(value, |text| Moment::exactly(time::nanos(text)?))
}
