//! A whole organisation that lives: devices spread over types, a first state for each, and events at a set rate. Pure: it
//! is told the time, and its seed decides everything else. Sending the messages is the task of `publisher`.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use super::device::{DeviceKind, Profile, SimulatedDevice};
use super::message::{CloseCode, Millis, StatusMessage};
use super::platform::{Manner, Platform, PlatformEvent, SimulatedState, Truth, Weights};
use super::settings::{Endings, FleetSettings};

/// Shares of the first state; the rest is disconnected.
const CONNECTED_SHARE: f64 = 0.70;
const NEVER_CONNECTED_SHARE: f64 = 0.05;

/// Events that one step makes at most; after a longer gap (a suspended machine) the rest is skipped, because a burst of an
/// hour's events would flood the broker. Twenty steps a second allow 400,000 events.
pub const STEP_EVENTS_MAX: usize = 20_000;

/// How often the platform of the running fleet deviates from the plain case; `late_takeover` is as measured.
const MANNER: Manner = Manner {
    late_takeover: 3.0 / 4_000.0,
    same_connect_time: 0.001,
    simultaneous_spread_ms: 2,
    legacy: 0.01,
    offset: 0.02,
    backward: 0.001,
};

/// Share of events that come with a message that changes nothing: an HTTP post or a refused login of an offline device.
const NOISE_SHARE: f64 = 0.02;

/// Share of the sessions lost (`Endings::dropped`) that the server ended.
const SERVER_ENDED_SHARE: f64 = 0.04;

/// Share of the refusals (`Endings::refused`) that hit a running session.
const REVOKED_SHARE: f64 = 0.02;

const TYPE_NAMES: [&str; 5] = ["thermostat", "pump", "meter", "elevator", GATEWAY_TYPE];
const GATEWAY_TYPE: &str = "gateway";

/// A simulated organisation and what is true of each of its devices.
#[derive(Debug)]
pub struct Fleet {
    settings: FleetSettings,
    /// For each type the index of its first device.
    type_starts: Vec<u32>,
    states: Vec<SimulatedState>,
    /// Devices that events choose from, by what is true of them. Those that never connected stay so and are in neither.
    connected: Vec<u32>,
    disconnected: Vec<u32>,
    showcase: Showcase,
    beginnings: Weights,
    endings: Weights,
    rng: ChaCha8Rng,
    /// When the next event happens, in milliseconds since the epoch; a fraction matters at thousands a second.
    next_event_ms: f64,
}

/// One device for each answer. No event happens to them (only noise that changes nothing), so examples stay true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Showcase {
    pub connected: Option<u32>,
    pub disconnected: Option<u32>,
    pub never_connected: Option<u32>,
}

