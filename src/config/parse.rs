//! From the text of one setting to its type, each with the words for what was expected. Knows no other setting.

use std::net::IpAddr;
use std::time::Duration;

use super::log::{LogFormat, LogLevel};
use super::refusal::Refusal;
use super::setting::Setting;
use super::values::Values;
use crate::source::settings::{MqttVersion, Partition};

/// The platform's limit for an application id.
const ID_MAX_CHARS: usize = 36;
/// The organization is the first label of the platform's host name.
const ORGANIZATION_MAX_CHARS: usize = 63;
/// MQTT writes the length of a user name or password in two bytes.
const LOGIN_MAX_BYTES: usize = 65_535;
/// Beyond an hour the population would be unknown for longer than anybody waits.
const QUIET_INTERVAL_MAX_MS: u64 = 3_600_000;
/// Less than one read of the socket could not take in a single burst.
const BACKLOG_MIN_BYTES: usize = 65_536;
/// The next goal of the service is ten million; the fleet's memory is the limit beyond.
const DEVICES_MAX: u32 = 100_000_000;
/// More events than any broker carries on one connection.
const EVENTS_PER_SECOND_MAX: f64 = 1e7;

impl Values {
    pub fn name(&self, setting: Setting) -> Result<Option<String>, Refusal> {
        let longest = if setting == Setting::Organization { ORGANIZATION_MAX_CHARS } else { ID_MAX_CHARS };
        let expected = format!("1 to {longest} letters, digits, '-', '_' or '.'");
        self.parse(setting, &expected, |text| is_name(text, longest).then(|| text.to_owned()))
    }

    pub fn login(&self, setting: Setting) -> Result<Option<String>, Refusal> {
        self.parse(setting, LOGIN_EXPECTED, |text| is_login(text).then(|| text.to_owned()))
    }

    /// Whether the connection is scalable; inside, its instance if one is named. A variable cannot be empty, so there `true`
    /// stands for a connection without an instance.
    pub fn scalable(&self) -> Result<Option<Option<String>>, Refusal> {
        let expected = format!(
            "nothing, true, false, or an instance of 1 to {ID_MAX_CHARS} letters, digits, '-', '_' or '.'"
        );
        let scalable = self.parse(Setting::Scalable, &expected, |text| match text {
            "" | "true" => Some(Some(None)),
            "false" => Some(None),
            text => is_name(text, ID_MAX_CHARS).then(|| Some(Some(text.to_owned()))),
        })?;
        Ok(scalable.flatten())
    }

    /// The part of `--partition`.
    pub fn partition(&self) -> Result<Option<Partition>, Refusal> {
        let expected = format!("K/N, two whole numbers with 1 ≤ K ≤ N ≤ {PARTITIONS_MAX}");
        self.parse(Setting::Partition, &expected, |text| {
            let (number, of) = text.split_once('/')?;
            let (number, of) = (number.parse().ok()?, of.parse().ok()?);
            ((1..=of).contains(&number) && of <= PARTITIONS_MAX).then_some(Partition { number, of })
        })
    }

    pub fn domain(&self) -> Result<Option<String>, Refusal> {
        self.parse(Setting::Domain, "a host name", |text| is_host_name(text).then(|| text.to_owned()))
    }

