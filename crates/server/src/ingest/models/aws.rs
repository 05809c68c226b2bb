//! AWS IoT: versions that start again, times that are two minutes wrong, and messages in any order.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{BEGUN, ENDED, Ending, Happening, Kind, MINUTE_MS, Message, Network, Speaker};

const IDS: [&str; 4] = ["sensor-9", "a/b", "connected", "\u{fc}"];

const DELAY_MAX_MS: i64 = 150_000;

#[derive(Default)]
struct Aws {
    /// A right is withdrawn, and nothing is lost: `AUTH_ERROR` ends only a session whose beginning is known.
    revokes: bool,
    versions: [u64; 4],
    /// When the last session of each ended.
    ended_ms: [Option<i64>; 4],
    /// By session: its version, and when it began.
    version_of: HashMap<(usize, u64), (u64, i64)>,
    messages: u32,
}

impl Aws {
    fn message(
        &mut self,
        happening: &Happening,
        session: &str,
        version: u64,
        reason: Option<&str>,
    ) -> Message {
        self.messages += 1;
        let id = IDS[happening.device];
        let wrong = i64::from(
            happening.choice.wrapping_mul(2_654_435_761).wrapping_add(self.messages * 7_919) % 240_001,
        );
        let time = happening.at_ms + wrong - 2 * MINUTE_MS;
        let (verb, rest) = match reason {
            None => ("connected", r#","ipAddress":"198.51.100.7""#.to_owned()),
            Some(reason) => (
                "disconnected",
                format!(r#","clientInitiatedDisconnect":false,"disconnectReason":"{reason}""#),
            ),
        };
        let payload = format!(
            r#"{{"clientId":"{id}","timestamp":{time},"eventType":"{verb}","sessionIdentifier":"{session}","principalIdentifier":"c0ffee","versionNumber":{version}{rest}}}"#
        );
        Message::live(format!("$aws/events/presence/{verb}/{id}"), payload)
    }

    fn next_version(&mut self, happening: &Happening) -> u64 {
        let device = happening.device;
        let offline_ms = self.ended_ms[device].map(|ended_ms| happening.at_ms - ended_ms);
        let is_new_epoch = offline_ms.is_some_and(|offline_ms| offline_ms > 60 * MINUTE_MS);
        self.versions[device] =
            if is_new_epoch { 0 } else { self.versions[device] + 1 + u64::from(happening.choice % 3) };
        self.versions[device]
    }
}

impl Speaker for Aws {
    fn source(&self) -> &'static str {
        "aws-iot"
    }

    fn network(&self) -> Network {
        Network { loses: !self.revokes, repeats: true, delay_max_ms: DELAY_MAX_MS, keeps_link: self.revokes }
    }

    fn name(&self, device: usize) -> (String, String) {
        ("mqtt".into(), IDS[device].into())
    }

    /// Hours pass, so that versions start again.
    fn scale(&self) -> i64 {
        30
    }

    fn speak(&mut self, happening: &Happening) -> Vec<Message> {
        let Happening { device, session, at_ms, choice, .. } = *happening;
        match happening.kind {
            Kind::Connected { takes_over } => {
                let before = self.version_of.get(&(device, session - 1)).copied();
                let version = self.next_version(happening);
                self.version_of.insert((device, session), (version, at_ms));
                self.ended_ms[device] = None;
                let connected = self
                    .message(happening, &format!("s{device}-{session}"), version, None)
                    .stating(device, (session, BEGUN), true);
                let Some((before, _)) = before.filter(|_version| takes_over) else { return vec![connected] };
                let name = format!("s{device}-{}", session - 1);
                let ended = self.message(happening, &name, before, Some("DUPLICATE_CLIENTID")).stating(
                    device,
                    (session - 1, ENDED),
                    true,
                );
                if choice & 8 == 0 { vec![ended, connected] } else { vec![connected, ended] }
            }
            Kind::Disconnected(ending) => {
                self.ended_ms[device] = Some(at_ms);
                let (version, began_ms) = self.version_of[&(device, session)];
                // One that overtakes the beginning of a new run of versions is taken for a refused login.
                let is_revoked = self.revokes && at_ms - began_ms > DELAY_MAX_MS;
                let reason = match ending {
                    Ending::Clean => "CLIENT_INITIATED_DISCONNECT",
                    Ending::Dropped if is_revoked => "AUTH_ERROR",
                    Ending::Dropped => "CONNECTION_LOST",
                    Ending::TimedOut => "MQTT_KEEP_ALIVE_TIMEOUT",
                };
                vec![self.message(happening, &format!("s{device}-{session}"), version, Some(reason)).stating(
                    device,
                    (session, ENDED),
                    false,
                )]
            }
            Kind::Refused => {
                let topic = format!("$aws/events/presence/connect_failed/{}", IDS[device]);
                vec![Message::live(topic, format!(r#"{{"clientId":"{}","timestamp":{at_ms}}}"#, IDS[device]))]
            }
            Kind::Data => Vec::new(),
        }
    }
}

proptest! {
    #![proptest_config(super::cases())]

    #[test]
    fn aws_iot_in_any_order(history in super::histories(40), revokes: bool) {
        super::check(Aws { revokes, ..Aws::default() }, &history)?;
    }
}
