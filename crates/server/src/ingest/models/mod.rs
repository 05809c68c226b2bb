//! Formats against a model that knows the truth. Devices connect, drop, take over and are refused; an adapter per format says
//! what the format's broker and devices publish of that; a network loses, repeats and delays it, as far as this happens
//! to that format; and the decoder takes the bytes. In the end each device must be shown as the newest message that arrived
//! said (so nothing is shown that no message said), and if nothing newer was lost, as it is in truth.
//!
//! docs/sources/order.md has the table of what is guaranteed under which fault.

mod aws;
mod emqx;
mod mosquitto;
mod nanomq;
mod retained;
mod rmqtt;
mod sparkplug;
mod world;

use std::collections::HashMap;

use proptest::prelude::*;

use world::check;

/// How many devices a history has.
const DEVICES: usize = 4;
/// When histories begin: a second's beginning, in milliseconds.
pub const START_MS: i64 = 1_767_225_600_000;
pub const SECOND_MS: i64 = 1_000;
pub const MINUTE_MS: i64 = 60_000;

/// What happens in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The device connects; if it is connected already, it takes over.
    Connect(usize),
    Disconnect(usize, Ending),
    /// Somebody is refused under the name of the device.
    Refuse(usize),
    /// The device sends data, if it is connected.
    SendData(usize),
    /// Nothing arrives here for a while, and nobody sends it again.
    LoseLink,
    /// The broker stops, and all that are connected to it are not any more.
    RestartBroker,
    /// A node of a cluster stops in the same way, and nobody tells of its clients.
    LoseNode(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Clean,
    Dropped,
    TimedOut,
}

/// What happened to a device, as an adapter has to say it.
#[derive(Clone, Copy, Debug)]
pub struct Happening {
    pub device: usize,
    pub kind: Kind,
    /// In true time.
    pub at_ms: i64,
    /// The sessions of the device are counted from 1.
    pub session: u64,
    /// For whatever an adapter has to choose.
    pub choice: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Connected {
        /// The session before goes on until now.
        takes_over: bool,
    },
    Disconnected(Ending),
    Refused,
    Data,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub is_retained: bool,
    /// What somebody knows who gets it.
    pub facts: Vec<Fact>,
    /// Why nobody can know it.
    pub flaw: Option<MessageFlaw>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFlaw {
    /// The format has no message for it.
    NotSent,
    /// What it says cannot be read out of it.
    Unreadable,
}

/// A message says of a device that it is connected or not, and when that was so.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    pub device: usize,
    pub rank: Rank,
    pub is_connected: bool,
    /// It says so of all that are known, by no name.
    pub only_of_known: bool,
    /// How many messages had arrived before; only of what has arrived.
    pub arrived: u64,
}

/// The order of all that can be said of a device: by session, and in a session the end after the beginning and what was said
/// meanwhile.
pub type Rank = (u64, u32);
pub const BEGUN: u32 = 0;
pub const ENDED: u32 = u32::MAX;

impl Message {
    pub fn live(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            is_retained: false,
            facts: Vec::new(),
            flaw: None,
        }
    }

    pub fn retained(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { is_retained: true, ..Self::live(topic, payload) }
    }

    /// That this is so is said by no message.
    pub fn not_sent(device: usize, rank: Rank, is_connected: bool) -> Self {
        let flaw = Some(MessageFlaw::NotSent);
        Self { flaw, ..Self::live("", "").stating(device, rank, is_connected) }
    }

    pub fn stating(mut self, device: usize, rank: Rank, is_connected: bool) -> Self {
        self.facts.push(Fact { device, rank, is_connected, only_of_known: false, arrived: 0 });
        self
    }
}

/// How messages of a format can go wrong on their way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Network {
    /// Single messages are lost.
    pub loses: bool,
    pub repeats: bool,
    /// A message is overtaken by those that are sent within so long after it.
    pub delay_max_ms: i64,
    /// The link to the broker is never lost.
    pub keeps_link: bool,
}

