//! `devstatus sources` and `serve --dry-run`: which formats there are, and what messages mean, for those who write a profile. Nothing
//! is stored.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, Read, Write};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::DryRunSettings;
use formats::catalog::{Formats, Routed};
use formats::{BrokerEvent, Decoded, Event, EventKind, Session, UnixNanos, iot_platform};
use mqtt::connection::{Connection, LinkError, OpenError, Received};
use mqtt::packet;
use mqtt::transport::{DialError, Dialer};
use presence::Moment;
use server::sync::settings::SourceSettings;

/// A longer line is no status message; the rest of it is passed over.
const LINE_MAX_BYTES: u64 = 1 << 20;

/// Kinds of outcome that are counted apart; further ones are counted together.
const OUTCOMES_MAX: usize = 1_000;

/// Why a dry run ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    #[error("cannot prepare connections to the broker")]
    Prepare(#[source] DialError),
    #[error("cannot connect to the broker")]
    Open(#[source] OpenError),
    #[error("the link to the broker was lost")]
    Lost(#[from] LinkError),
    #[error("the broker refuses the subscription to {0}")]
    Refused(String),
    #[error("cannot write")]
    Write(#[from] io::Error),
}

/// A line for each built-in source.
pub fn list() -> String {
    let infos: Vec<_> = formats::catalog::infos().collect();
    let width = infos.iter().map(|info| info.name.len()).max().unwrap_or_default();
    let mut lines = String::new();
    for info in infos {
        let note = if info.is_retained { "" } else { " (nothing is retained)" };
        let line = format!("{:width$}  {}, type {}{note}\n", info.name, info.description, info.device_type);
        lines.push_str(&line);
    }
    lines
}

/// Reads lines of topic, a space and payload, and writes for each what it is.
pub fn test(formats: &Formats, mut lines: impl BufRead, mut out: impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line)? == 0 {
            return out.flush();
        }
        if line.len() as u64 == LINE_MAX_BYTES && !line.ends_with(b"\n") {
            lines.skip_until(b'\n')?;
        }
        let text = line.trim_ascii_end();
        if text.is_empty() {
            continue;
        }
        // Topics may have spaces, but the lines do not say where one ends: the first space does, unless no format matches.
        let meaning = splits(text)
            .map(|(topic, payload)| (topic, explained(formats, topic, payload, false)))
            .reduce(|first, next| {
                if first.1.is_match {
                    first
                } else if next.1.is_match {
                    next
                } else {
                    first
                }
            });
        if let Some((topic, meaning)) = meaning {
            writeln!(out, "{}: {}", printable(topic), meaning.text)?;
        }
    }
}

/// Each way to divide a line into topic and payload, the shortest topic first; a line without a space is a topic alone.
fn splits(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    const SPACES_MAX: usize = 32;
    let spaces = line.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(at, _)| at);
    let divided = spaces.take(SPACES_MAX).map(|at| (&line[..at], &line[at + 1..]));
    divided.chain([(line, &line[line.len()..])])
}

/// Subscribes and prints what each message is, until told to stop or the time is over; then what was counted.
pub async fn dry_run(
    source: SourceSettings,
    settings: DryRunSettings,
    shutdown: CancellationToken,
) -> Result<(), DryRunError> {
    let connect = source.connect();
    let dialer = Dialer::new(&connect).map_err(DryRunError::Prepare)?;
    let client_id = source.identity.client_id_of("dry-run");
    let mut connection = Connection::open(&dialer, &connect, &client_id).await.map_err(DryRunError::Open)?;
    let filters = source.formats.filters();
    connection.subscribe(&filters, 0).await?;
    eprintln!("subscribed to {}", filters.join(", "));
    let end = settings.duration.map(|duration| Instant::now() + duration);
    let mut counts = MeaningCounts::default();
    let outcome = loop {
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let ping_after = connection.keep_alive() / 2;
        let received = tokio::select! {
            received = connection.receive() => received?,
            () = tokio::time::sleep(ping_after) => {
                connection.ping().await?;
                continue;
            }
            () = over => break Ok(()),
            () = shutdown.cancelled() => break Ok(()),
        };
        match received {
            Received::Suback(suback) if suback.codes.iter().any(|code| *code >= 0x80) => {
                break Err(DryRunError::Refused(filters.join(", ")));
            }
            Received::Publishes(publishes) => {
                counts.print(&source.formats, &publishes.packets, connection.version())?;
                connection.acknowledge(&publishes.packet_ids).await?;
            }
            Received::Suback(_)
            | Received::Unsuback
            | Received::Puback(_)
            | Received::Pong
            | Received::TooLarge => {}
        }
    };
    connection.close().await;
    counts.write(io::stderr().lock())?;
    outcome
}