    pub fn flag(&self, setting: Setting) -> Result<Option<bool>, Refusal> {
        // Not `yes` and `on`: the SDK takes them for true in its YAML and for false in its variables.
        self.parse(setting, "true or false", |text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        })
    }

    pub fn listen(&self) -> Result<Option<IpAddr>, Refusal> {
        self.parse(Setting::Listen, "an IP address", |text| text.parse().ok())
    }

    pub fn port(&self) -> Result<Option<u16>, Refusal> {
        self.parse(Setting::Port, "a whole number from 0 to 65535", |text| text.parse().ok())
    }

    pub fn mqtt_version(&self) -> Result<Option<MqttVersion>, Refusal> {
        self.parse(Setting::MqttVersion, "3.1.1, 3 or 5", |text| match text {
            "3.1.1" | "3" => Some(MqttVersion::V311),
            "5" => Some(MqttVersion::V5),
            _ => None,
        })
    }

    pub fn keep_alive(&self) -> Result<Option<Duration>, Refusal> {
        // 0 would switch it off, and a dead connection would never be noticed.
        self.parse(Setting::KeepAlive, "a whole number of seconds from 1 to 65535", |text| {
            let seconds = text.parse::<u16>().ok().filter(|seconds| *seconds > 0)?;
            Some(Duration::from_secs(seconds.into()))
        })
    }

    pub fn session_expiry(&self) -> Result<Option<Duration>, Refusal> {
        self.parse(Setting::SessionExpiry, "a whole number of seconds from 0 to 4294967295", |text| {
            Some(Duration::from_secs(text.parse::<u32>().ok()?.into()))
        })
    }

    pub fn quiet_interval(&self) -> Result<Option<Duration>, Refusal> {
        let expected = format!("a whole number of milliseconds from 1 to {QUIET_INTERVAL_MAX_MS}");
        self.parse(Setting::QuietInterval, &expected, |text| {
            let ms = text.parse().ok().filter(|ms| (1..=QUIET_INTERVAL_MAX_MS).contains(ms))?;
            Some(Duration::from_millis(ms))
        })
    }

    pub fn backlog_max_bytes(&self) -> Result<Option<usize>, Refusal> {
        let expected = format!("a whole number of bytes, at least {BACKLOG_MIN_BYTES}");
        self.parse(Setting::BacklogMax, &expected, |text| {
            text.parse().ok().filter(|bytes| *bytes >= BACKLOG_MIN_BYTES)
        })
    }

    /// Number of devices or types.
    pub fn fleet_size(&self, setting: Setting) -> Result<Option<u32>, Refusal> {
        let expected = format!("a whole number from 1 to {DEVICES_MAX}");
        self.parse(setting, &expected, |text| {
            text.parse().ok().filter(|size| (1..=DEVICES_MAX).contains(size))
        })
    }

    pub fn events_per_second(&self) -> Result<Option<f64>, Refusal> {
        let expected = format!("a number from 0 to {EVENTS_PER_SECOND_MAX}");
        self.parse(Setting::EventsPerSecond, &expected, |text| {
            text.parse().ok().filter(|rate| (0.0..=EVENTS_PER_SECOND_MAX).contains(rate))
        })
    }

    pub fn weight(&self, setting: Setting) -> Result<Option<f64>, Refusal> {
        self.parse(setting, "a weight: a number of at least 0", |text| {
            text.parse::<f64>().ok().filter(|weight| weight.is_finite() && *weight >= 0.0)
        })
    }

    pub fn seed(&self) -> Result<Option<u64>, Refusal> {
        self.parse(Setting::Seed, "a whole number from 0 to 18446744073709551615", |text| text.parse().ok())
    }

    pub fn duration(&self) -> Result<Option<Duration>, Refusal> {
        self.parse(Setting::Duration, "a whole number of seconds from 1 to 4294967295", |text| {
            let seconds = text.parse::<u32>().ok().filter(|seconds| *seconds > 0)?;
            Some(Duration::from_secs(seconds.into()))
        })
    }

    pub fn log_format(&self) -> Result<Option<LogFormat>, Refusal> {
        self.parse(Setting::LogFormat, "text or json", |text| match text {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        })
    }

    pub fn verbose(&self) -> Result<Option<LogLevel>, Refusal> {
        self.parse(Setting::Verbose, "a whole number from 0 to 255", |text| {
            match text.parse::<u8>().ok()? {
                0 => Some(LogLevel::Info),
                1 => Some(LogLevel::Debug),
                2.. => Some(LogLevel::Trace),
            }
        })
    }

    pub fn log_level(&self) -> Result<Option<LogLevel>, Refusal> {
        self.parse(Setting::LogLevel, "error, warning, info or debug", |text| match text {
            "error" => Some(LogLevel::Error),
            "warning" => Some(LogLevel::Warn),
            "info" => Some(LogLevel::Info),
            "debug" => Some(LogLevel::Debug),
            _ => None,
        })
    }
}

/// More than anyone runs.
const PARTITIONS_MAX: u32 = 10_000;

pub(super) const LOGIN_EXPECTED: &str = "1 to 65535 bytes of text on one line";

/// Whether MQTT can carry `text` as user name or password. Control characters come from a wrong file, not from a token.
pub(super) fn is_login(text: &str) -> bool {
    (1..=LOGIN_MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The organization in an API key `a-{organization}-{random}`.
pub(super) fn organization_of(key: &str) -> Option<&str> {
    let (organization, random) = key.strip_prefix("a-")?.split_once('-')?;
    (is_name(organization, ORGANIZATION_MAX_CHARS) && !random.is_empty()).then_some(organization)
}

/// Whether a client id can hold `text`: a ':' would end its field.
fn is_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

pub(super) fn is_host_name(text: &str) -> bool {
    const LONGEST: usize = 253;
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    text.len() <= LONGEST && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}
