//! What goes over the wire: the blocks of a `text/event-stream`, as the HTML standard describes it. Each ends with an empty
//! line; a block without data sets the id and is no event.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::describe::ToSchema;
use crate::devices::event::RefusalView;
use crate::devices::view::{DeviceView, StatusView, Viewer};
use crate::devices::view_json::previous_status;
use presence::Status;
use presence::history::HistoryRow;
use server::feed::resume::{GapReason, StreamPosition};
use server::feed::{Change, RemovalReason};
use server::registry::Snapshot;

/// Room for one block, so that it is mostly made in one piece of memory.
const BLOCK_BYTES: usize = 900;

/// The data of `change`.
#[derive(Serialize, ToSchema)]
#[schema(as = Change)]
pub struct ChangeView<'a> {
    #[serde(flatten)]
    device: DeviceView<'a>,
    /// The status before; `null`: nothing was known of the device.
    previous_status: Option<StatusView>,
}

/// The data of a webhook's message about a device.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookData)]
pub struct WebhookDataView<'a> {
    #[serde(flatten)]
    change: ChangeView<'a>,
    /// The login that was refused; only with `device.refused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<RefusalView>,
}

/// The data of `forgotten`.
#[derive(Serialize, ToSchema)]
#[schema(as = Forgotten)]
pub struct ForgottenView<'a> {
    #[serde(rename = "type")]
    device_type: &'a str,
    id: &'a str,
    /// The status before.
    previous_status: Option<StatusView>,
}

/// The data of `gap`.
#[derive(Serialize, ToSchema)]
#[schema(as = Gap)]
pub struct GapView {
    reason: Gap,
}

/// Why a stream cannot show all that has happened since an earlier one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = GapReason)]
#[serde(rename_all = "snake_case")]
enum Gap {
    /// The id is none that was given here.
    UnknownId,
    /// What has happened is not kept in order, or not all of it is.
    NotLogged,
    /// The history no longer has all of it.
    Dropped,
    /// More has happened than is shown again.
    TooMany,
    /// The history cannot be read at present.
    Store,
}

/// The data of `snapshot_complete`.
#[derive(Serialize, ToSchema)]
#[schema(as = SnapshotComplete)]
pub struct SnapshotCompleteView {
    /// The `device` events that were sent.
    devices: u64,
}

/// Asks clients to come back soon, as a service that restarts does, too.
const RETRY_MS: u32 = 2_000;

/// The beginning of every stream. With an id, the stream goes on after it whatever comes first.
pub fn begin(id: Option<StreamPosition>) -> Bytes {
    let mut text = format!("retry: {RETRY_MS}\n");
    if let Some(id) = id {
        text.push_str(&format!("id: {id}\n"));
    }
    text.push('\n');
    text.into()
}

/// Nothing happened, or nothing that the client wants to know: it can go on from here.
pub fn keep_alive(id: Option<StreamPosition>) -> Bytes {
    match id {
        Some(id) => format!(": keep-alive\nid: {id}\n\n").into(),
        None => Bytes::from_static(b": keep-alive\n\n"),
    }
}

/// One change with its id; nothing if it is none to clients.
pub fn change(id: StreamPosition, change: &Change, viewer: &Viewer<'_>) -> Bytes {
    match change.removal {
        None => past_change(id, &change.snapshot, change.previous, viewer),
        Some(RemovalReason::Forgotten) => {
            let Snapshot { device_type, id: device_id, .. } = &change.snapshot;
            let previous_status = change.previous.map(StatusView::from);
            event(Some(id), "forgotten", &ForgottenView { device_type, id: device_id, previous_status })
        }
        Some(RemovalReason::Expired) => Bytes::new(),
    }
}

/// One change out of the history.
pub fn past_change(
    id: StreamPosition,
    device: &Snapshot,
    previous: Option<Status>,
    viewer: &Viewer<'_>,
) -> Bytes {
    let details = device.details();
    let device = viewer.view(device, &details);
    block(Some(id), "change", |text| {
        device.write_open(text);
        previous_status(text, previous.map(StatusView::from));
        text.push(b'}');
    })
}

/// The data of `change` alone, for who sends it by another way.
pub fn change_data(
    device: &Snapshot,
    previous: Option<Status>,
    refusal: Option<&HistoryRow>,
    viewer: &Viewer<'_>,
) -> Box<RawValue> {
    let details = device.details();
    let change =
        ChangeView { device: viewer.view(device, &details), previous_status: previous.map(StatusView::from) };
    let view = WebhookDataView { change, refusal: refusal.map(RefusalView::of) };
    serde_json::value::to_raw_value(&view).expect("texts and numbers are JSON")
}

/// The same text without its id: for as long as the client could not go on from there.
pub fn without_id(block: &Bytes) -> Bytes {
    match block.iter().position(|&byte| byte == b'\n') {
        Some(end) if block.starts_with(b"id: ") => block.slice(end + 1..),
        _ => block.clone(),
    }
}

pub fn device(device: &Snapshot, viewer: &Viewer<'_>) -> Bytes {
    block(None, "device", |text| viewer.view(device, &device.details()).write(text))
}

pub fn snapshot_complete(id: StreamPosition, devices: u64) -> Bytes {
    event(Some(id), "snapshot_complete", &SnapshotCompleteView { devices })
}

pub fn gap(reason: GapReason) -> Bytes {
    let reason = match reason {
        GapReason::UnknownId => Gap::UnknownId,
        GapReason::NotLogged => Gap::NotLogged,
        GapReason::Dropped => Gap::Dropped,
        GapReason::TooMany => Gap::TooMany,
        GapReason::Store => Gap::Store,
    };
    event(None, "gap", &GapView { reason })
}

/// JSON has no line breaks of its own, so the data is one line.
pub fn event(id: Option<StreamPosition>, name: &str, data: &impl Serialize) -> Bytes {
    block(id, name, |text| {
        serde_json::to_writer(text, data).expect("texts and numbers are JSON, and memory takes them");
    })
}

fn block(id: Option<StreamPosition>, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut text = Vec::with_capacity(BLOCK_BYTES);
    if let Some(id) = id {
        text.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    for piece in ["event: ", name, "\ndata: "] {
        text.extend_from_slice(piece.as_bytes());
    }
    write(&mut text);
    text.extend_from_slice(b"\n\n");
    text.into()
}
