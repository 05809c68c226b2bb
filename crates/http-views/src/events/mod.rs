//! What changes, as it changes, as Server-Sent Events; first every device, or what was missed, if asked for.

mod alerts;
mod frame;
mod replay;
mod settling;
mod stream;
#[cfg(test)]
mod tests;
mod walk;

use axum::body::Body;
use serde_json::value::RawValue;

pub use self::alerts::{AlertDevice, AlertGroupView, AlertsCompleteView};
pub use self::frame::{ChangeView, ForgottenView, GapView, SnapshotCompleteView, WebhookDataView};
pub use self::settling::period;
pub use self::stream::Wish;
use crate::context::Context;
use crate::devices::view::Viewer;
use presence::Status;
use presence::history::HistoryRow;
use server::feed::ChangeReader;
use server::registry::Snapshot;

/// The events that a client wishes for, from the position of the reader on. The body ends when the client is too slow or the
/// service stops.
pub fn body(context: Context, reader: ChangeReader, wish: Wish) -> Body {
    Body::from_stream(stream::blocks(context, reader, wish))
}

/// A device as a change in a stream shows it, with the refused login that it is told for.
pub fn change_data(
    context: &Context,
    device: &Snapshot,
    previous: Option<Status>,
    refusal: Option<&HistoryRow>,
) -> Box<RawValue> {
    frame::change_data(device, previous, refusal, &Viewer::of(context))
}
