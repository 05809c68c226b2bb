//! From the text of one value to its type, with the words for what was expected. Knows no other setting.

use std::borrow::Cow;
use std::fmt;
use std::ops::{RangeBounds, RangeInclusive};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use formats::Cause;
use mqtt::settings::MqttVersion;
use server::sync::settings::Partition;
use system::secret::Secret;

/// The platform's limit for an application id.
pub(super) const ID_MAX_CHARS: usize = 36;
/// The organization is the first label of the platform's host name.
pub(super) const ORGANIZATION_MAX_CHARS: usize = 63;
/// MQTT writes the length of a user name or password in two bytes.
const LOGIN_MAX_BYTES: usize = 65_535;
/// A longer line is no key, and would fill a whole request header.
const API_KEY_MAX_BYTES: usize = 1_024;
/// Less than one read of the socket could not take a single burst.
const BACKLOG_MIN_BYTES: usize = 65_536;
/// More events than any broker carries on one connection.
const EVENTS_PER_SECOND_MAX: f64 = 1e7;
/// More instances than anyone runs.
const PARTITIONS_MAX: u32 = 10_000;
/// PostgreSQL cuts names after 63 bytes.
const SCHEMA_MAX_CHARS: usize = 63;
/// MQTT allows 65,535 bytes for a whole topic; the platform 36 for a name.
const TOPIC_LEVEL_MAX_BYTES: usize = 256;
const SECONDS_PER_DAY: u64 = 86_400;

pub(super) const LOGIN: &str = "1 to 65535 bytes of text on one line";
pub(super) const API_KEY: &str = "an API key, the id.secret that keys create shows as bearer";
pub(super) const TOPIC_LEVEL: &str =
    "1 to 256 bytes without '/', '+', '#', spaces around them or control characters";

/// What a value should have been. It never holds the text itself, which may be a token in the wrong place.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Expected(pub Cow<'static, str>);

pub(super) type Parsed<T> = Result<T, Expected>;

pub(super) fn or_expected<T>(value: Option<T>, expected: impl Into<Cow<'static, str>>) -> Parsed<T> {
    value.ok_or_else(|| Expected(expected.into()))
}

/// Reads a value of a setting, or says what was expected.
pub(super) trait Parser<T>: Fn(&str) -> Parsed<T> + Clone + Send + Sync + 'static {}
impl<T, P: Fn(&str) -> Parsed<T> + Clone + Send + Sync + 'static> Parser<T> for P {}

/// What a parser expects where there is nothing to read.
pub(super) fn expected_of<T>(parser: impl Fn(&str) -> Parsed<T>) -> Expected {
    parser("").err().unwrap_or(Expected("a text".into()))
}

/// One of some words, each with what it stands for.
pub(super) fn word<T: Clone + Send + Sync + 'static, const N: usize>(
    words: [(&'static str, T); N],
) -> impl Parser<T> {
    move |text: &str| {
        let known = words.iter().find(|(known, _)| *known == text).map(|(_, value)| value.clone());
        let (last, others) = words.split_last().expect("a setting has words");
        let others: Vec<_> = others.iter().map(|(word, _)| *word).collect();
        or_expected(known, format!("{} or {}", others.join(", "), last.0))
    }
}

/// One of these words, as it is.
pub(super) fn word_of<const N: usize>(words: [&'static str; N]) -> impl Parser<String> {
    word(words.map(|word| (word, word.to_owned())))
}

/// What `FromStr` reads. An item of a list may have spaces around it.
pub(super) fn parsed<T: FromStr + 'static>(expected: &'static str) -> impl Parser<T> {
    move |text: &str| or_expected(text.trim().parse().ok(), expected)
}

/// What a type has a reader of its own for.
pub(super) fn read_by<T: 'static>(read: fn(&str) -> Option<T>, expected: &'static str) -> impl Parser<T> {
    move |text: &str| or_expected(read(text), expected)
}

/// A text of which something holds.
pub(super) fn text_that(fits: fn(&str) -> bool, expected: &'static str) -> impl Parser<String> {
    move |text: &str| text_if(fits(text), text, expected)
}

