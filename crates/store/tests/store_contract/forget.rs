//! Forgetting devices: those that have been disconnected for too long, and any that an administrator names.

use presence::{Claim, Moment, Statement, Status};

use crate::fixture::{Fixture, device, devices, event, events, name, statement, wait};
use crate::places::Place;

pub fn only_what_is_still_disconnected_is_forgotten(place: &dyn Place) {
    let fixture = Fixture::new(place);
    fixture.put(devices(vec![
        device("gone", [statement(Claim::Disconnect, 1, 9)], 1),
        device("back", [statement(Claim::Disconnect, 1, 9), statement(Claim::Connect, 10, 10)], 1),
        device("later", [statement(Claim::Disconnect, 1, 10)], 1),
        device("unknown", [Statement { time: Moment::UNKNOWN, ..statement(Claim::Disconnect, 1, 1) }], 1),
    ]));
    let names = ["gone", "back", "later", "unknown", "absent"].map(name).to_vec();
    wait(fixture.store().forget(names, Some(10))).unwrap();
    let left: Vec<_> = fixture.all().into_keys().map(|name| name.id).collect();
    assert_eq!(left, ["back", "later", "unknown"].map(Box::<str>::from), "{place:?}");
    // Who comes back begins a new history.
    fixture.put(events(vec![event("gone", statement(Claim::Connect, 20, 20), 1)]));
    assert_eq!(fixture.history("gone", None, 10).len(), 1, "{place:?}");
}

pub fn without_a_moment_whatever_is_named_is_forgotten(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let ahead = 4_000_000_000_000_000_000;
    fixture.put(devices(vec![
        device("ahead", [statement(Claim::Connect, ahead, ahead)], 1),
        device("refused", [statement(Claim::Connect, 1, 1), statement(Claim::Refusal, 2, 2)], 1),
        device("other", [statement(Claim::Connect, 1, 1)], 1),
    ]));
    fixture.put(events(vec![event("ahead", statement(Claim::Connect, ahead, ahead), 1)]));
    wait(fixture.store().forget(["ahead", "refused", "absent"].map(name).to_vec(), None)).unwrap();
    let left: Vec<_> = fixture.all().into_keys().map(|name| name.id).collect();
    assert_eq!(left, ["other"].map(Box::<str>::from), "{place:?}");
    assert_eq!(fixture.history("ahead", None, 10), [], "{place:?}");
    // What is older than the session that was forgotten counts again.
    fixture.put(devices(vec![device("ahead", [statement(Claim::Disconnect, 5, 6)], 2)]));
    let belief = &fixture.all()[&name("ahead")].0;
    assert_eq!(belief.verdict().map(|verdict| verdict.status), Some(Status::Disconnected), "{place:?}");
}
