//! What the feed promises to a reader, and what it does to one that is too slow.

use std::pin::pin;
use std::time::Instant;

use futures_util::FutureExt;

use super::resume::{GapReason, HistoryWatermark, Resumption, StreamPosition};
use super::*;
use crate::freshness::{Freshness, FreshnessBySource, RoundNumber};
use crate::health::{PeerHealth, ReadyOn};
use crate::registry::{Applied, Arrival, DeviceRegistry, Provenance};
use presence::history::HistoryPosition;
use presence::payload::Payload;
use presence::{Device, EventKind, Moment, PresenceEvent, UnixSeconds};

struct Fixture {
    registry: DeviceRegistry,
    feed: Arc<Feed>,
    metrics: Metrics,
}

impl Fixture {
    /// The highest sequence of a change that is gone and is in no history.
    fn lost(&self) -> u64 {
        self.feed.buffer.read().unlogged().lost
    }

    fn new(streams_max: u32, stream_lag_max: u32) -> Self {
        let metrics = Metrics::default();
        let health = Arc::new(Health::new(ReadyOn::Unproven));
        let settings = FeedSettings { streams_max, stream_lag_max };
        let feed = Arc::new(Feed::new(settings, health, metrics.clone()));
        Self { registry: DeviceRegistry::default(), feed, metrics }
    }

    /// One more change of one device.
    fn change(&self, at: i128, in_history: bool) {
        self.change_with(at, in_history, at.to_string().as_bytes());
    }

    /// The same with a message of those bytes.
    fn change_with(&self, at: i128, in_history: bool, message: &[u8]) {
        let (moment, payload) = (Moment::from_nanos(at), Payload::pack(message));
        let event =
            PresenceEvent { kind: EventKind::Connect, session: moment, time: moment, close_code: 0, payload };
        let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
        let device = Device { device_type: "t", id: "a" };
        let applied = self.registry.apply_then(device, event, arrival, |record, applied| {
            assert_ne!(applied, Applied::Known);
            self.feed.publish(record, None, in_history);
        });
        assert_ne!(applied, Applied::Known);
    }

    fn follow(&self) -> ChangeReader {
        self.feed.follow(CancellationToken::new()).unwrap()
    }
}

fn sequences(batch: &ChangeBatch) -> Vec<u64> {
    batch.changes().iter().map(|change| change.sequence).collect()
}

#[tokio::test]
async fn a_stream_that_resumes_just_after_a_start_waits_for_the_first_watermark() {
    let fixture = Fixture::new(10, 1_000);
    fixture.change(1, true);
    let seen = HistoryPosition { order: 1, number: 5 };
    let id = StreamPosition { epoch: fixture.feed.epoch + 1, sequence: 7, history: Some(seen) }.to_string();
    let mut waiting = pin!(fixture.feed.wait_for_watermark(&id));
    assert_eq!(waiting.as_mut().now_or_never(), None);
    fixture.feed.note_watermark(HistoryWatermark { changes: 1, events: seen }, Instant::now());
    assert_eq!(waiting.now_or_never(), Some(()));
    assert!(matches!(fixture.feed.resume(&id), Ok(Resumption::History(_))));

    // A store without an order never says so; and who goes on in memory has nothing to wait for.
    let unordered = Fixture::new(10, 1_000);
    let id = StreamPosition { epoch: unordered.feed.epoch + 1, sequence: 7, history: Some(seen) }.to_string();
    unordered.feed.wait_for_watermark(&id).await;
    assert_eq!(unordered.feed.resume(&id).unwrap_err(), GapReason::NotLogged);
    for other in [
        StreamPosition { epoch: unordered.feed.epoch, sequence: 0, history: Some(seen) }.to_string(),
        StreamPosition { epoch: unordered.feed.epoch + 1, sequence: 0, history: None }.to_string(),
        "no id".to_owned(),
    ] {
        assert_eq!(unordered.feed.wait_for_watermark(&other).now_or_never(), Some(()), "{other}");
    }
}

