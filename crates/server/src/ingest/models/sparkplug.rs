//! Sparkplug B: two edge nodes and a device of each.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{
    BEGUN, DEVICES, ENDED, Ending, Fact, Fate, Happening, History, Kind, Message, Network, Rank, SECOND_MS,
    Speaker, Step,
};

const IDS: [&str; DEVICES] = ["n0", "n1", "n0/d", "n1/d"];

/// Messages overtake each other by less than the order allows for, five seconds.
const DELAY_MAX_MS: i64 = 4 * SECOND_MS;

struct Sparkplug {
    network: Network,
    /// A node without storage always uses the same number.
    has_one_number: bool,
    /// How much the clocks of the nodes are ahead.
    clock_ms: i64,
    sequence: [u64; 2],
    /// Counts what is said below each node.
    said: u32,
    node_is_on: [bool; 2],
    device_is_on: [bool; 2],
}

impl Sparkplug {
    fn payload(&self, at_ms: i64, metric: Option<u64>, sequence: Option<u64>) -> Vec<u8> {
        let mut payload = Vec::new();
        let time = u64::try_from(at_ms + self.clock_ms).expect("after 1970");
        put(&mut payload, 0x08);
        put(&mut payload, time);
        if let Some(number) = metric {
            let mut metric = vec![0x0a, 5];
            metric.extend(b"bdSeq");
            metric.extend([0x20, 4, 0x58]);
            put(&mut metric, number);
            put(&mut payload, 0x12);
            put(&mut payload, metric.len() as u64);
            payload.extend(metric);
        }
        if let Some(sequence) = sequence {
            put(&mut payload, 0x18);
            put(&mut payload, sequence);
        }
        payload
    }

    fn number(&self, session: u64) -> u64 {
        if self.has_one_number { 0 } else { session % 256 }
    }

    fn next_sequence(&mut self, node: usize) -> Option<u64> {
        self.sequence[node] = (self.sequence[node] + 1) % 256;
        Some(self.sequence[node])
    }

    fn next_rank(&mut self, session: u64) -> Rank {
        self.said += 1;
        (session, BEGUN + self.said)
    }

    fn node_birth(&mut self, node: usize, session: u64, at_ms: i64) -> Message {
        self.sequence[node] = 0;
        let payload = self.payload(at_ms, Some(self.number(session)), Some(0));
        let rank = self.next_rank(session);
        Message::live(format!("spBv1.0/g/NBIRTH/{}", IDS[node]), payload)
            .stating(node, rank, true)
            .stating(birth_of(node), rank, true)
            .stating(break_of(node), rank, true)
    }

    /// A message of a device, which its node sends.
    fn of_device(&mut self, verb: &str, node: usize, session: u64, at_ms: i64) -> Message {
        let sequence = self.next_sequence(node);
        let payload = self.payload(at_ms, None, sequence);
        let rank = self.next_rank(session);
        let message = Message::live(format!("spBv1.0/g/{verb}/{}/d", IDS[node]), payload)
            .stating(node, rank, true)
            .stating(node + 2, rank, verb != "DDEATH");
        if verb == "DDATA" { message } else { message.stating(own_of(node), rank, verb == "DBIRTH") }
    }
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        bytes.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

struct Nodes {
    speaker: Sparkplug,
    session: [u64; 2],
}

impl Speaker for Nodes {
    fn source(&self) -> &'static str {
        "sparkplug"
    }

    fn network(&self) -> Network {
        self.speaker.network
    }

    fn name(&self, device: usize) -> (String, String) {
        ("g".into(), IDS[device].into())
    }

    fn pause_ms(&self) -> i64 {
        12 * SECOND_MS
    }

    fn least_session_ms(&self) -> i64 {
        6 * SECOND_MS
    }

    fn takes_over(&self) -> bool {
        !self.speaker.network.loses
    }

    fn parent(&self, device: usize) -> Option<usize> {
        device.checked_sub(2)
    }

    fn speak(&mut self, happening: &Happening) -> Vec<Message> {
        let Happening { device, at_ms, session, .. } = *happening;
        let (node, is_node) = (device % 2, device < 2);
        if is_node {
            let before = std::mem::replace(&mut self.session[node], session);
            let speaker = &mut self.speaker;
            let death = |speaker: &Sparkplug, session: u64| {
                let payload = speaker.payload(at_ms - speaker.clock_ms, Some(speaker.number(session)), None);
                let rank = (session, ENDED);
                Message::live(format!("spBv1.0/g/NDEATH/{}", IDS[node]), payload)
                    .stating(node, rank, false)
                    .stating(break_of(node), rank, false)
            };
            return match happening.kind {
                Kind::Connected { takes_over } => {
                    (speaker.node_is_on[node], speaker.device_is_on[node]) = (true, false);
                    let birth = speaker.node_birth(node, session, at_ms);
                    if takes_over { vec![death(speaker, before), birth] } else { vec![birth] }
                }
                Kind::Disconnected(_) => {
                    (speaker.node_is_on[node], speaker.device_is_on[node]) = (false, false);
                    vec![death(speaker, session)]
                }
                Kind::Data => {
                    let sequence = speaker.next_sequence(node);
                    let payload = speaker.payload(at_ms, None, sequence);
                    let rank = speaker.next_rank(session);
                    vec![
                        Message::live(format!("spBv1.0/g/NDATA/{}", IDS[node]), payload)
                            .stating(node, rank, true),
                    ]
                }
                // Nobody is refused; a birth that is asked for, instead, with those of the devices behind it.
                Kind::Refused if speaker.node_is_on[node] => {
                    let mut births = vec![speaker.node_birth(node, session, at_ms)];
                    if speaker.device_is_on[node] {
                        births.push(speaker.of_device("DBIRTH", node, session, at_ms + 1));
                    }
                    births
                }
                Kind::Refused => Vec::new(),
            };
        }
        let (session, speaker) = (self.session[node], &mut self.speaker);
        match happening.kind {
            Kind::Connected { takes_over: false } => {
                speaker.device_is_on[node] = true;
                vec![speaker.of_device("DBIRTH", node, session, at_ms)]
            }
            Kind::Disconnected(_) => {
                speaker.device_is_on[node] = false;
                vec![speaker.of_device("DDEATH", node, session, at_ms)]
            }
            Kind::Data => vec![speaker.of_device("DDATA", node, session, at_ms)],
            Kind::Connected { takes_over: true } | Kind::Refused => Vec::new(),
        }
    }

