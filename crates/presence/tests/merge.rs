//! The laws of the merge: the state is a function of the set of messages, and it is the truth.
//!
//! Messages go through the real decoder. The rows of the platform's truth table are tried in every order, so are the
//! messages captured from its broker; random histories come from the model of the platform, which knows the truth.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

#[path = "merge/whole_set.rs"]
mod whole_set;

use formats::iot_platform::{self, PlatformMessage};
use presence::{DeviceState, EventKind, Moment, PresenceEvent, Status};
use proptest::prelude::*;
use proptest::sample::Index;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use simulator::history::{Quirks, device_history};
use simulator::platform::Truth;

/// The status of a set of messages; `None` if none of them says anything of a session.
fn believe<'a>(messages: impl IntoIterator<Item = (&'a str, &'a str)>) -> DeviceState {
    let mut state = DeviceState::default();
    for (topic, payload) in messages {
        if let Some(event) = event(topic, payload) {
            state.apply(event);
        }
    }
    state
}

fn event(topic: &str, payload: &str) -> Option<PresenceEvent> {
    match iot_platform::decode(topic.as_bytes(), payload.as_bytes()) {
        PlatformMessage::Event { event, .. } | PlatformMessage::FailedLogin { event, .. } => Some(event),
        PlatformMessage::Notice { .. } | PlatformMessage::Application => None,
        PlatformMessage::Undecodable(why) => panic!("{why:?}: {topic} {payload}"),
    }
}

fn status(state: &DeviceState) -> Option<Status> {
    state.resolve().map(|resolved| resolved.status)
}

/// Calls `check` with every order of `items`.
fn every_order<T: Clone>(items: &[T], check: &mut impl FnMut(&[T])) {
    fn rest<T: Clone>(chosen: &mut Vec<T>, left: &[T], check: &mut impl FnMut(&[T])) {
        if left.is_empty() {
            check(chosen);
        }
        for (i, item) in left.iter().enumerate() {
            let others: Vec<T> = left[..i].iter().chain(&left[i + 1..]).cloned().collect();
            chosen.push(item.clone());
            rest(chosen, &others, check);
            chosen.pop();
        }
    }
    rest(&mut Vec::new(), items, check);
}

const TOPIC: &str = "iot-2/type/t/id/d1/mon";

