//! What is shown of a device with a parent, as it is kept in its status document: whatever happens to both, and however late
//! the parent's changes reach the device, it is shown as connected if and only if both are.

use formats::order::{Held, IsSame, Key, ParentRule, Resolution, Shown, resolve};
use formats::{Cause, EventKind, Session, UnixNanos, status};
use presence::payload::Payload;
use presence::{DeviceState, PresenceEvent, Status};
use proptest::prelude::*;

use crate::instance::{SECOND, START, event, kind, live, moment, nanos, presence_kind};

/// A device whose state is merged as every store merges it.
#[derive(Default)]
struct Child {
    state: DeviceState,
    received: i64,
}

impl Child {
    fn payload(&self) -> Option<Payload> {
        Some(self.state.resolve()?.event.payload.clone())
    }

    /// The key that is held, and the document.
    fn document(&self) -> Option<(Key, Vec<u8>)> {
        let event = self.state.resolve()?.event;
        let key = Key { session: nanos(event.session), kind: kind(event.kind), time: nanos(event.time) };
        Some((key, event.payload.document()))
    }

    fn shown(&self) -> Option<Shown> {
        let (key, document) = self.document()?;
        Some(status::read_details(&document)?.shown(key))
    }

    fn take(&mut self, is_connected: bool, session: Session<'static>, now: i64, parent: Option<&Key>) {
        let kind = if is_connected { EventKind::Connect } else { EventKind::Disconnect };
        let event = event(kind, session, None);
        let document = self.document();
        let details = document.as_ref().and_then(|(_, document)| status::read_details(document));
        let shown = self.shown();
        let held = shown.as_ref().map(|shown| Held {
            key: shown.own_key(),
            received: UnixNanos(self.received),
            identity: details.as_ref().map(status::SourceDetails::identity),
        });
        let (key, is_same) = match resolve(&event, live(now), held.as_ref(), None) {
            Resolution::Apply(key) => (key, IsSame::No),
            Resolution::Renew(key) => (key, IsSame::Yes),
            Resolution::Confirm | Resolution::Late | Resolution::Record => return,
        };
        let shown = Shown::of_own(&key, is_same, shown.as_ref(), parent, ParentRule::WhileConnected);
        let payload = status::pack("z", &event, &shown, b"x").payload;
        self.received = now;
        self.merge(&shown.key, payload);
    }

    fn parent_changed(&mut self, parent: Option<&Key>) {
        let Some(payload) = self.payload() else { return };
        let shown = self.shown().expect("the model writes documents");
        let Some(shown) = shown.after_parent(parent, ParentRule::WhileConnected) else { return };
        let payload = status::shown_again(&payload, &shown, None).expect("the model writes documents");
        self.merge(&shown.key, payload);
    }

    fn merge(&mut self, key: &Key, payload: Payload) {
        let event = PresenceEvent {
            kind: presence_kind(key.kind),
            session: moment(key.session),
            time: moment(key.time),
            close_code: 0,
            payload,
        };
        assert!(self.state.apply(event), "a change that the merge drops would be lost");
        assert!(!self.state.holds_more_than_one() || key.session.0 < START, "an old state is of no use");
    }

    fn is_connected(&self) -> Option<bool> {
        Some(self.state.resolve()?.status == Status::Connected)
    }

    fn cause(&self) -> Option<Cause> {
        status::read(&self.document()?.1)?.cause()
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Own(bool),
    Parent(bool),
    ParentForgotten,
    /// The pass over the children of the parent reaches this one.
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(Step::Own),
        any::<bool>().prop_map(Step::Parent),
        Just(Step::ParentForgotten),
        Just(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn a_device_is_shown_as_connected_while_it_and_its_parent_are(
        steps in prop::collection::vec((step(), 2_000..9_000i64), 0..40),
    ) {
        let (mut child, mut own, mut parent, mut now) = (Child::default(), None, None, START);
        for (step, millis) in steps {
            now += millis * 1_000_000;
            match step {
                Step::Own(is_connected) => {
                    own = Some(is_connected);
                    child.take(is_connected, Session::Arrival, now, parent.as_ref());
                }
                Step::Parent(is_connected) => {
                    let kind = if is_connected { EventKind::Connect } else { EventKind::Disconnect };
                    parent = Some(Key { session: UnixNanos(now), kind, time: UnixNanos(now) });
                }
                Step::ParentForgotten => parent = None,
                Step::Pass => child.parent_changed(parent.as_ref()),
            }
        }
        child.parent_changed(parent.as_ref());
        let is_parent_away = parent.is_some_and(|parent| !parent.is_connected());
        prop_assert_eq!(child.is_connected(), own.map(|own| own && !is_parent_away));
        prop_assert_eq!(child.shown().map(|shown| shown.own_key().is_connected()), own);
        let is_hidden = own == Some(true) && is_parent_away;
        prop_assert_eq!(child.cause() == Some(Cause::ParentOffline), is_hidden);
    }
}

#[test]
fn a_device_is_back_since_its_parent_is_and_gone_since_its_parent_went() {
    let parent = |kind, second: i64| Key {
        session: UnixNanos(START + second * SECOND),
        kind,
        time: UnixNanos(START + second * SECOND),
    };
    let mut child = Child::default();
    let since = |child: &Child| (child.document().unwrap().0.time.0 - START) / SECOND;
    child.take(
        true,
        Session::Started(UnixNanos(START)),
        START + SECOND,
        Some(&parent(EventKind::Connect, 0)),
    );
    child.parent_changed(Some(&parent(EventKind::Disconnect, 10)));
    assert_eq!((child.is_connected(), since(&child)), (Some(false), 10));
    child.parent_changed(Some(&parent(EventKind::Connect, 20)));
    assert_eq!((child.is_connected(), since(&child)), (Some(true), 20));
    // The end of the session that its own broker named, whatever the parent's changes made of its key.
    child.take(false, Session::Started(UnixNanos(START)), START + 30 * SECOND, None);
    assert_eq!((child.is_connected(), child.cause(), since(&child)), (Some(false), None, 30));
    child.parent_changed(Some(&parent(EventKind::Disconnect, 40)));
    assert_eq!(since(&child), 30, "what is away anyway is away since then");
}