    /// A death whose birth was lost is taken for a late one while another birth is held. What is below the node then depends
    /// on whether it was. Data of a device that overtakes a birth of its node is not kept, so it is hidden until more comes.
    fn is_decided(&self, device: usize, newest: &HashMap<usize, Fact>) -> bool {
        let node = device % 2;
        let born_in = newest.get(&birth_of(node)).map(|birth| birth.rank.0);
        let is_decided = |fact: &Fact| fact.rank.1 != ENDED || born_in == Some(fact.rank.0);
        let has_overtaken = |last: &Fact| {
            let is_data = |own: &Fact| newest.get(&own_of(node)).is_none_or(|newest| newest.rank < own.rank);
            newest.get(&device).is_some_and(|own| is_data(own) && own.arrived < last.arrived)
        };
        let is_below_decided = |last: &Fact| is_decided(last) && !has_overtaken(last);
        newest.get(&node).is_none_or(is_decided)
            && (device == node || newest.get(&break_of(node)).is_none_or(is_below_decided))
    }

    fn expected(&self, device: usize, newest: &HashMap<usize, Fact>) -> Option<bool> {
        let own = newest.get(&device)?;
        let Some(node) = device.checked_sub(2) else { return Some(own.is_connected) };
        let is_node_connected = newest.get(&node).is_none_or(|fact| fact.is_connected);
        let is_born_since = newest.get(&break_of(node)).is_none_or(|last| own.rank >= last.rank);
        Some(own.is_connected && is_node_connected && is_born_since)
    }
}

/// Of which the newest birth of a node is noted, beside what is said of the devices.
fn birth_of(node: usize) -> usize {
    DEVICES + node
}

/// Of which is noted what last took the devices of a node with it: its birth or its death.
fn break_of(node: usize) -> usize {
    DEVICES + 2 + node
}

/// Of which is noted what the device of a node said last of itself: its birth or its death.
fn own_of(node: usize) -> usize {
    DEVICES + 4 + node
}

fn nodes(network: Network, has_one_number: bool, clock_ms: i64) -> Nodes {
    let speaker = Sparkplug {
        network,
        has_one_number,
        clock_ms,
        sequence: [0; 2],
        said: 0,
        node_is_on: [false; 2],
        device_is_on: [false; 2],
    };
    Nodes { speaker, session: [0; 2] }
}

/// The birth of a node is lost, and its data arrives after its death: the device of the session before is not back yet.
#[test]
fn data_after_a_death_brings_no_device_back() {
    let (node, device) = (1, 3);
    let steps = [
        Step::Connect(node),
        Step::Connect(device),
        Step::Disconnect(node, Ending::Clean),
        Step::Connect(node),
        Step::SendData(node),
    ];
    let fate = Fate { is_lost: false, is_repeated: false, delay: 0, choice: 0 };
    let steps = steps.map(|step| (1, step)).to_vec();
    for fourth in [Fate { is_lost: true, ..fate }, Fate { delay: 999, ..fate }] {
        let history = History { steps: steps.clone(), fates: vec![fate, fate, fate, fourth, fate] };
        let network = Network { loses: true, delay_max_ms: DELAY_MAX_MS, ..Network::default() };
        super::check(nodes(network, false, 0), &history).unwrap();
    }
}

proptest! {
    #![proptest_config(super::cases())]

    /// Messages may be lost, late by less than five seconds, and repeated.
    #[test]
    fn sparkplug_with_losses(
        history in super::histories(40),
        has_one_number: bool,
        clock_ms in prop_oneof![Just(0), Just(-3_600_000)],
    ) {
        let network = Network { loses: true, repeats: true, delay_max_ms: DELAY_MAX_MS, keeps_link: false };
        super::check(nodes(network, has_one_number, clock_ms), &history)?;
    }

    /// A node connects again before its earlier connection is found to be lost: that one's death comes late.
    #[test]
    fn sparkplug_with_late_deaths(history in super::histories(40)) {
        let network = Network { loses: false, repeats: true, delay_max_ms: DELAY_MAX_MS, keeps_link: true };
        super::check(nodes(network, false, 0), &history)?;
    }
}
