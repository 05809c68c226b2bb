//! Messages of formats other than the IoT platform's: what each means beside what is held is decided by the order of its
//! source, and an event that counts becomes an event of the core, with a status document in place of the message.

use std::borrow::Cow;
use std::sync::Arc;

use super::standing::{DeviceAndParent, DeviceDocument, HeldDevice};
use super::{Arrivals, Ingest, Recording, sample};
use crate::clock;
use crate::metrics::SourceLabel;
use crate::registry::{Applied, Arrival, LockedDevice, Provenance};
use crate::sync::backlog::Tally;
use formats::catalog::IOT_PLATFORM;
use formats::order::{self, Delivery, IsSame, Key, Resolution, Shown, Transmission};
use formats::status::{self, PackedStatus};
use formats::{Decoded, DeviceName, Event, EventKind as FormatKind, Session, UnixNanos};
use mqtt::packet::Publish;
use presence::payload::Payload;
use presence::{Device, EventKind, Moment, PresenceEvent, UnixSeconds};

/// How one message came.
pub(super) struct MessageContext<'a> {
    pub source: &'a str,
    pub payload: &'a [u8],
    pub topic: &'a [u8],
    pub delivery: Delivery,
    pub arrival: Arrival,
}

/// Whether a disconnect may be held back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Grace {
    Asked,
    /// It was.
    Over,
}

