//! Streams that go on where the history should tell what was missed, and cannot; and snapshots of devices that change.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::stream::{Wish, blocks};
use crate::context::Context;
use crate::testing::{Fixture, HistoryAfter};
use presence::history::{EventPage, HistoryPosition, HistoryRow, StoredEvent};
use presence::payload::Payload;
use presence::{Device, EventKind, Moment, PresenceEvent, UnixSeconds};
use server::feed::RemovalReason;
use server::feed::resume::{EVENTS_MAX, HistoryWatermark};
use server::freshness::RoundNumber;
use server::http_settings::HttpSettings;
use server::registry::{Arrival, Provenance};
use serving::api::ApiParts;
use serving::testing::PATIENCE;
use store::{ReadHistory, StoreError};

/// The device began another session each second.
fn connect(at: u64) -> PresenceEvent {
    let moment = Moment::from_nanos(i128::from(at) * 1_000_000_000);
    let payload = Payload::pack(b"{}");
    PresenceEvent { kind: EventKind::Connect, session: moment, time: moment, close_code: 0, payload }
}

fn at(number: u64) -> HistoryPosition {
    HistoryPosition { order: 1, number }
}

/// So many events of one device.
fn many(events: u64) -> impl ReadHistory {
    HistoryAfter(move |after: HistoryPosition, limit| {
        let reached = events.min(after.number + limit as u64);
        let entry = |sequence| {
            let row = HistoryRow {
                sequence,
                event: connect(sequence),
                received_at: UnixSeconds(1),
                is_first_seen: false,
            };
            StoredEvent { device_type: "pump".into(), id: "1".into(), position: at(sequence), row }
        };
        let page = (after.number + 1..=reached).map(entry).collect();
        Ok(Some(EventPage {
            events: page,
            reached: at(reached),
            newest: at(events),
            begun: at(events),
            incomplete: false,
        }))
    })
}

/// A store that is away.
fn away() -> impl ReadHistory {
    HistoryAfter(|_, _| Err(StoreError::Read("away".to_owned())))
}

/// A service whose history is said to tell of everything up to an event.
fn keeping(history: impl ReadHistory + 'static, events: u64) -> Fixture {
    let mut fixture = Fixture::new(&HttpSettings::default());
    let parts = (*fixture.context).clone();
    fixture.context = Context::new(ApiParts { history: Arc::new(history), ..parts });
    fixture.context.feed.note_watermark(HistoryWatermark { changes: 0, events: at(events) }, Instant::now());
    fixture
}

/// The stream of a client that has seen what came before the history.
fn resumed(fixture: &Fixture, snapshot: bool) -> impl Stream<Item = Bytes> {
    let reader = fixture.context.feed.follow(CancellationToken::new()).unwrap();
    let wish = Wish { snapshot, last_event_id: Some("0-0-0-0".to_owned()), ..Wish::default() };
    blocks(fixture.context.clone(), reader, wish).map(|block| block.unwrap())
}

/// Reads on until a text comes, and gives everything that came.
async fn read_until(stream: &mut (impl Stream<Item = Bytes> + Unpin), text: &str) -> String {
    let mut read = String::new();
    loop {
        let block = timeout(PATIENCE, stream.next()).await;
        let block = block.unwrap_or_else(|_| panic!("waited in vain for {text}")).expect("it goes on");
        let block = std::str::from_utf8(&block).unwrap();
        read.push_str(block);
        // A block is whole lines.
        if block.contains(text) {
            return read;
        }
    }
}

#[tokio::test]
async fn as_much_as_is_shown_again_is_shown_and_more_is_a_gap() {
    let most = EVENTS_MAX as u64;
    let whole = keeping(many(most), most);
    let read = read_until(&mut pin!(resumed(&whole, false)), &format!("id: 0-0-{most}-1\n")).await;
    assert_eq!(read.matches("event: change\n").count(), EVENTS_MAX);
    assert!(!read.contains("event: gap\n"));

    let more = keeping(many(most + 1), most + 1);
    let read = read_until(&mut pin!(resumed(&more, false)), "event: gap\n").await;
    assert!(
        read.contains("event: gap\ndata: {\"reason\":\"too_many\"}\n\n"),
        "{}",
        &read[read.len() - 500..]
    );
    assert!(more.counts("devstatus_stream_gaps_total 1"));
}

