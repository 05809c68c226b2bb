//! Sessions named by their start: what is left out changes no state.

use formats::order::Resolution;
use formats::{EventKind, Session, UnixNanos};
use proptest::prelude::*;

use crate::instance::{Instance, SECOND, START, event, live};

const KINDS: [EventKind; 4] =
    [EventKind::Connect, EventKind::Disconnect, EventKind::Takeover, EventKind::Refusal];

#[test]
fn a_repeated_message_confirms_and_leaves_the_time_alone() {
    let mut instance = Instance::default();
    let session = || Session::Started(UnixNanos(START));
    let will = event(EventKind::Disconnect, session(), None);
    assert!(matches!(instance.take(&will, live(START + SECOND)), Resolution::Apply(_)));
    let before = instance.held().unwrap().key;
    assert_eq!(instance.take(&will, live(START + 99 * SECOND)), Resolution::Confirm);
    assert_eq!(instance.held().unwrap().key, before);
    let birth = event(EventKind::Connect, session(), Some(START));
    assert_eq!(instance.take(&birth, live(START + 99 * SECOND)), Resolution::Late, "it has ended");
    let birth = event(EventKind::Connect, Session::Started(UnixNanos(START + 5 * SECOND)), None);
    assert!(matches!(instance.take(&birth, live(START + 99 * SECOND)), Resolution::Apply(_)));
    assert_eq!(instance.take(&will, live(START + 99 * SECOND)), Resolution::Late);
    assert_eq!(instance.is_connected(), Some(true));
}

proptest! {
    /// The end state is the same in whatever order the events arrive, also where sessions begin within a second.
    #[test]
    fn any_order_gives_the_same_state(
        (events, shuffled) in prop::collection::vec(
            (prop::sample::select(&KINDS[..]), 0..12_i64, 0..12_i64), 0..9,
        ).prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
    ) {
        let state_of = |events: &[(EventKind, i64, i64)]| {
            let mut instance = Instance::default();
            for (at, (kind, session, time)) in events.iter().enumerate() {
                let half_seconds = |number: i64| START + number * SECOND / 2;
                let session = Session::Started(UnixNanos(half_seconds(*session)));
                let received = live(half_seconds(20) + i64::try_from(at).expect("few events"));
                instance.take(&event(*kind, session, Some(half_seconds(*time))), received);
            }
            instance.held().map(|held| held.key)
        };
        prop_assert_eq!(state_of(&events), state_of(&shuffled));
    }
}
