//! mosquitto's log in three generations of words, with client ids that contain those words, and restarts of the broker.

use proptest::prelude::*;

use super::{BEGUN, ENDED, Ending, Fact, Happening, Kind, MINUTE_MS, Message, Network, START_MS, Speaker};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Generation {
    V1,
    V2,
    V21,
}

const IDS: [&str; 4] =
    ["boiler 3", "x closed its connection.", "b as c (p2, c1, k60).", "d disconnected: exceeded timeout"];

struct Mosquitto {
    generation: Generation,
    /// `sys_interval`.
    interval_ms: i64,
    started_ms: i64,
    /// Sessions that a restart has ended.
    ended: Vec<Fact>,
}

impl Mosquitto {
    fn line(severity: char, at_ms: i64, text: &str) -> Message {
        Message::live(format!("$SYS/broker/log/{severity}"), format!("{}: {text}", at_ms / 1_000))
    }

    fn end(&self, device: usize, session: u64, at_ms: i64, ending: Ending) -> Message {
        let id = IDS[device];
        let text = match (self.generation, ending) {
            (Generation::V21, _) => {
                let reason = match ending {
                    Ending::Clean => "disconnected.",
                    Ending::Dropped => "disconnected: connection closed by client.",
                    Ending::TimedOut => "disconnected: exceeded timeout.",
                };
                format!("Client {id} [{}] {reason}", peer(session))
            }
            (_, Ending::Clean) => format!("Client {id} disconnected."),
            (_, Ending::TimedOut) => format!("Client {id} has exceeded timeout, disconnecting."),
            (Generation::V1, Ending::Dropped) => format!("Socket error on client {id}, disconnecting."),
            (Generation::V2, Ending::Dropped) => format!("Client {id} closed its connection."),
        };
        Self::line('N', at_ms, &text)
    }
}

fn peer(session: u64) -> String {
    format!("192.0.2.10:{}", 50_000 + session)
}

impl Speaker for Mosquitto {
    fn source(&self) -> &'static str {
        "mosquitto-log"
    }

    fn network(&self) -> Network {
        Network::default()
    }

    fn name(&self, device: usize) -> (String, String) {
        ("mqtt".into(), IDS[device].into())
    }

    fn speak(&mut self, happening: &Happening) -> Vec<Message> {
        let Happening { device, session, at_ms, choice, .. } = *happening;
        let id = IDS[device];
        match happening.kind {
            Kind::Connected { takes_over } => {
                let from =
                    if self.generation == Generation::V1 { "192.0.2.10".into() } else { peer(session) };
                let user = if choice & 1 == 0 { "" } else { ", u'heating'" };
                let text = format!("New client connected from {from} as {id} (p4, c1, k30{user}).");
                let connected = Self::line('N', at_ms, &text).stating(device, (session, BEGUN), true);
                if !takes_over {
                    return vec![connected];
                }
                let taken = match self.generation {
                    Generation::V1 | Generation::V2 => Self::line(
                        'E',
                        at_ms,
                        &format!("Client {id} already connected, closing old connection."),
                    ),
                    Generation::V21 => Self::line(
                        'N',
                        at_ms,
                        &format!("Client {id} [{}] disconnected: session taken over.", peer(session - 1)),
                    ),
                };
                vec![taken.stating(device, (session - 1, ENDED), true), connected]
            }
            Kind::Disconnected(ending) => {
                vec![self.end(device, session, at_ms, ending).stating(device, (session, ENDED), false)]
            }
            Kind::Refused => vec![match self.generation {
                Generation::V1 | Generation::V2 => {
                    Self::line('N', at_ms, "Client <unknown> disconnected, not authorised.")
                }
                Generation::V21 => {
                    Self::line('N', at_ms, "Client 192.0.2.9 [192.0.2.9:50122] disconnected: not authorised.")
                }
            }],
            Kind::Data => Vec::new(),
        }
    }

    fn tick(&mut self, now_ms: i64) -> Vec<Message> {
        let uptime_ms = now_ms - self.started_ms;
        if uptime_ms % self.interval_ms >= 1_000 {
            return Vec::new();
        }
        let mut message = Message::retained("$SYS/broker/uptime", format!("{} seconds", uptime_ms / 1_000));
        message.facts.clone_from(&self.ended);
        vec![message]
    }

    fn restart(&mut self, now_ms: i64, sessions: &[(usize, u64)]) -> Vec<Message> {
        // A restart is seen for certain if the broker had run for so long.
        if now_ms - self.started_ms < 2 * MINUTE_MS + self.interval_ms {
            return Vec::new();
        }
        self.started_ms = now_ms;
        self.ended.extend(sessions.iter().map(|(device, session)| Fact {
            device: *device,
            rank: (*session, ENDED),
            is_connected: false,
            only_of_known: true,
            arrived: 0,
        }));
        self.tick(now_ms)
    }
}

proptest! {
    #![proptest_config(super::cases())]

    #[test]
    fn mosquitto_log_with_restarts(
        history in super::histories(40),
        generation in prop_oneof![Just(Generation::V1), Just(Generation::V2), Just(Generation::V21)],
        interval_s in prop_oneof![Just(10), Just(100)],
    ) {
        let interval_ms = interval_s * 1_000;
        let broker = Mosquitto { generation, interval_ms, started_ms: START_MS, ended: Vec::new() };
        super::check(broker, &history)?;
    }
}