#[tokio::test]
async fn a_stream_that_resumes_behind_the_buffer_waits_until_the_history_reaches_it() {
    let fixture = Fixture::new(10, 2);
    fixture.change(1, true);
    let seen = |number| HistoryPosition { order: 1, number };
    let watermark = |changes, number| HistoryWatermark { changes, events: seen(number) };
    fixture.feed.note_watermark(watermark(1, 5), Instant::now());
    let id = StreamPosition { epoch: fixture.feed.epoch, sequence: 1, history: Some(seen(5)) }.to_string();
    assert_eq!(fixture.feed.wait_for_watermark(&id).now_or_never(), Some(()), "it goes on in memory");

    (2..6).for_each(|at| fixture.change(at, true));
    let mut waiting = pin!(fixture.feed.wait_for_watermark(&id));
    assert_eq!(waiting.as_mut().now_or_never(), None);
    assert_eq!(fixture.feed.resume(&id).unwrap_err(), GapReason::NotLogged);
    fixture.feed.note_watermark(watermark(5, 9), Instant::now());
    assert_eq!(waiting.now_or_never(), Some(()));
    assert!(matches!(fixture.feed.resume(&id), Ok(Resumption::History(_))));
}

#[test]
fn a_reader_gets_every_change_after_it_began_once_and_in_order() {
    let fixture = Fixture::new(10, 1_000);
    fixture.change(1, true);
    let (mut one, mut other) = (fixture.follow(), fixture.follow());
    assert!(one.take().unwrap().changes().is_empty());
    for at in 2..5 {
        fixture.change(at, true);
    }
    assert_eq!(sequences(&one.take().unwrap()), [2, 3, 4]);
    fixture.change(5, true);
    assert_eq!(sequences(&one.take().unwrap()), [5]);
    let mut all = Vec::new();
    while other.position() < fixture.feed.head() {
        all.extend(sequences(&other.take().unwrap()));
    }
    assert_eq!(all, [2, 3, 4, 5]);
    one.go_to(0);
    assert_eq!(sequences(&one.take().unwrap()), [1, 2, 3, 4, 5]);
}

#[test]
fn readers_at_the_same_position_share_one_batch_and_its_text() {
    let fixture = Fixture::new(10, 1_000);
    let (mut one, mut other) = (fixture.follow(), fixture.follow());
    fixture.change(1, true);
    let (first, second) = (one.take().unwrap(), other.take().unwrap());
    assert!(Arc::ptr_eq(&first, &second));
    let count = |changes: &[Arc<Change>]| format!("{}", changes.len()).into();
    assert_eq!(first.shown(0, &FreshnessBySource::of_one_link(Freshness::Current), count), "1");
    assert_eq!(
        second.shown(0, &FreshnessBySource::of_one_link(Freshness::Current), |_| panic!("it is made once")),
        "1"
    );
    // Others are stale after the link was lost: the shared text would deny it.
    assert_eq!(
        second.shown(0, &FreshnessBySource::of_one_link(Freshness::Unconfirmed), |_| "stale".into()),
        "stale"
    );
    assert_eq!(
        first.shown(0, &FreshnessBySource::of_one_link(Freshness::Current), |_| panic!("it is made once")),
        "1"
    );
    let change = &first.changes()[0];
    assert_eq!(
        change.shown(&FreshnessBySource::of_one_link(Freshness::Unconfirmed), |_| "stale".into()),
        "stale"
    );
    assert_eq!(
        change.shown(&FreshnessBySource::of_one_link(Freshness::Current), |_| "current".into()),
        "current"
    );
}

#[test]
fn changes_are_shown_in_parts_that_all_readers_share() {
    let fixture = Fixture::new(10, 10_000);
    let (mut one, mut other) = (fixture.follow(), fixture.follow());
    let number = 2 * SHOWN_AT_ONCE as u64 + 3;
    for at in 0..number {
        fixture.change(i128::from(at), true);
    }
    let (batch, same) = (one.take().unwrap(), other.take().unwrap());
    let numbers: Vec<usize> = (0..batch.parts()).map(|part| batch.part(part).len()).collect();
    assert_eq!(numbers, [SHOWN_AT_ONCE, SHOWN_AT_ONCE, 3]);
    let show = |changes: &[Arc<Change>]| format!("{}..", changes[0].sequence).into();
    let shown: Vec<Bytes> = (0..3)
        .map(|part| batch.shown(part, &FreshnessBySource::of_one_link(Freshness::Current), show))
        .collect();
    assert_eq!(shown, ["1..", "33..", "65.."]);
    assert_eq!(
        same.shown(2, &FreshnessBySource::of_one_link(Freshness::Current), |_| panic!("it is made once")),
        "65.."
    );
}

