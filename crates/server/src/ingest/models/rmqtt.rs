//! RMQTT: events that each have a task of their own in the broker, so that one may overtake another, and addresses that name the
//! connections.

use proptest::prelude::*;

use super::{BEGUN, ENDED, Ending, Happening, Kind, Message, Network, Speaker};

const IDS: [&str; 4] = ["cam-2", "a/b", "x/connected", "ünï"];

struct Rmqtt;

impl Rmqtt {
    fn connected(device: usize, session: u64, at_ms: i64) -> Message {
        let id = IDS[device];
        let payload = format!(
            r#"{{"clean_session":true,"clientid":"{id}","connected_at":{at_ms},"ipaddress":"{}","keepalive":5,"node":1,"proto_ver":4}}"#,
            peer(session)
        );
        Message::live(format!("$SYS/brokers/1/clients/{id}/connected"), payload)
    }

    fn disconnected(device: usize, session: u64, at_ms: i64, reason: &str) -> Message {
        let id = IDS[device];
        let payload = format!(
            r#"{{"clientid":"{id}","disconnected_at":{at_ms},"ipaddress":"{}","node":1,"reason":"{reason}"}}"#,
            peer(session)
        );
        Message::live(format!("$SYS/brokers/1/clients/{id}/disconnected"), payload)
    }
}

fn peer(session: u64) -> String {
    format!("192.0.2.10:{}", 50_000 + session)
}

impl Speaker for Rmqtt {
    fn source(&self) -> &'static str {
        "rmqtt"
    }

    fn network(&self) -> Network {
        Network { repeats: true, ..Network::default() }
    }

    fn name(&self, device: usize) -> (String, String) {
        ("mqtt".into(), IDS[device].into())
    }

    fn speak(&mut self, happening: &Happening) -> Vec<Message> {
        let Happening { device, session, at_ms, choice, .. } = *happening;
        match happening.kind {
            Kind::Connected { takes_over } => {
                let connected =
                    Self::connected(device, session, at_ms).stating(device, (session, BEGUN), true);
                if !takes_over {
                    return vec![connected];
                }
                let ended = Self::disconnected(device, session - 1, at_ms, "Kicked");
                let ended = ended.stating(device, (session - 1, ENDED), true);
                if choice & 1 == 0 { vec![ended, connected] } else { vec![connected, ended] }
            }
            Kind::Disconnected(ending) => {
                let reason = match ending {
                    Ending::Clean => "Disconnect(V3),RemoteClose",
                    Ending::Dropped => "RemoteClose",
                    Ending::TimedOut => "KeepaliveTimeout",
                };
                let ended = Self::disconnected(device, session, at_ms, reason);
                vec![ended.stating(device, (session, ENDED), false)]
            }
            Kind::Refused | Kind::Data => Vec::new(),
        }
    }
}

proptest! {
    #![proptest_config(super::cases())]

    #[test]
    fn rmqtt_in_order(history in super::histories(40)) {
        super::check(Rmqtt, &history)?;
    }
}
