//! What is kept of deliveries, by the stores that keep it.

use std::time::Duration;

use store::{DeliveryLease, DeliveryState, Store};

use crate::fixture::{Fixture, wait};
use crate::places::Place;
use testkit::{PATIENCE, poll};

/// Longer than this test takes.
const LASTS: Duration = Duration::from_secs(600);

/// Takes, renews or ends the lease of the endpoint `a`.
fn lease(store: &dyn Store, holder: &str, lasts: Duration) -> Vec<String> {
    wait(store.lease_deliveries(holder, vec!["a".to_owned()], lasts)).unwrap()
}

/// Sets a state of the endpoint `a`.
fn set_by(store: &dyn Store, holder: &str, (name, state): (&str, Option<&str>)) -> bool {
    let lease = DeliveryLease { endpoint: "a".into(), holder: holder.into() };
    wait(store.set_delivery_state(&lease, name, state.map(str::to_owned))).unwrap()
}

/// One instance at a time has the lease of an endpoint, and it alone sets its state.
pub fn one_instance_has_the_lease_of_an_endpoint(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let (one, other) = (fixture.store(), fixture.another());
    let state = |store: &dyn Store| wait(store.delivery_states()).unwrap().pop().map(|kept| kept.state);
    assert!(!set_by(one, "one", ("a", Some("none"))), "it has no lease yet");
    assert_eq!(lease(one, "one", LASTS), ["a"]);
    assert_eq!(lease(&*other, "other", LASTS), [""; 0]);
    assert!(set_by(one, "one", ("a", Some("1"))) && !set_by(&*other, "other", ("a", Some("2"))));
    assert_eq!(lease(one, "one", LASTS), ["a"], "it is renewed");
    lease(&*other, "other", Duration::ZERO);
    assert_eq!(lease(&*other, "other", LASTS), [""; 0], "only its holder gives it back");
    // The other one asks for a shorter time, and no lease is longer than that any more: as if the holder had died.
    let short = Duration::from_millis(50);
    let taken = poll(PATIENCE, || lease(&*other, "other", short).pop());
    assert_eq!(taken.as_deref(), Some("a"));
    assert_eq!(lease(&*other, "other", LASTS), ["a"]);
    assert!(!set_by(one, "one", ("a", Some("3"))) && set_by(&*other, "other", ("a", Some("4"))));
    assert_eq!(state(one).as_deref(), Some("4"));
    lease(&*other, "other", Duration::ZERO);
    assert!(!set_by(&*other, "other", ("a", Some("5"))));
    assert_eq!(lease(one, "one", LASTS), ["a"], "it was given back");
}

/// The newest state of each endpoint is kept, until it is dropped.
pub fn the_state_of_an_endpoint_is_kept(place: &dyn Place) {
    let mut fixture = Fixture::new(place);
    assert_eq!(lease(fixture.store(), "one", LASTS), ["a"]);
    let set = |fixture: &Fixture<'_>, name: &str, state: Option<&str>| {
        assert!(set_by(fixture.store(), "one", (name, state)));
    };
    let states = |fixture: &Fixture<'_>| wait(fixture.store().delivery_states()).unwrap();
    let state = |name: &str, state: &str| DeliveryState { name: name.into(), state: state.into() };
    assert_eq!(states(&fixture), []);
    set(&fixture, "b", Some("1"));
    set(&fixture, "a", Some("{\"x\": 'ü'}"));
    set(&fixture, "b", Some("2"));
    set(&fixture, "none", None);
    fixture.reopen();
    assert_eq!(states(&fixture), [state("a", "{\"x\": 'ü'}"), state("b", "2")]);
    let named = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        wait(fixture.store().delivery_states_of(names)).unwrap()
    };
    assert_eq!(named(&["b", "secret/b"]), [state("b", "2")]);
    assert_eq!((named(&[]), named(&["none"])), (vec![], vec![]));
    set(&fixture, "a", None);
    fixture.reopen();
    assert_eq!(states(&fixture), [state("b", "2")]);
}
