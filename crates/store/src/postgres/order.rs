//! The order of the events of all devices: by the transactions that kept them, as far as none below is still under way.
//!
//! A position's number is a transaction, which the server itself counts with 64 bits. Its order is the server's cluster, the
//! table, the timeline, and how often the database was restored: so a position that was given by another database, or before a
//! failover or a restoring, is none of this order and known to be none.

use deadpool_postgres::{GenericClient, Object};

use super::columns;
use super::failed;
use super::statements::Statements;
use crate::type_names::TypeNames;
use crate::{PAGE_MAX, StoreError};
use presence::StableHash;
use presence::history::{EventPage, HistoryPosition, StoredEvent};

/// Events after a position, about so many.
pub async fn events(
    client: &Object,
    statements: &Statements,
    after: HistoryPosition,
    limit: usize,
) -> Result<EventPage, StoreError> {
    let limit = limit.min(PAGE_MAX) as i64;
    let select = client.prepare_cached(&statements.events).await.map_err(failed)?;
    let rows = client
        .query(&select, &[&i64::try_from(after.number).unwrap_or(i64::MAX), &limit])
        .await
        .map_err(failed)?;
    let gone = || StoreError::Read("the order of the events is gone".to_owned());
    let moment = rows.first().ok_or_else(gone)?;
    if columns::column(moment, "standby")? {
        return Err(StoreError::Read("the server has become a standby".to_owned()));
    }
    let transaction = |name| columns::column::<Option<i64>>(moment, name).map(|id| id.unwrap_or(0) as u64);
    let (commit_watermark, next) = (transaction("commit_watermark")?, transaction("next")?);
    let dropped = transaction("dropped")?;
    let name = columns::column::<Option<String>>(moment, "order_name")?.ok_or_else(gone)?;
    let order = StableHash::of(name.as_bytes());
    let at = |number| HistoryPosition { order, number };
    let is_of_this_order = after == HistoryPosition::BEGINNING || after.order == order;
    let is_all = columns::column::<i64>(moment, "found")? < limit;
    let upto = if is_all { commit_watermark.saturating_sub(1) } else { transaction("upto")? };
    let mut page = EventPage {
        events: Vec::new(),
        reached: if limit == 0 { after } else { at(upto.max(after.number)) },
        newest: at(commit_watermark.saturating_sub(1)),
        begun: at(next.saturating_sub(1)),
        // What is kept by a transaction that has not begun is of another server, and not in order.
        incomplete: !is_of_this_order
            || after.number >= next
            || dropped > after.number
            || columns::column(moment, "is_foreign")?,
    };
    let mut names = TypeNames::default();
    for row in &rows {
        let Some(kept_in) = columns::column::<Option<i64>>(row, "kept_in")? else { continue };
        page.events.push(StoredEvent {
            device_type: names.shared(columns::column(row, "type")?),
            id: columns::column::<&str>(row, "id")?.into(),
            position: at(u64::try_from(kept_in).unwrap_or(0)),
            row: columns::history_event(row)?,
        });
    }
    // A reader that goes on in the midst of a transaction, or before one that has begun earlier, is given all of it again.
    let mut before_next = u64::MAX;
    for event in page.events.iter_mut().rev() {
        let kept_in = event.position.number;
        event.position.number = kept_in.min(before_next);
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
