//! What the platform says about one device, and what is true: sessions, and the status messages that each event causes,
//! in the order in which the platform sends them. Pure: the time and the randomness are arguments. How messages are
//! written is in `message`, many devices at once in `running`, histories for tests in `history`.

use rand::{RngExt, rngs::ChaCha8Rng};

use super::message::{Action, Channel, CloseCode, Counters, Millis, Status, TimeForm};

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
pub enum Event {
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
    /// Two connections at once: one never gets as far as a Connect, the other stays.
    NearSimultaneous,
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

/// The platform as seen by tests and the demo: the manner in which it reports, and the source of chance.
#[derive(Debug)]
pub struct Platform<'a> {
    pub manner: Manner,
    pub rng: &'a mut ChaCha8Rng,
}

/// What the platform knows of one device.
#[derive(Clone, Debug)]
pub struct DeviceState {
    phase: Phase,
    newest_connect_time: Option<Millis>,
    retained: Option<Status>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    NeverConnected,
    Connected(Session),
    Disconnected,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    connect_time: Millis,
    /// `Time` of its Connect.
    reported: Millis,
    channel: Channel,
}

impl Default for DeviceState {
    fn default() -> Self {
        Self { phase: Phase::NeverConnected, newest_connect_time: None, retained: None }
    }
}

impl DeviceState {
    pub fn truth(&self) -> Truth {
        match self.phase {
            Phase::NeverConnected => Truth::NeverConnected,
            Phase::Connected(_) => Truth::Connected,
            Phase::Disconnected => Truth::Disconnected,
        }
    }

    /// What the broker gives a new subscriber. It can contradict the truth: see [`Event::DropBeforeConnack`] and
    /// [`Event::RefusedWhileConnected`].
    pub fn retained(&self) -> Option<&Status> {
        self.retained.as_ref()
    }

    /// Whether the event can happen to the device as it is.
    pub fn allows(&self, event: Event) -> bool {
        let connected = matches!(self.phase, Phase::Connected(_));
        match event {
            Event::HttpPost => true,
            Event::Connect
            | Event::DropBeforeConnack
            | Event::RefusedWhileOffline
            | Event::NearSimultaneous => !connected,
            Event::End(_) | Event::Takeover | Event::RefusedWhileConnected | Event::FoundAfterRestart => {
                connected
            }
        }
    }

    /// Lets the event happen at a moment of the platform's clock and returns what the platform sends, in its order.
    /// Nothing happens if the device does not [allow](Self::allows) the event.
    pub fn apply(&mut self, event: Event, at: Millis, platform: &mut Platform<'_>) -> Vec<Status> {
        let sent = match (event, self.phase) {
            (Event::HttpPost, _) => platform.http_post(at).to_vec(),
            (Event::End(code), Phase::Connected(session)) => {
                self.phase = Phase::Disconnected;
                vec![platform.disconnect(session, code, at)]
            }
            (Event::FoundAfterRestart, Phase::Connected(session)) => {
                self.phase = Phase::Disconnected;
                vec![platform.found_after_restart(session)]
            }
            (Event::Takeover, Phase::Connected(session)) => self.take_over(session, at, platform).to_vec(),
            (Event::RefusedWhileConnected, Phase::Connected(_)) => {
                let refused = self.session(at, Channel::Mqtt, platform);
                let failed = platform.failed(refused, CloseCode::NotAuthorized, at);
                let ended = platform.disconnect(refused, CloseCode::NotAuthorized, at);
                vec![failed, ended, failed]
            }
            (Event::Connect, Phase::NeverConnected | Phase::Disconnected) => {
                let session = self.session(at, platform.channel(), platform);
                self.phase = Phase::Connected(session);
                vec![platform.connect(session)]
            }
            (Event::DropBeforeConnack, Phase::NeverConnected | Phase::Disconnected) => {
                let session = self.session(at, Channel::Mqtt, platform);
                self.phase = Phase::Disconnected;
                vec![platform.disconnect(session, CloseCode::ClosedByClient, at), platform.connect(session)]
            }
            (Event::RefusedWhileOffline, Phase::NeverConnected | Phase::Disconnected) => {
                let refused = self.session(at, Channel::Mqtt, platform);
                vec![platform.failed(refused, CloseCode::NotAuthorized, at)]
            }
            (Event::NearSimultaneous, Phase::NeverConnected | Phase::Disconnected) => {
                self.connect_twice(at, platform).to_vec()
            }
            (
                Event::End(_) | Event::FoundAfterRestart | Event::Takeover | Event::RefusedWhileConnected,
                _,
            )
            | (
                Event::Connect
                | Event::DropBeforeConnack
                | Event::RefusedWhileOffline
                | Event::NearSimultaneous,
                Phase::Connected(_),
            ) => Vec::new(),
        };
        self.retained = sent.iter().rfind(|status| status.is_retained()).copied().or(self.retained);
        sent
    }

