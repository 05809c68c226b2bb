//! The IoT platform's status messages: topic and bytes in, presence event out. Pure: what cannot be decoded is a value too.

pub mod close_code;
mod details;
mod fields;
mod message;
mod repair;
mod shorten;
pub(crate) mod time;
mod unpacked;

pub use self::details::{Details, Traffic, details, traffic};
pub(crate) use self::message::CLIENT_ADDRESS;
pub use self::message::{
    ALL_DEVICES, PAYLOAD_MAX_BYTES, STORED_MAX_BYTES, StatusLine, decode, devices_of, ipv4, summary, topic,
    type_in_topic,
};
pub use self::unpacked::{FieldTexts, UnpackedDetails};
use presence::{Device, PresenceEvent};

/// What a message turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum PlatformMessage<'a> {
    /// It says something about a device's connection.
    Event { device: Device<'a>, event: PresenceEvent, client_id: ClientIdMatch, flaws: Vec<Flaw> },
    /// A login was refused or overtaken: it changes no status, but belongs into the history of the device.
    FailedLogin { device: Device<'a>, event: PresenceEvent, flaws: Vec<Flaw> },
    /// It is sound and changes no status.
    Notice { device: Device<'a>, notice: Notice },
    /// It is about an application, which matches the same filter.
    Application,
    /// Nothing can be made of it.
    Undecodable(Undecodable),
}

/// Whether the payload names the device that the topic names; the topic decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIdMatch {
    Matching,
    /// No client id, or one that is no device's.
    Absent,
    /// Another device's.
    Foreign,
}

/// What is wrong with a message that counts nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// `Time` holds nothing that is understood as a time, or one that cannot be held.
    UnusableTime,
    /// The same of `ConnectTime`.
    UnusableConnectTime,
    /// `CloseCode` holds no number of a close code.
    UnusableCloseCode,
    /// It is JSON only after a repair, and kept as repaired.
    Repaired,
    /// It is longer than any status, and only its known fields are kept.
    Shortened,
    /// Its session or itself is dated more than a day ahead of our clock, which may be the wrong one.
    DatedAhead,
}

impl Flaw {
    /// The word for it in metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Flaw::UnusableTime => "unusable_time",
            Flaw::UnusableConnectTime => "unusable_connect_time",
            Flaw::UnusableCloseCode => "unusable_close_code",
            Flaw::Repaired => "repaired",
            Flaw::Shortened => "shortened",
            Flaw::DatedAhead => "dated_ahead",
        }
    }
}

/// Messages that change no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// `Active`, `Info`, `Unknown`, and any action not known here.
    Other,
    /// An empty payload: the broker removed the retained message. It does not say why.
    Cleared,
}

/// Why nothing can be made of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Undecodable {
    /// The topic is none of this wire format.
    ForeignTopic,
    /// The topic names a device that there cannot be: a type or id is too long or holds a control character.
    ImpossibleName,
    /// Longer than any message of this wire format.
    TooLong,
    NotUtf8,
    NotJson,
    /// JSON, but with more nested parts than any message has.
    TooDeep,
    /// JSON, but not an object.
    NotAnObject,
    /// An object without a text in `Action`.
    NoAction,
}

impl Undecodable {
    pub const ALL: [Undecodable; 8] = [
        Undecodable::ForeignTopic,
        Undecodable::ImpossibleName,
        Undecodable::TooLong,
        Undecodable::NotUtf8,
        Undecodable::NotJson,
        Undecodable::TooDeep,
        Undecodable::NotAnObject,
        Undecodable::NoAction,
    ];

    /// The word for it in metrics and logs.
    pub fn reason(self) -> &'static str {
        match self {
            Undecodable::ForeignTopic => "foreign_topic",
            Undecodable::ImpossibleName => "impossible_name",
            Undecodable::TooLong => "too_long",
            Undecodable::NotUtf8 => "not_utf8",
            Undecodable::NotJson => "not_json",
            Undecodable::TooDeep => "too_deep",
            Undecodable::NotAnObject => "not_an_object",
            Undecodable::NoAction => "no_action",
        }
    }
}
