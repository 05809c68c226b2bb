//! The rows of the fleet's series in the database.

use futures_util::future::BoxFuture;

use super::{PostgresStore, bounded, columns, failed};
use crate::{IfExists, KeepSeries, SeriesRange, SeriesRow, StoreError};
use presence::UnixSeconds;

impl KeepSeries for PostgresStore {
    fn write_series(
        &self,
        row: SeriesRow,
        if_exists: IfExists,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        bounded(async move {
            let client = self.client().await?;
            let done = async {
                let write = match if_exists {
                    IfExists::Keep => &self.statements.add_series,
                    IfExists::Replace => &self.statements.replace_series,
                };
                let write = client.prepare_cached(write).await.map_err(failed)?;
                let (step, start) = (i64::from(row.step_seconds), i64::from(row.start.0));
                let written = client.execute(&write, &[&step, &start, &row.figures]).await.map_err(failed)?;
                // A process that dies between the two leaves one row more until the next.
                let prune = client.prepare_cached(&self.statements.prune_series).await.map_err(failed)?;
                client.execute(&prune, &[&step, &i64::from(rows_max)]).await.map_err(failed)?;
                Ok(written > 0)
            };
            let done = done.await;
            client.served(done)
        })
    }

    fn series(&self, range: SeriesRange) -> BoxFuture<'_, Result<Vec<SeriesRow>, StoreError>> {
        bounded(async move {
            let client = self.client().await?;
            let done = async {
                let select = client.prepare_cached(&self.statements.series).await.map_err(failed)?;
                let [step, from, to] = [range.step_seconds, range.from.0, range.to.0].map(i64::from);
                let rows = client.query(&select, &[&step, &from, &to]).await.map_err(failed)?;
                rows.iter()
                    .map(|row| {
                        let start = u32::try_from(columns::column::<i64>(row, "start")?).unwrap_or(u32::MAX);
                        let figures = columns::column(row, "figures")?;
                        Ok(SeriesRow { step_seconds: range.step_seconds, start: UnixSeconds(start), figures })
                    })
                    .collect()
            };
            let done = done.await;
            client.served(done)
        })
    }
}