/// A text, if it is one that fits.
pub(super) fn text_if(fits: bool, text: &str, expected: impl Into<Cow<'static, str>>) -> Parsed<String> {
    or_expected(fits.then(|| text.to_owned()), expected)
}

/// A number type of a setting, to say what `whole` takes.
pub(super) trait WholeNumber:
    FromStr + PartialOrd + fmt::Display + Copy + Send + Sync + 'static
{
}
impl<T: FromStr + PartialOrd + fmt::Display + Copy + Send + Sync + 'static> WholeNumber for T {}

/// A whole number in a range; `of` says of what, as in `" of seconds"`, or is empty.
pub(super) fn whole<T: WholeNumber>(range: RangeInclusive<T>, of: &'static str) -> impl Parser<T> {
    move |text: &str| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            Expected(format!("a whole number{of} from {} to {}", range.start(), range.end()).into())
        })
    }
}

pub(super) fn seconds(range: RangeInclusive<u32>) -> impl Parser<Duration> {
    let number = whole(range, " of seconds");
    move |text: &str| number(text).map(|seconds| Duration::from_secs(seconds.into()))
}

pub(super) fn milliseconds(range: RangeInclusive<u32>) -> impl Parser<Duration> {
    let number = whole(range, " of milliseconds");
    move |text: &str| number(text).map(|ms| Duration::from_millis(ms.into()))
}

pub(super) fn days(text: &str) -> Parsed<Duration> {
    /// A century.
    const DAYS_MAX: u32 = 36_500;
    let days = whole(1..=DAYS_MAX, " of days")(text)?;
    Ok(Duration::from_secs(u64::from(days) * SECONDS_PER_DAY))
}

/// The longest length of time with a unit: series are kept for two years.
pub(super) const PERIOD_MAX: Duration = Duration::from_secs(730 * SECONDS_PER_DAY);

/// A length of time with its unit, as in `24h`.
pub(super) fn period(text: &str) -> Parsed<Duration> {
    period_in(Duration::from_secs(1)..=PERIOD_MAX, "a time up to 730d, as in 90s, 30m, 24h or 7d")(text)
}

/// The same in a range.
pub(super) fn period_in(
    range: impl RangeBounds<Duration> + Clone + Send + Sync + 'static,
    expected: &'static str,
) -> impl Parser<Duration> {
    move |text: &str| {
        or_expected(system::period::parse(text).filter(|period| range.contains(period)), expected)
    }
}

pub(super) fn boolean(text: &str) -> Parsed<bool> {
    // Not `yes` and `on`: the SDK takes them for true in its YAML and for false in its variables.
    let value = match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    };
    or_expected(value, "true or false")
}

/// The name of a source: a built-in format's, or a profile's.
pub(super) fn source(text: &str) -> Parsed<String> {
    let name = text.trim();
    let expected = "names of sources separated by commas; `devstatus sources` lists the built-in ones";
    text_if(is_name(name, presence::payload::SOURCE_MAX_BYTES), name, expected)
}

/// The name of a source as devices show it: of one with several formats, with the format behind it.
pub(super) fn source_filter(text: &str) -> Parsed<String> {
    let is_good = text.split('/').count() <= 2
        && text.split('/').all(|part| is_name(part, presence::payload::SOURCE_MAX_BYTES));
    or_expected(
        is_good.then(|| text.to_owned()),
        "names of sources separated by commas, as devices show them",
    )
}

/// A name that a client id can hold.
pub(super) fn name(max_chars: usize) -> impl Parser<String> {
    move |text: &str| {
        text_if(is_name(text, max_chars), text, format!("1 to {max_chars} letters, digits, '-', '_' or '.'"))
    }
}

/// The name of what a table describes.
pub(super) fn label(max_bytes: usize) -> impl Parser<String> {
    let is_sign = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    move |text: &str| {
        let fits = (1..=max_bytes).contains(&text.len()) && text.chars().all(is_sign);
        text_if(fits, text, format!("1 to {max_bytes} letters, digits, '-' or '_'"))
    }
}

