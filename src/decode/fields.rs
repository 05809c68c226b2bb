//! The fields of one status message that the rest of the program needs, borrowed from its JSON.
//!
//! Lenient where the platform's own readers are: a field that is missing, null or of another type counts as missing. Of a
//! field that stands twice the last one counts.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::presence::Moment;

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
        while let Some(Name(name)) = map.next_key()? {
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
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
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

/// A JSON `true` or `false`.
pub fn flag(value: Option<&RawValue>) -> Option<bool> {
    value?.get().parse().ok()
}

/// A close code; negative, fractional or too large ones count as missing.
pub fn code(value: Option<&RawValue>) -> Option<u16> {
    value?.get().parse().ok()
}

/// A counter; negative or fractional ones count as missing.
pub fn counter(value: Option<&RawValue>) -> Option<u64> {
    value?.get().parse().ok()
}

/// An ISO 8601 time with any offset; one without an offset is taken as UTC.
pub fn moment(value: Option<&RawValue>) -> Option<Moment> {
    let text = text(value)?;
    let timestamp = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok())?;
    Some(Moment::from_nanos(timestamp.as_nanosecond()))
}