/// How many messages came to what.
#[derive(Default)]
struct MeaningCounts(BTreeMap<String, u64>);

impl MeaningCounts {
    fn print(
        &mut self,
        formats: &Formats,
        packets: &[u8],
        version: mqtt::settings::MqttVersion,
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let mut rest = packets;
        while let Ok(Some(frame)) = packet::frame(rest) {
            if let Ok(publish) = packet::publish(&frame, version) {
                let meaning = explained(formats, publish.topic, publish.payload, publish.retained);
                writeln!(out, "{}: {}", printable(publish.topic), meaning.text)?;
                self.add(meaning.outcome);
            }
            rest = &rest[frame.len..];
        }
        out.flush()
    }

    fn add(&mut self, outcome: String) {
        let is_known = self.0.contains_key(&outcome);
        let outcome = if is_known || self.0.len() < OUTCOMES_MAX { outcome } else { "other".to_owned() };
        *self.0.entry(outcome).or_default() += 1;
    }

    fn write(&self, mut out: impl Write) -> io::Result<()> {
        for (outcome, messages) in &self.0 {
            writeln!(out, "{messages:>8}  {outcome}")?;
        }
        Ok(())
    }
}

/// What a message is, for people.
struct MessageMeaning {
    text: String,
    /// What it is counted as.
    outcome: String,
    is_match: bool,
}

fn explained(formats: &Formats, topic: &[u8], payload: &[u8], is_retained: bool) -> MessageMeaning {
    let (source, what) = match formats.route(topic, payload, is_retained) {
        Routed::Platform => (formats::catalog::IOT_PLATFORM, platform(topic, payload)),
        Routed::Other(source, decoded) => (source, other(&decoded)),
        Routed::Nobody => {
            let text = "no source reads this topic".to_owned();
            return MessageMeaning { outcome: text.clone(), text, is_match: false };
        }
    };
    let (kind, details) = what;
    let text =
        if details.is_empty() { format!("{source} {kind}") } else { format!("{source} {kind} {details}") };
    MessageMeaning { text, outcome: format!("{source} {kind}"), is_match: kind != NO_MATCH }
}

const NO_MATCH: &str = "no match";

/// What it is in a word, and the details.
fn other(decoded: &Decoded<'_>) -> (String, String) {
    let name = |device: &formats::DeviceName<'_>| format!("type={:?} id={:?}", device.device_type, device.id);
    match decoded {
        Decoded::Event(event) => (kind(event.kind).to_owned(), event_text(event)),
        Decoded::Removed(device) => ("removed".to_owned(), name(device)),
        Decoded::Alive { device, parent, .. } => {
            let parent = parent.as_ref().map(|parent| format!(" under {}", name(parent))).unwrap_or_default();
            ("alive".to_owned(), name(device) + &parent)
        }
        Decoded::Parent { device, parent } => {
            let below = parent.as_ref().map(|parent| format!(" under {}", name(parent))).unwrap_or_default();
            ("parent".to_owned(), format!("{}{below}", name(device)))
        }
        Decoded::Broker(event) => ("broker".to_owned(), broker(event)),
        Decoded::Ignored(why) => (format!("ignored: {why}"), String::new()),
        Decoded::NoMatch => (NO_MATCH.to_owned(), String::new()),
        Decoded::Undecodable(why) => (format!("undecodable: {why}"), String::new()),
    }
}

fn event_text(event: &Event<'_>) -> String {
    let mut text = format!("type={:?} id={:?}", event.device.device_type, event.device.id);
    match &event.session {
        Session::Arrival => text.push_str(" session=by-arrival"),
        Session::Connection(peer) => {
            let _ = write!(text, " session=connection {}", peer.as_deref().unwrap_or("of unknown address"));
        }
        Session::Started(started) => {
            let _ = write!(text, " session={}", shown(*started));
        }
        Session::Versioned { version, session } => {
            let _ = write!(text, " session={session:?} version={version}");
        }
        Session::Matched { birth, sequence } => {
            let number = |number: Option<u64>| number.map_or("none".to_owned(), |number| number.to_string());
            let _ = write!(text, " birth={} sequence={}", number(*birth), number(sequence.map(u64::from)));
        }
    }
    let time = event.time.map_or("of-receipt".to_owned(), shown);
    let _ = write!(text, " time={time}");
    if let Some(cause) = event.cause {
        let _ = write!(text, " cause={}", cause.word());
    }
    if let Some(reason) = &event.reason {
        let _ = write!(text, " reason={reason:?}");
    }
    if let Some(address) = &event.address {
        let _ = write!(text, " address={address}");
    }
    if let Some(parent) = &event.parent {
        let _ = write!(text, " under type={:?} id={:?}", parent.device_type, parent.id);
    }
    text
}

