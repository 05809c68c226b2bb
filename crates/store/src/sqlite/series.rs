//! The rows of the fleet's series in the file.

use futures_util::future::BoxFuture;
use rusqlite::{Connection, TransactionBehavior, params};

use super::SqliteStore;
use super::write::{WriteError, Writing};
use crate::{IfExists, KeepSeries, SeriesRange, SeriesRow, StoreError};
use presence::UnixSeconds;

impl KeepSeries for SqliteStore {
    fn write_series(
        &self,
        row: SeriesRow,
        if_exists: IfExists,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.write(move |writing| writing.write_series(&row, if_exists, rows_max))
    }

    fn series(&self, range: SeriesRange) -> BoxFuture<'_, Result<Vec<SeriesRow>, StoreError>> {
        self.read(move |connection| read(connection, range))
    }
}

impl Writing {
    fn write_series(
        &mut self,
        row: &SeriesRow,
        if_exists: IfExists,
        rows_max: u32,
    ) -> Result<bool, WriteError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let write = match if_exists {
            IfExists::Keep => {
                "INSERT INTO series (step, start, figures) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING"
            }
            IfExists::Replace => {
                "INSERT INTO series (step, start, figures) VALUES (?1, ?2, ?3)
                 ON CONFLICT (step, start) DO UPDATE SET figures = ?3"
            }
        };
        let written = transaction.prepare_cached(write)?.execute(params![
            row.step_seconds,
            row.start.0,
            row.figures
        ])?;
        transaction
            .prepare_cached(
                "DELETE FROM series WHERE step = ?1 AND row <=
                   (SELECT row FROM series WHERE step = ?1 ORDER BY row DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![row.step_seconds, rows_max])?;
        transaction.commit()?;
        Ok(written > 0)
    }
}

fn read(connection: &Connection, range: SeriesRange) -> Result<Vec<SeriesRow>, WriteError> {
    let mut select = connection.prepare_cached(
        "SELECT start, figures FROM series WHERE step = ?1 AND start >= ?2 AND start < ?3 ORDER BY start",
    )?;
    let rows = select.query_map(params![range.step_seconds, range.from.0, range.to.0], |row| {
        let (step_seconds, start) = (range.step_seconds, UnixSeconds(row.get(0)?));
        Ok(SeriesRow { step_seconds, start, figures: row.get(1)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
