//! One instance: a device state that events are merged into as `resolve` says.

use formats::order::{self, AliveRule, Delivery, Held, Identity, Key, Origin, Resolution};
use formats::{DeviceName, Event, EventKind, Session, UnixNanos};
use presence::payload::Payload;
use presence::{Belief, Claim, Moment, Statement, Status};

pub const SECOND: i64 = 1_000_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
/// When the histories of the models begin.
pub const START: i64 = 1_767_225_600 * SECOND;

#[derive(Default)]
pub struct Instance {
    state: Belief,
    received: Option<UnixNanos>,
    /// The messages that were merged; a payload is an index of one.
    messages: Vec<Identity<'static>>,
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
        self.merge(resolution, Identity { session, time: None, cause: None }, delivery);
        resolution
    }

    pub fn held(&self) -> Option<Held<'static>> {
        let verdict = self.state.verdict()?;
        let statement = verdict.statement;
        Some(Held {
            key: Key {
                session: nanos(statement.session),
                kind: kind(statement.claim),
                time: nanos(statement.time),
            },
            received: self.received?,
            identity: Some(self.messages[index(statement)].clone()),
        })
    }

    pub fn is_connected(&self) -> Option<bool> {
        Some(self.state.verdict()?.status == Status::Connected)
    }

    fn merge(&mut self, resolution: Resolution, identity: Identity<'static>, delivery: Delivery) {
        match resolution {
            Resolution::Apply(key) | Resolution::Renew(key) => {
                let payload = payload(self.messages.len());
                self.messages.push(identity);
                let statement = Statement {
                    claim: claim(key.kind),
                    session: moment(key.session),
                    time: moment(key.time),
                    close_code: 0,
                    payload,
                };
                self.state.apply(statement);
            }
            Resolution::Confirm => {}
            Resolution::Late | Resolution::Record => return,
        }
        self.received = Some(delivery.received);
    }
}

pub fn live(received: i64) -> Delivery {
    Delivery { received: UnixNanos(received), origin: Origin::Live }
}

pub fn retained(subscribed: i64, received: i64) -> Delivery {
    Delivery { received: UnixNanos(received), origin: Origin::Retained { subscribed: UnixNanos(subscribed) } }
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

fn index(statement: &Statement) -> usize {
    String::from_utf8(statement.payload.unpack()).unwrap().parse().unwrap()
}

fn moment(time: UnixNanos) -> Moment {
    if time == order::UNKNOWN_SESSION { Moment::UNKNOWN } else { Moment::from_nanos(i128::from(time.0)) }
}

fn nanos(moment: Moment) -> UnixNanos {
    moment.nanos().map_or(order::UNKNOWN_SESSION, UnixNanos)
}

fn claim(kind: EventKind) -> Claim {
    match kind {
        EventKind::Connect => Claim::Connect,
        EventKind::Disconnect => Claim::Disconnect,
        EventKind::Takeover => Claim::Takeover,
        EventKind::Refusal => Claim::Refusal,
    }
}

fn kind(claim: Claim) -> EventKind {
    match claim {
        Claim::Connect => EventKind::Connect,
        Claim::Disconnect => EventKind::Disconnect,
        Claim::Takeover => EventKind::Takeover,
        Claim::Refusal => EventKind::Refusal,
        Claim::FailedLogin | Claim::Request => panic!("no source has these"),
    }
}