/// Whether the connection is scalable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scalable {
    /// As if nothing were said.
    No,
    /// With the instance, if one is named.
    Yes(Option<String>),
}

/// A variable cannot be empty, so there `true` stands for a connection without an instance.
pub(super) fn scalable(text: &str) -> Parsed<Scalable> {
    let scalable = match text {
        "" | "true" => Some(Scalable::Yes(None)),
        "false" => Some(Scalable::No),
        text => is_name(text, ID_MAX_CHARS).then(|| Scalable::Yes(Some(text.to_owned()))),
    };
    let expected = format!(
        "nothing, true, false, or an instance of 1 to {ID_MAX_CHARS} letters, digits, '-', '_' or '.'"
    );
    or_expected(scalable, expected)
}

pub(super) fn partition(text: &str) -> Parsed<Partition> {
    let partition = || {
        let (number, of) = text.split_once('/')?;
        let (number, of) = (number.parse().ok()?, of.parse().ok()?);
        ((1..=of).contains(&number) && of <= PARTITIONS_MAX).then_some(Partition { number, of })
    };
    or_expected(partition(), format!("K/N, two whole numbers with 1 ≤ K ≤ N ≤ {PARTITIONS_MAX}"))
}

pub(super) fn user_name(text: &str) -> Parsed<String> {
    text_if(is_login(text), text, LOGIN)
}

pub(super) fn password(text: &str) -> Parsed<Secret> {
    user_name(text).map(Secret::new)
}

