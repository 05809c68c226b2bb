//! NanoMQ: JSON that is cut, logins that are refused as `online`, and persistent sessions whose ends no message tells.

use proptest::prelude::*;

use super::{BEGUN, ENDED, Ending, Happening, Kind, Message, MessageFlaw, Network, Speaker};

const IDS: [&str; 4] = ["cam-2", "a/b", "x\",\"status\":\"offline", "online"];

/// NanoMQ writes into so many bytes, the NUL at the end included.
const PAYLOAD_MAX_BYTES: usize = 255;

struct NanoMq;

impl NanoMq {
    fn online(device: usize, at_ms: i64, code: &str, choice: u32) -> Message {
        let id = IDS[device];
        let user = "u".repeat(choice as usize % 280);
        let text = format!(
            r#"{{"status":"online", "username":"{user}", "ts":{at_ms},"proto_name":"MQTT","keepalive":30,"return_code":"{code}","proto_ver":4,"client_id":"{id}","clean_start":1, "IPv4":"10.0.0.9"}}"#
        );
        Self::cut(id, &text, &format!(r#""return_code":"{code}""#))
    }

    fn offline(device: usize, at_ms: i64, code: &str) -> Message {
        let id = IDS[device];
        let text = format!(
            r#"{{"status":"offline", "username":"ops","ts":{at_ms},"reason_code":"{code}","client_id":"{id}","IPv4":"10.0.0.9"}}"#
        );
        Self::cut(id, &text, "offline")
    }

    fn cut(id: &str, text: &str, needed: &str) -> Message {
        let payload = &text[..text.len().min(PAYLOAD_MAX_BYTES)];
        let flaw = (!payload.contains(needed)).then_some(MessageFlaw::Unreadable);
        Message { flaw, ..Message::live(format!("$SYS/brokers/client_status/{id}"), payload) }
    }
}

impl Speaker for NanoMq {
    fn source(&self) -> &'static str {
        "nanomq"
    }

    fn network(&self) -> Network {
        Network::default()
    }

    fn name(&self, device: usize) -> (String, String) {
        ("mqtt".into(), IDS[device].into())
    }

    fn speak(&mut self, happening: &Happening) -> Vec<Message> {
        let Happening { device, session, at_ms, choice, .. } = *happening;
        match happening.kind {
            Kind::Connected { takes_over } => {
                let connected =
                    Self::online(device, at_ms, "0", choice).stating(device, (session, BEGUN), true);
                if !takes_over {
                    return vec![connected];
                }
                let ended = Self::offline(device, at_ms, "8e").stating(device, (session - 1, ENDED), true);
                if choice & 1 == 0 { vec![ended, connected] } else { vec![connected, ended] }
            }
            // A persistent session goes on without its client.
            Kind::Disconnected(Ending::Dropped) if choice & 1 == 0 => {
                vec![Message::not_sent(device, (session, ENDED), false)]
            }
            Kind::Disconnected(ending) => {
                let code = match ending {
                    Ending::Clean => "0",
                    Ending::Dropped => "4",
                    Ending::TimedOut => "8d",
                };
                vec![Self::offline(device, at_ms, code).stating(device, (session, ENDED), false)]
            }
            Kind::Refused => vec![Self::online(device, at_ms, "5", choice % 100)],
            Kind::Data => Vec::new(),
        }
    }
}

proptest! {
    #![proptest_config(super::cases())]

    #[test]
    fn nanomq_in_order(history in super::histories(40)) {
        super::check(NanoMq, &history)?;
    }
}
