//! What is kept of the endpoints of webhooks, by the stores that keep it.

use store::WebhookState;

use crate::fixture::{Fixture, wait};
use crate::places::Place;

/// The newest state of each endpoint is kept, until it is dropped.
pub fn the_state_of_an_endpoint_is_kept(place: &dyn Place) {
    let mut fixture = Fixture::new(place);
    let set = |fixture: &Fixture<'_>, name: &str, state: Option<&str>| {
        wait(fixture.store().set_webhook_state(name, state.map(str::to_owned))).unwrap();
    };
    let states = |fixture: &Fixture<'_>| wait(fixture.store().webhook_states()).unwrap();
    let state = |name: &str, state: &str| WebhookState { name: name.into(), state: state.into() };
    assert_eq!(states(&fixture), []);
    set(&fixture, "b", Some("1"));
    set(&fixture, "a", Some("{\"x\": 'ü'}"));
    set(&fixture, "b", Some("2"));
    set(&fixture, "none", None);
    fixture.reopen();
    assert_eq!(states(&fixture), [state("a", "{\"x\": 'ü'}"), state("b", "2")]);
    set(&fixture, "a", None);
    fixture.reopen();
    assert_eq!(states(&fixture), [state("b", "2")]);
}
