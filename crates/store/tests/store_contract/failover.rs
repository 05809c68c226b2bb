//! What a grid does when a master dies that has acknowledged more than its replica has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use presence::EventKind;
use store::{ChangeCursor, Changes, Store, StoreError, StoredDevice};

use crate::fixture::{device, devices, event, wait};
use crate::places::{Cluster, Place};
use crate::shared::PATIENCE;

const DEVICES: i128 = 600;

fn fleet(session: i128) -> Vec<StoredDevice> {
    (0..DEVICES).map(|n| device(&n.to_string(), [event(EventKind::Connect, session, n)], 1)).collect()
}

/// Asks until the grid answers: while a master is being replaced it does not.
fn insist<T>(what: &str, ask: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Err(StoreError::Read(_) | StoreError::Write(_)) if Instant::now() < deadline => {}
            Err(error @ (StoreError::Read(_) | StoreError::Write(_))) => panic!("{what}: {error}"),
            answer => return answer,
        }
    }
}

fn put(store: &dyn Store, fleet: Vec<StoredDevice>) {
    let batch = Arc::new(devices(fleet));
    insist("a batch is written", || wait(store.upsert(Arc::clone(&batch)))).unwrap();
}

/// Reads on until every device is at the session, or there is a gap.
fn follow(store: &dyn Store, cursor: &mut ChangeCursor, session: i128) -> Result<(), StoreError> {
    let deadline = Instant::now() + PATIENCE;
    let mut there = BTreeSet::new();
    while there.len() < usize::try_from(DEVICES).unwrap() {
        let Changes { devices, cursor: next, .. } =
            insist("changes are read", || wait(store.changes(cursor.clone(), 1_000)))?;
        *cursor = next;
        let session = crate::fixture::session(session);
        there.extend(
            devices
                .into_iter()
                .filter(|one| one.state.resolve().unwrap().event.session == session)
                .map(|one| one.name),
        );
        assert!(Instant::now() < deadline, "{} devices of {DEVICES} are there", there.len());
    }
    Ok(())
}

/// Reads on to the end, or to a gap: what a writer has written itself need not come back.
fn catch_up(store: &dyn Store, cursor: &mut ChangeCursor) -> Result<(), StoreError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let changes = insist("changes are read", || wait(store.changes(cursor.clone(), 1_000)))?;
        *cursor = changes.cursor;
        if changes.is_all {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "there is no end");
    }
}

#[test]
fn writers_and_readers_notice_a_lost_acknowledged_change() {
    let mut place = Cluster::start();
    let [writer, witness, other] = [(); 3].map(|()| place.open("failover"));
    let start = wait(writer.cursor()).unwrap();
    let [mut of_writer, mut of_witness, mut of_other] = [(); 3].map(|()| start.clone());
    put(&*writer, fleet(1));
    catch_up(&*writer, &mut of_writer).unwrap();
    for (store, cursor) in [(&witness, &mut of_witness), (&other, &mut of_other)] {
        follow(&**store, cursor, 1).unwrap();
    }

    place.0.wait_until_whole();
    place.0.cut_replica(0);
    put(&*writer, fleet(2));
    follow(&*witness, &mut of_witness, 2).unwrap();
    place.0.kill_master(0);

    let gap = |store: &dyn Store, cursor: &ChangeCursor| {
        let asked = insist("changes are read", || wait(store.changes(cursor.clone(), 1_000)));
        matches!(asked, Err(StoreError::Gap(_)))
    };
    assert!(gap(&*witness, &of_witness), "what was seen is no longer there");
    // More than was lost, so that there are as many changes as were acknowledged, and more.
    [3, 4, 5].into_iter().for_each(|session| put(&*writer, fleet(session)));
    assert!(gap(&*writer, &of_writer), "what was acknowledged is not there");
    assert!(gap(&*writer, &of_writer), "and that stays so until the writer begins anew");
    // Who begins anew writes what it knows, and all can follow again.
    of_writer = insist("the mark is read", || wait(writer.cursor())).unwrap();
    put(&*writer, fleet(5));
    put(&*writer, fleet(6));
    catch_up(&*writer, &mut of_writer).unwrap();
    assert_eq!(of_writer, wait(writer.cursor()).unwrap());
    follow(&*other, &mut of_other, 6).unwrap();
}