#[test]
fn changes_beyond_one_batch_come_in_several() {
    let fixture = Fixture::new(10, 10_000);
    let mut reader = fixture.follow();
    let most = buffer::BATCH_MAX as u64;
    for at in 0..most * 2 + 1 {
        fixture.change(i128::from(at), true);
    }
    let batches: Vec<usize> = (0..4).map(|_| reader.take().unwrap().changes().len()).collect();
    assert_eq!(batches, [most as usize, most as usize, 1, 0]);
}

#[test]
fn a_batch_of_long_changes_is_limited_by_size() {
    let fixture = Fixture::new(10, 10_000);
    let mut reader = fixture.follow();
    for at in 0..200 {
        fixture.change_with(at, true, &[b'x'; 64 << 10]);
    }
    let batches: Vec<usize> = (0..13).map(|_| reader.take().unwrap().changes().len()).collect();
    // A change of 64 KiB counts as 256 KiB, as it is shown.
    assert_eq!(batches, [vec![16; 12], vec![8]].concat());
}

#[test]
fn a_reader_too_far_behind_is_ended_and_the_others_are_not() {
    let fixture = Fixture::new(10, 5);
    let cut = CancellationToken::new();
    let mut slow = fixture.feed.follow(cut.clone()).unwrap();
    let mut quick = fixture.follow();
    for at in 1..=5 {
        fixture.change(at, at != 1);
    }
    assert_eq!(fixture.feed.lag(), 5);
    fixture.feed.end_the_slow();
    assert!(!cut.is_cancelled());
    assert_eq!(sequences(&quick.take().unwrap()), [1, 2, 3, 4, 5]);
    assert_eq!(fixture.lost(), 0);
    fixture.change(6, true);
    assert_eq!(fixture.lost(), 1, "it is in no history and no longer here");
    let buffer = |position| fixture.feed.buffer.read().reaches(position);
    assert!(!buffer(0) && buffer(1));
    fixture.feed.end_the_slow();
    fixture.feed.end_the_slow();
    assert!(cut.is_cancelled());
    let slow_ones = crate::metrics::ReasonLabel { reason: "slow" };
    assert_eq!(fixture.metrics.feed.streams_refused.get_or_create(&slow_ones).get(), 1);
    assert_eq!(sequences(&quick.take().unwrap()), [6]);
    assert!(matches!(slow.take(), Err(Behind)));
}

#[test]
fn a_gap_in_the_history_counts_like_an_unlogged_change() {
    let fixture = Fixture::new(1, 5);
    fixture.change(1, true);
    fixture.change(2, false);
    fixture.change(3, true);
    let unlogged = |after, up_to| -> Vec<u64> {
        let (found, _) = fixture.feed.buffer.read().unlogged_changes(after, up_to);
        found.iter().map(|change| change.sequence).collect()
    };
    assert_eq!((unlogged(0, 3), unlogged(0, 1), unlogged(2, 3)), (vec![2], vec![], vec![]));
    assert_eq!(fixture.lost(), 0);
    fixture.feed.note_lost();
    assert_eq!(fixture.lost(), 3);
}

#[test]
fn a_buffer_that_nobody_follows_any_more_shrinks_over_the_next_changes() {
    let fixture = Fixture::new(10, 10_000);
    let reader = fixture.follow();
    let number = UNFOLLOWED_MAX as u64 + 1_000;
    for at in 0..number {
        fixture.change(i128::from(at), true);
    }
    drop(reader);
    let mut dropped = Vec::new();
    let mut reached = fixture.feed.buffer.read().reached();
    while reached < fixture.feed.head() - UNFOLLOWED_MAX as u64 {
        fixture.change(i128::from(fixture.feed.head()), true);
        let now = fixture.feed.buffer.read().reached();
        dropped.push(now - reached);
        reached = now;
    }
    assert!(dropped.len() > 10 && dropped.iter().all(|number| (1..=64).contains(number)), "{dropped:?}");
}

