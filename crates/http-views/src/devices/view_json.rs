//! A device as JSON, in the same bytes as serde writes it. Done by hand, because that is most of what a list, a lookup of many
//! devices and a stream do: serde looks for signs to escape in each name of a field and each word of ours, and adds every
//! quotation mark and comma for itself.

use presence::digits;
use presence::time_text::TimeText;

use super::view::{DeviceView, LastEventView, MessageView, ProvenanceView, SessionView, StatusView};

/// What a device takes as text, nearly always.
pub const DEVICE_BYTES: usize = 768;

impl DeviceView<'_> {
    /// Appends the device.
    pub fn write(&self, text: &mut Vec<u8>) {
        self.write_open(text);
        text.push(b'}');
    }

    /// Appends the device without the brace at its end, so that further fields can follow.
    pub fn write_open(&self, text: &mut Vec<u8>) {
        text.reserve(DEVICE_BYTES);
        put(text, "{\"type\":");
        string(text, &self.device_type);
        put(text, ",\"id\":");
        string(text, &self.id);
        optional(text, ",\"source\":", self.source.as_deref());
        put(text, ",\"client_id\":");
        string(text, &self.client_id);
        put(text, ",\"status\":");
        word(text, self.status.word());
        if let Some(expectation) = self.expectation {
            put(text, ",\"expectation\":");
            word(text, expectation);
        }
        time(text, ",\"since\":", self.since.as_ref());
        optional(text, ",\"address\":", self.address.as_deref());
        number(text, ",\"close_code\":", self.close_code);
        optional(text, ",\"reason\":", self.reason.as_deref());
        optional_word(text, ",\"cause\":", self.cause);
        optional_word(text, ",\"cause_class\":", self.cause_class);
        put(text, ",\"session\":");
        match &self.session {
            Some(session) => session.write(text),
            None => put(text, "null"),
        }
        put(text, ",\"last_event\":");
        match &self.last_event {
            Some(event) => event.write(text),
            None => put(text, "null"),
        }
        optional_word(text, ",\"provenance\":", self.provenance.map(ProvenanceView::word));
        time(text, ",\"confirmed_at\":", self.confirmed_at.as_ref());
        flag(text, ",\"dated_ahead\":", self.dated_ahead);
        flag(text, ",\"stale\":", self.stale);
        if let Some(message) = &self.message {
            put(text, ",\"message\":");
            message.write(text);
        }
    }
}

impl SessionView<'_> {
    fn write(&self, text: &mut Vec<u8>) {
        time(text, "{\"connect_time\":", self.connect_time.as_ref());
        optional(text, ",\"protocol\":", self.protocol.as_deref());
        match self.secure {
            Some(secure) => flag(text, ",\"secure\":", secure),
            None => put(text, ",\"secure\":null"),
        }
        text.push(b'}');
    }
}

impl LastEventView {
    fn write(&self, text: &mut Vec<u8>) {
        put(text, "{\"event\":");
        word(text, self.event);
        time(text, ",\"time\":", self.time.as_ref());
        number(text, ",\"close_code\":", self.close_code);
        text.push(b'}');
    }
}

impl MessageView<'_> {
    fn write(&self, text: &mut Vec<u8>) {
        // The few devices of which one is shown; their texts are long, and full of quotation marks.
        serde_json::to_writer(text, self).expect("texts are JSON, and memory takes them");
    }
}

/// Appends the status that a device had before, as a field behind others.
pub fn previous_status(text: &mut Vec<u8>, previous: Option<StatusView>) {
    optional_word(text, ",\"previous_status\":", previous.map(StatusView::word));
}

fn put(text: &mut Vec<u8>, piece: &str) {
    text.extend_from_slice(piece.as_bytes());
}