    fn take_over(&mut self, old: Session, at: Millis, platform: &mut Platform<'_>) -> [Status; 2] {
        let channel = platform.channel();
        let plain = channel == Channel::Mqtt && old.channel == Channel::Mqtt;
        let new = if plain && platform.rng.random_bool(platform.manner.same_connect_time) {
            Session { reported: platform.shown(at.max(old.connect_time)), ..old }
        } else {
            self.session(at, channel, platform)
        };
        self.phase = Phase::Connected(new);
        let ended = platform.disconnect(old, CloseCode::ClientIdReused, at);
        let begun = platform.connect(new);
        let late = platform.rng.random_bool(platform.manner.late_takeover);
        if late { [begun, ended] } else { [ended, begun] }
    }

    fn connect_twice(&mut self, at: Millis, platform: &mut Platform<'_>) -> [Status; 3] {
        let winner = self.session(at, Channel::Mqtt, platform);
        let behind_ms = platform.rng.random_range(0..=2);
        let loser = Session { connect_time: winner.connect_time.plus(behind_ms), ..winner };
        self.newest_connect_time = Some(loser.connect_time);
        self.phase = Phase::Connected(winner);
        let failed = platform.failed(loser, CloseCode::ClientIdReused, at);
        let ended = platform.disconnect(loser, CloseCode::ClientIdReused, at);
        let begun = platform.connect(winner);
        if platform.rng.random() { [failed, ended, begun] } else { [begun, failed, ended] }
    }

    /// A session of its own name: no other session of this device begins so near that the two could be mixed up.
    fn session(&mut self, at: Millis, channel: Channel, platform: &mut Platform<'_>) -> Session {
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
        Session { connect_time, reported, channel }
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

    fn connect(&mut self, session: Session) -> Status {
        let outlives = self.rng.random_bool(0.2);
        let new_session = outlives && self.rng.random_bool(0.3);
        let connect_time = match session.channel {
            Channel::LegacyMqtt => None,
            Channel::Mqtt | Channel::Http => Some(session.connect_time),
        };
        Status {
            action: Action::Connect { durable: !outlives, new_session },
            time: session.reported,
            connect_time,
            channel: session.channel,
            time_form: self.time_form(),
        }
    }

    fn disconnect(&mut self, session: Session, code: CloseCode, at: Millis) -> Status {
        let counters = Some(self.counters());
        let time = self.shown(at);
        self.ended(session, Action::Disconnect { code, counters }, time)
    }

    fn found_after_restart(&mut self, session: Session) -> Status {
        let action = Action::Disconnect { code: CloseCode::FoundAfterRestart, counters: None };
        self.ended(session, action, session.reported)
    }

    fn failed(&mut self, session: Session, code: CloseCode, at: Millis) -> Status {
        let time = self.shown(at);
        self.ended(session, Action::FailedConnect { code }, time)
    }

    fn ended(&mut self, session: Session, action: Action, time: Millis) -> Status {
        Status {
            action,
            time,
            connect_time: Some(session.connect_time),
            channel: session.channel,
            time_form: self.time_form(),
        }
    }

    fn http_post(&mut self, at: Millis) -> [Status; 2] {
        let session = Session { connect_time: at, reported: at, channel: Channel::Http };
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
pub struct Weights(pub Vec<(Event, f64)>);

impl Weights {
    /// One event that the device allows, or none if there is none with a weight above zero.
    pub fn choose(&self, state: &DeviceState, rng: &mut ChaCha8Rng) -> Option<Event> {
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