impl Fleet {
    /// An organisation in its first state. A fleet of three devices or more has one for each [`Truth`].
    pub fn new(settings: FleetSettings, now: Millis) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let count = settings.devices;
        let mut order: Vec<u32> = (0..count).collect();
        order.shuffle(&mut rng);
        let share = |share: f64| (f64::from(count) * share).round() as usize;
        let never = share(NEVER_CONNECTED_SHARE).max(usize::from(count > 2)).min(order.len());
        let never_connected = order.split_off(order.len() - never);
        let connected_count = share(CONNECTED_SHARE).max(1).min(order.len().saturating_sub(1).max(1));
        let disconnected = order.split_off(connected_count.min(order.len()));
        let mut fleet = Self {
            type_starts: type_starts(count, settings.types),
            states: vec![SimulatedState::default(); order.len() + disconnected.len() + never],
            connected: order,
            disconnected,
            showcase: Showcase::default(),
            beginnings: beginnings(),
            endings: endings(settings.endings),
            next_event_ms: now.0 as f64,
            settings,
            rng,
        };
        fleet.live_until(now);
        fleet.showcase = Showcase {
            connected: fleet.connected.pop(),
            disconnected: fleet.disconnected.pop(),
            never_connected: never_connected.first().copied(),
        };
        fleet.advance();
        fleet
    }

    /// What the broker holds for new subscribers, one message for each device that has ever been connected. Right after
    /// [`Fleet::new`] these are the messages to start with.
    pub fn retained_messages(&self) -> impl Iterator<Item = StatusMessage> {
        self.states
            .iter()
            .zip(0..)
            .filter_map(|(state, index)| state.retained().map(|status| status.message(&self.device(index))))
    }

    /// Lets happen what is due by `now` and returns what the platform sends, in its order.
    pub fn step(&mut self, now: Millis) -> Vec<StatusMessage> {
        let mut sent = Vec::new();
        for _ in 0..STEP_EVENTS_MAX {
            if self.next_event_ms > now.0 as f64 {
                return sent;
            }
            let at = Millis(self.next_event_ms as i64);
            let counted = self.happen(at, &mut sent);
            for _ in 0..counted {
                self.advance();
            }
        }
        self.next_event_ms = now.0 as f64;
        self.advance();
        sent
    }

    /// Kills the broker and starts it again: every session, those of the showcase included, is reported as ended. No
    /// setting makes this happen by itself, it would drown the set rate.
    pub fn restart_broker(&mut self, now: Millis) -> Vec<StatusMessage> {
        let mut sent = Vec::new();
        for index in 0..self.settings.devices {
            self.apply(index, PlatformEvent::FoundAfterRestart, now, &mut sent);
        }
        self.disconnected.append(&mut self.connected);
        sent
    }

    /// The number of devices; they are numbered from zero.
    pub fn len(&self) -> u32 {
        self.settings.devices
    }

    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// The devices to show as examples.
    pub fn showcase(&self) -> Showcase {
        self.showcase
    }

    /// What is true of a device now; `NeverConnected` for a number that is no device's.
    pub fn truth(&self, index: u32) -> Truth {
        self.states.get(index as usize).map_or(Truth::NeverConnected, SimulatedState::truth)
    }

    /// See [`SimulatedState::may_have_misled`].
    pub fn may_have_misled(&self, index: u32) -> bool {
        self.states.get(index as usize).is_some_and(SimulatedState::may_have_misled)
    }

    /// Who a device is. Made anew each time: ten million of them would fill the memory with names.
    pub fn device(&self, index: u32) -> SimulatedDevice {
        let device_type = self.type_starts.partition_point(|start| *start <= index).saturating_sub(1);
        let number = index - self.type_starts.get(device_type).copied().unwrap_or(0) + 1;
        let name = match TYPE_NAMES.get(device_type) {
            Some(name) => (*name).to_owned(),
            None => format!("type-{}", device_type + 1),
        };
        let device_id = format!("{name}-{number:04}");
        // A stream of its own gives each device the same profile each time, whatever else was drawn.
        let mut rng = ChaCha8Rng::seed_from_u64(self.settings.seed);
        rng.set_stream(u64::from(index) + 1);
        SimulatedDevice {
            organization: self.settings.organization.clone(),
            kind: if name == GATEWAY_TYPE { DeviceKind::Gateway } else { DeviceKind::Device },
            profile: Profile::random(&device_id, &mut rng),
            device_type: name,
            device_id,
        }
    }

    /// Gives the devices their first state: sessions of the last three days.
    fn live_until(&mut self, now: Millis) {
        const OLDEST_MS: f64 = 3.0 * 86_400_000.0;
        const NEWEST_MS: f64 = 10_000.0;
        let mut unread = Vec::new();
        let groups = [(self.connected.clone(), false), (self.disconnected.clone(), true)];
        for (group, ends) in groups {
            for index in group {
                // Short ago is as likely as long ago, each on its own scale.
                let ago_ms = NEWEST_MS * (OLDEST_MS / NEWEST_MS).powf(self.rng.random());
                self.apply(index, PlatformEvent::Connect, now.plus(-(ago_ms as i64)), &mut unread);
                if ends {
                    let after_ms = 1.0 + (ago_ms - 2.0) * self.rng.random::<f64>();
                    let at = now.plus((after_ms - ago_ms) as i64);
                    let event = self.first_ending();
                    self.apply(index, event, at, &mut unread);
                }
                unread.clear();
            }
        }
    }

    /// The first state shows every way to be disconnected, also those that the settings leave out.
    fn first_ending(&mut self) -> PlatformEvent {
        PlatformEvent::End(match self.rng.random_range(0..100) {
            0..40 => CloseCode::Normal,
            40..70 => CloseCode::ClosedByClient,
            70..90 => CloseCode::TimedOut,
            90..93 => CloseCode::ClosedByServer,
            93..96 => CloseCode::ServerShutdown,
            96..98 => CloseCode::ByAdministrator,
            _ => CloseCode::NotAuthorized,
        })
    }

    /// One event; returns how many sessions began or ended, or one for a refusal, so that the rate counts it too.
    fn happen(&mut self, at: Millis, sent: &mut Vec<StatusMessage>) -> u32 {
        if !self.states.is_empty() && self.rng.random_bool(NOISE_SHARE) {
            self.make_noise(at, sent);
        }
        // The further from the first state's shares, the stronger the pull back to them.
        let target = CONNECTED_SHARE / (1.0 - NEVER_CONNECTED_SHARE);
        let end_pull = self.connected.len() as f64 / target;
        let begin_pull = self.disconnected.len() as f64 / (1.0 - target);
        if end_pull + begin_pull == 0.0 {
            return 1;
        }
        let ends = self.rng.random_bool(end_pull / (end_pull + begin_pull));
        let group = if ends { &self.connected } else { &self.disconnected };
        let slot = self.rng.random_range(0..group.len());
        let index = group[slot];
        let weights = if ends { &self.endings } else { &self.beginnings };
        let Some(event) = weights.choose(&self.states[index as usize], &mut self.rng) else { return 1 };
        self.apply(index, event, at, sent);
        match (ends, self.truth(index)) {
            (true, Truth::Disconnected) => {
                self.connected.swap_remove(slot);
                self.disconnected.push(index);
            }
            (false, Truth::Connected) => {
                self.disconnected.swap_remove(slot);
                self.connected.push(index);
            }
            (true, Truth::Connected | Truth::NeverConnected)
            | (false, Truth::Disconnected | Truth::NeverConnected) => {}
        }
        match event {
            PlatformEvent::Takeover | PlatformEvent::DropBeforeConnack => 2,
            // With three connections, of which every second one that is taken over got as far as a Connect.
            PlatformEvent::NearSimultaneous => 4,
            PlatformEvent::SimultaneousReset => 5,
            PlatformEvent::Connect
            | PlatformEvent::End(_)
            | PlatformEvent::RefusedWhileConnected
            | PlatformEvent::RefusedWhileOffline
            | PlatformEvent::FoundAfterRestart
            | PlatformEvent::HttpPost => 1,
        }
    }

    fn make_noise(&mut self, at: Millis, sent: &mut Vec<StatusMessage>) {
        let index = self.rng.random_range(0..self.settings.devices);
        let offline = self.truth(index) != Truth::Connected;
        let refused = offline && self.rng.random();
        let event = if refused { PlatformEvent::RefusedWhileOffline } else { PlatformEvent::HttpPost };
        self.apply(index, event, at, sent);
    }

    fn apply(&mut self, index: u32, event: PlatformEvent, at: Millis, sent: &mut Vec<StatusMessage>) {
        let mut platform = Platform { manner: MANNER, rng: &mut self.rng };
        let statuses = self.states[index as usize].apply(event, at, &mut platform);
        if !statuses.is_empty() {
            let device = self.device(index);
            sent.extend(statuses.iter().map(|status| status.message(&device)));
        }
    }

    /// Draws the time of the next event: independent events at the set rate, so the gaps are exponential.
    fn advance(&mut self) {
        let gap_s = -(1.0 - self.rng.random::<f64>()).ln() / self.settings.events_per_second;
        self.next_event_ms += if gap_s.is_finite() { gap_s * 1_000.0 } else { f64::INFINITY };
    }
}

