//! What a status document says of an event: written as JSON, or packed without it. Packing takes a part of the time that the text
//! and a look for what it consists of do, and gives the same bytes; what is rare is left to the text.

use std::borrow::Cow;

use super::{SourceDetails, StatusDocument, action, borrowed, json, kept_session, rfc3339};
use crate::held::AddressAndCause;
use crate::order::{Key, Own, Shown};
use crate::{Cause, DeviceName, Event, EventKind, Session, UnixNanos};
use presence::payload::{DocumentPacker, Payload, Piece, SourceMessage};

pub struct Parts<'a> {
    event: &'a Event<'a>,
    key: Key,
    own: Option<Own>,
    connect_time: Option<UnixNanos>,
    cause: Option<Cause>,
    reason: Option<&'a str>,
}

const CLIENT_ID: Piece = Piece::of(r#"{"ClientID":""#);
const CONNECT: Piece = Piece::of(r#"","Action":"Connect"#);
const DISCONNECT: Piece = Piece::of(r#"","Action":"Disconnect"#);
const TIME: Piece = Piece::of(r#"","Time":""#);
const ADDRESS: Piece = Piece::of(r#"","ClientAddr":""#);
const REASON: Piece = Piece::of(r#"","Reason":""#);
const PROTOCOL: Piece = Piece::of(r#"","Protocol":""#);
const CONNECT_TIME: Piece = Piece::of(r#"","ConnectTime":""#);

/// How details begin that have a session or a time, or neither, which is no piece.
pub const UNNAMED_CONNECTION: Piece = Piece::of(r#"","_":{"s":{"p":null},"t":"#);
pub const CONNECTION: Piece = Piece::of(r#"","_":{"s":{"p":""#);
pub const CONNECTION_END: Piece = Piece::of(r#""},"t":"#);
pub const STARTED: Piece = Piece::of(r#"","_":{"s":{"s":"#);
pub const STARTED_END: Piece = Piece::of(r#"},"t":"#);
pub const ONLY_TIME: Piece = Piece::of(r#"","_":{"t":"#);
pub const EMPTY: &str = r#"","_":{"#;

pub const CAUSE: Piece = Piece::of(r#","c":""#);
pub const FIRST_CAUSE: &str = r#""c":""#;
pub const PARENT: &str = r#""u":[""#;
pub const BETWEEN_NAMES: &str = r#"",""#;
pub const PARENT_END: &str = r#""]"#;
pub const END_BEHIND_TEXT: Piece = Piece::of(r#""}}"#);
pub const BRACE: Piece = Piece::of("}");

impl<'a> Parts<'a> {
    pub fn of(event: &'a Event<'a>, shown: &Shown) -> Self {
        let key = shown.key;
        let connect_time = match (&event.session, key.kind) {
            (Session::Started(started), _) => Some(*started),
            (Session::Connection(_) | Session::Versioned { .. }, EventKind::Connect) => Some(key.time),
            _ => None,
        };
        let (cause, reason) = if shown.is_hidden {
            (Some(Cause::ParentOffline), Some(Cause::ParentOffline.word()))
        } else {
            (event.cause, event.reason.as_deref())
        };
        Self { event, key, own: shown.own, connect_time, cause, reason }
    }

    /// What is found in the document.
    pub fn address_and_cause(&self) -> AddressAndCause {
        let address = self.event.address.as_ref().and_then(|address| address.parse().ok());
        AddressAndCause { address, cause: self.cause }
    }

    /// The document as a text.
    pub fn document(&self) -> Vec<u8> {
        let event = self.event;
        let (time, connect_time) = (rfc3339(self.key.time), self.connect_time.and_then(rfc3339));
        json::write(&StatusDocument {
            client_id: Cow::Borrowed(&event.device.id),
            action: action(&self.key).into(),
            time: time.as_deref().map(Cow::Borrowed),
            address: borrowed(event.address.as_ref()),
            reason: self.reason.map(Cow::Borrowed),
            protocol: borrowed(event.protocol.as_ref()),
            connect_time: connect_time.as_deref().map(Cow::Borrowed),
            kept: Some(self.details()),
        })
    }

    fn details(&self) -> SourceDetails<'_> {
        let parent = self.event.parent.as_ref();
        SourceDetails {
            session: kept_session(&self.event.session),
            time: self.event.time.map(|time| time.0),
            cause: self.cause.map(|cause| cause.word().into()),
            parent: parent.map(|name| (Cow::Borrowed(&*name.device_type), Cow::Borrowed(&*name.id))),
            own: self.own.map(|own| (own.shift, own.time.0)),
            text: None,
            base64: None,
            is_cut: false,
        }
    }

    /// The document and its message, packed; `None`: the text has to be.
    pub fn pack(&self, source: &str, message: &SourceMessage<'_>) -> Option<Payload> {
        let event = self.event;
        let mut packer = DocumentPacker::new(source);
        packer.piece(CLIENT_ID);
        packer.value(&event.device.id)?;
        packer.piece(match self.key.kind {
            EventKind::Connect | EventKind::Takeover => CONNECT,
            EventKind::Disconnect | EventKind::Refusal => DISCONNECT,
        });
        packer.piece(TIME);
        packer.time(millis(self.key.time)?);
        let texts = [
            (ADDRESS, event.address.as_deref()),
            (REASON, self.reason),
            (PROTOCOL, event.protocol.as_deref()),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                packer.piece(key);
                packer.value(text)?;
            }
        }
        if let Some(connect_time) = self.connect_time {
            packer.piece(CONNECT_TIME);
            packer.time(millis(connect_time)?);
        }
        self.pack_details(&mut packer)?;
        Some(packer.with_message(message))
    }

    fn pack_details(&self, packer: &mut DocumentPacker) -> Option<()> {
        let time = self.event.time.map(number).transpose().ok()?;
        match (&self.event.session, time) {
            (Session::Arrival, None) if self.own.is_none() && self.has_literal_names() => {
                self.pack_literal_details(packer);
                return Some(());
            }
            _ if self.event.parent.is_some() || self.own.is_some() => {
                self.pack_details_text(packer);
                return Some(());
            }
            (Session::Arrival, Some(time)) => {
                packer.piece(ONLY_TIME);
                packer.integer(time);
            }
            (Session::Connection(None), Some(time)) => {
                packer.piece(UNNAMED_CONNECTION);
                packer.integer(time);
            }
            (Session::Connection(Some(peer)), Some(time)) => {
                packer.piece(CONNECTION);
                packer.value(peer)?;
                packer.piece(CONNECTION_END);
                packer.integer(time);
            }
            (Session::Started(started), time) => {
                packer.piece(STARTED);
                packer.integer(number(*started).ok()?);
                match time {
                    Some(time) => {
                        packer.piece(STARTED_END);
                        packer.integer(time);
                    }
                    None => packer.piece(BRACE),
                }
            }
            _ => {
                self.pack_details_text(packer);
                return Some(());
            }
        }
        if let Some(cause) = self.cause {
            packer.piece(CAUSE);
            packer.value(cause.word())?;
            packer.piece(END_BEHIND_TEXT);
        } else {
            packer.piece(BRACE);
            packer.piece(BRACE);
        }
        Some(())
    }

    fn has_literal_names(&self) -> bool {
        let parent = self.event.parent.iter();
        parent
            .flat_map(|parent| [&parent.device_type, &parent.id])
            .all(|name| DocumentPacker::is_literal(name))
    }

    /// A cause and a parent at most.
    fn pack_literal_details(&self, packer: &mut DocumentPacker) {
        packer.literal([EMPTY]);
        if let Some(cause) = self.cause {
            packer.literal([FIRST_CAUSE, cause.word()]);
        }
        if let Some(DeviceName { device_type, id }) = &self.event.parent {
            let comma = if self.cause.is_some() { r#"","# } else { "" };
            packer.literal([comma, PARENT, device_type, BETWEEN_NAMES, id, PARENT_END]);
        } else if self.cause.is_some() {
            return packer.piece(END_BEHIND_TEXT);
        }
        packer.piece(BRACE);
        packer.piece(BRACE);
    }

    fn pack_details_text(&self, packer: &mut DocumentPacker) {
        packer.rest(&json::write_end(&self.details()));
    }
}

fn number(time: UnixNanos) -> Result<u64, std::num::TryFromIntError> {
    u64::try_from(time.0)
}

/// Whole milliseconds; `None`: it is before 1970, or the end of the range, which is no time.
fn millis(time: UnixNanos) -> Option<u64> {
    let nanos = u64::try_from(time.0).ok().filter(|_| time.0 < i64::MAX)?;
    Some(nanos / 1_000_000)
}
