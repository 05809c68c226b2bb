//! EMQX: a cluster of two nodes, whose clocks differ, and whose events overtake each other.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{BEGUN, ENDED, Ending, Fact, Happening, Kind, MINUTE_MS, Message, Network, SECOND_MS, Speaker};

const IDS: [&str; 4] = ["pump-17", "a/b", "connected", "x/disconnected"];
const NODES: [&str; 2] = ["emqx@10.0.0.4", "emqx@10.0.0.5"];

struct Emqx {
    /// Since 5.9 the end of a session that is taken over follows the beginning of the next.
    ends_late: bool,
    /// How much the clock of the second node is ahead.
    skew_ms: i64,
    network: Network,
    /// When a node stopped; at least one runs.
    stopped_ms: [Option<i64>; 2],
    /// Where each session of a device is, and when it began by the clock of that node.
    sessions: HashMap<(usize, u64), (usize, i64)>,
    current: HashMap<usize, u64>,
}

impl Emqx {
    fn new(ends_late: bool, skew_ms: i64, network: Network) -> Self {
        let (sessions, current) = (HashMap::new(), HashMap::new());
        Self { ends_late, skew_ms, network, stopped_ms: [None; 2], sessions, current }
    }

    fn clock(&self, node: usize, at_ms: i64) -> i64 {
        at_ms + if node == 1 { self.skew_ms } else { 0 }
    }

    fn end(&self, device: usize, session: u64, reason: &str, at_ms: i64) -> Message {
        let (node, began) = self.sessions[&(device, session)];
        let (id, ended) = (IDS[device], self.clock(node, at_ms));
        let payload = format!(
            r#"{{"clientid":"{id}","username":"undefined","reason":"{reason}","connected_at":{began},"disconnected_at":{ended},"ts":{},"proto_ver":5,"protocol":"mqtt"}}"#,
            ended + 1
        );
        Message::live(format!("$SYS/brokers/{}/clients/{id}/disconnected", NODES[node]), payload)
    }

    fn is_running(&self, node: usize) -> bool {
        self.stopped_ms[node].is_none()
    }
}

impl Speaker for Emqx {
    fn source(&self) -> &'static str {
        "emqx"
    }

    fn network(&self) -> Network {
        self.network
    }

    fn name(&self, device: usize) -> (String, String) {
        ("mqtt".into(), IDS[device].into())
    }

    fn pause_ms(&self) -> i64 {
        // The merge rule takes sessions within a second for simultaneous.
        SECOND_MS + 1
    }

    fn speak(&mut self, happening: &Happening) -> Vec<Message> {
        let Happening { device, session, at_ms, choice, .. } = *happening;
        match happening.kind {
            Kind::Connected { takes_over } => {
                let mut node = choice as usize % 2;
                if !self.is_running(node) {
                    node = 1 - node;
                }
                let (id, began) = (IDS[device], self.clock(node, at_ms));
                let payload = format!(
                    r#"{{"clientid":"{id}","username":"plant","ipaddress":"10.1.9.2:{}","sockport":8883,"protocol":"mqtt","proto_name":"MQTT","proto_ver":5,"keepalive":60,"clean_start":false,"expiry_interval":3600000,"connected_at":{began},"ts":{}}}"#,
                    choice % 65_536,
                    began + 1
                );
                let topic = format!("$SYS/brokers/{}/clients/{id}/connected", NODES[node]);
                let connected = Message::live(topic, payload).stating(device, (session, BEGUN), true);
                let before = session - 1;
                self.sessions.insert((device, session), (node, began));
                self.current.insert(device, session);
                if !takes_over {
                    return vec![connected];
                }
                let reason = if choice & 4 == 0 { "takenover" } else { "discarded" };
                let ended = self.end(device, before, reason, at_ms).stating(device, (before, ENDED), true);
                if self.ends_late { vec![connected, ended] } else { vec![ended, connected] }
            }
            Kind::Disconnected(ending) => {
                let reason = match ending {
                    Ending::Clean => "normal",
                    Ending::Dropped => "tcp_closed",
                    Ending::TimedOut => "keepalive_timeout",
                };
                self.current.remove(&device);
                vec![self.end(device, session, reason, at_ms).stating(device, (session, ENDED), false)]
            }
            // No event exists for either.
            Kind::Refused | Kind::Data => Vec::new(),
        }
    }

    fn tick(&mut self, now_ms: i64) -> Vec<Message> {
        if now_ms % MINUTE_MS != 0 {
            return Vec::new();
        }
        // The others notice some time after a node has stopped.
        let is_listed = |node: &usize| self.stopped_ms[*node].is_none_or(|at| now_ms < at + 10 * SECOND_MS);
        let nodes: Vec<&str> = (0..2).filter(is_listed).map(|node| NODES[node]).collect();
        vec![Message::retained("$SYS/brokers", nodes.join(","))]
    }

    fn lose_node(&mut self, node: usize, now_ms: i64) -> Vec<usize> {
        if !self.is_running(0) || !self.is_running(1) {
            return Vec::new();
        }
        self.stopped_ms[node] = Some(now_ms);
        let is_there = |(device, session): (&usize, &u64)| self.sessions[&(*device, *session)].0 == node;
        let gone: Vec<usize> =
            self.current.iter().filter(|entry| is_there(*entry)).map(|(device, _)| *device).collect();
        for device in &gone {
            self.current.remove(device);
        }
        gone
    }

    fn is_stale(&self, device: usize, newest: &HashMap<usize, Fact>) -> Option<bool> {
        let newest = newest.get(&device)?;
        // Nobody says on which node the session is that took over.
        if newest.rank.1 == ENDED && newest.is_connected {
            return None;
        }
        let (node, _) = self.sessions[&(device, newest.rank.0)];
        Some(!self.is_running(node))
    }
}

proptest! {
    #![proptest_config(super::cases())]

    /// Clocks agree: events may be lost, late and repeated.
    #[test]
    fn emqx_with_losses(history in super::histories(40), ends_late: bool) {
        let network =
            Network { loses: true, repeats: true, delay_max_ms: 5 * SECOND_MS, keeps_link: false };
        super::check(Emqx::new(ends_late, 0, network), &history)?;
    }

    /// Clocks differ by less than a second: events may be late and repeated.
    #[test]
    fn emqx_with_skew(history in super::histories(40), ends_late: bool, skew_ms in -900..900_i64) {
        let network =
            Network { loses: false, repeats: true, delay_max_ms: 5 * SECOND_MS, keeps_link: true };
        super::check(Emqx::new(ends_late, skew_ms, network), &history)?;
    }
}
