//! The status document: what is kept of an event of any format but the IoT platform's. One JSON object in the platform's own
//! words, so that whatever shows or stores a message of the platform shows and stores these, too; and beside them what the
//! order of the source needs when the next message comes. The message is held beside it as it came, and becomes a text in the
//! details when the payload is unpacked.

pub(crate) mod details;
mod json;
mod parts;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub use details::{DetailsText, packed_details};
use parts::Parts;

use crate::held::{self, AddressAndCause};
use crate::order::{EventIdentity, Key, Own, Shown};
use crate::{Cause, DeviceName, Event, EventKind, Session, UnixNanos};
use presence::payload::{Payload, SourceMessage};
use presence::time_text::TimeText;

/// How much of a message is kept. A longer one, for example a birth with a thousand metrics, is cut.
pub const MESSAGE_MAX_BYTES: usize = 4 * 1024;

/// The reason of a device that a message of its source has removed.
pub const REMOVED: &str = "removed";

/// The document. Fields that are not known are left out.
#[derive(Debug, Deserialize)]
pub struct StatusDocument<'a> {
    #[serde(rename = "ClientID", borrow)]
    pub client_id: Cow<'a, str>,
    #[serde(rename = "Action", borrow)]
    pub action: Cow<'a, str>,
    #[serde(rename = "Time", borrow, default, deserialize_with = "text")]
    pub time: Option<Cow<'a, str>>,
    #[serde(rename = "ClientAddr", borrow, default, deserialize_with = "text")]
    pub address: Option<Cow<'a, str>>,
    #[serde(rename = "Reason", borrow, default, deserialize_with = "text")]
    pub reason: Option<Cow<'a, str>>,
    #[serde(rename = "Protocol", borrow, default, deserialize_with = "text")]
    pub protocol: Option<Cow<'a, str>>,
    #[serde(rename = "ConnectTime", borrow, default, deserialize_with = "text")]
    pub connect_time: Option<Cow<'a, str>>,
    #[serde(rename = "_", borrow, default)]
    pub kept: Option<SourceDetails<'a>>,
}

/// What is kept beside what is shown.
#[derive(Debug, Default, Deserialize)]
pub struct SourceDetails<'a> {
    #[serde(rename = "s", borrow, default)]
    session: Option<SessionDetails<'a>>,
    /// The time of the event in nanoseconds.
    #[serde(rename = "t", default)]
    time: Option<i64>,
    #[serde(rename = "c", borrow, default, deserialize_with = "text")]
    cause: Option<Cow<'a, str>>,
    /// The type and the id of the parent.
    #[serde(rename = "u", borrow, default, deserialize_with = "texts")]
    parent: Option<Names<'a>>,
    /// How the own state differs from what is shown with regard to the parent: [`Own`].
    #[serde(rename = "o", default)]
    own: Option<(i64, i64)>,
    /// The message, if that is not held beside the document: as JSON, since most who read the document do not look at it.
    #[serde(rename = "m", borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(rename = "b", borrow, default, deserialize_with = "text")]
    base64: Option<Cow<'a, str>>,
    /// The message was longer.
    #[serde(rename = "x", default)]
    is_cut: bool,
}

#[derive(Debug, Deserialize)]
enum SessionDetails<'a> {
    #[serde(rename = "p")]
    Connection(#[serde(borrow, deserialize_with = "text")] Option<Cow<'a, str>>),
    #[serde(rename = "s")]
    Started(i64),
    #[serde(rename = "v")]
    Versioned(u64, #[serde(borrow)] Cow<'a, str>),
    #[serde(rename = "b")]
    Matched(Option<u64>, Option<u8>),
}

/// A text that is borrowed where it can be: within another type serde would copy it.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn text<'a, 'de: 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error> {
    Ok(Option::<Text<'a>>::deserialize(deserializer)?.map(|text| text.0))
}

/// The type and the id of a device.
type Names<'a> = (Cow<'a, str>, Cow<'a, str>);

fn texts<'a, 'de: 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Names<'a>>, D::Error> {
    let texts = Option::<(Text<'a>, Text<'a>)>::deserialize(deserializer)?;
    Ok(texts.map(|(device_type, id)| (device_type.0, id.0)))
}

/// The message that an event was read from, as the API shows it.
#[derive(Debug, PartialEq, Eq)]
pub enum Raw<'a> {
    Text(Cow<'a, str>),
    Base64(Cow<'a, str>),
}

/// What is held of an event.
pub struct PackedStatus {
    /// Its document, and the message.
    pub payload: Payload,
    /// What is found in it.
    pub address_and_cause: AddressAndCause,
}

/// What is held of an event, as it is shown.
pub fn pack(source: &str, event: &Event<'_>, shown: &Shown, message: &[u8]) -> PackedStatus {
    let message = cut(message);
    let parts = Parts::of(event, shown);
    if let Some(payload) = parts.pack(source, &message) {
        return PackedStatus { payload, address_and_cause: parts.address_and_cause() };
    }
    let payload = Payload::pack_document(source, &parts.document(), &message);
    let address_and_cause = held::address_and_cause(&payload, 0);
    PackedStatus { payload, address_and_cause }
}

/// What is kept of a message.
fn cut(message: &[u8]) -> SourceMessage<'_> {
    if message.len() <= MESSAGE_MAX_BYTES {
        return SourceMessage { bytes: message, is_cut: false };
    }
    let end = match std::str::from_utf8(message) {
        Ok(text) => text.floor_char_boundary(MESSAGE_MAX_BYTES),
        Err(_) => MESSAGE_MAX_BYTES,
    };
    SourceMessage { bytes: &message[..end], is_cut: true }
}

