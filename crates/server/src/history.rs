//! What happened to a device, one event after the other: the events on their way to the store, and what a window of them
//! comes to. Where they are kept, and how they are shown, is not known here.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::metrics::Metrics;
use presence::history::HistoryEvent;
use presence::{Device, EventKind, PresenceEvent, UnixSeconds};
use store::ForgottenDevices;
use system::turn::give_way;

/// Events that may wait for the store. Beyond it the oldest are dropped and counted: a store that is away must not take the
/// memory, and the status itself waits elsewhere.
const WAITING_MAX: usize = 100_000;

/// The memory that the waiting events may take. A hundred thousand events of the platform take half of it; long messages reach
/// it first.
const WAITING_MAX_BYTES: usize = 64 << 20;

/// Events that are taken under one lock: the decoder waits for it with a shard of the registry locked.
const TAKE_AT_ONCE: usize = 256;

/// The events that wait for the store.
#[derive(Default)]
pub struct EventQueue {
    waiting: Mutex<QueueState>,
    metrics: Metrics,
}

#[derive(Default)]
struct QueueState {
    events: VecDeque<HistoryEvent>,
    /// The memory that they take.
    bytes: usize,
    /// How many have left the queue, in whatever way.
    gone: u64,
    /// Some had to give way since that was last asked.
    overflowed: bool,
}

impl EventQueue {
    pub fn new(metrics: Metrics) -> Self {
        Self { waiting: Mutex::default(), metrics }
    }

    /// Adds an event and says whether it is one: a request is none, as it says nothing of a connection.
    pub fn push(&self, device: Device<'_>, event: PresenceEvent, received_at: UnixSeconds) -> bool {
        self.add(HistoryEvent::of(device, event, received_at))
    }

    /// The same of an event that is complete.
    pub fn add(&self, entry: HistoryEvent) -> bool {
        if entry.event.kind == EventKind::Request {
            return false;
        }
        let mut waiting = self.waiting.lock();
        waiting.bytes += entry.size_bytes();
        waiting.events.push_back(entry);
        while waiting.events.len() > WAITING_MAX || waiting.bytes > WAITING_MAX_BYTES {
            let Some(oldest) = waiting.events.pop_front() else { break };
            waiting.bytes -= oldest.size_bytes();
            waiting.gone += 1;
            waiting.overflowed = true;
            self.metrics.store.events_dropped.inc();
        }
        self.metrics.store.events_waiting_bytes.set(i64::try_from(waiting.bytes).unwrap_or(i64::MAX));
        true
    }

    /// Takes the oldest events: at most so many, and no further one once those that were taken have that size.
    pub fn take(&self, most: usize, most_bytes: usize) -> Vec<HistoryEvent> {
        let (mut taken, mut bytes) = (Vec::with_capacity(self.len().min(most)), 0);
        while taken.len() < most && bytes < most_bytes {
            let before = taken.len();
            bytes += self.take_few(&mut taken, most - before, most_bytes - bytes);
            if taken.len() == before {
                break;
            }
            give_way();
        }
        taken
    }

    /// The same for at most [`TAKE_AT_ONCE`]; returns their size.
    fn take_few(&self, taken: &mut Vec<HistoryEvent>, most: usize, most_bytes: usize) -> usize {
        let mut waiting = self.waiting.lock();
        let mut bytes = 0;
        for _ in 0..most.min(TAKE_AT_ONCE) {
            if bytes >= most_bytes {
                break;
            }
            let Some(entry) = waiting.events.pop_front() else { break };
            bytes += entry.size_bytes();
            waiting.gone += 1;
            taken.push(entry);
        }
        waiting.bytes -= bytes;
        self.metrics.store.events_waiting_bytes.set(i64::try_from(waiting.bytes).unwrap_or(i64::MAX));
        bytes
    }

    /// Drops the events of forgotten devices that were received before.
    pub fn drop_forgotten(&self, forgotten: &ForgottenDevices<'_>) {
        self.keep(|entry| !forgotten.covers(entry.device(), entry.received_at));
    }

    /// Drops the events of a device that is being forgotten: written after that, they would bring it back.
    pub fn drop_device(&self, device: Device<'_>) {
        self.keep(|entry| entry.device() != device);
    }

