//! The clients: the conventions that they follow, and what is done to them.

use serde_json::{Value, json};
use testkit::device_process::DeviceProcess;

use super::TestedBroker;

/// Seconds of a keep-alive that is to run out, and of one that is not.
const SHORT_KEEP_ALIVE: &str = "5";
const LONG_KEEP_ALIVE: &str = "600";

/// How a convention names the state of a device.
pub struct Convention {
    pub source: &'static str,
    pub device_type: &'static str,
    pub topic: fn(&str) -> String,
    /// By the birth, the will, and the goodbye before a clean end.
    pub payloads: [&'static str; 3],
}

pub const CONVENTIONS: [Convention; 3] = [
    Convention {
        source: "esphome",
        device_type: "esphome",
        topic: |id| format!("{id}/status"),
        payloads: ["online", "offline", "offline"],
    },
    Convention {
        source: "tasmota",
        device_type: "tasmota",
        topic: |id| format!("tele/{id}/LWT"),
        payloads: ["Online", "Offline", "Offline"],
    },
    Convention {
        source: "homie4",
        device_type: "homie",
        topic: |id| format!("homie/{id}/$state"),
        payloads: ["ready", "lost", "disconnected"],
    },
];

/// What is done to the clients of a process, in two acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Untouched,
    Killed,
    KilledAndBack,
    TimedOut,
    TimedOutAndBack,
    TakenOver,
    TakenOverAndKilled,
    /// The first connection hangs while another one takes over, and ends after it.
    HangingAndTakenOver,
    LeftAndBack,
    /// Connections end without a word, and the clients are back at once, in both acts.
    Dropped,
}

impl Fate {
    pub const ALL: [Self; 10] = [
        Self::Untouched,
        Self::Killed,
        Self::KilledAndBack,
        Self::TimedOut,
        Self::TimedOutAndBack,
        Self::TakenOver,
        Self::TakenOverAndKilled,
        Self::HangingAndTakenOver,
        Self::LeftAndBack,
        Self::Dropped,
    ];

    /// Whether its clients are connected after the first act, and after the second.
    pub fn connected(self) -> [bool; 2] {
        match self {
            Self::Untouched | Self::TakenOver | Self::HangingAndTakenOver | Self::Dropped => [true, true],
            Self::Killed | Self::TimedOut => [false, false],
            Self::KilledAndBack | Self::TimedOutAndBack | Self::LeftAndBack => [false, true],
            Self::TakenOverAndKilled => [true, false],
        }
    }

    /// Whether another client takes over.
    pub fn is_taken_over(self) -> bool {
        match self {
            Self::TakenOver | Self::TakenOverAndKilled | Self::HangingAndTakenOver => true,
            Self::Untouched
            | Self::Killed
            | Self::KilledAndBack
            | Self::TimedOut
            | Self::TimedOutAndBack
            | Self::LeftAndBack
            | Self::Dropped => false,
        }
    }

    /// The cause that the broker's log gives for the end in the first act.
    pub fn logged_cause(self) -> Option<&'static str> {
        match self {
            Self::Killed | Self::KilledAndBack => Some("connection"),
            Self::TimedOut | Self::TimedOutAndBack => Some("timeout"),
            Self::LeftAndBack => Some("ended"),
            Self::Untouched
            | Self::TakenOver
            | Self::TakenOverAndKilled
            | Self::HangingAndTakenOver
            | Self::Dropped => None,
        }
    }

    /// The keep-alive, and whether clients connect again when a connection is lost.
    fn habits(self) -> (&'static str, &'static str) {
        match self {
            Self::TimedOut | Self::TimedOutAndBack => (SHORT_KEEP_ALIVE, "returning"),
            Self::Untouched
            | Self::Killed
            | Self::KilledAndBack
            | Self::TakenOver
            | Self::TakenOverAndKilled
            | Self::HangingAndTakenOver
            | Self::LeftAndBack
            | Self::Dropped => (LONG_KEEP_ALIVE, "quiet"),
        }
    }
}

/// The clients of a process, and of the one that comes after it or takes over.
pub struct Group {
    pub conventions: &'static [Convention],
    pub fate: Fate,
    pub ids: Vec<String>,
    pub process: DeviceProcess,
    second: Option<DeviceProcess>,
}

impl Group {
    pub fn start(broker: &TestedBroker<'_>, number: usize, fate: Fate, clients: usize) -> Self {
        let ids: Vec<String> = (0..clients).map(|client| format!("will-{number:02}-{client:03}")).collect();
        let conventions = broker.conventions;
        let process = connect(broker.port, fate, conventions, &ids);
        Self { conventions, fate, ids, process, second: None }
    }

    /// Begins the first act.
    pub fn strike(&mut self, port: u16) {
        match self.fate {
            Fate::Untouched => {}
            Fate::Killed | Fate::KilledAndBack => self.process.kill(),
            Fate::TimedOut | Fate::TimedOutAndBack => self.process.freeze(true),
            Fate::TakenOver | Fate::TakenOverAndKilled => self.start_second(port),
            Fate::HangingAndTakenOver => {
                self.process.freeze(true);
                self.start_second(port);
            }
            Fate::LeftAndBack => self.process.order("leave"),
            Fate::Dropped => self.process.order("drop"),
        }
    }

    /// Begins the second act.
    pub fn strike_again(&mut self, port: u16) {
        match self.fate {
            Fate::Untouched | Fate::Killed | Fate::TimedOut | Fate::TakenOver => {}
            Fate::KilledAndBack | Fate::LeftAndBack => self.start_second(port),
            Fate::TimedOutAndBack => self.process.freeze(false),
            Fate::TakenOverAndKilled => self.second.iter_mut().for_each(DeviceProcess::kill),
            Fate::HangingAndTakenOver => self.process.kill(),
            Fate::Dropped => self.process.order("drop"),
        }
    }

    /// Waits until the clients have done what an act wants of them.
    pub fn wait_for_act(&self, act: usize) {
        match (self.fate, act) {
            (Fate::TakenOver, 0) => {
                self.connected_again();
                self.process.wait_for("lost");
            }
            (Fate::TakenOverAndKilled | Fate::HangingAndTakenOver, 0)
            | (Fate::KilledAndBack | Fate::LeftAndBack, 1) => self.connected_again(),
            (Fate::LeftAndBack, 0) => self.process.wait_for("left"),
            (Fate::Dropped, _) | (Fate::TimedOutAndBack, 1) => self.process.wait_for("connected"),
            (_, _) => {}
        }
    }

    fn start_second(&mut self, port: u16) {
        self.second = Some(connect(port, self.fate, self.conventions, &self.ids));
    }

    fn connected_again(&self) {
        self.second.iter().for_each(|process| process.wait_for("connected"));
    }
}

fn connect(port: u16, fate: Fate, conventions: &'static [Convention], ids: &[String]) -> DeviceProcess {
    let (keep_alive, returning) = fate.habits();
    let mut process = DeviceProcess::start("last_wills.py", &[&port.to_string(), keep_alive, returning]);
    let clients = ids.iter().zip(conventions.iter().cycle()).map(|(id, convention)| {
        let Convention { topic, payloads: [birth, will, goodbye], .. } = convention;
        json!({"id": id, "topic": topic(id), "birth": birth, "will": will, "goodbye": goodbye})
    });
    process.order(&clients.collect::<Value>().to_string());
    process
}
