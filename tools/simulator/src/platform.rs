//! What the platform says about one device, and what is true: sessions, and the status messages that each event causes,
//! in the order in which the platform sends them. Pure: the time and the randomness are arguments. How messages are
//! written is in `message`, many devices at once in `running`, histories for tests in `history`.

use rand::seq::SliceRandom;
use rand::{RngExt, rngs::ChaCha8Rng};

use super::message::{Action, Channel, CloseCode, Counters, Millis, StatusFields, TimeForm};

/// What is really so, whatever the messages say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Truth {
    Connected,
    Disconnected,
    /// No MQTT session was ever established; refused logins and HTTP posts may have been.
    NeverConnected,
}

/// Something that happens to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlatformEvent {
    /// An offline device begins a session.
    Connect,
    /// The session ends; with `NotAuthorized` the device's right to connect was withdrawn.
    End(CloseCode),
    /// A new connection with the same client id ends the session and begins its own. The Disconnect comes first, save in
    /// a few of a thousand cases.
    Takeover,
    /// The client is gone before it got its CONNACK: a Disconnect and only then the Connect, both of one session.
    DropBeforeConnack,
    /// A second login is refused while the first session goes on: three messages of a session that never was.
    RefusedWhileConnected,
    /// A login of an offline device is refused.
    RefusedWhileOffline,
    /// Two to four connections at once: all but one are taken over, with or without having got as far as a Connect, and the
    /// messages come in any order. Any of them may have begun first.
    NearSimultaneous,
    /// The same, and the client resets all of them at once: the one that was not taken over is ended by the client.
    SimultaneousReset,
    /// The broker was killed and is back: it reports the session as ended at its beginning, without counters.
    FoundAfterRestart,
    /// A message over HTTP. It has nothing to do with the MQTT session.
    HttpPost,
}

/// How often the platform deviates from the plain case: shares between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Manner {
    /// Takeovers whose Disconnect comes after the new session's Connect.
    pub late_takeover: f64,
    /// Takeovers by a connection of the same millisecond as the session that it ends.
    pub same_connect_time: f64,
    /// By how many milliseconds the beginnings of simultaneous connections differ at most.
    pub simultaneous_spread_ms: i64,
    /// Sessions reported in the older form, without `ConnectTime` on the Connect.
    pub legacy: f64,
    /// Messages whose times carry an offset instead of `Z`.
    pub offset: f64,
    /// Messages whose `Time` lies up to [`BACKWARD_MAX_MS`] before the moment of the event.
    pub backward: f64,
}

/// As far as `Time` was seen to run backwards between two messages of one broker.
pub const BACKWARD_MAX_MS: i64 = 4;

/// Least distance between the ConnectTimes of two sessions of one device, takeovers of the same millisecond excepted. A
/// legacy session is named by two times a millisecond apart, so closer sessions could not be told from each other.
const SESSION_SPACING_MS: i64 = 5;

/// The clock went back on purpose if a session would begin this much before the newest one.
const CLOCK_STEP_MIN_MS: i64 = 1_000;

/// Sessions that begin within this may be simultaneous.
const SIMULTANEOUS_MS: i64 = 1_000;

/// Connections at once, at most: the platform was seen to begin four.
const SIMULTANEOUS_MAX: usize = 4;

/// The platform as seen by tests and the demo: the manner in which it reports, and the source of chance.
#[derive(Debug)]
pub struct Platform<'a> {
    pub manner: Manner,
    pub rng: &'a mut ChaCha8Rng,
}

/// What the platform knows of one device.
#[derive(Clone, Debug)]
pub struct SimulatedState {
    phase: Phase,
    newest_connect_time: Option<Millis>,
    /// The newest session that ended otherwise than by a takeover.
    newest_ended: Option<Millis>,
    /// The Connect of a newer session that was taken over was retained last, and no other session has begun since.
    retained_loser: bool,
    retained: Option<StatusFields>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    NeverConnected,
    Connected(SimulatedSession),
    Disconnected,
}

#[derive(Clone, Copy, Debug)]
struct SimulatedSession {
    connect_time: Millis,
    /// `Time` of its Connect.
    reported: Millis,
    channel: Channel,
}

