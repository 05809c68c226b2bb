//! Formats that tell a state: last wills and the like. The link is lost and the broker repeats what it retains.

use std::collections::HashMap;

use formats::catalog::{self, Formats, Routed};
use formats::example::{self, Report};
use formats::{Decoded, UnixNanos};
use proptest::prelude::*;
use proptest::sample::select;

use super::{BEGUN, DEVICES, ENDED, Ending, Fact, Happening, Kind, Message, Network, START_MS, Speaker};

/// A built-in profile, as the simulator speaks it.
struct Profile {
    source: &'static str,
    is_retained: bool,
    /// Type and id by device.
    names: Vec<(String, String)>,
    began_ms: HashMap<(usize, u64), i64>,
}

impl Profile {
    fn new(source: &'static str) -> Self {
        let formats = Formats::new(&[source.to_owned()], &[]).expect("it is built in");
        let names = (0..DEVICES).map(|device| {
            let example = said(source, device, true, START_MS, (1, START_MS));
            match formats.route(example.topic.as_bytes(), &example.payload, example.is_retained) {
                Routed::Other(_, Decoded::Event(event)) => {
                    (event.device.device_type.into_owned(), event.device.id.into_owned())
                }
                other => panic!("{source} does not read its own message: {other:?}"),
            }
        });
        let is_retained = catalog::infos().any(|info| info.name == source && info.is_retained);
        Self { source, is_retained, names: names.collect(), began_ms: HashMap::new() }
    }
}

fn said(
    source: &str,
    device: usize,
    is_connected: bool,
    at_ms: i64,
    (session_number, began_ms): (u64, i64),
) -> example::Example {
    let (time, session) = (UnixNanos(at_ms * 1_000_000), UnixNanos(began_ms * 1_000_000));
    let id = format!("device-{device}");
    let report = Report { id: &id, is_connected, session, session_number, time };
    example::of(source, &report).expect("every built-in format has examples")
}

impl Speaker for Profile {
    fn source(&self) -> &'static str {
        self.source
    }

    fn network(&self) -> Network {
        Network::default()
    }

    fn name(&self, device: usize) -> (String, String) {
        self.names[device].clone()
    }

    fn speak(&mut self, happening: &Happening) -> Vec<Message> {
        let Happening { device, session, at_ms, .. } = *happening;
        let message = |began_ms: &HashMap<(usize, u64), i64>, session: u64, is_connected: bool| {
            let began = (session, began_ms[&(device, session)]);
            let example = said(self.source, device, is_connected, at_ms, began);
            let message = Message::live(example.topic, example.payload);
            let rank = (session, if is_connected { BEGUN } else { ENDED });
            Message { is_retained: self.is_retained, ..message }.stating(device, rank, is_connected)
        };
        match happening.kind {
            Kind::Connected { takes_over } => {
                self.began_ms.insert((device, session), at_ms);
                let will = takes_over.then(|| message(&self.began_ms, session - 1, false));
                will.into_iter().chain([message(&self.began_ms, session, true)]).collect()
            }
            Kind::Disconnected(_) => vec![message(&self.began_ms, session, false)],
            // Only what shows that a device is connected says anything.
            Kind::Data if self.source == "tasmota" => {
                let topic = format!("tele/device-{device}/STATE");
                vec![Message::live(topic, "{}").stating(device, (session, BEGUN), true)]
            }
            Kind::Data | Kind::Refused => Vec::new(),
        }
    }
}

/// ChirpStack's gateways in protobuf.
struct Chirpstack;

impl Speaker for Chirpstack {
    fn source(&self) -> &'static str {
        "chirpstack"
    }

    fn network(&self) -> Network {
        Network::default()
    }

    fn name(&self, device: usize) -> (String, String) {
        ("gateway".into(), format!("00800000a00016b{device}"))
    }

    fn speak(&mut self, happening: &Happening) -> Vec<Message> {
        let Happening { device, session, .. } = *happening;
        let (_, id) = self.name(device);
        let message = |session: u64, is_connected: bool| {
            // OFFLINE is the default of the field, so it is left out.
            let mut payload = if is_connected { vec![0x10, 1] } else { Vec::new() };
            payload.extend([0x1a, 16]);
            payload.extend(id.as_bytes());
            let rank = (session, if is_connected { BEGUN } else { ENDED });
            let region = if device % 2 == 0 { "eu868/" } else { "" };
            Message::retained(format!("{region}gateway/{id}/state/conn"), payload).stating(
                device,
                rank,
                is_connected,
            )
        };
        match happening.kind {
            Kind::Connected { takes_over } => {
                let will = takes_over.then(|| message(session - 1, false));
                will.into_iter().chain([message(session, true)]).collect()
            }
            Kind::Disconnected(_) => vec![message(session, false)],
            Kind::Data | Kind::Refused => Vec::new(),
        }
    }
}

/// Which of two conventions with parents is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// Devices count while the bridge is online.
    Zigbee,
    /// Devices of a tree are lost with its root.
    Homie5,
}

