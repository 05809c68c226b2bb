//! Settling: a disconnect counts once it has lasted for a time, and a connect before that cancels it silently. Pure: the
//! time is an argument, and everything is decided by the times of the events, so the same events give the same announcements
//! after a restart and at another instance.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::{Device, DeviceName, Status};

/// The longest time that a disconnect may be held back.
pub const SETTLE_MAX: Duration = Duration::from_secs(3_600);

/// The times of events are whole seconds, so a disconnect may have come almost a second later than its time says.
const GRANULARITY_MS: i64 = 1_000;

/// A device can be connected again while its connect has not been read yet. Its disconnect is looked at again after this.
const RECHECK: Duration = Duration::from_millis(200);

/// A change of a device's status as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusChange {
    pub status: Status,
    /// `None`: nothing was known of the device.
    pub previous: Option<Status>,
    /// When it was received, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What happens to a disconnect that has lasted long enough, if the device is known to be connected again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfConnected {
    /// It waits for the connect, which the caller reads next and which decides.
    Wait,
    /// It is dropped, because the caller reads nothing before there is room.
    Drop,
}

/// Disconnects that have not lasted long enough yet. `T` is an announcement, `M` a mark of where it was read.
#[derive(Debug)]
pub struct Settle<T, M> {
    lasts_ms: i64,
    undecided: HashMap<DeviceName, PendingDisconnect<T>>,
    by_due: BTreeMap<SettlePlace, DeviceName>,
    marks: BTreeMap<u64, M>,
    next_number: u64,
}

#[derive(Debug)]
struct PendingDisconnect<T> {
    place: SettlePlace,
    /// Whether the last announcement was that the device is connected.
    was_connected: bool,
    item: T,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SettlePlace {
    due_ms: i64,
    /// In the order in which they were offered.
    number: u64,
}

impl<T, M> Settle<T, M> {
    /// Disconnects must last that long; with no time at all nothing is held back.
    pub fn new(lasts: Duration) -> Self {
        Self {
            lasts_ms: i64::try_from(lasts.min(SETTLE_MAX).as_millis()).unwrap_or(i64::MAX),
            undecided: HashMap::new(),
            by_due: BTreeMap::new(),
            marks: BTreeMap::new(),
            next_number: 0,
        }
    }

    /// Takes the next change of a device; returns what is to be announced at once. First call [`Settle::take_due`] with its
    /// time until nothing is due.
    pub fn offer(&mut self, device: DeviceName, change: StatusChange, item: T, mark: M) -> Option<T> {
        if self.lasts_ms == 0 {
            return Some(item);
        }
        match change.status {
            Status::Connected => match self.remove(&device) {
                Some(undecided) if undecided.was_connected => None,
                Some(_) | None => Some(item),
            },
            Status::Disconnected => {
                // It is disconnected since the first of them; the newest knows most.
                if let Some(undecided) = self.undecided.get_mut(&device) {
                    undecided.item = item;
                    return None;
                }
                let place = SettlePlace {
                    due_ms: change.at_ms.saturating_add(GRANULARITY_MS).saturating_add(self.lasts_ms),
                    number: self.next_number,
                };
                self.next_number += 1;
                self.by_due.insert(place, device.clone());
                self.marks.insert(place.number, mark);
                let was_connected = change.previous == Some(Status::Connected);
                self.undecided.insert(device, PendingDisconnect { place, was_connected, item });
                None
            }
        }
    }

    /// The next disconnect that has lasted long enough at that time.
    pub fn take_due(&mut self, now_ms: i64) -> Option<T> {
        self.peek_due(now_ms)?;
        let (_, device) = self.by_due.first_key_value()?;
        let device = device.clone();
        self.remove(&device).map(|undecided| undecided.item)
    }

    /// The same, left where it is.
    pub fn peek_due(&self, now_ms: i64) -> Option<&T> {
        let (place, device) = self.by_due.first_key_value()?;
        let undecided = self.undecided.get(device)?;
        (place.due_ms <= now_ms).then_some(&undecided.item)
    }

    /// Takes the disconnects that have lasted long enough at that time and returns those whose devices are still disconnected.
    /// `status_of` gives the status of a device now; a device without one was forgotten.
    pub fn take_still_disconnected(
        &mut self,
        now_ms: i64,
        if_connected: IfConnected,
        status_of: impl Fn(Device<'_>) -> Option<Status>,
    ) -> Vec<T> {
        let mut lasted = Vec::new();
        while let Some((_, device)) =
            self.by_due.first_key_value().filter(|(place, _)| place.due_ms <= now_ms)
        {
            let status = status_of(device.device());
            if status == Some(Status::Connected) && if_connected == IfConnected::Wait {
                break;
            }
            lasted.extend(self.take_due(now_ms).filter(|_| status == Some(Status::Disconnected)));
        }
        lasted
    }

    /// How long it is until something may be due; `None`: nothing is undecided.
    pub fn due_in(&self, now_ms: i64) -> Option<Duration> {
        let wait_ms = self.next_due_ms()?.saturating_sub(now_ms);
        Some(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)).max(RECHECK))
    }

    /// When the next one is due.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.by_due.first_key_value().map(|(place, _)| place.due_ms)
    }

    /// The mark of the first that is undecided: a reader that goes on from there misses nothing.
    pub fn oldest_mark(&self) -> Option<&M> {
        self.marks.first_key_value().map(|(_, mark)| mark)
    }

    /// Whether a device's disconnect is undecided.
    pub fn contains(&self, device: &DeviceName) -> bool {
        self.undecided.contains_key(device)
    }

    /// How many are undecided.
    pub fn len(&self) -> usize {
        self.undecided.len()
    }

    pub fn is_empty(&self) -> bool {
        self.undecided.is_empty()
    }

    /// Drops all that are undecided.
    pub fn clear(&mut self) {
        self.undecided.clear();
        self.by_due.clear();
        self.marks.clear();
    }

    /// Drops a device that needs no announcement any more.
    pub fn forget(&mut self, device: &DeviceName) {
        self.remove(device);
    }

    fn remove(&mut self, device: &DeviceName) -> Option<PendingDisconnect<T>> {
        let undecided = self.undecided.remove(device)?;
        self.by_due.remove(&undecided.place);
        self.marks.remove(&undecided.place.number);
        Some(undecided)
    }
}