impl Default for SimulatedState {
    fn default() -> Self {
        Self {
            phase: Phase::NeverConnected,
            newest_connect_time: None,
            newest_ended: None,
            retained_loser: false,
            retained: None,
        }
    }
}

impl SimulatedState {
    pub fn truth(&self) -> Truth {
        match self.phase {
            Phase::NeverConnected => Truth::NeverConnected,
            Phase::Connected(_) => Truth::Connected,
            Phase::Disconnected => Truth::Disconnected,
        }
    }

    /// What the broker gives a new subscriber. It can contradict the truth: see [`PlatformEvent::DropBeforeConnack`] and
    /// [`PlatformEvent::RefusedWhileConnected`].
    pub fn retained(&self) -> Option<&StatusFields> {
        self.retained.as_ref()
    }

    /// Whether a reader that has missed some messages of the device's sessions may be wrong until the next one begins, though
    /// what is retained is true: it may have been given the Connect of a session that had been taken over.
    pub fn may_have_misled(&self) -> bool {
        self.retained_loser
    }

    /// Whether the event can happen to the device as it is.
    pub fn allows(&self, event: PlatformEvent) -> bool {
        let connected = matches!(self.phase, Phase::Connected(_));
        match event {
            PlatformEvent::HttpPost => true,
            PlatformEvent::Connect
            | PlatformEvent::DropBeforeConnack
            | PlatformEvent::RefusedWhileOffline
            | PlatformEvent::NearSimultaneous
            | PlatformEvent::SimultaneousReset => !connected,
            PlatformEvent::End(_)
            | PlatformEvent::Takeover
            | PlatformEvent::RefusedWhileConnected
            | PlatformEvent::FoundAfterRestart => connected,
        }
    }

    /// Lets the event happen at a moment of the platform's clock and returns what the platform sends, in its order.
    /// Nothing happens if the device does not [allow](Self::allows) the event.
    pub fn apply(
        &mut self,
        event: PlatformEvent,
        at: Millis,
        platform: &mut Platform<'_>,
    ) -> Vec<StatusFields> {
        let sent = match (event, self.phase) {
            (PlatformEvent::HttpPost, _) => platform.http_post(at).to_vec(),
            (PlatformEvent::End(code), Phase::Connected(session)) => {
                self.end(session);
                vec![platform.disconnect(session, code, at)]
            }
            (PlatformEvent::FoundAfterRestart, Phase::Connected(session)) => {
                self.end(session);
                vec![platform.found_after_restart(session)]
            }
            (PlatformEvent::Takeover, Phase::Connected(session)) => {
                self.take_over(session, at, platform).to_vec()
            }
            (PlatformEvent::RefusedWhileConnected, Phase::Connected(_)) => {
                let refused = self.session(at, Channel::Mqtt, platform);
                let failed = platform.failed(refused, CloseCode::NotAuthorized, at);
                let ended = platform.disconnect(refused, CloseCode::NotAuthorized, at);
                vec![failed, ended, failed]
            }
            (PlatformEvent::Connect, Phase::NeverConnected | Phase::Disconnected) => {
                let session = self.session(at, platform.channel(), platform);
                self.phase = Phase::Connected(session);
                vec![platform.connect(session)]
            }
            (PlatformEvent::DropBeforeConnack, Phase::NeverConnected | Phase::Disconnected) => {
                let session = self.session(at, Channel::Mqtt, platform);
                self.end(session);
                vec![platform.disconnect(session, CloseCode::ClosedByClient, at), platform.connect(session)]
            }
            (PlatformEvent::RefusedWhileOffline, Phase::NeverConnected | Phase::Disconnected) => {
                let refused = self.session(at, Channel::Mqtt, platform);
                vec![platform.failed(refused, CloseCode::NotAuthorized, at)]
            }
            (PlatformEvent::NearSimultaneous, Phase::NeverConnected | Phase::Disconnected) => {
                let (winner, mut sent) = self.connect_several(at, platform);
                self.phase = Phase::Connected(winner);
                self.shuffle(&mut sent, winner, platform);
                sent
            }
            (PlatformEvent::SimultaneousReset, Phase::NeverConnected | Phase::Disconnected) => {
                let (winner, mut sent) = self.connect_several(at, platform);
                self.end(winner);
                sent.push(platform.disconnect(winner, CloseCode::ClosedByClient, at));
                self.shuffle(&mut sent, winner, platform);
                sent
            }
            (
                PlatformEvent::End(_)
                | PlatformEvent::FoundAfterRestart
                | PlatformEvent::Takeover
                | PlatformEvent::RefusedWhileConnected,
                _,
            )
            | (
                PlatformEvent::Connect
                | PlatformEvent::DropBeforeConnack
                | PlatformEvent::RefusedWhileOffline
                | PlatformEvent::NearSimultaneous
                | PlatformEvent::SimultaneousReset,
                Phase::Connected(_),
            ) => Vec::new(),
        };
        if matches!(
            event,
            PlatformEvent::Connect | PlatformEvent::Takeover | PlatformEvent::DropBeforeConnack
        ) {
            self.retained_loser &= sent.is_empty();
        }
        self.retained = sent.iter().rfind(|status| status.is_retained()).copied().or(self.retained);
        sent
    }