#[test]
fn of_a_population_that_nobody_follows_no_more_is_held_than_could_be_resumed_after() {
    let fixture = Fixture::new(10, 100);
    let held = || fixture.feed.head() - fixture.feed.buffer.read().reached();
    let found = |number: u64| {
        (0..number).for_each(|_| fixture.change(i128::from(fixture.feed.head()), false));
        held()
    };
    assert_eq!((found(100), fixture.lost()), (100, 0));
    assert_eq!((found(1), found(1), found(1_000)), (37, 0, 0));
    assert_eq!(fixture.lost(), fixture.feed.head());
    // A change that the history tells of is held for who comes back, as long as no further device is found.
    fixture.change(5_000, true);
    assert_eq!((held(), found(1)), (1, 0));
    // Who follows is shown all from then on.
    let mut reader = fixture.follow();
    let before = reader.position();
    assert_eq!((found(3), reader.take().unwrap().changes().len()), (3, 3));
    assert_eq!((reader.position(), fixture.feed.head()), (before + 3, before + 3));
}

#[test]
fn what_is_in_no_history_is_looked_for_in_parts() {
    let fixture = Fixture::new(10, 10_000);
    let _reader = fixture.follow();
    let number = buffer::BATCH_MAX as u64 * 2 + 10;
    for at in 0..number {
        fixture.change(i128::from(at), false);
    }
    let (part, examined) = fixture.feed.buffer.read().unlogged_changes(5, number);
    assert_eq!((part.len(), examined), (buffer::BATCH_MAX, 5 + buffer::BATCH_MAX as u64));
    // A stream that goes on in the history is given them in such parts, too.
    fixture.feed.note_watermark(HistoryWatermark { changes: number - 3, events: at(7) }, Instant::now());
    let Ok(Resumption::History(mut resumption)) = fixture.feed.resume("0-0-7-1") else {
        panic!("it is here")
    };
    let mut parts = Vec::new();
    while let Some(part) = fixture.feed.unlogged_changes(&mut resumption).unwrap() {
        parts.push(part.iter().map(|change| change.sequence).collect::<Vec<_>>());
    }
    assert!(parts.iter().all(|part| part.len() <= buffer::BATCH_MAX));
    assert_eq!(parts.concat(), (1..=number - 3).collect::<Vec<_>>());
}

#[test]
fn a_change_in_no_history_that_leaves_the_buffer_before_it_is_shown_is_a_gap() {
    let fixture = Fixture::new(10, 5);
    let _reader = fixture.follow();
    for at in 1..=5 {
        fixture.change(at, at != 2);
    }
    fixture.feed.note_watermark(HistoryWatermark { changes: 5, events: at(7) }, Instant::now());
    let Ok(Resumption::History(mut resumption)) = fixture.feed.resume("0-0-7-1") else {
        panic!("it is here")
    };
    (6..=7).for_each(|at| fixture.change(at, true));
    assert_eq!(fixture.feed.unlogged_changes(&mut resumption).unwrap_err(), GapReason::NotLogged);
}

#[test]
fn one_too_many_is_refused_and_a_place_comes_back() {
    let fixture = Fixture::new(1, 5);
    let first = fixture.follow();
    assert!(fixture.feed.follow(CancellationToken::new()).is_none());
    drop(first);
    assert_eq!(fixture.metrics.feed.streams.get(), 0);
    drop(fixture.follow());
}

fn at(number: u64) -> HistoryPosition {
    HistoryPosition { order: 1, number }
}

