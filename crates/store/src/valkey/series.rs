//! The rows of the fleet's series in the grid: all in one slot, as their number is bounded.

use futures_util::future::BoxFuture;
use redis::RedisResult;

use super::connection::Call;
use super::write::WriteError;
use super::{Grid, ValkeyStore, scripts};
use crate::{IfExists, KeepSeries, SeriesRange, SeriesRow, StoreError};
use presence::UnixSeconds;

impl KeepSeries for ValkeyStore {
    fn write_series(
        &self,
        row: SeriesRow,
        if_exists: IfExists,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let written = self.grid.write_series(row, if_exists, rows_max).await;
            Ok(written.map_err(WriteError::from)?)
        })
    }

    fn series(&self, range: SeriesRange) -> BoxFuture<'_, Result<Vec<SeriesRow>, StoreError>> {
        Box::pin(
            async move { self.grid.series(range).await.map_err(|error| StoreError::Read(error.to_string())) },
        )
    }
}

impl Grid {
    /// The key of a part of the rows of one step.
    fn series_key(&self, part: &str, step_seconds: u32) -> String {
        self.keys.of_all(&format!("series_{part}:{step_seconds}"))
    }

    async fn write_series(&self, row: SeriesRow, if_exists: IfExists, rows_max: u32) -> RedisResult<bool> {
        let mut call = Call::default();
        for part in ["starts", "order", "figures"] {
            call.key(self.series_key(part, row.step_seconds));
        }
        let replaces = match if_exists {
            IfExists::Keep => "0",
            IfExists::Replace => "1",
        };
        call.argument(row.start.0.to_string()).argument(row.figures).argument(replaces);
        call.argument(rows_max.to_string());
        self.connection.run(self.keys.slot_of_all(), &scripts::WRITE_SERIES, &call).await
    }

    async fn series(&self, range: SeriesRange) -> RedisResult<Vec<SeriesRow>> {
        let slot = self.keys.slot_of_all();
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(self.series_key("starts", range.step_seconds));
        command.arg(range.from.0).arg(format!("({}", range.to.0));
        let starts: Vec<u32> = self.connection.ask(slot, &command).await?;
        if starts.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("HMGET");
        command.arg(self.series_key("figures", range.step_seconds)).arg(&starts);
        let figures: Vec<Option<Vec<u8>>> = self.connection.ask(slot, &command).await?;
        let rows = starts.into_iter().zip(figures).filter_map(|(start, figures)| {
            // A row may have been dropped meanwhile.
            Some(SeriesRow { step_seconds: range.step_seconds, start: UnixSeconds(start), figures: figures? })
        });
        Ok(rows.collect())
    }
}