/// Where each type's devices start: the first type has the most, the second half as many, the third a third.
fn type_starts(devices: u32, types: u32) -> Vec<u32> {
    let types = types.clamp(1, devices.max(1));
    let total: f64 = (1..=types).map(|rank| 1.0 / f64::from(rank)).sum();
    // Each type has one device for certain; the rest is shared out.
    let spare = f64::from(devices.saturating_sub(types));
    let mut before = 0.0;
    (0..types)
        .map(|rank| {
            let start = rank + (spare * before / total) as u32;
            before += 1.0 / f64::from(rank + 1);
            start
        })
        .collect()
}

fn beginnings() -> Weights {
    Weights(vec![
        (PlatformEvent::Connect, 0.984),
        (PlatformEvent::DropBeforeConnack, 0.01),
        (PlatformEvent::NearSimultaneous, 0.004),
        (PlatformEvent::SimultaneousReset, 0.002),
    ])
}

fn endings(endings: Endings) -> Weights {
    let server_ended = endings.dropped * SERVER_ENDED_SHARE / 4.0;
    Weights(vec![
        (PlatformEvent::End(CloseCode::Normal), endings.clean),
        (PlatformEvent::End(CloseCode::ClosedByClient), endings.dropped * (1.0 - SERVER_ENDED_SHARE)),
        (PlatformEvent::End(CloseCode::ClosedByServer), server_ended),
        (PlatformEvent::End(CloseCode::ByAdministrator), server_ended),
        (PlatformEvent::End(CloseCode::SystemError), server_ended),
        (PlatformEvent::End(CloseCode::MessageTooLarge), server_ended),
        (PlatformEvent::End(CloseCode::TimedOut), endings.timed_out),
        (PlatformEvent::Takeover, endings.takeover),
        (PlatformEvent::RefusedWhileConnected, endings.refused * (1.0 - REVOKED_SHARE)),
        (PlatformEvent::End(CloseCode::NotAuthorized), endings.refused * REVOKED_SHARE),
    ])
}