/// The word for what a device did last.
fn action(key: &Key) -> &'static str {
    match key.kind {
        EventKind::Connect | EventKind::Takeover => "Connect",
        EventKind::Disconnect | EventKind::Refusal => "Disconnect",
    }
}

/// The same after a change of the parent, or with another parent; `None` if it is no document.
pub fn shown_again(payload: &Payload, shown: &Shown, parent: Option<&DeviceName<'_>>) -> Option<Payload> {
    let (source, document) = (payload.source().unwrap_or_default(), payload.document());
    let document = read(&document)?.shown_again(shown, parent);
    Some(match payload.message() {
        Some((bytes, is_cut)) => {
            Payload::pack_document(source, &document, &SourceMessage { bytes: &bytes, is_cut })
        }
        None => Payload::pack_of(source, &document),
    })
}

/// Reads a document back; `None` for anything else.
pub fn read(document: &[u8]) -> Option<StatusDocument<'_>> {
    json::read(document)
}

/// Reads what a document keeps beside what is shown, without a look at the rest.
pub fn read_details(document: &[u8]) -> Option<SourceDetails<'_>> {
    json::details(document).and_then(json::read).or_else(|| read(document)?.kept)
}

impl SourceDetails<'_> {
    /// What the event said of its session.
    pub fn identity(&self) -> EventIdentity<'_> {
        let session = match &self.session {
            None => Session::Arrival,
            Some(SessionDetails::Connection(peer)) => Session::Connection(borrowed(peer.as_ref())),
            Some(SessionDetails::Started(started)) => Session::Started(UnixNanos(*started)),
            Some(SessionDetails::Versioned(version, session)) => {
                Session::Versioned { version: *version, session: Cow::Borrowed(session) }
            }
            Some(SessionDetails::Matched(birth, sequence)) => {
                Session::Matched { birth: *birth, sequence: *sequence }
            }
        };
        // A device that its parent hides is connected itself, so it has no cause of its own.
        let cause = self.cause().filter(|cause| *cause != Cause::ParentOffline);
        EventIdentity { session, time: self.time.map(UnixNanos), cause }
    }

    /// The state that the document is about, whose key is held beside it.
    pub fn shown(&self, key: Key) -> Shown {
        Shown {
            key,
            own: self.own.map(|(shift, time)| Own { shift, time: UnixNanos(time) }),
            is_hidden: !key.is_connected() && self.cause() == Some(Cause::ParentOffline),
        }
    }

    /// The type and the id of the device through which this one is reached.
    pub fn parent(&self) -> Option<(&str, &str)> {
        let (device_type, id) = self.parent.as_ref()?;
        Some((device_type, id))
    }

    pub fn cause(&self) -> Option<Cause> {
        Cause::of_word(self.cause.as_deref()?)
    }
}

impl<'a> StatusDocument<'a> {
    fn shown_again(mut self, shown: &Shown, parent: Option<&DeviceName<'_>>) -> Vec<u8> {
        self.action = action(&shown.key).into();
        self.time = rfc3339(shown.key.time).map(|time| Cow::Owned(time.to_string()));
        let word = shown.is_hidden.then_some(Cow::Borrowed(Cause::ParentOffline.word()));
        self.reason.clone_from(&word);
        if let Some(kept) = &mut self.kept {
            kept.own = shown.own.map(|own| (own.shift, own.time.0));
            kept.cause = word;
            kept.parent = parent
                .map(|name| (Cow::Owned(name.device_type.to_string()), Cow::Owned(name.id.to_string())));
        }
        json::write(&self)
    }

    pub fn cause(&self) -> Option<Cause> {
        self.kept.as_ref()?.cause()
    }

    /// Whether a message of its source has removed the device.
    pub fn is_removed(&self) -> bool {
        self.reason.as_deref() == Some(REMOVED) && self.cause().is_none()
    }

    /// When the session began, if that is known.
    pub fn connect_moment(&self) -> Option<presence::Moment> {
        let nanos = crate::iot_platform::time::nanos(self.connect_time.as_deref()?)?;
        Some(presence::Moment::from_nanos(nanos))
    }

    /// The message, and whether it was longer than what is kept.
    pub fn into_raw(self) -> Option<(Raw<'a>, bool)> {
        let kept = self.kept?;
        let text =
            kept.text.and_then(|json| serde_json::from_str(json.get()).ok().map(|text: Text<'a>| text.0));
        let raw = text.map(Raw::Text).or_else(|| kept.base64.map(Raw::Base64))?;
        Some((raw, kept.is_cut))
    }

    /// What is shown: the fields of the platform alone.
    pub fn public(self) -> Vec<u8> {
        json::write(&StatusDocument { kept: None, ..self })
    }
}

fn borrowed<'a>(text: Option<&'a Cow<'_, str>>) -> Option<Cow<'a, str>> {
    text.map(|text| Cow::Borrowed(&**text))
}

fn kept_session<'a>(session: &'a Session<'_>) -> Option<SessionDetails<'a>> {
    match session {
        Session::Arrival => None,
        Session::Connection(peer) => Some(SessionDetails::Connection(borrowed(peer.as_ref()))),
        Session::Started(started) => Some(SessionDetails::Started(started.0)),
        Session::Versioned { version, session } => {
            Some(SessionDetails::Versioned(*version, Cow::Borrowed(session)))
        }
        Session::Matched { birth, sequence } => Some(SessionDetails::Matched(*birth, *sequence)),
    }
}

/// In whole milliseconds, as the platform writes times.
fn rfc3339(time: UnixNanos) -> Option<TimeText> {
    presence::Moment::exactly(i128::from(time.0))?.rfc3339()
}
