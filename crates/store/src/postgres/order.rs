//! The order of the events of all devices: by the transactions that kept them, as far as none below is still under way.
//!
//! ```text
//! position = how often restored (8 bits) | timeline (16 bits) | transaction (40 bits)
//! ```
//!
//! So a position that was given before a failover or a restoring is none of this order and known to be none. Forty bits are
//! a trillion transactions; the server itself counts 64.

use deadpool_postgres::{GenericClient, Object};

use super::columns::{self, TypeNames};
use super::failed;
use super::statements::Statements;
use crate::{PAGE_MAX, StoreError};
use presence::history::{EventPage, StoredEvent};

const TRANSACTION_BITS: u32 = 40;
const TIMELINE_BITS: u32 = 16;
const RESTORED_BITS: u32 = 8;

const fn lowest(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// What positions of this order have in common, in its place.
fn line(timeline: Option<&str>, restored: i32) -> u64 {
    let timeline = timeline.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let restored = u64::try_from(restored).unwrap_or(0);
    ((restored & lowest(RESTORED_BITS)) << TIMELINE_BITS | timeline & lowest(TIMELINE_BITS))
        << TRANSACTION_BITS
}

/// Events after a position, about so many.
pub async fn events(
    client: &Object,
    statements: &Statements,
    after: u64,
    limit: usize,
) -> Result<EventPage, StoreError> {
    let (limit, after_transaction) = (limit.min(PAGE_MAX) as i64, after & lowest(TRANSACTION_BITS));
    let select = client.prepare_cached(&statements.events).await.map_err(failed)?;
    let rows = client.query(&select, &[&(after_transaction as i64), &limit]).await.map_err(failed)?;
    let gone = || StoreError::Read("the order of the events is gone".to_owned());
    let moment = rows.first().ok_or_else(gone)?;
    if columns::column(moment, "standby")? {
        return Err(StoreError::Read("the server has become a standby".to_owned()));
    }
    let transaction = |name| columns::column::<Option<i64>>(moment, name).map(|id| id.unwrap_or(0) as u64);
    let (commit_watermark, next) = (transaction("commit_watermark")?, transaction("next")?);
    let dropped = transaction("dropped")?;
    let restored = columns::column::<Option<i32>>(moment, "restored")?.ok_or_else(gone)?;
    let line = line(columns::column(moment, "timeline")?, restored);
    let is_of_this_order = after == 0 || after & !lowest(TRANSACTION_BITS) == line;
    let is_all = columns::column::<i64>(moment, "found")? < limit;
    let upto = if is_all { commit_watermark.saturating_sub(1) } else { transaction("upto")? };
    let mut page = EventPage {
        events: Vec::new(),
        reached: if limit == 0 { after } else { line | upto.max(after_transaction) },
        newest: line | commit_watermark.saturating_sub(1),
        begun: line | next.saturating_sub(1),
        // What is kept by a transaction that has not begun is of another server, and not in order.
        incomplete: !is_of_this_order
            || after_transaction >= next
            || dropped > after_transaction
            || columns::column(moment, "is_foreign")?,
    };
    let mut names = TypeNames::default();
    for row in &rows {
        let Some(kept_in) = columns::column::<Option<i64>>(row, "kept_in")? else { continue };
        page.events.push(StoredEvent {
            device_type: names.shared(columns::column(row, "type")?),
            id: columns::column::<&str>(row, "id")?.into(),
            position: u64::try_from(kept_in).unwrap_or(0),
            row: columns::history_event(row)?,
        });
    }
    // Whoever goes on in the midst of a transaction, or before one that has begun earlier, is given all of it again.
    let mut before_next = u64::MAX;
    for event in page.events.iter_mut().rev() {
        let kept_in = event.position;
        event.position = line | kept_in.min(before_next);
        before_next = before_next.min(kept_in.saturating_sub(1));
    }
    Ok(page)
}

/// Begins another order if this one is of another server.
pub async fn renew(client: &mut Object, statements: &Statements) -> Result<(), StoreError> {
    let transaction = client.transaction().await.map_err(failed)?;
    // One instance at a time; the others find that it is done.
    transaction.batch_execute(&statements.lock_order).await.map_err(failed)?;
    let cleared = transaction.execute(&statements.clear_order, &[]).await.map_err(failed)? > 0;
    let renewed = transaction.execute(&statements.renew_order, &[&cleared]).await.map_err(failed)? > 0;
    transaction.commit().await.map_err(failed)?;
    if renewed {
        tracing::warn!("the database was restored: earlier streams of changes start again");
    }
    Ok(())
}