    fn take_over(
        &mut self,
        old: SimulatedSession,
        at: Millis,
        platform: &mut Platform<'_>,
    ) -> [StatusFields; 2] {
        let channel = platform.channel();
        let plain = channel == Channel::Mqtt && old.channel == Channel::Mqtt;
        // Else the moment that the two share could be mixed up with other sessions.
        let alone = self.newest_connect_time == Some(old.connect_time) && !self.ended_shortly_before(old);
        let new = if plain && alone && platform.rng.random_bool(platform.manner.same_connect_time) {
            SimulatedSession { reported: platform.shown(at.max(old.connect_time)), ..old }
        } else {
            self.session(at, channel, platform)
        };
        self.phase = Phase::Connected(new);
        let ended = platform.disconnect(old, CloseCode::ClientIdReused, at);
        let begun = platform.connect(new);
        let late = platform.rng.random_bool(platform.manner.late_takeover);
        if late { [begun, ended] } else { [ended, begun] }
    }

    /// Several connections at once: the one that is not taken over, and what is sent of all.
    fn connect_several(
        &mut self,
        at: Millis,
        platform: &mut Platform<'_>,
    ) -> (SimulatedSession, Vec<StatusFields>) {
        let first = self.session(at, Channel::Mqtt, platform);
        let spread_ms = platform.manner.simultaneous_spread_ms;
        let begun = |platform: &mut Platform<'_>| {
            let connect_time = first.connect_time.plus(platform.rng.random_range(0..=spread_ms));
            SimulatedSession { connect_time, ..first }
        };
        let winner = begun(platform);
        let mut newest = winner.connect_time;
        let mut sent = vec![platform.connect(winner)];
        for _ in 1..platform.rng.random_range(2..=SIMULTANEOUS_MAX) {
            let mut loser = begun(platform);
            if loser.connect_time == winner.connect_time && self.ended_shortly_before(first) {
                // In one moment with a session that was taken over, the winner would look like it.
                loser.connect_time = loser.connect_time.plus(1);
            }
            newest = newest.max(loser.connect_time);
            sent.push(platform.disconnect(loser, CloseCode::ClientIdReused, at));
            sent.push(if platform.rng.random() {
                platform.connect(loser)
            } else {
                platform.failed(loser, CloseCode::ClientIdReused, at)
            });
        }
        self.newest_connect_time = Some(newest);
        (winner, sent)
    }

    fn shuffle(&mut self, sent: &mut [StatusFields], winner: SimulatedSession, platform: &mut Platform<'_>) {
        sent.shuffle(platform.rng);
        let last = sent.iter().rfind(|status| status.is_retained());
        self.retained_loser = last.is_some_and(|status| {
            matches!(status.action, Action::Connect { .. }) && status.connect_time > Some(winner.connect_time)
        });
    }

    fn end(&mut self, session: SimulatedSession) {
        self.phase = Phase::Disconnected;
        self.newest_ended = self.newest_ended.max(Some(session.connect_time));
    }

    fn ended_shortly_before(&self, session: SimulatedSession) -> bool {
        self.newest_ended.is_some_and(|ended| ended.plus(SIMULTANEOUS_MS) >= session.connect_time)
    }

    /// A session of its own name: no other session of this device begins so near that the two could be mixed up.
    fn session(&mut self, at: Millis, channel: Channel, platform: &mut Platform<'_>) -> SimulatedSession {
        let mut connect_time = at.plus(-platform.rng.random_range(0..=1));
        if let Some(newest) = self.newest_connect_time {
            let least = newest.plus(SESSION_SPACING_MS);
            if connect_time < least && connect_time > newest.plus(-CLOCK_STEP_MIN_MS) {
                connect_time = least;
            }
        }
        self.newest_connect_time = Some(connect_time);
        let reported = match channel {
            Channel::LegacyMqtt => connect_time.plus(1),
            Channel::Mqtt | Channel::Http => platform.shown(at.max(connect_time)),
        };
        SimulatedSession { connect_time, reported, channel }
    }
}