fn platform(topic: &[u8], payload: &[u8]) -> (String, String) {
    match iot_platform::decode(topic, payload) {
        iot_platform::PlatformMessage::Event { device, event, .. }
        | iot_platform::PlatformMessage::FailedLogin { device, event, .. } => {
            let time =
                |moment: Moment| moment.rfc3339().map_or("unknown".to_owned(), |time| time.to_string());
            let (session, time) = (time(event.session), time(event.time));
            let name = format!("type={:?} id={:?}", device.device_type, device.id);
            (event.kind.word().to_owned(), format!("{name} session={session} time={time}"))
        }
        iot_platform::PlatformMessage::Notice { .. } => ("notice".to_owned(), String::new()),
        iot_platform::PlatformMessage::Application => ("application".to_owned(), String::new()),
        iot_platform::PlatformMessage::Undecodable(why) => {
            (format!("undecodable: {}", why.reason()), String::new())
        }
    }
}

fn broker(event: &BrokerEvent<'_>) -> String {
    match event {
        BrokerEvent::Started => "started".to_owned(),
        BrokerEvent::Nodes(nodes) => format!("nodes {nodes:?}"),
        BrokerEvent::Connected(clients) => format!("counts {clients} clients"),
        BrokerEvent::UptimeSeconds(seconds) => format!("has been running for {seconds} s"),
    }
}

fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Connect => "connect",
        EventKind::Disconnect => "disconnect",
        EventKind::Takeover => "takeover",
        EventKind::Refusal => "refusal",
    }
}

fn shown(time: UnixNanos) -> String {
    let moment = Moment::from_nanos(time.0.into());
    moment.rfc3339().map_or_else(|| time.0.to_string(), |time| time.to_string())
}

/// A topic without control characters.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(names: &[&str], lines: &str) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let formats = Formats::new(&names, &[]).unwrap();
        let mut out = Vec::new();
        test(&formats, lines.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_line_says_what_it_is_or_why_not() {
        let lines = "tele/plug/LWT Online\ntele/plug/LWT\ntele/plug/LWT on\nother x\n\ntele/plug/STATE {}\n";
        assert_eq!(
            tried(&["tasmota"], lines),
            "tele/plug/LWT: tasmota connect type=\"tasmota\" id=\"plug\" session=by-arrival time=of-receipt\n\
             tele/plug/LWT: tasmota removed type=\"tasmota\" id=\"plug\"\n\
             tele/plug/LWT: tasmota undecodable: unknown_value\n\
             other: no source reads this topic\n\
             tele/plug/STATE: tasmota alive type=\"tasmota\" id=\"plug\"\n"
        );
    }

    #[test]
    fn what_follows_in_a_line_that_is_too_long_is_no_line_of_its_own() {
        let long = "x".repeat(3 * LINE_MAX_BYTES as usize);
        let text = tried(&["tasmota"], &format!("tele/plug/LWT {long}\ntele/plug/LWT Online\n"));
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("connect"));
    }

    #[test]
    fn a_topic_may_have_spaces() {
        let line = "zigbee2mqtt/kitchen/plug 2/availability {\"state\": \"offline\"}";
        let text = tried(&["zigbee2mqtt"], line);
        assert!(
            text.starts_with("zigbee2mqtt/kitchen/plug 2/availability: zigbee2mqtt disconnect"),
            "{text}"
        );
        assert!(text.contains("id=\"kitchen/plug 2\""), "{text}");
    }

    #[test]
    fn the_platforms_messages_can_be_tried_too() {
        let line = r#"iot-2/type/a/id/b/mon {"Action":"Connect","Time":"2026-11-23T12:00:00.000Z","ClientID":"d:o:a:b"}"#;
        let text = tried(&["iot-platform"], line);
        assert!(text.contains(r#"connect type="a" id="b" session=2026-11-23T11:59:59.995Z"#), "{text}");
    }
}