#[tokio::test]
async fn a_replay_shows_few_events_in_one_step() {
    let fixture = keeping(many(1_000), 1_000);
    let mut stream = pin!(resumed(&fixture, false));
    let mut shown = 0;
    while shown < 1_000 {
        let block = timeout(PATIENCE, stream.next()).await.expect("it goes on").unwrap();
        let events = std::str::from_utf8(&block).unwrap().matches("event: change\n").count();
        assert!(events <= 32, "{events} in one step");
        shown += events;
    }
}

#[tokio::test]
async fn an_unavailable_store_causes_a_gap_and_the_stream_continues_with_live_changes() {
    let fixture = keeping(away(), 7);
    let shutdown = CancellationToken::new();
    let waking = tokio::spawn(Arc::clone(&fixture.context.feed).wake_readers(shutdown.clone()));
    let (mut live, mut anew) = (pin!(resumed(&fixture, false)), pin!(resumed(&fixture, true)));
    for stream in [&mut live as &mut (dyn Stream<Item = Bytes> + Unpin), &mut anew] {
        let read = read_until(&mut Box::pin(stream), "event: gap\n").await;
        assert!(read.contains("event: gap\ndata: {\"reason\":\"store\"}\n\n"), "{read}");
    }
    let read = read_until(&mut anew, "event: snapshot_complete\n").await;
    assert!(read.contains("data: {\"devices\":0}\n"), "{read}");
    let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
    let device = Device { device_type: "pump", id: "1" };
    fixture.context.map.apply_then(device, connect(1), arrival, |record, _| {
        fixture.context.feed.publish(record, None, false);
    });
    for stream in [&mut live as &mut (dyn Stream<Item = Bytes> + Unpin), &mut anew] {
        let read = read_until(&mut Box::pin(stream), "event: change\n").await;
        assert!(read.contains("\"since\":\"1970-01-01T00:00:01.000Z\""), "{read}");
    }
    assert!(fixture.counts("devstatus_stream_gaps_total 2"));
    shutdown.cancel();
    timeout(PATIENCE + Duration::from_secs(1), waking).await.expect("it ends").unwrap();
}

/// Reads what was sent of each device, in its order: when its state began, by the id.
fn note_shown(block: &Bytes, shown: &mut HashMap<String, Vec<String>>) -> Vec<String> {
    let block = std::str::from_utf8(block).unwrap();
    let mut names = Vec::new();
    for event in block.split("\n\n").filter(|event| event.contains("event: ")) {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let (name, data) = (field("event: "), field("data: "));
        names.push(name.to_owned());
        if name == "device" || name == "change" {
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            let text = |key: &str| data[key].as_str().unwrap().to_owned();
            shown.entry(text("id")).or_default().push(text("since"));
        }
    }
    names
}