/// A text of somebody else's.
fn string(text: &mut Vec<u8>, value: &str) {
    // Without an end at the first one found, the compiler looks at many bytes at once.
    let is_escaped =
        value.bytes().fold(false, |found, byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\'));
    if is_escaped {
        serde_json::to_writer(text, value).expect("a text is JSON, and memory takes it");
    } else {
        word(text, value);
    }
}

/// A text without anything to escape.
fn word(text: &mut Vec<u8>, value: &str) {
    text.push(b'"');
    put(text, value);
    text.push(b'"');
}

fn optional(text: &mut Vec<u8>, name: &str, value: Option<&str>) {
    put(text, name);
    match value {
        Some(value) => string(text, value),
        None => put(text, "null"),
    }
}

fn optional_word(text: &mut Vec<u8>, name: &str, value: Option<&str>) {
    put(text, name);
    match value {
        Some(value) => word(text, value),
        None => put(text, "null"),
    }
}

fn time(text: &mut Vec<u8>, name: &str, value: Option<&TimeText>) {
    put(text, name);
    match value {
        Some(value) => {
            text.push(b'"');
            text.extend_from_slice(value.as_bytes());
            text.push(b'"');
        }
        None => put(text, "null"),
    }
}

fn number(text: &mut Vec<u8>, name: &str, value: Option<u16>) {
    put(text, name);
    match value {
        Some(value) => digits::write(value.into(), text),
        None => put(text, "null"),
    }
}

fn flag(text: &mut Vec<u8>, name: &str, value: bool) {
    put(text, name);
    put(text, if value { "true" } else { "false" });
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::option::of;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn text() -> impl Strategy<Value = Cow<'static, str>> {
        prop_oneof![".{0,40}", "[a-z\"\\\\\u{0}-\u{20}\u{7f}é]{0,8}"].prop_map(Cow::Owned)
    }

    fn a_time() -> impl Strategy<Value = TimeText> {
        prop_oneof![
            (0..253_402_300_800_000_i64).prop_map(TimeText::of_millis),
            any::<u32>().prop_map(TimeText::of_seconds)
        ]
    }

    fn a_word() -> impl Strategy<Value = &'static str> {
        select(vec!["met", "timeout", "connection", "disconnect"])
    }

    fn names() -> impl Strategy<Value = DeviceView<'static>> {
        let statuses = vec![
            StatusView::Connected,
            StatusView::Disconnected,
            StatusView::NeverConnected,
            StatusView::Unknown,
        ];
        (text(), text(), of(text()), text(), select(statuses), of(a_word())).prop_map(
            |(device_type, id, source, client_id, status, expectation)| DeviceView {
                device_type,
                id,
                source,
                client_id,
                status,
                expectation,
                ..DeviceView::default()
            },
        )
    }

    fn session() -> impl Strategy<Value = SessionView<'static>> {
        (of(a_time()), of(text()), of(any::<bool>()))
            .prop_map(|(connect_time, protocol, secure)| SessionView { connect_time, protocol, secure })
    }

    fn last_event() -> impl Strategy<Value = LastEventView> {
        (a_word(), of(a_time()), of(any::<u16>())).prop_map(|(event, time, close_code)| LastEventView {
            event,
            time,
            close_code,
        })
    }

    fn message() -> impl Strategy<Value = MessageView<'static>> {
        (of(text()), of(text()), any::<bool>()).prop_map(|(text, base64, truncated)| MessageView {
            text,
            base64,
            truncated,
        })
    }

    fn device() -> impl Strategy<Value = DeviceView<'static>> {
        let provenances = vec![
            ProvenanceView::Live,
            ProvenanceView::Retained,
            ProvenanceView::Restored,
            ProvenanceView::Peer,
            ProvenanceView::Inferred,
        ];
        let why = (of(text()), of(any::<u16>()), of(text()), of(a_word()), of(a_word()));
        let last = (of(session()), of(last_event()), of(select(provenances)), of(message()));
        (names(), why, last, of(a_time()), of(a_time()), any::<(bool, bool)>()).prop_map(
            |(names, why, last, since, confirmed_at, (dated_ahead, stale))| {
                let (address, close_code, reason, cause, cause_class) = why;
                let (session, last_event, provenance, message) = last;
                DeviceView {
                    since,
                    address,
                    close_code,
                    reason,
                    cause,
                    cause_class,
                    session,
                    last_event,
                    provenance,
                    confirmed_at,
                    dated_ahead,
                    stale,
                    message,
                    ..names
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_device_is_written_as_serde_writes_it(device in device()) {
            let mut text = b"before".to_vec();
            device.write(&mut text);
            let expected = format!("before{}", serde_json::to_string(&device).unwrap());
            prop_assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }
}
