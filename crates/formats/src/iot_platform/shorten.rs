//! Messages that are longer than any status: only the fields that the platform writes are kept, and of these only their
//! beginning.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The most bytes that are kept of one message. The platform writes its messages into a buffer of 4,096 bytes and fills some
/// hundreds of them; a million devices with the longest messages take 8 GiB.
pub const STORED_MAX_BYTES: usize = 8 * 1024;

/// Every field that the platform writes, in its order.
const FIELDS: [&str; 18] = [
    "Action",
    "Time",
    "ClientAddr",
    "ClientID",
    "Port",
    "Secure",
    "Protocol",
    "User",
    "CertName",
    "ConnectTime",
    "Durable",
    "NewSession",
    "CloseCode",
    "Reason",
    "ReadBytes",
    "ReadMsg",
    "WriteBytes",
    "WriteMsg",
];

/// The most bytes of one field's value; all fields together stay below [`STORED_MAX_BYTES`].
const VALUE_MAX_BYTES: usize = 384;

/// An object with the known fields of this one, and `"Shortened":true`.
pub fn shorten(json: &str) -> String {
    // It has been read as an object before.
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    let mut kept = String::from("{");
    for name in FIELDS {
        if let Some(value) = fields.get(name).and_then(|value| shortened(value)) {
            kept.push_str(&format!("\"{name}\":{value},"));
        }
    }
    kept + "\"Shortened\":true}"
}

/// A value as it is, the beginning of a long text, nothing of any other long value.
fn shortened(value: &RawValue) -> Option<Cow<'_, str>> {
    let json = value.get();
    if json.len() <= VALUE_MAX_BYTES {
        return Some(Cow::Borrowed(json));
    }
    let text: String = serde_json::from_str(json).ok()?;
    let mut length = 2;
    // Escapes are longer than what they stand for.
    let end = text.char_indices().find(|(_, character)| {
        length += serde_json::to_string(character).map_or(VALUE_MAX_BYTES, |escaped| escaped.len() - 2);
        length > VALUE_MAX_BYTES
    });
    let beginning = &text[..end.map_or(text.len(), |(at, _)| at)];
    serde_json::to_string(beginning).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_values_of_all_fields_stay_below_the_limit_and_are_json() {
        for long in [
            "\"".to_owned() + &"x".repeat(VALUE_MAX_BYTES - 2) + "\"",
            "\"".to_owned() + &"é\\u0001\\\"".repeat(1_000) + "\"",
            "1".repeat(VALUE_MAX_BYTES),
            "1".repeat(VALUE_MAX_BYTES + 1),
        ] {
            let fields: Vec<_> = FIELDS.iter().map(|name| format!("\"{name}\":{long}")).collect();
            let kept = shorten(&format!("{{{},\"Other\":{long}}}", fields.join(",")));
            assert!(kept.len() <= STORED_MAX_BYTES, "{}", kept.len());
            let read: BTreeMap<String, &RawValue> = serde_json::from_str(&kept).unwrap();
            assert_eq!(read["Shortened"].get(), "true");
            assert!(!read.contains_key("Other"));
        }
    }
}
