//! Devices below an edge node or a bridge: their own state, and what is shown.

use formats::order::{AliveRule, EffectiveState, Key, ParentRule, Resolution, effective};
use formats::{Cause, DeviceName, Event, EventKind, Session, UnixNanos};
use proptest::prelude::*;

use crate::instance::{HOUR, Instance, MINUTE, SECOND, START, event, live};

fn node(kind: EventKind, number: u64, time: i64) -> Event<'static> {
    let time = (kind == EventKind::Connect).then_some(time);
    event(kind, Session::Matched { birth: Some(number), sequence: None }, time)
}

fn device(kind: EventKind, sequence: u8, time: Option<i64>) -> Event<'static> {
    let parent = DeviceName { device_type: "t".into(), id: "n".into() };
    let session = Session::Matched { birth: None, sequence: Some(sequence) };
    Event { parent: Some(parent), ..event(kind, session, time) }
}

/// A node and one of its devices.
#[derive(Default)]
struct Tree {
    node: Instance,
    device: Instance,
}

impl Tree {
    fn take(&mut self, event: &Event<'static>, received: i64) -> Resolution {
        if event.parent.is_some() {
            self.device.take_below(event, live(received), self.node.held().as_ref())
        } else {
            self.node.take(event, live(received))
        }
    }

    /// Data of the device.
    fn alive(&mut self, sent: i64, received: i64) {
        let rule = AliveRule::Matched(Some(UnixNanos(sent)));
        self.node.take_alive(rule, live(received), None);
        self.device.take_alive(rule, live(received), self.node.held().as_ref());
    }

    fn shown(&self) -> Option<EffectiveState> {
        let parent = self.node.held().map(|held| held.key);
        Some(effective(&self.device.held()?.key, parent.as_ref(), ParentRule::SinceBirth))
    }

    fn is_shown_connected(&self) -> bool {
        self.shown().is_some_and(|state| state.is_connected)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The node is lost and comes back.
    Reconnect,
    /// Its death is lost with the link.
    ReconnectUnseen,
    Rebirth,
    Device(EventKind),
    /// The node's clock is set, by this much from the true time.
    SetClock(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Reconnect),
        1 => Just(Step::ReconnectUnseen),
        1 => Just(Step::Rebirth),
        3 => Just(Step::Device(EventKind::Connect)),
        2 => Just(Step::Device(EventKind::Disconnect)),
        1 => prop::sample::select(&[0, -HOUR, -START + HOUR][..]).prop_map(Step::SetClock),
    ];
    prop::collection::vec((step, 12 * SECOND..MINUTE), 1..20)
        .prop_map(|steps| steps.into_iter().map(|(step, _after)| step).collect())
}

