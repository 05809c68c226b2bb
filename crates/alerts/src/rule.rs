//! Rules as the settings describe them: kinds and thresholds. The reader of the settings checks them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use presence::contact::{self, ContactPolicy, Patience};
use presence::query::Filter;
use presence::{Device, DeviceName, EventKind};

use crate::schedule::{MaintenanceWindow, Silence};

/// Devices that a `never_connected` rule may list: each is remembered until it is seen.
pub const SELECTED_DEVICES_MAX: usize = 10_000;

/// After a start or a reconnect most devices are back within that time.
const STARTUP_GRACE: Duration = Duration::from_secs(300);

/// All that decides which notifications are made. Its selectors look at types, ids and sources alone, and at no other field of a
/// filter.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSet {
    /// How long after a start or a reconnect no clock runs.
    pub startup_grace: Duration,
    /// Under which URL people reach the service, without a slash at its end; empty: that is not known.
    pub public_url: Arc<str>,
    pub rules: Vec<Rule>,
    /// The first whose selector admits a device applies to it.
    pub contacts: Arc<[ContactPolicy]>,
    pub silences: Vec<Silence>,
    pub windows: Vec<MaintenanceWindow>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub name: Arc<str>,
    pub kind: Kind,
    /// How long the condition must hold, in observed time, before the rule fires.
    pub hold: Duration,
    /// How long the condition must be over, in observed time, before the alert is resolved.
    pub keep_firing_for: Duration,
    pub selector: Filter,
    /// A device that is disconnected for one of these causes is not down.
    pub excluded_causes: Vec<String>,
    pub group_by: GroupBy,
    pub group_wait: Duration,
    pub group_interval: Duration,
    /// `None`: a firing alert is announced once.
    pub repeat_interval: Option<Duration>,
    /// The endpoints that are notified.
    pub webhooks: Vec<Arc<str>>,
}

/// What a rule looks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A device is disconnected.
    OfflineFor,
    /// Sessions of a device end again and again.
    Flapping(CountThreshold),
    /// Of the devices that were connected, many are gone at once.
    FleetDrop(DropThreshold),
    /// A device that should be there has never been seen.
    NeverConnected(BTreeSet<Arc<DeviceName>>),
    /// Two clients take the id of a device from each other.
    DuplicateIdentity(CountThreshold),
    /// Logins of a device are refused again and again.
    Refusals(CountThreshold),
}

/// How many events within a window of observed time make the condition true, and how few make it false again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountThreshold {
    pub window: Duration,
    pub start: u32,
    /// Less than `start`.
    pub stop: u32,
}

/// How many devices must be gone at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropThreshold {
    /// Devices that have gone longer ago are not counted, unless the rule fires already.
    pub window: Duration,
    pub min_percent: u8,
    pub min_devices: u32,
}

/// What alerts of a rule must have in common to be announced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// All of the rule.
    Rule,
    Type,
    Source,
    /// The /24 of an IPv4 address, the /64 of an IPv6 one.
    AddressBlock,
    /// Each device by itself.
    Device,
}

impl Kind {
    /// The word for it in settings and notifications.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::OfflineFor => "offline_for",
            Kind::Flapping(_) => "flapping",
            Kind::FleetDrop(_) => "fleet_drop",
            Kind::NeverConnected(_) => "never_connected",
            Kind::DuplicateIdentity(_) => "duplicate_identity",
            Kind::Refusals(_) => "refusals",
        }
    }

    /// Whether the rule counts events of that kind.
    pub(crate) fn counts(&self, event: EventKind) -> bool {
        match self {
            Kind::Flapping(_) => matches!(event, EventKind::Disconnect | EventKind::Takeover),
            Kind::DuplicateIdentity(_) => event == EventKind::Takeover,
            Kind::Refusals(_) => matches!(event, EventKind::Refusal | EventKind::FailedLogin),
            Kind::OfflineFor | Kind::FleetDrop(_) | Kind::NeverConnected(_) => false,
        }
    }
}

impl GroupBy {
    /// The word for it in settings.
    pub fn word(self) -> &'static str {
        match self {
            GroupBy::Rule => "rule",
            GroupBy::Type => "type",
            GroupBy::Source => "source",
            GroupBy::AddressBlock => "address_block",
            GroupBy::Device => "device",
        }
    }

    pub const ALL: [GroupBy; 5] =
        [GroupBy::Rule, GroupBy::Type, GroupBy::Source, GroupBy::AddressBlock, GroupBy::Device];
}

/// Whether a selector is about every device of a type and a source, where `None` is all of them.
pub(crate) fn admits_all_of(selector: &Filter, device_type: Option<&str>, source: Option<&str>) -> bool {
    let is_one = |wanted: &[String], is: Option<&str>| {
        wanted.is_empty() || is.is_some_and(|is| wanted.iter().any(|one| one == is))
    };
    selector.ids.is_empty()
        && selector.id_prefixes.is_empty()
        && is_one(&selector.types, device_type)
        && is_one(&selector.sources, source)
}

impl Default for RuleSet {
    fn default() -> Self {
        Self {
            startup_grace: STARTUP_GRACE,
            public_url: "".into(),
            rules: Vec::new(),
            contacts: [].into(),
            silences: Vec::new(),
            windows: Vec::new(),
        }
    }
}

impl RuleSet {
    /// What is expected of a device.
    pub fn patience(&self, device: Device<'_>, source: Option<&str>) -> Patience {
        contact::patience(&self.contacts, device, source)
    }
}