/// A message about the session that began at `connect_ms`, sent at `time_ms`.
fn message(action: &str, connect_ms: i64, time_ms: i64, code: Option<u16>) -> String {
    let time = |ms: i64| format!("2026-11-23T12:00:{:02}.{:03}Z", ms / 1000, ms % 1000);
    let code = code.map(|code| format!(r#","CloseCode":{code}"#)).unwrap_or_default();
    format!(
        r#"{{"Action":"{action}","Time":"{}","ClientID":"d:org1:t:d1","ConnectTime":"{}"{code}}}"#,
        time(time_ms),
        time(connect_ms)
    )
}

/// Every order of the messages gives that status and one state, also if each message is repeated, and if they are
/// split over two instances at any place.
fn assert_row(name: &str, messages: &[String], expected: Status) {
    let believe = |messages: &[String]| believe(messages.iter().map(|payload| (TOPIC, payload.as_str())));
    let state = believe(messages);
    every_order(messages, &mut |order| {
        let repeated = [order, order].concat();
        assert_eq!(believe(&repeated), state, "{name}: {order:#?}");
        for at in 0..=order.len() {
            let (one, other) = (believe(&order[..at]), believe(&order[at..]));
            assert_eq!(merged(one, other), state, "{name}, split at {at}: {order:#?}");
        }
    });
    assert_eq!(status(&state), Some(expected), "{name}: {messages:#?}");
}

#[test]
fn a_takeover_leaves_the_device_connected() {
    let messages = [
        message("Connect", 1000, 1000, None),
        message("Disconnect", 1000, 2000, Some(288)),
        message("Connect", 2000, 2000, None),
    ];
    assert_row("takeover", &messages, Status::Connected);
    assert_row("its first Connect lost", &messages[1..], Status::Connected);
    assert_row("its second Connect not yet seen", &messages[..2], Status::Connected);
    assert_row("its Disconnect alone", &messages[1..2], Status::Connected);
}

#[test]
fn a_takeover_in_one_millisecond_leaves_the_device_connected() {
    let both = message("Connect", 1000, 1000, None);
    let messages = [both.clone(), message("Disconnect", 1000, 1000, Some(288)), both];
    assert_row("takeover in one millisecond", &messages, Status::Connected);
}

#[test]
fn a_disconnect_before_its_own_connect_counts() {
    let messages = [message("Disconnect", 1000, 1002, Some(91)), message("Connect", 1000, 1003, None)];
    assert_row("dropped before its CONNACK", &messages, Status::Disconnected);
}

#[test]
fn a_refused_second_login_leaves_the_first_session_alone() {
    let messages = [
        message("Connect", 1000, 1000, None),
        message("FailedConnect", 5000, 5001, Some(180)),
        message("Disconnect", 5000, 5001, Some(180)),
        message("FailedConnect", 5000, 5002, Some(180)),
    ];
    assert_row("refused second login", &messages, Status::Connected);
    let ended = [messages.to_vec(), vec![message("Disconnect", 1000, 9000, Some(0))]].concat();
    assert_row("and then the first session ends", &ended, Status::Disconnected);
}

#[test]
fn a_session_that_is_no_longer_authorised_has_ended() {
    let messages = [
        message("Connect", 1000, 1000, None),
        message("Disconnect", 1000, 4000, Some(180)),
        message("Disconnect", 5000, 5001, Some(180)),
        message("Disconnect", 6000, 6001, Some(180)),
    ];
    assert_row("revoked while connected, refused since", &messages, Status::Disconnected);
}

#[test]
fn of_two_simultaneous_connects_the_other_one_decides() {
    let loser =
        [message("FailedConnect", 1000, 1001, Some(288)), message("Disconnect", 1000, 1001, Some(288))];
    for other in [999, 1000, 1001] {
        let connected = [loser.to_vec(), vec![message("Connect", other, 1001, None)]].concat();
        assert_row("the other stays", &connected, Status::Connected);
        let ended = [connected.clone(), vec![message("Disconnect", other, 7000, Some(0))]].concat();
        assert_row("the other ends", &ended, Status::Disconnected);
        let found = [connected, vec![message("Disconnect", other, 990, Some(0))]].concat();
        assert_row("the other's end is found after a restart", &found, Status::Disconnected);
    }
}

/// A session that begins shortly before another, by the clock, may be the one that took over.
#[test]
fn of_simultaneous_sessions_the_one_that_was_not_taken_over_decides() {
    use Status::{Connected, Disconnected};
    for apart_ms in [1, 500, 1_000] {
        let (a, b) = (1_000, 1_000 + apart_ms);
        let [a_began, b_began] = [a, b].map(|session| message("Connect", session, b, None));
        let [a_ended, b_ended] = [a, b].map(|session| message("Disconnect", session, b, Some(91)));
        let [a_lost, b_lost] = [a, b].map(|session| message("Disconnect", session, b, Some(288)));
        let rows: [(&str, &[&String], Status); 8] = [
            ("A took B over and ended", &[&b_began, &b_lost, &a_began, &a_ended], Disconnected),
            ("A took B over", &[&b_began, &b_lost, &a_began], Connected),
            ("who took B over is unknown", &[&b_began, &b_lost], Connected),
            ("A took B over, which got as far as no Connect, and ended", &[&b_lost, &a_ended], Disconnected),
            ("the Connect of A was lost", &[&b_began, &b_lost, &a_ended], Disconnected),
            ("B took A over", &[&a_began, &a_lost, &b_began], Connected),
            ("B began after the end of A", &[&a_began, &a_ended, &b_began], Connected),
            ("B took A over and ended", &[&a_began, &a_lost, &b_began, &b_ended], Disconnected),
        ];
        for (name, messages, expected) in rows {
            let messages: Vec<String> = messages.iter().map(|message| (*message).clone()).collect();
            assert_row(&format!("{name}, {apart_ms} ms apart"), &messages, expected);
        }
    }
    let both = message("Connect", 1_000, 1_000, None);
    let [taken_over, ended] = [288, 91].map(|code| message("Disconnect", 1_000, 1_000, Some(code)));
    assert_row("both of one millisecond", &[both.clone(), both, taken_over, ended], Disconnected);
}

#[test]
fn four_connections_reset_at_once_end_disconnected() {
    let began = |session| message("Connect", session, 1_003, None);
    let ended = |session, code| message("Disconnect", session, 1_003, Some(code));
    let group = [1_000, 1_001, 1_002, 1_002];
    for last in [1_000, 1_001, 1_002] {
        let mut messages: Vec<_> = group.map(began).into();
        messages.dedup();
        let lost = group.iter().filter(|session| **session != last).map(|session| ended(*session, 288));
        messages.extend(lost);
        messages.dedup();
        assert_row("one of four stays", &messages, Status::Connected);
        messages.push(ended(last, 91));
        assert_row("all four are reset", &messages, Status::Disconnected);
    }
}

#[test]
fn a_takeover_long_after_a_quick_reconnection_leaves_the_device_connected() {
    let messages = [
        message("Connect", 1_000, 1_000, None),
        message("Disconnect", 1_000, 1_200, Some(91)),
        message("Connect", 1_500, 1_500, None),
        message("Disconnect", 1_500, 10_000, Some(288)),
    ];
    assert_row("whoever took over was missed", &messages, Status::Connected);
}

#[test]
fn a_chain_of_takeovers_within_a_second_leaves_the_last_one() {
    let mut messages = vec![message("Connect", 1_000, 1_000, None)];
    for session in [1_300, 1_600] {
        messages.push(message("Disconnect", session - 300, session, Some(288)));
        messages.push(message("Connect", session, session, None));
    }
    assert_row("the last one stays", &messages, Status::Connected);
    assert_row("the last one not yet seen", &messages[..4], Status::Connected);
    messages.push(message("Disconnect", 1_600, 9_000, Some(91)));
    assert_row("the last one ends", &messages, Status::Disconnected);
}

#[test]
fn a_takeover_after_the_last_known_end_means_connected() {
    let messages =
        [message("Disconnect", 1000, 2000, Some(91)), message("Disconnect", 10_000, 20_000, Some(288))];
    assert_row("whoever took over was missed", &messages, Status::Connected);
}

#[test]
fn a_disconnect_with_the_time_of_its_connect_counts() {
    let messages = [message("Connect", 1000, 1000, None), message("Disconnect", 1000, 1000, Some(0))];
    assert_row("broker killed and restarted", &messages, Status::Disconnected);
}

#[test]
fn a_disconnect_whose_connect_was_lost_counts() {
    let messages = [
        message("Connect", 1000, 1000, None),
        message("Disconnect", 1000, 2000, Some(91)),
        message("Disconnect", 3000, 4000, Some(0)),
    ];
    assert_row("second Connect lost", &messages, Status::Disconnected);
    assert_row(
        "first Disconnect lost too",
        &[messages[0].clone(), messages[2].clone()],
        Status::Disconnected,
    );
}

#[test]
fn an_old_connect_without_connect_time_is_ended_by_its_disconnect() {
    let connect = r#"{"Action":"Connect","Time":"2018-08-21T16:51:10.558Z","ClientID":"d:org1:t:d1"}"#;
    let disconnect = r#"{"Action":"Disconnect","Time":"2018-08-21T16:51:26.000Z","ClientID":"d:org1:t:d1","ConnectTime":"2018-08-21T16:51:10.557Z","CloseCode":91}"#;
    let again = r#"{"Action":"Connect","Time":"2018-08-21T16:51:27.100Z","ClientID":"d:org1:t:d1"}"#;
    let messages = [connect, disconnect, again].map(str::to_owned);
    assert_row("old form", &messages[..2], Status::Disconnected);
    assert_row("old form, connected again", &messages, Status::Connected);
}

#[test]
fn an_http_request_leaves_the_session_alone() {
    let http = |action: &str| message(action, 3000, 3000, None).replace('{', r#"{"Protocol":"iotrest","#);
    let messages = [message("Connect", 1000, 1000, None), http("Connect"), http("Disconnect")];
    assert_row("HTTP while connected", &messages, Status::Connected);
    assert_row("HTTP alone", &messages[1..], Status::Disconnected);
    assert_row("half of it", &messages[1..2], Status::Disconnected);
}

/// The captured messages of one scenario and one device, each in every order: one state.
#[test]
fn captured_messages_merge_to_one_state_in_every_order() {
    let mut scenarios: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for line in include_str!("../../../tests/data/captured.jsonl").lines() {
        let captured: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| captured[key].as_str().unwrap().to_owned();
        let (key, message) =
            (format!("{} {}", text("scenario"), text("topic")), (text("topic"), text("payload")));
        if message.0.starts_with("iot-2/type/") {
            match scenarios.iter_mut().find(|(name, _)| *name == key) {
                Some((_, messages)) => messages.push(message),
                None => scenarios.push((key, vec![message])),
            }
        }
    }
    assert!(scenarios.len() > 20, "the captured file has its scenarios");
    for (name, messages) in scenarios {
        // Eight messages have 40,320 orders.
        for window in messages.windows(messages.len().min(8)) {
            let expected = believe(window.iter().map(|(topic, payload)| (topic.as_str(), payload.as_str())));
            every_order(window, &mut |order| {
                let state = believe(order.iter().map(|(topic, payload)| (topic.as_str(), payload.as_str())));
                assert_eq!(state, expected, "{name}");
            });
        }
    }
}

/// Few moments and codes, so that ties of every kind are common.
fn any_event() -> impl Strategy<Value = PresenceEvent> {
    let kind = prop_oneof![
        Just(EventKind::FailedLogin),
        Just(EventKind::Request),
        Just(EventKind::Connect),
        Just(EventKind::Takeover),
        Just(EventKind::Refusal),
        Just(EventKind::Disconnect),
    ];
    // A nanosecond and a second apart, and a little more.
    let nanos = prop::sample::select(vec![0, 1, 1_000_000_000, 1_000_000_001, 1_000_000_002, 3_000_000_000]);
    let moment = prop_oneof![Just(Moment::UNKNOWN), nanos.prop_map(Moment::from_nanos)];
    (kind, moment.clone(), moment, 0u16..2, prop::collection::vec(b'0'..b'2', 0..2)).prop_map(
        |(kind, session, time, close_code, payload)| {
            let payload = presence::payload::Payload::pack(&payload);
            PresenceEvent { kind, session, time, close_code, payload }
        },
    )
}

fn applied(events: impl IntoIterator<Item = PresenceEvent>) -> DeviceState {
    let mut state = DeviceState::default();
    events.into_iter().for_each(|event| {
        state.apply(event);
    });
    state
}

fn merged(mut one: DeviceState, other: DeviceState) -> DeviceState {
    one.merge(other);
    one
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(CASES), ..ProptestConfig::default() })]

    #[test]
    fn order_and_repetition_do_not_matter(
        events in prop::collection::vec(any_event(), 0..12),
        shuffle in prop::collection::vec(any::<Index>(), 24),
    ) {
        let expected = applied(events.clone());
        if !events.is_empty() {
            let repeated = shuffle.iter().map(|index| index.get(&events).clone());
            let state = merged(applied(repeated), applied(events.iter().rev().cloned()));
            prop_assert_eq!(&state, &expected);
        }
        let again = merged(expected.clone(), expected.clone());
        prop_assert_eq!(again, expected);
    }

    #[test]
    fn merging_is_commutative_and_associative_and_splits_nothing(
        a in prop::collection::vec(any_event(), 0..6),
        b in prop::collection::vec(any_event(), 0..6),
        c in prop::collection::vec(any_event(), 0..6),
    ) {
        let whole = applied([a.clone(), b.clone(), c.clone()].concat());
        let [a, b, c] = [a, b, c].map(applied);
        prop_assert_eq!(&merged(merged(a.clone(), b.clone()), c.clone()), &whole);
        prop_assert_eq!(&merged(a.clone(), merged(b.clone(), c.clone())), &whole);
        prop_assert_eq!(merged(merged(c, b), a), whole);
    }

    /// A history of one device with every oddity of the platform, in a random order, with repetitions, split over two
    /// instances: the state is the truth.
    #[test]
    fn the_device_state_is_the_truth(seed: u64, order in prop::collection::vec(any::<Index>(), 40), split: u64) {
        let history = device_history(&mut ChaCha8Rng::seed_from_u64(seed), &Quirks::all());
        let messages: Vec<_> = history.messages.iter().map(|m| (m.topic.as_str(), m.payload.as_str())).collect();
        let in_order = believe(messages.iter().copied());
        let mut instances = [DeviceState::default(), DeviceState::default()];
        let repeated = order.iter().filter(|_| !messages.is_empty()).map(|index| *index.get(&messages));
        for (i, (topic, payload)) in repeated.chain(messages.iter().rev().copied()).enumerate() {
            let instance = usize::from(split >> (i % 64) & 1 == 1);
            if let Some(event) = event(topic, payload) {
                instances[instance].apply(event);
            }
        }
        let [one, other] = instances;
        let state = merged(one, other);
        prop_assert_eq!(&state, &in_order, "{:#?}", history);
        let expected = match history.truth {
            Truth::Connected => Some(Status::Connected),
            Truth::Disconnected => Some(Status::Disconnected),
            // No session was ever seen; what is left of refused logins and HTTP requests connects nobody for long.
            Truth::NeverConnected => None,
        };
        let believed = status(&state);
        if let Some(expected) = expected {
            prop_assert_eq!(believed, Some(expected), "{:#?}", history);
        } else {
            prop_assert_ne!(believed, Some(Status::Connected), "{:#?}", history);
        }
    }
}

/// Cases of each property in an ordinary run.
const CASES: u32 = 2_000;

/// `PROPTEST_CASES` makes a long campaign of it.
fn cases(default: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(default)
}
