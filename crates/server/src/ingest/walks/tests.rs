//! Walks in turns, with messages in between.

use proptest::prelude::*;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::ingest::rig::Rig;
use crate::sync::backlog::{Item, PassId};
use presence::{Moment, Status};

const DEVICES: usize = 3 * DEVICES_AT_ONCE;
/// When the subscription after the restart was asked for, in milliseconds.
const SUBSCRIBED: i64 = 1_767_225_600_000;
const LOG: &str = "$SYS/broker/log/N";

/// A decoder that has held connections since before a restart of their broker, and has just been told of it.
fn restarted() -> Rig {
    let mut rig = Rig::of_source("mosquitto-log");
    let before = (SUBSCRIBED - 60_000, SUBSCRIBED - 50_000);
    rig.send_at("$SYS/broker/uptime", "15 seconds", false, before);
    (0..DEVICES).for_each(|device| rig.send_at(LOG, &connected(device, 1), false, before));
    rig.hand_over("$SYS/broker/uptime", b"0 seconds", true, (SUBSCRIBED, SUBSCRIBED + 1));
    rig
}

fn connected(device: usize, port: u32) -> String {
    format!("1767225600: New client connected from 192.0.2.1:{port} as {device} (p2, c1, k60).")
}

fn state(rig: &Rig, device: usize) -> Option<(Status, Moment, Moment)> {
    let id = device.to_string();
    rig.map.read(Device { device_type: "mqtt", id: &id }, |record| {
        let resolved = record.resolve();
        (resolved.status, resolved.event.session, resolved.event.time)
    })
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The walk goes on.
    Turn,
    Connect(usize, u32),
    Disconnect(usize),
    /// The broker restarts once more.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    // Some devices beside those that are held, which appear while the walk is under way.
    let device = || 0..DEVICES + 20;
    let step = prop_oneof![
        2 => Just(Step::Turn),
        8 => (device(), 2..4_u32).prop_map(|(device, port)| Step::Connect(device, port)),
        4 => device().prop_map(Step::Disconnect),
        1 => Just(Step::Restart),
    ];
    // Our clock may be set back meanwhile.
    prop::collection::vec((-30_000..30_000_i64, step), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Messages that come while a walk is under way find what a walk that took no time would have left.
    #[test]
    fn a_walk_in_turns_ends_like_one_that_takes_no_time(steps in steps()) {
        let (mut at_once, mut in_turns) = (restarted(), restarted());
        at_once.settle();
        let (mut subscribed, mut restarts) = (SUBSCRIBED, 0);
        for (offset, step) in steps {
            let (topic, line) = match step {
                Step::Turn => {
                    in_turns.do_a_part();
                    continue;
                }
                Step::Connect(device, port) => (LOG, connected(device, port)),
                Step::Disconnect(device) => (LOG, format!("1767225600: Client {device} disconnected.")),
                Step::Restart if restarts == STARTS_MAX => continue,
                Step::Restart => {
                    restarts += 1;
                    subscribed += 100_000;
                    (LOG, "1767225600: mosquitto version 2.0.11 starting".to_owned())
                }
            };
            let at = (subscribed, subscribed + 50_000 + offset);
            at_once.send_at(topic, &line, false, at);
            in_turns.hand_over(topic, line.as_bytes(), false, at);
        }
        in_turns.settle();
        for device in 0..DEVICES + 20 {
            prop_assert_eq!(state(&in_turns, device), state(&at_once, device), "device {}", device);
        }
    }
}

#[test]
fn a_barrier_waits_for_a_walk_and_messages_do_not() {
    let mut rig = restarted();
    let (done, mut answer) = oneshot::channel();
    rig.apply(Item::Barrier { pass: PassId(1), done });
    rig.hand_over(LOG, connected(DEVICES + 1, 1).as_bytes(), false, (SUBSCRIBED, SUBSCRIBED + 2));
    assert_eq!(rig.shown("mqtt", &(DEVICES + 1).to_string()), Some((Status::Connected, false)));
    assert!(rig.ingest.walks.are_under_way());
    assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
    rig.settle();
    rig.answer_waiting();
    assert_eq!(answer.try_recv(), Ok(Tally::default()));
    assert_eq!(rig.shown("mqtt", "0"), Some((Status::Disconnected, false)));
}

#[test]
fn a_broker_that_restarts_again_and_again_makes_a_few_walks() {
    let mut rig = restarted();
    for second in 1..100 {
        let at = (SUBSCRIBED, SUBSCRIBED + second * 1_000);
        rig.hand_over(LOG, b"mosquitto version 2.0.11 starting", false, at);
    }
    assert_eq!(rig.ingest.walks.walks.len(), STARTS_MAX + 1);
}
