//! Bytes of an MQTT message to presence events. Pure: no sockets, no clock, no state; malformed input is a value.
//!
//! A format decodes each message by itself. What a message means beside the state that is held, for example whether a
//! disconnect ends the current session, is decided by the merge rule, not here.

pub mod aws_iot;
pub mod builtin;
pub mod catalog;
pub mod chirpstack;
pub mod emqx;
pub mod example;
pub mod held;
pub mod homie5;
pub mod iot_platform;
mod json_members;
pub mod mosquitto_log;
mod name;
pub mod nanomq;
pub mod order;
pub mod profile;
mod protobuf;
pub mod rmqtt;
pub mod sparkplug;
pub mod status;

use std::borrow::Cow;

/// The name of a device. Both parts may contain `/`, spaces and any UTF-8 except control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceName<'a> {
    pub device_type: Cow<'a, str>,
    pub id: Cow<'a, str>,
}

impl DeviceName<'_> {
    /// The same without a borrow.
    pub fn into_owned(self) -> DeviceName<'static> {
        DeviceName { device_type: owned(self.device_type), id: owned(self.id) }
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

/// Nanoseconds since 1970 by the clock of the message's sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub i64);

/// What one message turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded<'a> {
    /// A device connected or disconnected, or was refused.
    Event(Event<'a>),
    /// The convention says that this message removes the device, for example an empty retained payload.
    Removed(DeviceName<'a>),
    /// A message that shows that the device is connected now, without being a status message. A retained one shows nothing.
    /// Where it names a parent, the parent is connected, too. The time is when it was sent, if the message says so.
    Alive { device: DeviceName<'a>, parent: Option<DeviceName<'a>>, time: Option<UnixNanos> },
    /// The message says through which device this one is reached, or that it is reached through none.
    Parent { device: DeviceName<'a>, parent: Option<DeviceName<'a>> },
    /// Something about the broker rather than one device.
    Broker(BrokerEvent<'a>),
    /// The message is sound and changes nothing; the word says why, for metrics and for people who write a profile.
    Ignored(&'static str),
    /// No topic filter of the format matches.
    NoMatch,
    /// Nothing can be made of the message; the word says why, for metrics and for people who write a profile.
    Undecodable(&'static str),
}

/// One presence event of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    pub device: DeviceName<'a>,
    pub kind: EventKind,
    /// What names and orders the session that the event belongs to.
    pub session: Session<'a>,
    /// When it happened, if the message says so.
    pub time: Option<UnixNanos>,
    /// Why a session ended, or how its device went, if known.
    pub cause: Option<Cause>,
    /// The source's own word for the reason, as it was sent.
    pub reason: Option<Cow<'a, str>>,
    /// The address of the client, without its port.
    pub address: Option<Cow<'a, str>>,
    /// The protocol by its name, for example `MQTT`.
    pub protocol: Option<Cow<'a, str>>,
    /// The device is effectively connected only while this one is.
    pub parent: Option<DeviceName<'a>>,
}

impl Event<'_> {
    /// The same without a borrow.
    pub fn into_owned(self) -> Event<'static> {
        Event {
            device: self.device.into_owned(),
            kind: self.kind,
            session: self.session.into_owned(),
            time: self.time,
            cause: self.cause,
            reason: self.reason.map(owned),
            address: self.address.map(owned),
            protocol: self.protocol.map(owned),
            parent: self.parent.map(DeviceName::into_owned),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    Connect,
    Disconnect,
    /// The session ended because another connection took its client id: the device is connected elsewhere.
    Takeover,
    /// A login was refused: it ends no session.
    Refusal,
}

/// What names and orders sessions; see docs/sources/order.md.
#[derive(Clone, Debug, PartialEq)]
pub enum Session<'a> {
    /// The message tells the state and names no session: the order of arrival decides, and a repetition is no event.
    Arrival,
    /// The message tells of a change, in the order of arrival: each beginning is a session of its own. The text is the
    /// client's address and port; if both the beginning and the end have one, they belong together only if it is equal.
    Connection(Option<Cow<'a, str>>),
    /// The session is named by the time at which it began, by the broker's clock.
    Started(UnixNanos),
    /// A version per client id that grows with each session and starts again after a long time offline, and the name of the
    /// session.
    Versioned { version: u64, session: Cow<'a, str> },
    /// A number that a birth and the death of the same session share; it is compared for equality only, and births are
    /// ordered by the event's time. `sequence` counts the messages of a session from 0 to 255 and starts again.
    Matched { birth: Option<u64>, sequence: Option<u8> },
}

impl Session<'_> {
    /// The same without a borrow.
    pub fn into_owned(self) -> Session<'static> {
        match self {
            Session::Arrival => Session::Arrival,
            Session::Connection(peer) => Session::Connection(peer.map(owned)),
            Session::Started(started) => Session::Started(started),
            Session::Versioned { version, session } => {
                Session::Versioned { version, session: owned(session) }
            }
            Session::Matched { birth, sequence } => Session::Matched { birth, sequence },
        }
    }
}

/// Why a device is not connected, in classes that are the same for all sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The device ended the session in order.
    Ended,
    /// The connection broke: a will, a reset, an error of the network or of either side.
    Connection,
    /// The broker or an administrator ended the session.
    Server,
    /// Nothing arrived within the keep-alive time.
    Timeout,
    /// The TLS session failed.
    Tls,
    /// The login was refused, or an authorization was withdrawn.
    Refused,
    /// Another connection took the client id.
    Takeover,
    /// The client broke the protocol.
    Protocol,
    /// The device says that it sleeps and will be back.
    Asleep,
    /// The device through which this one is reached is not connected.
    ParentOffline,
}

impl Cause {
    pub const ALL: [Cause; 10] = [
        Cause::Ended,
        Cause::Connection,
        Cause::Server,
        Cause::Timeout,
        Cause::Tls,
        Cause::Refused,
        Cause::Takeover,
        Cause::Protocol,
        Cause::Asleep,
        Cause::ParentOffline,
    ];

    /// The word for a cause that a message does not tell, or tells by a number that nobody knows.
    pub const UNKNOWN: &str = "unknown";

    /// How many places there are for counts by cause: those of [`Self::ALL`], and the last for unknown causes.
    pub const PLACES: usize = Self::ALL.len() + 1;

    /// All words, in the order of their places.
    pub fn words() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().map(Self::word).chain([Self::UNKNOWN])
    }

    /// The place of a word; `None`: it is for no cause.
    pub fn place_of_word(word: &str) -> Option<usize> {
        Self::words().position(|known| known == word)
    }

    /// The place of a cause; `None`: it is unknown.
    pub fn place(cause: Option<Self>) -> usize {
        cause.and_then(|cause| Self::ALL.iter().position(|one| *one == cause)).unwrap_or(Self::ALL.len())
    }

    /// The word for it in answers and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Ended => "ended",
            Cause::Connection => "connection",
            Cause::Server => "server",
            Cause::Timeout => "timeout",
            Cause::Tls => "tls",
            Cause::Refused => "refused",
            Cause::Takeover => "takeover",
            Cause::Protocol => "protocol",
            Cause::Asleep => "asleep",
            Cause::ParentOffline => "parent_offline",
        }
    }

    /// The cause of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.word() == word)
    }
}

/// An event that concerns every client of a broker, or of a node of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum BrokerEvent<'a> {
    /// The broker started: sessions of earlier connections have ended.
    Started,
    /// The nodes of the cluster that are running now.
    Nodes(Cow<'a, str>),
    /// How many clients the broker counts as connected.
    Connected(u64),
    /// For how many seconds the broker has been running.
    UptimeSeconds(u64),
}
