//! The history of one device with every oddity of the platform, for tests that compare a state with the truth. Pure.
//! The running fleet of the demo is in `running`.
//!
//! A test may feed the messages in any order and repeat them, so the truth must follow from the *set* of messages that
//! are left. The device's last session, here the deciding one, has the latest `ConnectTime` of all sessions that were
//! ever established, save those that it took over: they may share its millisecond, or be simultaneous and later. Earlier
//! sessions can stand in any order of time, because the clock may have stepped back between them. Three kinds of message never name an established session
//! and may carry a later time: the Disconnect 180 of a refused login, which has no Connect; the Disconnect 288 of the
//! loser of simultaneous connects that got as far as no Connect; and all messages of HTTP clients.
//!
//! Any of these can be lost without making the truth a matter of guessing:
//! - every message of every session before the deciding one;
//! - the Connect of the deciding session if its Disconnect is left and has another code than 180 (with 180, and without
//!   the Connect, it would look like a refused login);
//! - all messages of refused logins and of HTTP clients, each FailedConnect included.
//!
//! Never lost: the Connect of a deciding session that is still open, the Disconnect of one that has ended, and the
//! Disconnects 288 of the sessions that were simultaneous with it.
//!
//! Not made here, because no set of messages could tell: a deciding session that begins, by the platform's clock, before an
//! earlier one, unless the two are simultaneous; and a deciding session that shares its millisecond with one that it took
//! over, if a third one that began within the second before has ended.

use rand::{RngExt, rngs::ChaCha8Rng};

use super::device::{DeviceKind, Profile, SimulatedDevice};
use super::message::{Action, Channel, CloseCode, Millis, StatusFields, StatusMessage};
use super::platform::{Manner, Platform, PlatformEvent, SimulatedState, Truth, Weights};

/// What may happen in a history, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Quirks {
    /// At most so many events; the number is drawn evenly from zero up.
    pub events_max: u32,
    pub weights: Weights,
    pub manner: Manner,
    /// Share of events in the same millisecond as the event before.
    pub same_millisecond: f64,
    /// Share of events before which the platform's clock steps by up to [`Quirks::clock_step_max_ms`] either way.
    pub clock_step: f64,
    pub clock_step_max_ms: i64,
    /// Share of the messages that may be lost that are.
    pub loss: f64,
}

/// A device's history as one subscriber saw it, and what is true at its end.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedHistory {
    pub device: SimulatedDevice,
    /// What arrived, in the platform's order.
    pub messages: Vec<StatusMessage>,
    /// What was lost on the way, in the platform's order: for the report of a failed test.
    pub lost: Vec<StatusMessage>,
    /// What the broker would give a new subscriber; it alone does not always tell the truth.
    pub retained: Option<StatusMessage>,
    pub truth: Truth,
}

impl Quirks {
    /// Every session is plain: connect and end, nothing lost, times in `Z`, clocks that only go forward.
    pub fn none() -> Self {
        Self {
            events_max: 8,
            weights: Weights(vec![
                (PlatformEvent::Connect, 1.0),
                (PlatformEvent::End(CloseCode::Normal), 1.0),
            ]),
            manner: Manner {
                late_takeover: 0.0,
                same_connect_time: 0.0,
                simultaneous_spread_ms: 2,
                legacy: 0.0,
                offset: 0.0,
                backward: 0.0,
            },
            same_millisecond: 0.0,
            clock_step: 0.0,
            clock_step_max_ms: 0,
            loss: 0.0,
        }
    }

    /// Everything at once, far more often than on any real platform.
    pub fn all() -> Self {
        Self {
            events_max: 8,
            weights: Weights(vec![
                (PlatformEvent::Connect, 4.0),
                (PlatformEvent::End(CloseCode::Normal), 1.0),
                (PlatformEvent::End(CloseCode::ClosedByClient), 1.0),
                (PlatformEvent::End(CloseCode::TimedOut), 1.0),
                (PlatformEvent::End(CloseCode::ClosedByServer), 0.2),
                (PlatformEvent::End(CloseCode::ServerShutdown), 0.2),
                (PlatformEvent::End(CloseCode::ByAdministrator), 0.2),
                (PlatformEvent::End(CloseCode::SystemError), 0.2),
                (PlatformEvent::End(CloseCode::MessageTooLarge), 0.2),
                (PlatformEvent::End(CloseCode::NotAuthorized), 1.0),
                (PlatformEvent::Takeover, 2.0),
                (PlatformEvent::DropBeforeConnack, 1.0),
                (PlatformEvent::RefusedWhileConnected, 1.0),
                (PlatformEvent::RefusedWhileOffline, 0.5),
                (PlatformEvent::NearSimultaneous, 1.0),
                (PlatformEvent::SimultaneousReset, 1.0),
                (PlatformEvent::FoundAfterRestart, 0.5),
                (PlatformEvent::HttpPost, 0.5),
            ]),
            manner: Manner {
                late_takeover: 0.5,
                same_connect_time: 0.2,
                simultaneous_spread_ms: 3,
                legacy: 0.2,
                offset: 0.4,
                backward: 0.3,
            },
            same_millisecond: 0.3,
            clock_step: 0.2,
            clock_step_max_ms: 60_000,
            loss: 0.3,
        }
    }
}

/// The moment at which every history begins: 2026-11-23T17:52:32.194Z.
const BEGINNING: Millis = Millis(1_795_456_352_194);

