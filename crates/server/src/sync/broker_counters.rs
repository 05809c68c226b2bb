//! The counters that a broker publishes about itself under `$SYS`, as mosquitto does: how many retained messages it
//! holds and how many messages it has dropped.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::evidence::{BrokerCounters, HiddenCounters};
use super::{CLOSES_MAX, Source, until};
use mqtt::connection::{Connection, LinkError, Received};
use mqtt::packet::{self, Publish};
use mqtt::reason;
use mqtt::settings::ConnectSettings;
use mqtt::transport::Dialer;
use system::backoff::Backoff;

const FILTER: &str = "$SYS/#";
const DROPPED: &[u8] = b"$SYS/broker/publish/messages/dropped";
const RETAINED: &[u8] = b"$SYS/broker/retained messages/count";
/// What is retained comes with the subscription; counters that have not come after this are hidden.
const HIDDEN_AFTER: Duration = Duration::from_secs(5);
/// What an operator can do about it.
const ADVICE: &str = "let the login read $SYS/#, or set --broker-counters false";
/// Published each time, changed or not: what comes after it belongs to the same moment.
const UPTIME: &[u8] = b"$SYS/broker/uptime";

/// A broker has some sixty topics of its own; one with more than this is not counted along.
const OWN_TOPICS_MAX: usize = 10_000;

/// Once they are `wanted`, keeps `counters` up to date until shutdown; a broker that does not publish them leaves them
/// empty. Most populations are small enough to need no such connection.
pub async fn watch(
    source: &Source,
    dialer: &Dialer,
    wanted: &Notify,
    counters: watch::Sender<BrokerCounters>,
) {
    wanted.notified().await;
    let not_offered = BrokerCounters { offered: Some(false), ..BrokerCounters::default() };
    if !source.settings.population.broker_counters {
        counters.send_replace(not_offered);
        return;
    }
    let settings = ConnectSettings { clean_session: true, ..source.settings.connect() };
    let client_id = source.client_id_of("sys");
    let (mut backoff, mut closes) = (Backoff::default(), 0);
    loop {
        if let Ok(connection) = Connection::open(dialer, &settings, &client_id).await {
            let ended = follow(connection, &counters, source).await;
            closes = if matches!(ended, FollowEnd::ClosedInstead(_)) { closes + 1 } else { 0 };
            let refusal = match ended {
                FollowEnd::Refused(how) => Some(how),
                FollowEnd::ClosedInstead(_) if closes == CLOSES_MAX => {
                    Some(format!("closes the connection for a subscription to {FILTER}"))
                }
                FollowEnd::ClosedInstead(error) | FollowEnd::Lost(error) => {
                    tracing::debug!(%error, "the connection for the broker's counters ended");
                    None
                }
                FollowEnd::Shutdown => return,
            };
            if let Some(how) = refusal {
                source.report_hidden_counters(Some(format!("The broker {how}: {ADVICE}.")));
                counters.send_replace(not_offered);
                return;
            }
            // What it said is out of date from now on.
            counters.send_replace(BrokerCounters::default());
        }
        tokio::select! {
            () = sleep(backoff.wait().max(MIN_PAUSE)) => {}
            () = source.shutdown.cancelled() => return,
        }
    }
}

/// These counters help and are never urgent.
const MIN_PAUSE: Duration = Duration::from_secs(2);

enum FollowEnd {
    /// The code of a SUBACK refuses the subscription; the text says how.
    Refused(String),
    /// The connection ended where a SUBACK was due.
    ClosedInstead(LinkError),
    Lost(LinkError),
    Shutdown,
}

async fn follow(
    mut connection: Connection,
    counters: &watch::Sender<BrokerCounters>,
    source: &Source,
) -> FollowEnd {
    if let Err(error) = connection.subscribe(&[FILTER], 0).await {
        return FollowEnd::ClosedInstead(error);
    }
    let mut accepted_at = None;
    let mut has_waited = false;
    let mut own_topics: HashSet<Vec<u8>> = HashSet::new();
    loop {
        let received = tokio::select! {
            received = connection.receive() => received,
            () = until(accepted_at.map(|at| at + HIDDEN_AFTER)), if !has_waited => {
                has_waited = true;
                report_hidden(source, counters);
                continue;
            }
            () = source.shutdown.cancelled() => {
                connection.close().await;
                return FollowEnd::Shutdown;
            }
        };
        match received {
            Ok(Received::Suback(suback)) => {
                if let Some(&code) = suback.codes.iter().find(|&&code| code >= 0x80) {
                    let refusal = reason::subscription_refusal(connection.version(), code);
                    connection.close().await;
                    return FollowEnd::Refused(format!(
                        "refuses the subscription to {FILTER} with {refusal}"
                    ));
                }
                accepted_at = Some(Instant::now());
            }
            Ok(Received::Publishes(publishes)) => {
                let mut rest = &publishes.packets[..];
                while let Ok(Some(frame)) = packet::frame(rest) {
                    if let Ok(publish) = packet::publish(&frame, connection.version()) {
                        counters.send_modify(|counters| note(counters, &mut own_topics, &publish));
                    }
                    rest = &rest[frame.len..];
                }
                if has_waited {
                    report_hidden(source, counters);
                }
            }
            Ok(Received::Pong | Received::Unsuback | Received::Puback(_) | Received::TooLarge) => {}
            Err(error) if accepted_at.is_none() => return FollowEnd::ClosedInstead(error),
            Err(error) => return FollowEnd::Lost(error),
        }
    }
}

/// Says what is hidden of the counters, once, and that nothing is any more. A reader that waits for counters that do not come need
/// not do so in the next round.
fn report_hidden(source: &Source, counters: &watch::Sender<BrokerCounters>) {
    let hidden = counters.borrow().hidden();
    source.report_hidden_counters(hidden.map(|hidden| match hidden {
        HiddenCounters::All => format!(
            "The broker accepts the subscription to {FILTER} and sends nothing, as mosquitto does where an ACL hides it, so \
             its counters prove nothing: {ADVICE}."
        ),
        HiddenCounters::Part => format!(
            "The broker shows only a part of {FILTER}, because of an ACL or because it counts other things than mosquitto, so \
             its counters may prove nothing: {ADVICE}."
        ),
    }));
    if hidden == Some(HiddenCounters::All) {
        counters.send_if_modified(|counters| counters.offered.replace(false) != Some(false));
    }
}

fn note(counters: &mut BrokerCounters, own_topics: &mut HashSet<Vec<u8>>, publish: &Publish<'_>) {
    if own_topics.len() < OWN_TOPICS_MAX && !own_topics.contains(publish.topic) {
        own_topics.insert(publish.topic.to_vec());
        counters.own_retained = own_topics.len() as u64;
    }
    counters.replayed |= publish.retained;
    let number = || std::str::from_utf8(publish.payload).ok()?.trim().parse().ok();
    match publish.topic {
        DROPPED => counters.dropped = number(),
        RETAINED => {
            counters.retained = number();
            counters.offered = Some(true);
            counters.counted_at.get_or_insert_with(Instant::now);
        }
        UPTIME if !publish.retained => counters.ticks += 1,
        _ => {}
    }
}
