//! Reads a range of the series from the store, onto a grid without holes.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::interval::Interval;
use super::step::Step;
use presence::UnixSeconds;
use store::{SeriesRange, Store, StoreError};

/// Intervals of one answer: a day of minutes, two hours of ten seconds, or two years of days. With 200 types their rows are
/// some 10 MB.
pub const POINTS_MAX: u32 = 1_500;

/// So many answers are made at once, because of the rows that each reads; further ones wait.
const READ_AT_ONCE: usize = 2;

/// Who reads the series.
pub struct SeriesReader {
    store: Arc<dyn Store>,
    room: Semaphore,
}

/// A range of the series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Points<T> {
    pub step: Step,
    /// Where the first interval starts.
    pub start: UnixSeconds,
    /// One for each interval; `None`: the fleet was not observed.
    pub points: Vec<Option<T>>,
}

impl SeriesReader {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, room: Semaphore::new(READ_AT_ONCE) }
    }

    /// What `read` takes of the intervals that start from `from` until before `to`; what it says nothing of was not observed. At
    /// most [`POINTS_MAX`] are given.
    pub async fn read<T: Clone>(
        &self,
        step: Step,
        (from, to): (UnixSeconds, UnixSeconds),
        read: impl Fn(&Interval) -> Option<T>,
    ) -> Result<Points<T>, StoreError> {
        let start = step.start_of(from);
        let intervals = to.0.saturating_sub(start.0).div_ceil(step.seconds()).min(POINTS_MAX);
        let end = UnixSeconds(start.0.saturating_add(intervals.saturating_mul(step.seconds())));
        let mut points = vec![None; intervals as usize];
        let range = SeriesRange { step_seconds: step.seconds(), from: start, to: end };
        let _room = self.room.acquire().await.map_err(|_closed| StoreError::Ended)?;
        for row in self.store.series(range).await? {
            let at = (row.start.0.saturating_sub(start.0) / step.seconds()) as usize;
            // What cannot be read was not observed.
            if let (Some(point), Some(interval)) = (points.get_mut(at), Interval::unpack(&row.figures)) {
                *point = read(&interval);
            }
        }
        Ok(Points { step, start, points })
    }
}