#[tokio::test]
async fn a_snapshot_while_devices_change_misses_and_repeats_nothing() {
    let fixture = Fixture::new(&HttpSettings::default());
    let (map, feed) = (&fixture.context.map, &fixture.context.feed);
    let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
    let mut happened: HashMap<String, Vec<String>> = HashMap::new();
    let mut second = 0;
    let mut change = |number: u64| {
        second += 1;
        let id = number.to_string();
        let event = connect(second);
        happened.entry(id.clone()).or_default().push(event.time.rfc3339().unwrap().to_string());
        let device = Device { device_type: "pump", id: &id };
        map.apply_then(device, event, arrival, |record, _| feed.publish(record, None, false));
    };
    // Of these the last hundred are not there when the snapshot begins.
    let numbers = 700;
    (0..numbers - 100).for_each(&mut change);
    let shutdown = CancellationToken::new();
    let waking = tokio::spawn(Arc::clone(feed).wake_readers(shutdown.clone()));
    let reader = feed.follow(CancellationToken::new()).unwrap();
    let wish = Wish { snapshot: true, ..Wish::default() };
    let mut stream = pin!(blocks(fixture.context.clone(), reader, wish));
    let mut shown = HashMap::new();
    let (mut step, mut is_complete) = (0, false);
    while !is_complete {
        let block = timeout(PATIENCE, stream.next()).await.expect("it goes on").unwrap().unwrap();
        is_complete = note_shown(&block, &mut shown).iter().any(|name| name == "snapshot_complete");
        step += 1;
        // Between two steps devices of every part change, and new ones come.
        (0..5).for_each(|n| change((step * 7_919 + n * 131) % numbers));
    }
    assert!(step > 100, "the devices are in many parts");
    change(numbers);
    while !shown.contains_key(&numbers.to_string()) {
        let block = timeout(PATIENCE, stream.next()).await.expect("it goes on").unwrap().unwrap();
        note_shown(&block, &mut shown);
    }
    assert_eq!(shown.len(), happened.len());
    for (id, happened) in &happened {
        assert!(happened.ends_with(&shown[id]), "{id}: {:?} of {happened:?}", shown[id]);
    }
    shutdown.cancel();
    timeout(PATIENCE, waking).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_device_that_has_expired_is_no_change() {
    let fixture = Fixture::new(&HttpSettings::default());
    let (map, feed) = (&fixture.context.map, &fixture.context.feed);
    let shutdown = CancellationToken::new();
    let waking = tokio::spawn(Arc::clone(feed).wake_readers(shutdown.clone()));
    let mut streams = [Duration::ZERO, Duration::from_secs(1)].map(|settle| {
        let reader = feed.follow(CancellationToken::new()).unwrap();
        let blocks = blocks(fixture.context.clone(), reader, Wish { settle, ..Wish::default() });
        Box::pin(blocks.map(|block| block.unwrap()))
    });
    for stream in &mut streams {
        read_until(stream, "retry: ").await;
    }
    let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
    let device = Device { device_type: "pump", id: "1" };
    map.apply_then(device, connect(1), arrival, |record, _| {
        feed.publish_removal(record, RemovalReason::Expired);
        feed.publish_removal(record, RemovalReason::Forgotten);
    });
    for stream in &mut streams {
        let read = read_until(stream, "event: forgotten\n").await;
        assert_eq!(read.matches("event: ").count(), 1, "{read}");
    }
    shutdown.cancel();
    waking.await.unwrap();
}

#[tokio::test]
async fn a_bounded_number_of_snapshots_is_sent_at_once() {
    let fixture = Fixture::new(&HttpSettings::default());
    let walks = fixture.context.feed.walks();
    let others: Vec<_> = (0..16).map(|_| Arc::clone(walks).try_acquire_owned().unwrap()).collect();
    assert!(Arc::clone(walks).try_acquire_owned().is_err());
    let reader = fixture.context.feed.follow(CancellationToken::new()).unwrap();
    let wish = Wish { snapshot: true, ..Wish::default() };
    let mut stream = pin!(blocks(fixture.context.clone(), reader, wish).map(|block| block.unwrap()));
    while let Some(block) = stream.next().now_or_never() {
        let block = block.expect("the stream goes on");
        assert!(!std::str::from_utf8(&block).unwrap().contains("snapshot_complete"), "it waits: {block:?}");
    }
    drop(others);
    read_until(&mut stream, "event: snapshot_complete\n").await;
}

#[tokio::test]
async fn a_stream_that_may_hold_back_no_more_disconnects_reads_on_once_there_is_room() {
    let fixture = Fixture::new(&HttpSettings::default());
    let (map, feed) = (&fixture.context.map, &fixture.context.feed);
    let room = u32::try_from(feed.undecided().available_permits()).unwrap();
    let others = Arc::clone(feed.undecided()).try_acquire_many_owned(room).unwrap();
    let shutdown = CancellationToken::new();
    let waking = tokio::spawn(Arc::clone(feed).wake_readers(shutdown.clone()));
    let reader = feed.follow(CancellationToken::new()).unwrap();
    let settle = Duration::from_secs(5);
    let wish = Wish { settle, ..Wish::default() };
    let mut stream = pin!(blocks(fixture.context.clone(), reader, wish).map(|block| block.unwrap()));
    read_until(&mut stream, "retry: ").await;
    let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
    let device = Device { device_type: "pump", id: "1" };
    map.apply_then(device, connect(1), arrival, |record, _| feed.publish(record, None, false));
    while let Some(block) = stream.next().now_or_never() {
        let block = block.expect("the stream goes on");
        assert!(!std::str::from_utf8(&block).unwrap().contains("event: change"), "it waits: {block:?}");
    }
    drop(others);
    read_until(&mut stream, "event: change\n").await;
    shutdown.cancel();
    timeout(PATIENCE, waking).await.expect("it ends").unwrap();
}