impl Ingest {
    /// Takes what a format has read from a message.
    pub(super) fn apply_other(
        &mut self,
        (source, decoded): (&str, Decoded<'_>),
        publish: &Publish<'_>,
        arrivals: &Arrivals,
        tally: &mut Tally,
    ) {
        let provenance = if publish.retained { Provenance::Retained } else { Provenance::Live };
        let subscribed = nanos_of_millis(arrivals.subscribed_ms);
        let origin = match provenance {
            Provenance::Retained => Transmission::Retained { subscribed },
            Provenance::Live | Provenance::Restored | Provenance::Peer => Transmission::Live { subscribed },
        };
        let delivery = Delivery { received: arrivals.received, origin };
        // The same second as in the key, however long the message has waited.
        let arrival = Arrival { at: seconds(arrivals.received), ..arrivals.of(provenance) };
        let context =
            MessageContext { source, payload: publish.payload, topic: publish.topic, delivery, arrival };
        let message = (publish.topic, publish.payload);
        if self.walks.are_under_way() {
            self.meet_early_if_named(&decoded);
        }
        match decoded {
            Decoded::Event(mut event) => {
                if event.parent.is_none() {
                    event.parent = self.named_parent(&event.device, source);
                }
                self.event(&event, &context, tally);
            }
            Decoded::Alive { device, parent, time } => self.alive(device, parent, time, &context),
            Decoded::Removed(device) => self.removed(&device, &context),
            Decoded::Parent { device, parent } => self.name_parent(&device, parent.as_ref(), &context),
            Decoded::Broker(event) => self.broker_event(&event, &context),
            Decoded::Ignored(why) => self.pass_over(source, why),
            Decoded::NoMatch => self.undecodable(source, "no_match", message),
            Decoded::Undecodable(why) => self.undecodable(source, why, message),
        }
    }

    fn meet_early_if_named(&mut self, decoded: &Decoded<'_>) {
        match decoded {
            Decoded::Event(Event { device, .. })
            | Decoded::Alive { device, .. }
            | Decoded::Removed(device)
            | Decoded::Parent { device, .. } => self.meet_early(device_of(device)),
            Decoded::Broker(_) | Decoded::Ignored(_) | Decoded::NoMatch | Decoded::Undecodable(_) => {}
        }
    }

    /// Counts a message that no format reads.
    pub(super) fn nobodys(&mut self, publish: &Publish<'_>) {
        let label = SourceLabel { source: "none".to_owned(), reason: "no_source" };
        self.metrics.messages_ignored.get_or_create(&label).inc();
        tracing::trace!(topic = sample(publish.topic), "a message belongs to no source");
    }

    fn event(&mut self, event: &Event<'_>, context: &MessageContext<'_>, tally: &mut Tally) {
        if let Some(parent) = &event.parent
            && order::shows_parent_alive(event, context.delivery)
        {
            self.show_alive((parent, None), event.time, context);
        }
        let applied = self.apply_own(event, Grace::Asked, context);
        tally.learned += u64::from(applied != Applied::Known);
        tally.new_devices += u64::from(matches!(applied, Applied::Changed { from: None, .. }));
    }

    /// Applies what a device says of itself.
    pub(super) fn apply_own(
        &mut self,
        event: &Event<'_>,
        grace: Grace,
        context: &MessageContext<'_>,
    ) -> Applied {
        let device = device_of(&event.device);
        let map = Arc::clone(&self.map);
        let locked = map.lock(device);
        let held = locked.read(HeldDevice::of);
        if self.is_anothers(held.as_ref(), context) {
            return Applied::Known;
        }
        let parent = event.parent.as_ref().and_then(|parent| self.held(device_of(parent)));
        let standing = DeviceAndParent::of(held.as_ref(), parent.as_ref());
        let resolution =
            standing.decide(|held, parent| order::resolve(event, context.delivery, held, parent));
        if let Resolution::Apply(key) = resolution
            && grace == Grace::Asked
            && self.is_held_back(event, &key, &standing, context)
        {
            self.note_message(device, context);
            return Applied::Known;
        }
        let showing = self.resolved(event, resolution, &standing, context);
        self.show(event, showing, locked.knowing(held.map(HeldDevice::into_state)), context)
    }

    fn alive(
        &mut self,
        device: DeviceName<'_>,
        parent: Option<DeviceName<'_>>,
        time: Option<UnixNanos>,
        context: &MessageContext<'_>,
    ) {
        if let Some(parent) = &parent
            && matches!(self.formats.alive_rule(context.source, time), order::AliveRule::Matched(_))
        {
            self.show_alive((parent, None), time, context);
        }
        self.show_alive((&device, parent), time, context);
    }

    /// A message shows that a device is connected.
    fn show_alive(
        &mut self,
        (name, parent): (&DeviceName<'_>, Option<DeviceName<'_>>),
        time: Option<UnixNanos>,
        context: &MessageContext<'_>,
    ) {
        let map = Arc::clone(&self.map);
        let locked = map.lock(device_of(name));
        let held = locked.read(HeldDevice::of);
        if self.is_anothers(held.as_ref(), context) {
            return;
        }
        let held_parent = parent.as_ref().and_then(|parent| self.held(device_of(parent)));
        let rule = self.formats.alive_rule(context.source, time);
        let standing = DeviceAndParent::of(held.as_ref(), held_parent.as_ref());
        let resolution =
            standing.decide(|held, parent| order::resolve_alive(rule, context.delivery, held, parent));
        let session = match rule {
            order::AliveRule::Arrival => Session::Arrival,
            order::AliveRule::Matched(_) => Session::Matched { birth: None, sequence: None },
        };
        let event = Event {
            device: name.clone(),
            kind: FormatKind::Connect,
            session,
            time: None,
            cause: None,
            reason: None,
            address: None,
            protocol: None,
            parent,
        };
        let showing = self.resolved(&event, resolution, &standing, context);
        self.show(&event, showing, locked.knowing(held.map(HeldDevice::into_state)), context);
    }

    /// Does what the order of the source has decided, and says what is to be shown of the device from now on, if that changes.
    pub(super) fn resolved(
        &mut self,
        event: &Event<'_>,
        resolution: Resolution,
        standing: &DeviceAndParent<'_>,
        context: &MessageContext<'_>,
    ) -> Option<(Shown, Recording)> {
        let device = device_of(&event.device);
        self.note_message(device, context);
        if !matches!(resolution, Resolution::Late | Resolution::Record) {
            self.forget_held_back(device);
        }
        match resolution {
            Resolution::Apply(key) => {
                return Some((self.shown(event, (&key, IsSame::No), standing, context), Recording::IfNews));
            }
            Resolution::Renew(key) => {
                return Some((self.shown(event, (&key, IsSame::Yes), standing, context), Recording::Never));
            }
            Resolution::Confirm => {
                self.confirm(device, context);
                self.metrics.events_known.inc();
            }
            Resolution::Late => {
                self.confirm(device, context);
                self.pass_over(context.source, "late");
            }
            Resolution::Record => self.record(event, context),
        }
        None
    }

    fn confirm(&self, device: Device<'_>, context: &MessageContext<'_>) {
        self.map.confirm_then(device, context.arrival, |record| {
            self.publish(record, Applied::Refined, false);
        });
    }

    /// What is shown of a device whose own state is this one, and which has a parent or had one.
    fn shown(
        &mut self,
        event: &Event<'_>,
        (own, is_same): (&Key, IsSame),
        standing: &DeviceAndParent<'_>,
        context: &MessageContext<'_>,
    ) -> Shown {
        let rule = self.formats.parent_rule(context.source);
        let parent = rule.parent_key(standing.parent.as_ref().map(DeviceDocument::own).as_ref());
        let held = standing.held.as_ref().map(DeviceDocument::shown);
        if let Some(name) = &event.parent
            && standing.held.as_ref().and_then(DeviceDocument::parent).as_ref() != Some(name)
        {
            self.families.note(device_of(&event.device), device_of(name));
        }
        Shown::of_own(own, is_same, held.as_ref(), parent.as_ref(), rule)
    }

    /// Shows a device as [`Ingest::resolved`] says.
    pub(super) fn show(
        &mut self,
        event: &Event<'_>,
        showing: Option<(Shown, Recording)>,
        locked: LockedDevice<'_>,
        context: &MessageContext<'_>,
    ) -> Applied {
        let Some((shown, recording)) = showing else { return Applied::Known };
        let device = device_of(&event.device);
        let Some(PackedStatus { payload, address_and_cause }) = self.packed(event, &shown, context) else {
            return Applied::Known;
        };
        let event = core_event(&shown.key, payload);
        let applied = self.apply_event(
            locked.with_address_and_cause(address_and_cause),
            event,
            context.arrival,
            recording,
        );
        if applied != Applied::Known {
            self.families.parent_changed(device);
        }
        applied
    }

    /// The status document of an event with its message.
    fn packed(
        &mut self,
        event: &Event<'_>,
        shown: &Shown,
        context: &MessageContext<'_>,
    ) -> Option<PackedStatus> {
        let pack = || status::pack(context.source, event, shown, context.payload);
        self.contained(context.source, (context.topic, context.payload), pack)
    }

    /// A refused login goes into the history of a device that is known.
    fn record(&mut self, event: &Event<'_>, context: &MessageContext<'_>) {
        let device = device_of(&event.device);
        if event.kind != FormatKind::Refusal || self.map.read(device, |_| ()).is_none() {
            self.pass_over(context.source, "recorded_nowhere");
            return;
        }
        let time = event.time.unwrap_or(context.delivery.received);
        let key = Key { session: time, kind: FormatKind::Refusal, time };
        let Some(PackedStatus { payload, .. }) = self.packed(event, &key.into(), context) else { return };
        let entry = PresenceEvent { kind: EventKind::FailedLogin, ..core_event(&key, payload) };
        self.events.push(device, entry, context.arrival.at);
        self.feed.failed_logins.add(device);
    }

    /// The convention says that the device is gone: it is disconnected, and then forgotten. One through which others are reached
    /// stays, as they do.
    fn removed(&mut self, name: &DeviceName<'_>, context: &MessageContext<'_>) {
        let map = Arc::clone(&self.map);
        let locked = map.lock(device_of(name));
        let held = locked.read(HeldDevice::of);
        if held.is_none() || self.is_anothers(held.as_ref(), context) {
            self.pass_over(context.source, "removed_unknown");
            return;
        }
        let event = Event {
            device: name.clone(),
            kind: FormatKind::Disconnect,
            session: Session::Arrival,
            time: None,
            cause: None,
            reason: Some(Cow::Borrowed(status::REMOVED)),
            address: None,
            protocol: None,
            parent: None,
        };
        let standing = DeviceAndParent::of(held.as_ref(), None);
        let Some(resolution) =
            standing.decide(|held, _| Some(order::resolve_removal(&event, context.delivery, held?)))
        else {
            return;
        };
        let showing = self.resolved(&event, resolution, &standing, context);
        self.show(&event, showing, locked.knowing(held.map(HeldDevice::into_state)), context);
        let device = device_of(name);
        // Until all families are found, nobody knows who is no parent. A removal in the first seconds is rare.
        while self.walks.are_finding() {
            self.advance_walks();
        }
        if !self.families.is_parent(device) && !self.map.note_removed(device) {
            self.pass_over(context.source, "removal_queue_full");
        }
    }

    /// What is held of a device, if anything is.
    pub(super) fn held(&self, device: Device<'_>) -> Option<HeldDevice> {
        self.map.read_opened(device, HeldDevice::of)
    }

    /// Whether the device belongs to another source that is in use: of two that name the same device, the first one keeps it.
    fn is_anothers(&mut self, held: Option<&HeldDevice>, context: &MessageContext<'_>) -> bool {
        let Some(held) = held else { return false };
        let owner = held.source().unwrap_or(IOT_PLATFORM);
        if owner == context.source || !self.formats.has(owner) {
            return false;
        }
        self.undecodable(context.source, "device_of_another_source", (context.topic, context.payload));
        true
    }

    pub(super) fn pass_over(&self, source: &str, reason: &'static str) {
        let label = SourceLabel { source: source.to_owned(), reason };
        self.metrics.messages_ignored.get_or_create(&label).inc();
    }
}

/// The event of the core for what is held of a message.
pub(super) fn core_event(key: &Key, payload: Payload) -> PresenceEvent {
    PresenceEvent {
        kind: core_kind(key.kind),
        session: moment(key.session),
        time: moment(key.time),
        close_code: 0,
        payload,
    }
}

fn core_kind(kind: FormatKind) -> EventKind {
    match kind {
        FormatKind::Connect => EventKind::Connect,
        FormatKind::Disconnect => EventKind::Disconnect,
        FormatKind::Takeover => EventKind::Takeover,
        FormatKind::Refusal => EventKind::Refusal,
    }
}

pub(super) fn device_of<'a>(name: &'a DeviceName<'_>) -> Device<'a> {
    Device { device_type: &name.device_type, id: &name.id }
}

/// The least number is an unknown moment on both sides.
fn moment(time: UnixNanos) -> Moment {
    if time == order::UNKNOWN_SESSION { Moment::UNKNOWN } else { Moment::from_nanos(time.0.into()) }
}

pub(super) fn nanos(moment: Moment) -> UnixNanos {
    moment.nanos().map_or(order::UNKNOWN_SESSION, UnixNanos)
}

fn seconds(time: UnixNanos) -> UnixSeconds {
    UnixSeconds(u32::try_from(time.0.div_euclid(1_000_000_000).max(0)).unwrap_or(u32::MAX))
}

fn nanos_of_millis(millis: i64) -> UnixNanos {
    UnixNanos(millis.saturating_mul(1_000_000))
}

/// When a batch was read, by our clock, if it has waited for so long.
pub(super) fn received(waited: std::time::Duration) -> UnixNanos {
    // Rounded at the end alone: batches that were read in one order have waited, and are dated, in that order.
    let read_at = clock::since_1970().saturating_sub(waited);
    nanos_of_millis(i64::try_from(read_at.as_millis()).unwrap_or(i64::MAX))
}
