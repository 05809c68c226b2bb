//! What a message tells of a session beside what it claims. Lists and streams read it for each device that they show.

use std::borrow::Cow;

use super::fields::{self, Fields};
use crate::json_members::{self, Value};

/// What a message tells of a session beside what it claims; a field that is missing or empty is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details<'a> {
    pub client_id: Option<Cow<'a, str>>,
    /// The client's address, as the platform wrote it.
    pub address: Option<Cow<'a, str>>,
    pub protocol: Option<Cow<'a, str>>,
    /// Whether the session used TLS.
    pub secure: Option<bool>,
    /// Why the session ended, in the platform's words.
    pub reason: Option<Cow<'a, str>>,
}

/// What the platform read from the client in a session that ended, and wrote to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic<'a> {
    read_bytes: Option<&'a str>,
    read_messages: Option<&'a str>,
    write_bytes: Option<&'a str>,
    write_messages: Option<&'a str>,
}

/// The details of a message that was decoded before; of anything else there are none.
pub fn details(payload: &[u8]) -> Details<'_> {
    let Ok(json) = std::str::from_utf8(payload) else { return Details::default() };
    let mut details = Details::default();
    let taken = json_members::for_each(json, |name, value| match name {
        "ClientID" => details.client_id = text(value),
        "ClientAddr" => details.address = text(value),
        "Protocol" => details.protocol = text(value),
        "Secure" => details.secure = fields::flag(Some(value.json)),
        "Reason" => details.reason = text(value),
        _ => {}
    });
    match taken {
        Some(()) => details,
        None => serde_json::from_str(json).map_or_else(|_| Details::default(), Details::of),
    }
}

/// The same of what was read and written.
pub fn traffic(payload: &[u8]) -> Traffic<'_> {
    let fields = std::str::from_utf8(payload).ok().and_then(|json| Fields::read(json).ok());
    fields.map_or_else(Traffic::default, |fields| Traffic {
        read_bytes: fields.read_bytes,
        read_messages: fields.read_msg,
        write_bytes: fields.write_bytes,
        write_messages: fields.write_msg,
    })
}

/// A text that is not empty, or a number as it is written.
fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    let text = value.plain_text().map(Cow::Borrowed).or_else(|| fields::text_or_number(Some(value.json)));
    text.filter(|text| !text.is_empty())
}

impl<'a> Details<'a> {
    fn of(fields: Fields<'a>) -> Self {
        let text = |value| fields::text_or_number(value).filter(|text| !text.is_empty());
        Details {
            client_id: text(fields.client_id),
            address: text(fields.client_addr),
            protocol: text(fields.protocol),
            secure: fields::flag(fields.secure),
            reason: text(fields.reason),
        }
    }
}

impl Traffic<'_> {
    pub fn read_bytes(self) -> Option<u64> {
        fields::counter(self.read_bytes)
    }

    pub fn read_messages(self) -> Option<u64> {
        fields::counter(self.read_messages)
    }

    pub fn write_bytes(self) -> Option<u64> {
        fields::counter(self.write_bytes)
    }

    pub fn write_messages(self) -> Option<u64> {
        fields::counter(self.write_messages)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Members of messages, usual and odd ones.
    fn messages() -> impl Strategy<Value = String> {
        let name = prop::sample::select(vec![
            "ClientID",
            "ClientAddr",
            "Protocol",
            "Secure",
            "Reason",
            "Action",
            "Cl\\u0069entID",
        ]);
        let value = prop_oneof![
            "\"[a-z0-9:. é]{0,12}\"",
            "\"(\\\\[\"nu\\\\]|[a-z]){0,6}\"",
            "-?[0-9]{1,8}(\\.[0-9])?",
            prop::sample::select(vec!["true", "false", "null", "[1]", "{\"Reason\":1}", "nothing"])
                .prop_map(str::to_owned),
        ];
        let member = (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        prop::collection::vec(member, 0..8).prop_map(|members| format!("{{{}}}", members.join(",")))
    }

    proptest! {
        #[test]
        fn details_are_what_the_fields_say(json in messages()) {
            let of_fields = Fields::read(&json).map_or_else(|_| Details::default(), Details::of);
            prop_assert_eq!(details(json.as_bytes()), of_fields);
        }
    }
}
