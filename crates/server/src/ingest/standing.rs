//! What is held of a device, as the orders of sources need it.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::other::nanos;
use crate::registry::Record;
use formats::order::{Held, Key, Shown};
use formats::status::{DetailsText, SourceDetails, packed_details};
use formats::{DeviceName, EventKind as FormatKind, UnixNanos, status};
use presence::payload::Payload;
use presence::{DeviceState, EventKind, PresenceEvent};

/// What is held of a device, copied out of the registry.
pub(super) struct HeldDevice {
    /// The key of what is shown.
    key: Key,
    received_seconds: u32,
    state: DeviceState,
    /// What its document keeps beside what is shown, once that could not be read as it is packed.
    details: OnceCell<DetailsText>,
}

impl HeldDevice {
    pub fn of(record: Record<'_>) -> Self {
        let received_seconds = record.reception.received_at.0;
        let event = deciding(&record.state);
        let kind = match event.kind {
            EventKind::Connect => FormatKind::Connect,
            EventKind::Takeover => FormatKind::Takeover,
            EventKind::Refusal => FormatKind::Refusal,
            EventKind::Disconnect | EventKind::FailedLogin | EventKind::Request => FormatKind::Disconnect,
        };
        let key = Key { session: nanos(event.session), kind, time: nanos(event.time) };
        Self { key, received_seconds, state: record.state, details: OnceCell::new() }
    }

    fn payload(&self) -> &Payload {
        &deciding(&self.state).payload
    }

    /// The source of the message; `None`: the IoT platform.
    pub fn source(&self) -> Option<&str> {
        self.payload().source()
    }

    /// The state that was opened.
    pub fn into_state(self) -> DeviceState {
        self.state
    }
}

/// The event that says what is shown. Where a takeover decides, the newest session is the one that was taken over, not the one
/// that is shown.
fn deciding(state: &DeviceState) -> &PresenceEvent {
    let resolved = state.resolve().expect("a record is made by its first event");
    state.newest_takeover().filter(|_| resolved.inferred).unwrap_or(resolved.event)
}

/// What a document keeps beside what is shown, and what is held beside the document.
pub(super) struct DeviceDocument<'a> {
    held: &'a HeldDevice,
    details: Option<SourceDetails<'a>>,
}

impl<'a> DeviceDocument<'a> {
    pub fn of(held: &'a HeldDevice) -> Self {
        let payload = held.payload();
        let text = || held.details.get_or_init(|| DetailsText::of(payload)).read();
        // A message of the IoT platform has none.
        let details = if payload.has_source() { packed_details(payload).or_else(text) } else { None };
        Self { held, details }
    }

    /// What is shown of the device, and its own state beside it.
    pub fn shown(&self) -> Shown {
        let key = self.held.key;
        self.details.as_ref().map_or(key.into(), |details| details.shown(key))
    }

    /// The device's own state.
    pub fn own(&self) -> Held<'_> {
        let identity = self.details.as_ref().map(SourceDetails::identity);
        let key = self.shown().own_key();
        // The time of receipt is held in seconds; the key of what arrived in that second says it exactly.
        let seconds = i64::from(self.held.received_seconds);
        let in_same_second = key.session.0.div_euclid(1_000_000_000) == seconds;
        let received = UnixNanos(if in_same_second { key.session.0 } else { seconds * 1_000_000_000 });
        Held { key, received, identity }
    }

    /// The device through which this one is reached, as the document says.
    pub fn parent(&self) -> Option<DeviceName<'_>> {
        let (device_type, id) = self.details.as_ref()?.parent()?;
        Some(DeviceName { device_type: Cow::Borrowed(device_type), id: Cow::Borrowed(id) })
    }

    /// What is held, with another state in its document; `None` if there is none.
    pub fn shown_again(&self, shown: &Shown, parent: Option<&DeviceName<'_>>) -> Option<Payload> {
        self.details.as_ref()?;
        status::shown_again(self.held.payload(), shown, parent)
    }
}

/// What is held of a device and of its parent.
#[derive(Default)]
pub(super) struct DeviceAndParent<'a> {
    pub held: Option<DeviceDocument<'a>>,
    pub parent: Option<DeviceDocument<'a>>,
}

impl<'a> DeviceAndParent<'a> {
    pub fn of(held: Option<&'a HeldDevice>, parent: Option<&'a HeldDevice>) -> Self {
        Self { held: held.map(DeviceDocument::of), parent: parent.map(DeviceDocument::of) }
    }

    /// Lets the order of a source decide.
    pub fn decide<T>(&self, decide: impl FnOnce(Option<&Held<'_>>, Option<&Held<'_>>) -> T) -> T {
        let (held, parent) =
            (self.held.as_ref().map(DeviceDocument::own), self.parent.as_ref().map(DeviceDocument::own));
        decide(held.as_ref(), parent.as_ref())
    }
}