/// The first device is the parent of the second and third.
struct Tree {
    family: Family,
    is_described: [bool; DEVICES],
    /// The newest session of the parent; 0 before the first.
    parent_session: u64,
    /// Sessions of the parent that ended with its will.
    lost: Vec<u64>,
}

impl Tree {
    fn state(&self, device: usize, session: u64, ending: Option<Ending>) -> Message {
        let (_, id) = self.name(device);
        let (topic, payload) = match (self.family, ending) {
            (Family::Zigbee, _) if device == 0 => (format!("{id}/state"), zigbee(ending)),
            (Family::Zigbee, _) => (format!("zigbee2mqtt/{id}/availability"), zigbee(ending)),
            (Family::Homie5, _) => {
                let state = match ending {
                    None => "ready",
                    Some(Ending::Clean) => "disconnected",
                    Some(Ending::Dropped | Ending::TimedOut) => "lost",
                };
                (format!("homie/5/{id}/$state"), state.to_owned())
            }
        };
        let rank = (session, if ending.is_none() { BEGUN } else { ENDED });
        Message::retained(topic, payload).stating(device, rank, ending.is_none())
    }

    fn is_child(&self, device: usize) -> bool {
        match self.family {
            Family::Zigbee => device > 0,
            Family::Homie5 => device == 1 || device == 2,
        }
    }

    fn hides(&self, is_parent_connected: bool, session: u64) -> bool {
        match self.family {
            Family::Zigbee => !is_parent_connected,
            Family::Homie5 => !is_parent_connected && self.lost.contains(&session),
        }
    }
}

fn zigbee(ending: Option<Ending>) -> String {
    format!(r#"{{"state":"{}"}}"#, if ending.is_none() { "online" } else { "offline" })
}

impl Speaker for Tree {
    fn source(&self) -> &'static str {
        match self.family {
            Family::Zigbee => "zigbee2mqtt",
            Family::Homie5 => "homie5",
        }
    }

    fn network(&self) -> Network {
        Network::default()
    }

    fn name(&self, device: usize) -> (String, String) {
        match (self.family, device) {
            (Family::Zigbee, 0) => ("bridge".into(), "zigbee2mqtt/bridge".into()),
            (Family::Zigbee, _) => ("zigbee".into(), format!("kitchen/plug {device}")),
            (Family::Homie5, _) => ("homie".into(), format!("device-{device}")),
        }
    }

    fn speak(&mut self, happening: &Happening) -> Vec<Message> {
        let Happening { device, session, .. } = *happening;
        if device == 0 {
            self.parent_session = session;
        }
        match happening.kind {
            Kind::Connected { takes_over } => {
                let mut messages = Vec::new();
                if takes_over {
                    if device == 0 {
                        self.lost.push(session - 1);
                    }
                    messages.push(self.state(device, session - 1, Some(Ending::Dropped)));
                }
                messages.push(self.state(device, session, None));
                if self.family == Family::Homie5 && self.is_child(device) && !self.is_described[device] {
                    self.is_described[device] = true;
                    let topic = format!("homie/5/device-{device}/$description");
                    let description = Message::retained(topic, r#"{"homie":"5.0","root":"device-0"}"#);
                    // The convention leaves open which of them comes first.
                    let at = usize::from(happening.choice & 1 == 0) * messages.len();
                    messages.insert(at, description);
                }
                messages
            }
            Kind::Disconnected(ending) => {
                if device == 0 && ending != Ending::Clean {
                    self.lost.push(session);
                }
                vec![self.state(device, session, Some(ending))]
            }
            Kind::Data | Kind::Refused => Vec::new(),
        }
    }

    fn is_connected(&self, device: usize, own: [bool; DEVICES]) -> bool {
        let has_parent = self.is_child(device) && self.parent_session > 0;
        own[device] && !(has_parent && self.hides(own[0], self.parent_session))
    }

    fn expected(&self, device: usize, newest: &HashMap<usize, Fact>) -> Option<bool> {
        let own = newest.get(&device)?.is_connected;
        let parent = newest.get(&0).filter(|_fact| self.is_child(device));
        Some(own && !parent.is_some_and(|fact| self.hides(fact.is_connected, fact.rank.0)))
    }
}

fn sources() -> Vec<&'static str> {
    let own = ["iot-platform", "mosquitto-log", "nanomq", "rmqtt", "aws-iot", "sparkplug", "emqx"];
    catalog::infos().map(|info| info.name).filter(|name| !own.contains(name)).collect()
}

proptest! {
    #![proptest_config(super::cases())]

    #[test]
    fn profiles_with_lost_links(history in super::histories(40), source in select(sources())) {
        super::check(Profile::new(source), &history)?;
    }

    #[test]
    fn chirpstack_in_protobuf(history in super::histories(40)) {
        super::check(Chirpstack, &history)?;
    }

    #[test]
    fn trees_with_lost_links(
        history in super::histories(40),
        family in prop_oneof![Just(Family::Zigbee), Just(Family::Homie5)],
    ) {
        super::check(Tree { family, is_described: [false; DEVICES], parent_session: 0, lost: Vec::new() }, &history)?;
    }
}