/// A format, as its broker and devices speak it.
pub trait Speaker {
    fn source(&self) -> &'static str;
    fn network(&self) -> Network;

    /// Type and id of a device.
    fn name(&self, device: usize) -> (String, String);

    /// What is published of that.
    fn speak(&mut self, happening: &Happening) -> Vec<Message>;

    /// What the broker publishes of itself at this time; asked for every second.
    fn tick(&mut self, _now_ms: i64) -> Vec<Message> {
        Vec::new()
    }

    /// The broker starts again, which ends the newest session of each device, if it has not ended before.
    fn restart(&mut self, _now_ms: i64, _sessions: &[(usize, u64)]) -> Vec<Message> {
        Vec::new()
    }

    /// A node stops; returns the devices that were connected to it.
    fn lose_node(&mut self, _node: usize, _now_ms: i64) -> Vec<usize> {
        Vec::new()
    }

    /// The least time between the end of a session and the next one: less is undecidable.
    fn pause_ms(&self) -> i64 {
        0
    }

    /// A session lasts at least so long.
    fn least_session_ms(&self) -> i64 {
        0
    }

    /// Whether a device that is connected can connect again.
    fn takes_over(&self) -> bool {
        true
    }

    /// The device in whose session this one is born, and with which it goes.
    fn parent(&self, _device: usize) -> Option<usize> {
        None
    }

    /// Whether a device is connected in truth, if these are by themselves.
    fn is_connected(&self, device: usize, own: [bool; DEVICES]) -> bool {
        own[device]
    }

    /// By how much all waits of a history are longer.
    fn scale(&self) -> i64 {
        1
    }

    /// What is shown of a device according to the newest that is known of each.
    fn expected(&self, device: usize, newest: &HashMap<usize, Fact>) -> Option<bool> {
        Some(newest.get(&device)?.is_connected)
    }

    /// Whether what has arrived decides the state of a device.
    fn is_decided(&self, _device: usize, _newest: &HashMap<usize, Fact>) -> bool {
        true
    }

    /// Whether a device must be shown as out of date, if that is known.
    fn is_stale(&self, _device: usize, _newest: &HashMap<usize, Fact>) -> Option<bool> {
        None
    }
}

/// What becomes of one message.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    is_lost: bool,
    is_repeated: bool,
    /// Of a thousand of the longest delay.
    delay: u16,
    choice: u32,
}

/// A history: steps with the time before each, and the fates of messages in turn.
#[derive(Clone, Debug)]
pub struct History {
    pub steps: Vec<(i64, Step)>,
    pub fates: Vec<Fate>,
}

pub fn histories(most: usize) -> impl Strategy<Value = History> {
    let device = || 0..DEVICES;
    let ending = prop_oneof![Just(Ending::Clean), Just(Ending::Dropped), Just(Ending::TimedOut)];
    let step = prop_oneof![
        6 => device().prop_map(Step::Connect),
        4 => (device(), ending).prop_map(|(device, ending)| Step::Disconnect(device, ending)),
        1 => device().prop_map(Step::Refuse),
        2 => device().prop_map(Step::SendData),
        1 => Just(Step::LoseLink),
        1 => Just(Step::RestartBroker),
        1 => (0..2_usize).prop_map(Step::LoseNode),
    ];
    let wait = prop_oneof![3 => 1..500_i64, 3 => SECOND_MS..20 * SECOND_MS, 1 => MINUTE_MS..4 * MINUTE_MS];
    let fate = (prop::bool::weighted(0.2), prop::bool::weighted(0.2), 0..1_000_u16, any::<u32>())
        .prop_map(|(is_lost, is_repeated, delay, choice)| Fate { is_lost, is_repeated, delay, choice });
    (prop::collection::vec((wait, step), 1..most), prop::collection::vec(fate, 8..40))
        .prop_map(|(steps, fates)| History { steps, fates })
}

/// How many cases a property has; `PROPTEST_CASES` makes a long campaign of it.
pub fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