pub(super) fn api_key(text: &str) -> Parsed<Secret> {
    let is_key =
        (1..=API_KEY_MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    or_expected(is_key.then(|| Secret::new(text)), API_KEY)
}

pub(super) fn path(text: &str) -> Parsed<PathBuf> {
    or_expected((!text.is_empty()).then(|| text.into()), "the path of a file")
}

/// The application protocols of `--broker-alpn`, the preferred one first.
#[derive(Clone, Debug)]
pub(super) struct Alpn(pub Vec<String>);

pub(super) fn alpn(text: &str) -> Parsed<Alpn> {
    /// TLS writes the length of a name in one byte.
    const NAME_MAX_BYTES: usize = 255;
    /// More than any broker knows; the list is in every handshake.
    const NAMES_MAX: usize = 16;
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    let is_good = |name: &String| {
        (1..=NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic())
    };
    let is_list = names.len() <= NAMES_MAX && names.iter().all(is_good);
    or_expected(is_list.then_some(Alpn(names)), "names of protocols separated by commas, as x-amzn-mqtt-ca")
}

/// A path, or `-` for the standard stream.
pub(super) fn path_or_stream(text: &str) -> Parsed<PathBuf> {
    or_expected((!text.is_empty()).then(|| text.into()), "the path of a file, or -")
}

pub(super) fn mqtt_version(text: &str) -> Parsed<MqttVersion> {
    word([("3.1.1", MqttVersion::V311), ("3", MqttVersion::V311), ("5", MqttVersion::V5)])(text)
}

pub(super) fn backlog_bytes(text: &str) -> Parsed<usize> {
    let bytes = text.parse().ok().filter(|bytes| *bytes >= BACKLOG_MIN_BYTES);
    or_expected(bytes, format!("a whole number of bytes, at least {BACKLOG_MIN_BYTES}"))
}

pub(super) fn events_per_second(text: &str) -> Parsed<f64> {
    let rate = text.parse().ok().filter(|rate| (0.0..=EVENTS_PER_SECOND_MAX).contains(rate));
    or_expected(rate, format!("a number from 0 to {EVENTS_PER_SECOND_MAX}"))
}

pub(super) fn schema(text: &str) -> Parsed<String> {
    let fits = is_name(text, SCHEMA_MAX_CHARS) && !text.starts_with("pg_");
    text_if(fits, text, "1 to 63 letters, digits and the signs - _ . that do not begin with pg_")
}

/// A device type of `--types`.
pub(super) fn device_type(text: &str) -> Parsed<String> {
    let name = text.trim();
    text_if(is_topic_level(name), name, format!("device types separated by commas, each {TOPIC_LEVEL}"))
}

/// The whole list at once, because the numbers must ascend.
pub(super) fn replay_limits(text: &str) -> Parsed<ReplayLimits> {
    let limits: Option<Vec<u64>> = text.split(',').map(|limit| limit.trim().parse().ok()).collect();
    let limits = limits
        .filter(|limits| limits[0] > 0 && limits.is_sorted_by(|one, next| one < next))
        .map(ReplayLimits);
    or_expected(limits, "ascending whole numbers above 0, separated by commas")
}

/// How many retained messages brokers send to one subscription at most, ascending.
#[derive(Clone, Debug)]
pub(super) struct ReplayLimits(pub Vec<u64>);

/// An origin as a browser writes it in its `Origin` header: a path, a default port or a capital letter would never match. `*`
/// is refused: an answer that needed a key is not for every page.
pub(super) fn cors_origin(text: &str) -> Parsed<String> {
    let origin = || {
        let text = text.trim();
        let url = url::Url::parse(text).ok()?;
        let written = url.origin().ascii_serialization();
        (matches!(url.scheme(), "http" | "https") && written == text).then_some(written)
    };
    let expected = "origins separated by commas, each http:// or https:// with a host and nothing behind it";
    or_expected(origin(), expected)
}

/// Where the paths of a service begin, without a slash at the end.
pub(super) fn service_url(text: &str) -> Parsed<String> {
    let url = || {
        let url = url::Url::parse(text).ok()?;
        let is_plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let is_http = matches!(url.scheme(), "http" | "https");
        (is_plain && is_http).then(|| url.as_str().trim_end_matches('/').to_owned())
    };
    or_expected(url(), "http:// or https:// with a host, without login, query and fragment")
}

pub(super) fn type_filter(text: &str) -> Parsed<String> {
    let name = text.trim();
    text_if(!name.is_empty(), name, "device types separated by commas")
}

pub(super) fn cause_filter(text: &str) -> Parsed<String> {
    let words: Vec<_> = Cause::words().collect();
    let is_known = words.contains(&text);
    or_expected(is_known.then(|| text.to_owned()), format!("one of {}", words.join(", ")))
}

pub(super) fn time(text: &str) -> Parsed<String> {
    text_if(text.parse::<jiff::Timestamp>().is_ok(), text, "a time as in 2026-11-24T12:00:00Z")
}

/// The organization in an API key `a-{organization}-{random}`.
pub(super) fn organization_of(key: &str) -> Option<&str> {
    let (organization, random) = key.strip_prefix("a-")?.split_once('-')?;
    (is_name(organization, ORGANIZATION_MAX_CHARS) && !random.is_empty()).then_some(organization)
}

/// Whether MQTT can carry `text` as user name or password. Control characters come from a wrong file, not from a token.
pub(super) fn is_login(text: &str) -> bool {
    (1..=LOGIN_MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Whether a client id can hold `text`: a ':' would end its field.
fn is_name(text: &str, max_chars: usize) -> bool {
    (1..=max_chars).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

pub(super) fn is_host_name(text: &str) -> bool {
    const MAX_CHARS: usize = 253;
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    text.len() <= MAX_CHARS && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

/// Whether `text` is one level of a topic and no wildcard.
pub(super) fn is_topic_level(text: &str) -> bool {
    (1..=TOPIC_LEVEL_MAX_BYTES).contains(&text.len())
        && !text.chars().any(|c| matches!(c, '/' | '+' | '#') || c.is_control())
}

/// The ports on which the platform listens.
pub(super) fn platform_port(text: &str) -> Parsed<u16> {
    let port = text.parse().ok().filter(|port| matches!(port, 443 | 8883 | 80 | 1883));
    or_expected(port, "8883, 443, 1883 or 80, the platform's ports; for another broker use --broker")
}

/// A part of a device's name on the command line.
pub(super) fn not_empty(text: &str) -> Parsed<String> {
    text_if(!text.is_empty(), text, "a text that is not empty")
}

/// A text that says nothing to the program.
pub(super) fn any_text(text: &str) -> Parsed<String> {
    Ok(text.to_owned())
}