#[test]
fn a_change_carries_a_watermark_only_after_the_population() {
    let fixture = Fixture::new(1, 5);
    let mut reader = fixture.follow();
    fixture.feed.note_watermark(HistoryWatermark { changes: 0, events: at(7) }, Instant::now());
    fixture.change(1, true);
    let report = crate::health::PopulationReport {
        state: crate::health::PopulationState::Complete,
        evidence: "test",
        types_total: 0,
        types_proven: 0,
        types: Vec::new(),
    };
    fixture.feed.health.population_done(report);
    fixture.change(2, true);
    let watermark: Vec<_> = reader.take().unwrap().changes().iter().map(|change| change.watermark).collect();
    assert_eq!(watermark, [None, Some(at(7))]);
    assert_eq!([0, 2].map(|seen| fixture.feed.position_after(seen, None).history), [Some(at(7)); 2]);
}

#[test]
fn an_evicted_unlogged_change_was_seen_by_clients_past_its_commit_watermark() {
    let fixture = Fixture::new(1, 2);
    fixture.change(1, false);
    fixture.change(2, true);
    let now = Instant::now();
    fixture.feed.health.set_peer_health(PeerHealth::Current { at: now });
    for watermark in
        [HistoryWatermark { changes: 1, events: at(7) }, HistoryWatermark { changes: 2, events: at(8) }]
    {
        fixture.feed.note_watermark(watermark, now);
    }
    let is_gap = |history: u64| fixture.feed.resume(&format!("0-0-{history}-1")).is_err();
    assert!(!is_gap(0), "it is here");
    fixture.change(3, true);
    assert_eq!([6, 7].map(is_gap), [true, false]);
    fixture.feed.note_lost();
    assert!(is_gap(u64::MAX));
}

#[test]
fn readers_are_woken_the_more_rarely_the_more_there_is_to_deliver() {
    for (changes, readers, millis) in
        [(0, 0, 4), (1, 1, 4), (30, 2, 6), (100, 1, 10), (1, 1_000, 20), (u64::MAX, usize::MAX, 20)]
    {
        assert_eq!(pace(changes, readers), Duration::from_millis(millis), "{changes} for {readers}");
    }
}

#[tokio::test]
async fn readers_are_woken_by_a_change_and_ended_with_the_service() {
    let fixture = Fixture::new(2, 5);
    let shutdown = CancellationToken::new();
    let waking = tokio::spawn(Arc::clone(&fixture.feed).wake_readers(shutdown.clone()));
    let cut = CancellationToken::new();
    let mut reader = fixture.feed.follow(cut.clone()).unwrap();
    let over = CancellationToken::new();
    let early = fixture.feed.follow(over.clone()).unwrap();
    fixture.change(1, true);
    reader.wait().await;
    assert_eq!(sequences(&reader.take().unwrap()), [1]);
    // Woken for what it has not read, also if that came before.
    reader.go_to(0);
    reader.wait().await;
    shutdown.cancel();
    reader.ending().cancelled().await;
    // Its stream is over, and its last words may wait for a client that does not read.
    drop(early);
    assert!(!cut.is_cancelled(), "there is time for a clean end");
    waking.await.unwrap();
    assert!([&cut, &over].iter().all(|cut| cut.is_cancelled()));
}

#[test]
fn a_page_says_what_is_gone_and_a_position_some_way_back_stays_for_a_while() {
    let fixture = Fixture::new(10, 100);
    let hold = fixture.feed.hold();
    assert_eq!(fixture.feed.some_way_back(), 0);
    (1..=40).for_each(|at| fixture.change(at, true));
    assert_eq!(fixture.feed.some_way_back(), 0);
    let page = fixture.feed.page_after(10, 5);
    let found: Vec<u64> = page.changes.iter().map(|change| change.sequence).collect();
    assert_eq!((found, page.reached, page.head), (vec![11, 12, 13, 14, 15], 15, 40));
    assert!(!page.is_incomplete && !fixture.feed.page_after(40, 5).is_incomplete);
    (41..=400).for_each(|at| fixture.change(at, true));
    let page = fixture.feed.page_after(10, 5);
    assert!(page.is_incomplete && page.changes[0].sequence == 301, "{page:?}");
    assert!(fixture.feed.page_after(401, 5).is_incomplete, "a position of a later time");
    assert_eq!(fixture.feed.some_way_back(), 350);
    drop(hold);
    assert_eq!(fixture.feed.followers.load(Ordering::SeqCst), 0);
}
