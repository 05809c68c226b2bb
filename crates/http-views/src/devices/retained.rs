//! A device as it is republished: of what the API shows, the fields that change only when the device does. How fresh they are is
//! told once for all devices.

use std::borrow::Cow;

use serde::Serialize;

use super::view::{DeviceView, LastEventView, SessionView, StatusView, Viewer};
use crate::context::Context;
use presence::time_text::TimeText;
use server::registry::Snapshot;

#[derive(Serialize)]
struct RetainedView<'a> {
    #[serde(rename = "type")]
    device_type: Cow<'a, str>,
    id: Cow<'a, str>,
    source: Option<Cow<'a, str>>,
    client_id: Cow<'a, str>,
    status: StatusView,
    since: Option<TimeText>,
    address: Option<Cow<'a, str>>,
    close_code: Option<u16>,
    reason: Option<Cow<'a, str>>,
    cause: Option<&'static str>,
    cause_class: Option<&'static str>,
    session: Option<SessionView<'a>>,
    last_event: Option<LastEventView>,
}

impl<'a> From<DeviceView<'a>> for RetainedView<'a> {
    fn from(view: DeviceView<'a>) -> Self {
        Self {
            device_type: view.device_type,
            id: view.id,
            source: view.source,
            client_id: view.client_id,
            status: view.status,
            since: view.since,
            address: view.address,
            close_code: view.close_code,
            reason: view.reason,
            cause: view.cause,
            cause_class: view.cause_class,
            session: view.session,
            last_event: view.last_event,
        }
    }
}

/// The text that a broker retains of a device.
pub fn retained_device(context: &Context, device: &Snapshot) -> Vec<u8> {
    let details = device.details();
    let view = RetainedView::from(Viewer::of(context).view(device, &details));
    serde_json::to_vec(&view).expect("texts and numbers are JSON")
}
