//! The order of the events of all devices in PostgreSQL, where transactions do not end in the order in which they began, and
//! the server may be another one than it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use presence::EventKind;
use presence::history::{HistoryEvent, HistoryPosition};
use store::Store;
use tokio_postgres::{Client, NoTls};

use crate::events::{events_after, follow, page, reported};
use crate::fixture::{Fixture, WRITERS, event, events, history_event, wait, while_several_write};
use crate::places::Postgres;

/// One event of a device that has none like it.
fn connected(id: &str, at: i128) -> HistoryEvent {
    history_event(id, event(EventKind::Connect, at, at), 1)
}

/// A connection of somebody else.
fn stranger(place: &Postgres) -> Client {
    let address = format!("host=127.0.0.1 port={} user=devstatus dbname=postgres", place.0.port());
    wait(async {
        let (client, connection) = tokio_postgres::connect(&address, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    })
}

/// What has begun earlier and ends later comes before what ended meanwhile: nothing of that is given until then.
pub fn events_wait_for_running_transactions(place: &Postgres) {
    let fixture = Fixture::new(place);
    let (store, schema) = (fixture.store(), fixture.name());
    fixture.put(events(vec![connected("a", 1)]));
    let before = events_after(store, HistoryPosition::BEGINNING, 10);
    let slow = stranger(place);
    // An event, as another instance would keep it.
    let keeps = format!(
        "INSERT INTO {schema}.event (device, kind, session, time, close_code, received_at, digest, payload)
         SELECT device, kind, session, 2, close_code, received_at, 2, payload FROM {schema}.event"
    );
    for keeping in [keeps.as_str(), "SELECT txid_current()"] {
        wait(slow.batch_execute(&format!("BEGIN; {keeping}"))).unwrap();
        let (_, end) = follow(store, before.newest, 10);
        fixture.put(events(vec![connected("b", 1)]));
        let held = page(store, end, 10);
        assert_eq!(
            (held.events.len(), held.incomplete),
            (0, false),
            "what came after it may be given too early"
        );
        assert!(held.newest < held.begun, "{held:?}");
        wait(slow.batch_execute("COMMIT")).unwrap();
        assert!(events_after(store, end, 10).newest >= held.begun, "all that had begun is over");
    }
    let (missed, _) = follow(store, before.newest, 1);
    let missed: Vec<_> = missed.iter().map(|entry| (&*entry.id, entry.row.event.time.nanos())).collect();
    assert_eq!(missed, [("a", Some(2)), ("b", Some(1))]);
}

/// A reader that goes from page to page while several write is given every event once, whichever transaction ends first; and
/// one that begins anew after any of them misses none.
pub fn events_that_several_keep_at_once_are_all_given_once(place: &Postgres) {
    let fixture = Fixture::new(place);
    let reader = fixture.shared();
    let batch = |writer, number, size| {
        // Of devices that all write and of their own, each at a time of its own.
        let at = i128::try_from(number * WRITERS + writer).unwrap();
        let id = |n| if n < 2 { format!("{n}") } else { format!("{writer}-{n}") };
        events((0..size).map(|n| connected(&id(n), at)).collect())
    };
    let (mut after, mut followed) = (HistoryPosition::BEGINNING, Vec::new());
    let followed = while_several_write(&fixture, batch, |last| {
        if last {
            events_after(&*reader, after, 0);
        }
        let (events, end) = follow(&*reader, after, 7);
        after = end;
        followed.extend(events);
        last.then(|| std::mem::take(&mut followed))
    });
    let kept = place.0.psql(&format!("SELECT count(*) FROM {}.event", fixture.name()));
    let all: BTreeSet<_> = followed.iter().map(reported).collect();
    assert_eq!((followed.len(), all.len().to_string()), (all.len(), kept), "each once");
    for part in (0..followed.len()).step_by(followed.len() / 20) {
        let (rest, _) = follow(&*reader, followed[part].position, 1_000);
        let rest: BTreeSet<_> = rest.iter().map(reported).collect();
        assert!(
            followed[part + 1..].iter().all(|entry| rest.contains(&reported(entry))),
            "from event {part} on"
        );
    }
}

/// A position is none of this order if it has another one, or is of a transaction that is still to come.
pub fn a_position_of_another_server_is_recognized(place: &Postgres) {
    let fixture = Fixture::new(place);
    fixture.put(events(vec![connected("a", 1)]));
    let page = events_after(fixture.store(), HistoryPosition::BEGINNING, 10);
    assert!(!events_after(fixture.store(), page.newest, 10).incomplete);
    let HistoryPosition { order, number } = page.newest;
    for other in [
        HistoryPosition { order: order + 1, number },
        HistoryPosition { order, number: number + 1_000 },
        HistoryPosition { order: 0, number: 1 },
    ] {
        assert!(events_after(fixture.store(), other, 10).incomplete, "{other:?} beside {:?}", page.newest);
    }
}

/// A dump that is restored into another server brings events of transactions that this one has not begun yet. They are not given
/// as news when it gets there, nothing that is kept meanwhile is passed over, and positions of before are known to be none.
pub fn events_of_a_restored_dump_do_not_come_again(place: &Postgres) {
    let mut fixture = Fixture::new(place);
    fixture.put(events(vec![connected("a", 1)]));
    let before = events_after(fixture.store(), HistoryPosition::BEGINNING, 10);
    let schema = fixture.name().to_owned();
    place.0.psql(&format!("UPDATE {schema}.event SET kept_in = txid_current() + 40"));
    assert!(
        events_after(fixture.store(), before.newest, 10).incomplete,
        "by an instance that runs meanwhile"
    );
    fixture.reopen();
    let restored = events_after(fixture.store(), before.newest, 10);
    assert!(restored.incomplete && restored.newest.order != before.newest.order, "{restored:?}");
    let mut after = restored.newest;
    for at in 0..60 {
        fixture.put(events(vec![connected("b", at)]));
        events_after(fixture.store(), after, 0);
        let (given, end) = follow(fixture.store(), after, 10);
        assert_eq!(given.iter().map(|entry| &*entry.id).collect::<Vec<_>>(), ["b"]);
        after = end;
    }
    // Also if all of those events are gone.
    place.0.psql(&format!("UPDATE {schema}.event_order SET dropped = txid_current() + 1000000"));
    fixture.reopen();
    assert!(events_after(fixture.store(), after, 10).incomplete);
    let newest = events_after(fixture.store(), HistoryPosition::BEGINNING, 0).newest;
    assert!(!events_after(fixture.store(), newest, 10).incomplete);
}

/// What a schema of the first version holds says the same after it was brought up to date, and what comes then is in order.
pub fn a_schema_of_the_first_version_is_brought_up_to_date(place: &Postgres) {
    let schema = "of_version_1";
    let make = |step: &str| place.0.psql(&step.replace("{schema}", schema));
    make(include_str!("../../src/postgres/sql/schema_0.sql"));
    make(include_str!("../../src/postgres/sql/schema_1.sql"));
    let payload = r"'\x7b7d'::bytea";
    make(&format!(
        "UPDATE {{schema}}.version SET version = 1;
         INSERT INTO {{schema}}.device (type, id, connected, claim, session, time, close_code, heard_at, lane, changed, payload)
         VALUES ('t', 'a', true, 1, 5, 5, 0, 7, 0, 1, {payload});
         UPDATE {{schema}}.counter SET changed = 1 WHERE lane = 0;
         INSERT INTO {{schema}}.event (device, claim, session, time, close_code, heard_at, digest, payload)
         SELECT number, 1, 5, 5, 0, 7, 1, {payload} FROM {{schema}}.device"
    ));
    let store: Arc<dyn Store> = Arc::new(wait(place.try_open(schema)).unwrap());
    assert_eq!(make("SELECT version FROM {schema}.version"), "9");
    let name = crate::fixture::name("a");
    let devices = wait(store.read(vec![name.clone()])).unwrap();
    assert_eq!(devices[0].state.resolve().unwrap().event.session.nanos(), Some(5));
    assert_eq!(wait(store.history(name.clone(), None, 10)).unwrap().len(), 1);
    // The event of before has no place in the order.
    let page = events_after(&*store, HistoryPosition::BEGINNING, 10);
    assert_eq!((page.events.len(), page.incomplete), (0, true));
    wait(store.upsert(Arc::new(events(vec![connected("a", 9)])))).unwrap();
    let later = events_after(&*store, page.newest, 10);
    assert_eq!((later.events.len(), later.incomplete), (1, false));
    assert_eq!(wait(store.history(name, None, 10)).unwrap().len(), 2);
    // An instance of the version before may still write: it names the columns that it knows.
    make(
        "INSERT INTO {schema}.event (device, kind, session, time, close_code, received_at, digest, payload)
         SELECT device, kind, session, 10, close_code, received_at, 10, payload FROM {schema}.event WHERE time = 9",
    );
    assert_eq!(events_after(&*store, later.newest, 10).events.len(), 1);
}

/// The place of the newest event is asked after each batch: it is read off an index, however many devices and events there are.
pub fn the_newest_event_is_read_from_an_index(place: &Postgres) {
    let fixture = Fixture::new(place);
    let schema = fixture.name();
    for part in 0..4 {
        let some = (0..3_000).map(|n| connected(&format!("{part}-{n}"), n));
        fixture.put(events(some.collect()));
    }
    let sql = include_str!("../../src/postgres/sql/events.sql");
    let sql = sql.replace("{schema}", schema).replace("{timeline}", "NULL::text").replace("{cluster}", "1");
    let explain = |after: &str, limit: &str| {
        place.0.psql(&format!(
            "SET plan_cache_mode = force_generic_plan; PREPARE page (bigint, bigint) AS {sql}; \
             EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE page ({after}, {limit})"
        ))
    };
    // Also where the planner knows nothing of the tables yet.
    for analysed in [false, true] {
        for table in ["device", "event"].iter().filter(|_| analysed) {
            place.0.psql(&format!("VACUUM ANALYZE {schema}.{table}"));
        }
        for (after, limit) in [("1099511627775", "0"), ("0", "1000")] {
            let plan = explain(after, limit);
            assert!(!plan.contains("Seq Scan on event\n") && !plan.contains("Seq Scan on device"), "{plan}");
            assert!(!plan.contains("Seq Scan on event "), "{plan}");
        }
    }
}