impl Platform<'_> {
    fn channel(&mut self) -> Channel {
        if self.rng.random_bool(self.manner.legacy) { Channel::LegacyMqtt } else { Channel::Mqtt }
    }

    /// The moment as `Time` shows it.
    fn shown(&mut self, at: Millis) -> Millis {
        if self.rng.random_bool(self.manner.backward) {
            at.plus(-self.rng.random_range(1..=BACKWARD_MAX_MS))
        } else {
            at
        }
    }

    fn time_form(&mut self) -> TimeForm {
        if self.rng.random_bool(self.manner.offset) {
            TimeForm::ALL[self.rng.random_range(1..TimeForm::ALL.len())]
        } else {
            TimeForm::Zulu
        }
    }

    fn connect(&mut self, session: SimulatedSession) -> StatusFields {
        let outlives = self.rng.random_bool(0.2);
        let new_session = outlives && self.rng.random_bool(0.3);
        let connect_time = match session.channel {
            Channel::LegacyMqtt => None,
            Channel::Mqtt | Channel::Http => Some(session.connect_time),
        };
        StatusFields {
            action: Action::Connect { durable: !outlives, new_session },
            time: session.reported,
            connect_time,
            channel: session.channel,
            time_form: self.time_form(),
        }
    }

    fn disconnect(&mut self, session: SimulatedSession, code: CloseCode, at: Millis) -> StatusFields {
        let counters = Some(self.counters());
        let time = self.shown(at);
        self.ended(session, Action::Disconnect { code, counters }, time)
    }

    fn found_after_restart(&mut self, session: SimulatedSession) -> StatusFields {
        let action = Action::Disconnect { code: CloseCode::FoundAfterRestart, counters: None };
        self.ended(session, action, session.reported)
    }

    fn failed(&mut self, session: SimulatedSession, code: CloseCode, at: Millis) -> StatusFields {
        let time = self.shown(at);
        self.ended(session, Action::FailedConnect { code }, time)
    }

    fn ended(&mut self, session: SimulatedSession, action: Action, time: Millis) -> StatusFields {
        StatusFields {
            action,
            time,
            connect_time: Some(session.connect_time),
            channel: session.channel,
            time_form: self.time_form(),
        }
    }

    fn http_post(&mut self, at: Millis) -> [StatusFields; 2] {
        let session = SimulatedSession { connect_time: at, reported: at, channel: Channel::Http };
        [self.connect(session), self.disconnect(session, CloseCode::HttpClosed, at.plus(1))]
    }

    fn counters(&mut self) -> Counters {
        let read_messages = self.rng.random_range(0..50);
        let write_messages = self.rng.random_range(0..5);
        Counters {
            read_bytes: 91 + read_messages * 64,
            read_messages,
            write_bytes: 7 + write_messages * 48,
            write_messages,
        }
    }
}

/// How likely each kind of event is: relative weights; what the device does not allow counts as zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights(pub Vec<(PlatformEvent, f64)>);

impl Weights {
    /// One event that the device allows, or none if there is none with a weight above zero.
    pub fn choose(&self, state: &SimulatedState, rng: &mut ChaCha8Rng) -> Option<PlatformEvent> {
        let possible = || self.0.iter().filter(|(event, weight)| *weight > 0.0 && state.allows(*event));
        let total: f64 = possible().map(|(_, weight)| weight).sum();
        let mut left = rng.random::<f64>() * total;
        for (event, weight) in possible() {
            left -= weight;
            if left < 0.0 {
                return Some(*event);
            }
        }
        // Rounding can leave a crumb; the last possible event takes it.
        possible().next_back().map(|(event, _)| *event)
    }
}
