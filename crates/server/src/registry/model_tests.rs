//! What the registry holds of each device, against a plain map of the same events: whatever ids and messages are, however
//! they grow and shrink, and while other threads change the devices beside.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;
use presence::payload::Payload;
use presence::{DeviceState, Moment};

const TYPES: [&str; 2] = ["a", "ü b"];

const LIVE: Arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };

type Model = HashMap<DeviceName, DeviceState>;

#[derive(Clone, Debug)]
enum Step {
    Apply { name: DeviceName, event: PresenceEvent },
    Restore { name: DeviceName, event: PresenceEvent },
    Remove { name: DeviceName },
}

fn name(device_type: usize, id: &str) -> DeviceName {
    DeviceName { device_type: TYPES[device_type].into(), id: id.into() }
}

/// Few enough that a device is met again, and any text at all.
fn names() -> impl Strategy<Value = DeviceName> {
    let ids =
        prop_oneof![8 => "[a-c]{0,2}", 2 => "ü{0,3}|\u{1f600}|\"|\\\\", 1 => "\\PC{0,300}", 1 => ".{0,8}"];
    (0..TYPES.len(), ids).prop_map(|(device_type, id)| name(device_type, &id))
}

/// Messages of the platform in three notations, of other senders, and bytes that are no message.
fn payloads() -> impl Strategy<Value = Payload> {
    let fields = ("[a-c]{0,2}", 0u32..70_000, 0usize..300).prop_map(|(id, number, len)| {
        let time = format!("2026-01-01T00:00:{:02}.{:03}Z", number % 60, number % 1_000);
        let fill = "x".repeat(len);
        format!(
            r#"{{"Action":"Connect","Time":"{time}","ClientAddr":"192.0.2.{}","ClientID":"d:o:t:{id}","Port":{number},"Fill":"{fill}"}}"#,
            number % 256
        )
    });
    let notation = prop_oneof![Just((",", ":")), Just((", ", ": ")), Just((",\n\t", " : "))];
    let messages = (fields, notation).prop_map(|(fields, (comma, colon))| {
        fields.replace(",\"", &format!("{comma}\"")).replace("\":", &format!("\"{colon}")).into_bytes()
    });
    let words = prop::sample::select(&["", "online", "Offline", "0", "{", "{\"Action\":\"Connect\""][..]);
    let texts = prop_oneof![
        6 => messages,
        2 => words.prop_map(|word| word.as_bytes().to_vec()),
        2 => prop::collection::vec(any::<u8>(), 0..300),
        1 => prop::collection::vec(any::<u8>(), 4_000..9_000),
    ];
    (texts, prop::option::weighted(0.3, "[a-z]{1,9}")).prop_map(|(text, source)| match source {
        Some(source) => Payload::pack_of(&source, &text),
        None => Payload::pack(&text),
    })
}

fn events() -> impl Strategy<Value = PresenceEvent> {
    use EventKind::{Connect, Disconnect, Refusal, Request, Takeover};
    let kinds = prop::sample::select(&[Connect, Disconnect, Takeover, Refusal, Request][..]);
    let moments = || {
        let near = (0i128..30).prop_map(|second| 1_767_225_600_000_000_000 + second * 1_000_000_000);
        let nanos = prop_oneof![4 => near, 1 => any::<i64>().prop_map(i128::from)];
        prop_oneof![9 => nanos.prop_map(Moment::from_nanos), 1 => Just(Moment::UNKNOWN)]
    };
    let codes = prop_oneof![Just(0u16), Just(91), any::<u16>()];
    (kinds, moments(), moments(), codes, payloads()).prop_map(|(kind, session, time, close_code, payload)| {
        PresenceEvent { kind, session, time, close_code, payload }
    })
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (names(), events()).prop_map(|(name, event)| Step::Apply { name, event }),
        2 => (names(), events()).prop_map(|(name, event)| Step::Restore { name, event }),
        2 => names().prop_map(|name| Step::Remove { name }),
    ]
}

fn state_of(event: PresenceEvent) -> DeviceState {
    let mut state = DeviceState::default();
    state.apply(event);
    state
}

fn held(registry: &DeviceRegistry, name: &DeviceName) -> Option<DeviceState> {
    registry.read(name.device(), |record| {
        assert_eq!(record.name(), *name);
        record.state.clone()
    })
}

fn assert_equal(registry: &DeviceRegistry, model: &Model) {
    let mut names: Vec<_> =
        (0..DeviceRegistry::PARTS).flat_map(|part| registry.names_in_part(part, |_| true)).collect();
    names.sort_unstable();
    let mut expected: Vec<_> = model.keys().cloned().collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(registry.totals().total(), model.len() as u64);
    for (name, state) in model {
        assert_eq!(held(registry, name).as_ref(), Some(state), "{name:?}");
    }
}