    fn keep(&self, is_kept: impl Fn(&HistoryEvent) -> bool) {
        let mut waiting = self.waiting.lock();
        let (before, mut bytes) = (waiting.events.len(), 0);
        waiting.events.retain(|entry| {
            let is_kept = is_kept(entry);
            bytes += if is_kept { entry.size_bytes() } else { 0 };
            is_kept
        });
        waiting.bytes = bytes;
        waiting.gone += (before - waiting.events.len()) as u64;
        self.metrics.store.events_waiting_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Whether one call of [`EventQueue::take`] takes everything that waits.
    pub fn fits(&self, most: usize, most_bytes: usize) -> bool {
        let waiting = self.waiting.lock();
        waiting.events.len() <= most && waiting.bytes <= most_bytes
    }

    /// Notes that events which had been taken are lost, so that the next who asks is told of a hole.
    pub fn note_lost(&self) {
        self.waiting.lock().overflowed = true;
    }

    /// Whether some had to give way since this was last asked: the history then has a hole.
    pub fn take_overflowed(&self) -> bool {
        std::mem::take(&mut self.waiting.lock().overflowed)
    }

    /// What [`EventQueue::gone`] must reach for every event that waits now to have been taken.
    pub fn end_position(&self) -> u64 {
        let waiting = self.waiting.lock();
        waiting.gone + waiting.events.len() as u64
    }

    /// How many events have been taken, or given way.
    pub fn gone(&self) -> u64 {
        self.waiting.lock().gone
    }

    pub fn len(&self) -> usize {
        self.waiting.lock().events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The totals of a window of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HistoryTotals {
    /// Sessions that began in the window.
    pub connects: u64,
    /// Share of the window in which some session was on.
    pub connected_percent: f64,
    /// The longest time without any session.
    pub longest_offline_s: f64,
    /// Sessions that ended in the last hour of the window.
    pub flaps_last_hour: u64,
}

const HOUR_NANOS: i64 = 3_600_000_000_000;

/// Sums up the events between two moments, in nanoseconds since 1970, in whatever order they come.
///
/// A session is what its events say of it, so one whose Connect was missed counts from its beginning all the same. One
/// that has not ended is taken to be on until the next begins: a device has one session at a time.
pub fn totals<'a>(rows: impl IntoIterator<Item = &'a PresenceEvent>, from: i64, to: i64) -> HistoryTotals {
    let mut sessions = sessions(rows);
    let mut totals = HistoryTotals {
        connects: sessions.iter().filter(|session| session.counts && session.begin >= from).count() as u64,
        flaps_last_hour: sessions
            .iter()
            .filter(|session| session.end.is_some_and(|end| end >= to.saturating_sub(HOUR_NANOS)))
            .count() as u64,
        ..HistoryTotals::default()
    };
    let begins: Vec<i64> = sessions.iter().skip(1).map(|session| session.begin).collect();
    for (session, next) in sessions.iter_mut().zip(begins.into_iter().chain([to])) {
        session.end.get_or_insert(next);
    }
    let (mut online, mut offline_longest, mut until) = (0i64, 0i64, from);
    for session in &sessions {
        let begin = session.begin.clamp(from, to);
        let end = session.end.unwrap_or(to).clamp(begin, to);
        offline_longest = offline_longest.max(begin - until);
        online += (end - begin.max(until)).max(0);
        until = until.max(end);
    }
    offline_longest = offline_longest.max(to - until);
    let window = to.saturating_sub(from);
    if window > 0 {
        totals.connected_percent = online as f64 * 100.0 / window as f64;
    }
    totals.longest_offline_s = offline_longest as f64 / 1e9;
    totals
}

struct SessionSpan {
    begin: i64,
    end: Option<i64>,
    /// It began: a login that was refused did not.
    counts: bool,
}

/// The sessions that the events name, in the order of their beginnings.
fn sessions<'a>(rows: impl IntoIterator<Item = &'a PresenceEvent>) -> Vec<SessionSpan> {
    let mut by_begin = std::collections::BTreeMap::new();
    for event in rows {
        let Some(begin) = event.session.nanos() else { continue };
        let session = by_begin.entry(begin).or_insert(SessionSpan { begin, end: None, counts: false });
        match event.kind {
            EventKind::Connect => session.counts = true,
            EventKind::Disconnect | EventKind::Takeover => {
                session.counts = true;
                session.end = session.end.max(event.time.nanos());
            }
            // An end only if the session is known to have begun; else nothing was on.
            EventKind::Refusal => session.end = session.end.max(event.time.nanos()),
            EventKind::Request | EventKind::FailedLogin => {}
        }
    }
    by_begin.into_values().filter(|session| session.counts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use presence::Moment;
    use presence::history::EVENT_OVERHEAD_BYTES;
    use presence::payload::Payload;

    const SECOND: i64 = 1_000_000_000;

    fn event(kind: EventKind, session: i64, time: i64) -> PresenceEvent {
        let at = |seconds| Moment::from_nanos(i128::from(seconds * SECOND));
        PresenceEvent {
            kind,
            session: at(session),
            time: at(time),
            close_code: 0,
            payload: Payload::pack(b"{}"),
        }
    }

    #[test]
    fn a_window_is_summed_up_whatever_the_order_and_whatever_is_missing() {
        let rows = [
            event(EventKind::Disconnect, 60, 80),
            // Its Connect was missed.
            event(EventKind::Disconnect, 10, 30),
            event(EventKind::Connect, 60, 60),
            // Refused while nobody was connected.
            event(EventKind::Refusal, 85, 85),
            // Still on.
            event(EventKind::Connect, 90, 90),
        ];
        let totals = totals(&rows, 0, 100 * SECOND);
        assert_eq!(totals.connects, 3);
        assert_eq!(totals.connected_percent, 50.0);
        assert_eq!(totals.longest_offline_s, 30.0);
        assert_eq!(totals.flaps_last_hour, 2);
    }

    #[test]
    fn overlapping_sessions_count_once_and_are_cut_by_the_window() {
        let rows = [
            event(EventKind::Connect, 0, 0),
            event(EventKind::Connect, 50, 50),
            event(EventKind::Takeover, 0, 51),
        ];
        let totals = totals(&rows, 40 * SECOND, 60 * SECOND);
        assert_eq!((totals.connects, totals.connected_percent, totals.longest_offline_s), (1, 100.0, 0.0));
        assert_eq!(super::totals(&[], 0, 60 * SECOND).longest_offline_s, 60.0);
    }

    #[test]
    fn the_oldest_events_give_way_and_are_counted() {
        let metrics = Metrics::default();
        let queue = EventQueue::new(metrics.clone());
        for n in 0..WAITING_MAX + 2 {
            let id = n.to_string();
            queue.push(Device { device_type: "t", id: &id }, event(EventKind::Connect, 1, 1), UnixSeconds(1));
        }
        queue.push(Device { device_type: "t", id: "r" }, event(EventKind::Request, 1, 1), UnixSeconds(1));
        assert_eq!((queue.len(), metrics.store.events_dropped.get()), (WAITING_MAX, 2));
        assert_eq!(&*queue.take(1, usize::MAX)[0].id, "2");
        assert_eq!([queue.take_overflowed(), queue.take_overflowed()], [true, false]);
    }

    #[test]
    fn few_events_are_taken_under_one_lock_and_all_of_them_in_order() {
        let queue = EventQueue::new(Metrics::default());
        for n in 0..1_000 {
            let id = n.to_string();
            queue.push(Device { device_type: "t", id: &id }, event(EventKind::Connect, 1, 1), UnixSeconds(1));
        }
        let mut few = Vec::new();
        queue.take_few(&mut few, usize::MAX, usize::MAX);
        assert_eq!(few.len(), TAKE_AT_ONCE);
        few.extend(queue.take(700, usize::MAX));
        few.extend(queue.take(usize::MAX, usize::MAX));
        let ids: Vec<usize> = few.iter().map(|entry| entry.id.parse().unwrap()).collect();
        assert_eq!((ids, queue.gone()), ((0..1_000).collect(), 1_000));
    }

    #[test]
    fn waiting_events_are_bounded_in_bytes_and_are_taken_in_bounded_parts() {
        let metrics = Metrics::default();
        let queue = EventQueue::new(metrics.clone());
        let long =
            PresenceEvent { payload: Payload::pack(&[b'x'; 64 << 10]), ..event(EventKind::Connect, 1, 1) };
        let device = Device { device_type: "t", id: "d" };
        let pushed = 3 * WAITING_MAX_BYTES / (64 << 10);
        for _ in 0..pushed {
            queue.push(device, long.clone(), UnixSeconds(1));
        }
        let waiting = queue.len();
        let size = long.payload.packed_len() + size_of::<HistoryEvent>();
        assert!(waiting * size <= WAITING_MAX_BYTES, "{waiting} events of {size} bytes wait");
        assert!((waiting + 2) * (size + 2 * EVENT_OVERHEAD_BYTES) > WAITING_MAX_BYTES, "the room is used");
        assert_eq!(metrics.store.events_dropped.get() as usize, pushed - waiting);
        assert!(!queue.fits(usize::MAX, 1 << 20) && queue.fits(waiting, WAITING_MAX_BYTES));
        // The part ends with the event that reaches the size.
        assert_eq!(queue.take(usize::MAX, 1 << 20).len(), 16);
        assert_eq!(queue.take(3, usize::MAX).len(), 3);
        assert_eq!(queue.take(usize::MAX, usize::MAX).len(), waiting - 19);
        assert_eq!((queue.len(), metrics.store.events_waiting_bytes.get()), (0, 0));
    }
}
