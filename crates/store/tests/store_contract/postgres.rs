//! What only the store in PostgreSQL promises: to those who read it with SQL, and to instances that come at once.

use std::collections::BTreeSet;

use presence::{EventKind, UnixSeconds};
use store::postgres::PostgresStore;
use store::{ChangeCursor, ForgottenDevice, StoreError, TOMBSTONES_MAX};

use crate::fixture::{Fixture, device, devices, event, name, wait, while_several_write};
use crate::places::Postgres;

/// How many devices of each type are connected is read off an index.
pub fn those_who_are_connected_are_counted_without_the_table(place: &Postgres) {
    let fixture = Fixture::new(place);
    let schema = fixture.name();
    for part in 0..5 {
        let some = (0..4_000).map(|n| {
            let kind = if n % 4 == 0 { EventKind::Disconnect } else { EventKind::Connect };
            let mut one = device(&format!("{part}-{n}"), [event(kind, n, n)], 1);
            one.name.device_type = format!("type{part}").into();
            one
        });
        fixture.put(devices(some.collect()));
    }
    place.0.psql(&format!("VACUUM ANALYZE {schema}.device"));
    let count =
        format!("SELECT type, count(*) FROM {schema}.device WHERE connected GROUP BY type ORDER BY type");
    let plan = place.0.psql(&format!("EXPLAIN {count}"));
    assert!(plan.contains("Index Only Scan using device_connected"), "{plan}");
    let rows = (0..5).map(|part| format!("type{part}|3000")).collect::<Vec<_>>().join("\n");
    assert_eq!(place.0.psql(&count), rows);
    let since = format!("SELECT status, since, reason, address FROM {schema}.devices WHERE id = '0-0'");
    assert_eq!(place.0.psql(&since), "disconnected|1970-01-01 00:00:00+00|r|192.0.2.1");
}

/// Instances that start together make the schema once.
pub fn instances_that_start_together_make_the_schema_once(place: &Postgres) {
    let opened: Vec<PostgresStore> = std::thread::scope(|scope| {
        let opening: Vec<_> =
            (0..4).map(|_| scope.spawn(|| wait(place.try_open("made_at_once")).unwrap())).collect();
        opening.into_iter().map(|opening| opening.join().unwrap()).collect()
    });
    assert_eq!(opened.len(), 4);
    assert_eq!(place.0.psql("SELECT count(*) FROM made_at_once.version"), "1");
}

/// A schema of a later version is left alone.
pub fn a_schema_of_a_newer_version_is_refused(place: &Postgres) {
    drop(wait(place.try_open("newer")).unwrap());
    place.0.psql("UPDATE newer.version SET version = 99");
    let refused = wait(place.try_open("newer")).err();
    assert!(matches!(refused, Some(StoreError::NewerSchema { found: 99, .. })), "{refused:?}");
}

/// A reader that goes from cursor to cursor while several write misses nothing, whichever transaction commits first.
pub fn no_change_is_missed_between_two_cursors(place: &Postgres) {
    let fixture = Fixture::new(place);
    let reader = fixture.shared();
    let batch = |writer, number, size| {
        let some = (0..size)
            .map(|n| device(&format!("{writer}-{number}-{n}"), [event(EventKind::Connect, 1, 1)], 1));
        devices(some.collect())
    };
    let (mut cursor, mut found) = (ChangeCursor::BEGINNING, BTreeSet::new());
    let found = while_several_write(&fixture, batch, |last| {
        let changes = wait(reader.changes(cursor.clone(), 7)).unwrap();
        let is_all = changes.devices.is_empty();
        found.extend(changes.devices.into_iter().map(|one| one.name.id.to_string()));
        cursor = changes.cursor;
        (last && is_all).then(|| std::mem::take(&mut found))
    });
    let all: BTreeSet<String> = fixture.all().into_keys().map(|name| name.id.into()).collect();
    assert_eq!(found, all);
}

/// A database that is older than what was read from it says so, instead of passing over what comes.
pub fn a_database_restored_from_a_backup_is_noticed(place: &Postgres) {
    let fixture = Fixture::new(place);
    fixture.put(devices(vec![device("a", [event(EventKind::Connect, 1, 1)], 1)]));
    let cursor = wait(fixture.store().cursor()).unwrap();
    place.0.psql(&format!("UPDATE {}.counter SET changed = 0", fixture.name()));
    let polled = wait(fixture.store().changes(cursor, 10));
    assert!(matches!(polled, Err(StoreError::Gap(_))), "{polled:?}");
}

/// The oldest tombstones give way.
pub fn tombstones_are_bounded(place: &Postgres) {
    let fixture = Fixture::new(place);
    let table = format!("{}.tombstone", fixture.name());
    let beyond = 5;
    place.0.psql(&format!(
        "INSERT INTO {table} SELECT 't', 'old-' || n, n, 0, 0 FROM generate_series(1, {}) AS n",
        TOMBSTONES_MAX + beyond
    ));
    let at = UnixSeconds(4_000_000);
    wait(fixture.store().forget(ForgottenDevice { name: name("newest"), at })).unwrap();
    let left = place.0.psql(&format!("SELECT count(*), min(forgotten_at), max(forgotten_at) FROM {table}"));
    assert_eq!(left, format!("{TOMBSTONES_MAX}|{}|{}", beyond + 2, at.0));
}
