//! One instance: a device state that events are merged into as `resolve` says.

use formats::order::{self, AliveRule, Delivery, EventIdentity, Held, Key, Resolution, Transmission};
use formats::{DeviceName, Event, EventKind, Session, UnixNanos};
use presence::payload::Payload;
use presence::{DeviceState, EventKind as PresenceKind, Moment, PresenceEvent, Status};

pub const SECOND: i64 = 1_000_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
/// When the histories of the models begin.
pub const START: i64 = 1_767_225_600 * SECOND;

#[derive(Default)]
pub struct Instance {
    state: DeviceState,
    received: Option<UnixNanos>,
    /// The messages that were merged; a payload is an index of one.
    messages: Vec<EventIdentity<'static>>,
}

impl Instance {
    /// Takes an event as ingest does.
    pub fn take(&mut self, event: &Event<'static>, delivery: Delivery) -> Resolution {
        self.take_below(event, delivery, None)
    }

    /// The same for a device with a parent.
    pub fn take_below(
        &mut self,
        event: &Event<'static>,
        delivery: Delivery,
        parent: Option<&Held<'_>>,
    ) -> Resolution {
        let resolution = order::resolve(event, delivery, self.held().as_ref(), parent);
        self.merge(resolution, event.clone().into_identity(), delivery);
        resolution
    }

    pub fn take_alive(
        &mut self,
        rule: AliveRule,
        delivery: Delivery,
        parent: Option<&Held<'_>>,
    ) -> Resolution {
        let resolution = order::resolve_alive(rule, delivery, self.held().as_ref(), parent);
        let session = Session::Matched { birth: None, sequence: None };
        self.merge(resolution, EventIdentity { session, time: None, cause: None }, delivery);
        resolution
    }

    pub fn held(&self) -> Option<Held<'static>> {
        let resolved = self.state.resolve()?;
        let event = resolved.event;
        Some(Held {
            key: Key { session: nanos(event.session), kind: kind(event.kind), time: nanos(event.time) },
            received: self.received?,
            identity: Some(self.messages[index(event)].clone()),
        })
    }

    pub fn is_connected(&self) -> Option<bool> {
        Some(self.state.resolve()?.status == Status::Connected)
    }

    fn merge(&mut self, resolution: Resolution, identity: EventIdentity<'static>, delivery: Delivery) {
        match resolution {
            Resolution::Apply(key) | Resolution::Renew(key) => {
                let payload = payload(self.messages.len());
                self.messages.push(identity);
                let event = PresenceEvent {
                    kind: presence_kind(key.kind),
                    session: moment(key.session),
                    time: moment(key.time),
                    close_code: 0,
                    payload,
                };
                self.state.apply(event);
            }
            Resolution::Confirm => {}
            Resolution::Late | Resolution::Record => return,
        }
        self.received = Some(delivery.received);
    }
}

pub fn live(received: i64) -> Delivery {
    Delivery { received: UnixNanos(received), origin: Transmission::Live { subscribed: UnixNanos(0) } }
}

pub fn retained(subscribed: i64, received: i64) -> Delivery {
    Delivery {
        received: UnixNanos(received),
        origin: Transmission::Retained { subscribed: UnixNanos(subscribed) },
    }
}

pub fn event(kind: EventKind, session: Session<'static>, time: Option<i64>) -> Event<'static> {
    Event {
        device: DeviceName { device_type: "t".into(), id: "d".into() },
        kind,
        session,
        time: time.map(UnixNanos),
        cause: None,
        reason: None,
        address: None,
        protocol: None,
        parent: None,
    }
}

fn payload(index: usize) -> Payload {
    Payload::pack(index.to_string().as_bytes())
}

fn index(event: &PresenceEvent) -> usize {
    let text = String::from_utf8(event.payload.unpack()).expect("the model writes text");
    text.parse().expect("the model writes numbers")
}

pub fn moment(time: UnixNanos) -> Moment {
    if time == order::UNKNOWN_SESSION { Moment::UNKNOWN } else { Moment::from_nanos(i128::from(time.0)) }
}

pub fn nanos(moment: Moment) -> UnixNanos {
    moment.nanos().map_or(order::UNKNOWN_SESSION, UnixNanos)
}

pub fn presence_kind(kind: EventKind) -> PresenceKind {
    match kind {
        EventKind::Connect => PresenceKind::Connect,
        EventKind::Disconnect => PresenceKind::Disconnect,
        EventKind::Takeover => PresenceKind::Takeover,
        EventKind::Refusal => PresenceKind::Refusal,
    }
}

pub fn kind(presence_kind: PresenceKind) -> EventKind {
    match presence_kind {
        PresenceKind::Connect => EventKind::Connect,
        PresenceKind::Disconnect => EventKind::Disconnect,
        PresenceKind::Takeover => EventKind::Takeover,
        PresenceKind::Refusal => EventKind::Refusal,
        PresenceKind::FailedLogin | PresenceKind::Request => panic!("no source has these"),
    }
}