proptest! {
    /// A device is shown as connected exactly while its node is and it was born in this session of it; messages are
    /// overtaken by seconds unless a clock was set.
    #[test]
    fn devices_are_shown_as_they_are(steps in steps(), delays in prop::collection::vec(0..4 * SECOND, 5)) {
        let sets_clock = steps.iter().any(|step| matches!(step, Step::SetClock(_)));
        let mut messages: Vec<(i64, Event<'static>)> = Vec::new();
        let (mut now, mut clock, mut number, mut is_born, mut sequence) = (START, 0, 0, false, 0_u8);
        let mut send = |now: i64, event| {
            let delay = if sets_clock { 0 } else { delays[messages.len() % delays.len()] };
            messages.push((now + delay, event));
        };
        send(now, node(EventKind::Connect, number, now));
        for step in steps {
            now += 20 * SECOND;
            sequence = sequence.wrapping_add(1);
            match step {
                Step::Reconnect | Step::ReconnectUnseen => {
                    if matches!(step, Step::Reconnect) {
                        send(now, node(EventKind::Disconnect, number, now));
                    }
                    now += 20 * SECOND;
                    (number, is_born, sequence) = ((number + 1) % 256, false, 0);
                    send(now, node(EventKind::Connect, number, now + clock));
                }
                Step::Rebirth => {
                    (is_born, sequence) = (false, 0);
                    send(now, node(EventKind::Connect, number, now + clock));
                }
                Step::Device(kind) => {
                    is_born = kind == EventKind::Connect;
                    send(now, device(kind, sequence, Some(now + clock)));
                }
                Step::SetClock(by) => {
                    // A node that starts anew has another clock.
                    clock = by;
                    (number, is_born, sequence) = ((number + 1) % 256, false, 0);
                    send(now, node(EventKind::Connect, number, now + clock));
                }
            }
        }
        messages.sort_by_key(|(received, _event)| *received);
        let mut tree = Tree::default();
        for (received, event) in &messages {
            tree.take(event, *received);
        }
        prop_assert_eq!(tree.is_shown_connected(), is_born, "{:#?}", messages);
    }
}

#[test]
fn a_death_of_the_node_hides_its_devices_until_they_are_born_again() {
    let mut tree = Tree::default();
    tree.take(&node(EventKind::Connect, 1, START), START);
    tree.take(&device(EventKind::Connect, 1, Some(START)), START);
    assert!(tree.is_shown_connected(), "born in the same millisecond as its node");
    let lost = START + HOUR;
    tree.take(&node(EventKind::Disconnect, 1, lost), lost);
    let shown = tree.shown().unwrap();
    let hidden =
        EffectiveState { is_connected: false, cause: Some(Cause::ParentOffline), since: UnixNanos(lost) };
    assert_eq!(shown, hidden);
    assert_eq!(tree.device.is_connected(), Some(true), "its own state is kept apart");
    let back = lost + MINUTE;
    tree.take(&node(EventKind::Connect, 2, back), back);
    assert_eq!(tree.shown(), Some(EffectiveState { since: UnixNanos(back), ..hidden }));
    tree.take(&device(EventKind::Connect, 1, Some(back + SECOND)), back + SECOND);
    let expected = EffectiveState { is_connected: true, cause: None, since: UnixNanos(back + SECOND) };
    assert_eq!(tree.shown(), Some(expected));
    // Born once more in the same session: nothing has changed.
    let again = device(EventKind::Connect, 2, Some(back + MINUTE));
    assert!(matches!(tree.take(&again, back + MINUTE), Resolution::Renew(_)));
    assert_eq!(tree.shown(), Some(expected));
}

#[test]
fn data_shows_that_a_node_and_its_device_live() {
    let mut tree = Tree::default();
    tree.take(&node(EventKind::Connect, 1, START), START);
    tree.take(&device(EventKind::Connect, 1, Some(START + SECOND)), START + SECOND);
    // The late will of an earlier connection with the same number.
    tree.take(&node(EventKind::Disconnect, 1, START), START + MINUTE);
    assert!(!tree.is_shown_connected());
    tree.alive(START + 2 * MINUTE, START + 2 * MINUTE);
    assert!(tree.is_shown_connected(), "the session of the node has gone on");
    // A birth of the device is lost.
    tree.take(&node(EventKind::Connect, 2, START + HOUR), START + HOUR);
    assert!(!tree.is_shown_connected());
    tree.alive(START + HOUR - SECOND, START + HOUR + SECOND);
    assert!(!tree.is_shown_connected(), "it was sent before");
    tree.alive(START + HOUR + SECOND, START + HOUR + SECOND);
    assert!(tree.is_shown_connected());
}

#[test]
fn events_of_one_moment_are_ordered_by_their_sequence() {
    let mut tree = Tree::default();
    tree.take(&node(EventKind::Connect, 1, START), START);
    let at = Some(START + SECOND);
    tree.take(&device(EventKind::Disconnect, 2, at), START + SECOND);
    assert_eq!(tree.take(&device(EventKind::Connect, 1, at), START + SECOND), Resolution::Late);
    assert_eq!(tree.take(&device(EventKind::Disconnect, 2, at), START + SECOND), Resolution::Confirm);
    tree.take(&device(EventKind::Connect, 3, at), START + SECOND);
    assert!(tree.is_shown_connected());
    tree.take(&device(EventKind::Disconnect, 4, at), START + SECOND);
    assert!(!tree.is_shown_connected());
}

#[test]
fn a_bridge_hides_its_devices_only_while_it_is_away() {
    let key = |kind, session: i64| Key { session: UnixNanos(session), kind, time: UnixNanos(session) };
    use EventKind::{Connect, Disconnect};
    let shown = |own, parent: Option<Key>| effective(&own, parent.as_ref(), ParentRule::WhileConnected);
    let state =
        |is_connected, cause, since: i64| EffectiveState { is_connected, cause, since: UnixNanos(since) };
    let offline = Some(Cause::ParentOffline);
    assert_eq!(shown(key(Connect, 1), None), state(true, None, 1), "nothing is known of the bridge");
    assert_eq!(shown(key(Connect, 1), Some(key(Connect, 2))), state(true, None, 2));
    assert_eq!(shown(key(Connect, 1), Some(key(Disconnect, 2))), state(false, offline, 2));
    assert_eq!(shown(key(Disconnect, 1), Some(key(Disconnect, 2))), state(false, None, 1));
    assert_eq!(shown(key(Disconnect, 3), Some(key(Connect, 2))), state(false, None, 3));
}