/// A device and its history; the same state of the generator gives the same history.
pub fn device_history(rng: &mut ChaCha8Rng, quirks: &Quirks) -> SimulatedHistory {
    let device = random_device(rng);
    let plan = plan(rng, quirks);
    let deciding = plan.iter().rposition(|event| begins_session(*event));
    let mut clock = Clock { now: BEGINNING, stepped: false };
    let mut state = SimulatedState::default();
    let mut newest = BEGINNING;
    let mut sent: Vec<(usize, StatusFields)> = Vec::new();
    for (index, event) in plan.iter().enumerate() {
        clock.advance(rng, quirks);
        let mut manner = quirks.manner;
        if rng.random() {
            // Two nodes of a broker, each with a clock of its own.
            manner.simultaneous_spread_ms *= CLOCK_OF_ANOTHER_NODE;
        }
        if Some(index) == deciding {
            clock.now = clock.now.max(newest.plus(DECIDING_LEAD_MS));
            if clock.stepped {
                // The session to be taken over may be older than one before it.
                manner.same_connect_time = 0.0;
            }
        }
        let mut platform = Platform { manner, rng: &mut *rng };
        for status in state.apply(*event, clock.now, &mut platform) {
            newest = newest.max(status.time).max(status.connect_time.unwrap_or(status.time));
            sent.push((index, status));
        }
    }
    let losable = Losable { plan: &plan, deciding, ended: state.truth() == Truth::Disconnected };
    let mut history = SimulatedHistory {
        messages: Vec::new(),
        lost: Vec::new(),
        retained: state.retained().map(|status| status.message(&device)),
        truth: state.truth(),
        device,
    };
    for (index, status) in sent {
        let lost = losable.may_lose(index, &status) && rng.random_bool(quirks.loss);
        let into = if lost { &mut history.lost } else { &mut history.messages };
        into.push(status.message(&history.device));
    }
    history
}

/// How many times further apart simultaneous connects begin by the clocks of two nodes: less than a second in all.
const CLOCK_OF_ANOTHER_NODE: i64 = 300;

/// How far the deciding session begins after all times seen before: more than `Time` can run backwards.
const DECIDING_LEAD_MS: i64 = 10;

fn random_device(rng: &mut ChaCha8Rng) -> SimulatedDevice {
    let kind = if rng.random_bool(0.1) { DeviceKind::Gateway } else { DeviceKind::Device };
    let device_id = format!("d{}", rng.random_range(0..1_000));
    SimulatedDevice {
        organization: "org1".to_owned(),
        device_type: "t".to_owned(),
        kind,
        profile: Profile::random(&device_id, rng),
        device_id,
    }
}

/// Which events happen, found by trying them on a state that is thrown away: the loop that keeps the messages must know
/// beforehand which session will be the last.
fn plan(rng: &mut ChaCha8Rng, quirks: &Quirks) -> Vec<PlatformEvent> {
    let mut state = SimulatedState::default();
    let mut plan = Vec::new();
    for _ in 0..rng.random_range(0..=quirks.events_max) {
        let Some(event) = quirks.weights.choose(&state, rng) else { break };
        state.apply(event, BEGINNING, &mut Platform { manner: quirks.manner, rng: &mut *rng });
        plan.push(event);
    }
    plan
}

fn begins_session(event: PlatformEvent) -> bool {
    match event {
        PlatformEvent::Connect
        | PlatformEvent::Takeover
        | PlatformEvent::DropBeforeConnack
        | PlatformEvent::NearSimultaneous
        | PlatformEvent::SimultaneousReset => true,
        PlatformEvent::End(_)
        | PlatformEvent::RefusedWhileConnected
        | PlatformEvent::RefusedWhileOffline
        | PlatformEvent::FoundAfterRestart
        | PlatformEvent::HttpPost => false,
    }
}

struct Clock {
    now: Millis,
    stepped: bool,
}

impl Clock {
    fn advance(&mut self, rng: &mut ChaCha8Rng, quirks: &Quirks) {
        if rng.random_bool(quirks.clock_step) {
            let max_ms = quirks.clock_step_max_ms;
            self.now = self.now.plus(rng.random_range(-max_ms..=max_ms));
            self.stepped = true;
        }
        if !rng.random_bool(quirks.same_millisecond) {
            // From a millisecond to a little over an hour, short gaps as likely as long ones.
            self.now = self.now.plus(1 << rng.random_range(0..=22));
        }
    }
}

/// Which messages the truth does not depend on; the rule is written out at the top of this file.
struct Losable<'a> {
    plan: &'a [PlatformEvent],
    /// Index of the event that began the last session.
    deciding: Option<usize>,
    ended: bool,
}

impl Losable<'_> {
    fn may_lose(&self, index: usize, status: &StatusFields) -> bool {
        let Some(deciding) = self.deciding else { return true };
        if index < deciding || status.channel == Channel::Http {
            return true;
        }
        match status.action {
            Action::FailedConnect { .. } => true,
            // Nothing but the deciding session, and those that it took over, connects from here on.
            Action::Connect { .. } => {
                self.ended && !self.plan[deciding..].contains(&PlatformEvent::End(CloseCode::NotAuthorized))
            }
            Action::Disconnect { code, .. } => {
                (code == CloseCode::ClientIdReused && self.plan[index] == PlatformEvent::Takeover)
                    || self.plan[index] == PlatformEvent::RefusedWhileConnected
            }
        }
    }
}
