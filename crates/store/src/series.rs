//! Rows of the fleet's series: an interval of time, and what was counted in it as bytes that only their writer understands.

use futures_util::future::BoxFuture;

use super::StoreError;
use presence::UnixSeconds;

/// One interval of the series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesRow {
    /// How long the interval is.
    pub step_seconds: u32,
    pub start: UnixSeconds,
    pub figures: Vec<u8>,
}

/// What happens to a row of the same step and start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// It stays, and nothing is written.
    Keep,
    /// It gets the new figures, and keeps its place in the order of writing.
    Replace,
}

/// Which rows are read: those that start from `from` until before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesRange {
    pub step_seconds: u32,
    pub from: UnixSeconds,
    pub to: UnixSeconds,
}

/// The series that a store keeps.
pub trait KeepSeries: Send + Sync {
    /// Writes a row, as one step, and says whether it did.
    ///
    /// Of the rows of its step the store then keeps the `rows_max` that were written last. The order of writing decides, not
    /// the time of the interval: a clock that jumps deletes nothing.
    fn write_series(
        &self,
        row: SeriesRow,
        if_exists: IfExists,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// The rows of a range, by their start.
    fn series(&self, range: SeriesRange) -> BoxFuture<'_, Result<Vec<SeriesRow>, StoreError>>;
}