proptest! {
    #[test]
    fn the_registry_holds_what_a_plain_map_holds(steps in prop::collection::vec(steps(), 0..300)) {
        let (registry, mut model) = (DeviceRegistry::tracking_changes(), Model::new());
        for step in steps {
            let name = match step {
                Step::Apply { name, event } => {
                    registry.apply(name.device(), event.clone(), LIVE);
                    model.entry(name.clone()).or_default().apply(event);
                    name
                }
                Step::Restore { name, event } => {
                    registry.restore(name.device(), state_of(event.clone()), UnixSeconds(1));
                    model.entry(name.clone()).or_default().apply(event);
                    name
                }
                Step::Remove { name } => {
                    registry.forget_device(name.device(), |record| assert_eq!(Some(&record.state), model.get(&name)));
                    model.remove(&name);
                    name
                }
            };
            let state = held(&registry, &name);
            prop_assert_eq!(state.as_ref(), model.get(&name));
        }
        assert_equal(&registry, &model);
    }
}

/// The message of a device at a time; the longer ones are several times as long as the shorter ones.
fn numbered(id: &str, number: i64) -> Vec<u8> {
    let fill = "x".repeat((number * 37 % 500) as usize);
    format!(r#"{{"Action":"Connect","ClientID":"d:o:t:{id}","Port":{number},"Fill":"{fill}"}}"#).into_bytes()
}

fn connect(number: i64, id: &str) -> PresenceEvent {
    let moment = Moment::from_nanos(i128::from(number));
    let payload = Payload::pack(&numbered(id, number));
    PresenceEvent { kind: EventKind::Connect, session: moment, time: moment, close_code: 0, payload }
}

/// The number of the message that is held of a device, which must be one of its own, whole.
fn number_held(registry: &DeviceRegistry, id: &str) -> Option<i64> {
    let snapshot = registry.read(Device { device_type: "a", id }, Snapshot::of)?;
    let number = snapshot.event.time.nanos().unwrap();
    assert_eq!(*snapshot.id, *id);
    assert_eq!(snapshot.message(), numbered(id, number), "{id} {number}");
    Some(number)
}

#[test]
fn many_devices_come_grow_shrink_and_go_in_turns() {
    let (registry, mut model) = (DeviceRegistry::tracking_changes(), Model::new());
    for turn in 1..6 {
        // Some hundreds in each shard at first; then each turn removes some, adds some and changes some.
        for number in (0..30_000i64).filter(|number| turn == 1 || (number + turn) % 3 == 0) {
            let name = name(0, &format!("unit-{number:05}"));
            if turn > 1 && (number + turn) % 2 == 0 {
                registry.forget_device(name.device(), |_| ());
                model.remove(&name);
            } else {
                let event = connect(number + turn * 101, &name.id);
                registry.apply(name.device(), event.clone(), LIVE);
                model.entry(name).or_default().apply(event);
            }
        }
        assert_equal(&registry, &model);
    }
    for name in model.keys() {
        registry.forget_device(name.device(), |_| ());
    }
    assert_equal(&registry, &Model::new());
}

#[test]
fn readers_see_only_whole_messages_while_the_devices_beside_come_change_and_go() {
    const QUIET: usize = 2_000;
    const BUSY: usize = 2_000;
    let registry = DeviceRegistry::default();
    let quiet: Vec<String> = (0..QUIET).map(|n| format!("quiet-{n}")).collect();
    let busy: Vec<String> = (0..BUSY).map(|n| format!("busy-{n}")).collect();
    for (number, id) in (0..).zip(&quiet) {
        registry.apply(Device { device_type: "a", id }, connect(number, id), LIVE);
    }
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut latest = vec![0; BUSY];
                loop {
                    // Asked before the pass, so that there is at least one whole pass, and one after the last change.
                    let was_done = is_done.load(Ordering::Acquire);
                    for (number, id) in (0..).zip(&quiet) {
                        assert_eq!(number_held(&registry, id), Some(number));
                    }
                    for (latest, id) in latest.iter_mut().zip(&busy) {
                        let number = number_held(&registry, id).unwrap_or(*latest);
                        assert!(number >= *latest, "{id} went back from {latest} to {number}");
                        *latest = number;
                    }
                    if was_done {
                        break;
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut random = 1u64;
            for number in 1..40_000 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let id = &busy[(random >> 33) as usize % BUSY];
                let device = Device { device_type: "a", id };
                if random >> 61 == 0 {
                    registry.forget_device(device, |_| ());
                } else {
                    registry.apply(device, connect(number, id), LIVE);
                }
            }
            is_done.store(true, Ordering::Release);
        });
    });
}
