//! The counters that a broker publishes about itself under `$SYS`, as mosquitto does: how many retained messages it
//! holds and how many messages it has dropped.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::Source;
use super::evidence::BrokerCounters;
use mqtt::connection::{Connection, LinkError, Received};
use mqtt::packet::{self, Publish};
use mqtt::settings::ConnectSettings;
use mqtt::transport::Dialer;
use system::backoff::Backoff;

const FILTER: &str = "$SYS/#";
const DROPPED: &[u8] = b"$SYS/broker/publish/messages/dropped";
const RETAINED: &[u8] = b"$SYS/broker/retained messages/count";
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
    let mut backoff = Backoff::default();
    loop {
        if let Ok(connection) = Connection::open(dialer, &settings, &client_id).await {
            match follow(connection, &counters, source).await {
                Ended::NotOffered => {
                    tracing::debug!("the broker does not publish counters of its own");
                    counters.send_replace(not_offered);
                    return;
                }
                Ended::Lost(error) => {
                    tracing::debug!(%error, "the connection for the broker's counters ended")
                }
                Ended::Shutdown => return,
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

enum Ended {
    /// The subscription was refused, or the connection closed for it.
    NotOffered,
    Lost(LinkError),
    Shutdown,
}

async fn follow(
    mut connection: Connection,
    counters: &watch::Sender<BrokerCounters>,
    source: &Source,
) -> Ended {
    if connection.subscribe(&[FILTER], 0).await.is_err() {
        return Ended::NotOffered;
    }
    let mut accepted = false;
    let mut own_topics: HashSet<Vec<u8>> = HashSet::new();
    loop {
        let received = tokio::select! {
            received = connection.receive() => received,
            () = source.shutdown.cancelled() => {
                connection.close().await;
                return Ended::Shutdown;
            }
        };
        match received {
            Ok(Received::Suback(suback)) if suback.codes.iter().any(|&code| code >= 0x80) => {
                connection.close().await;
                return Ended::NotOffered;
            }
            Ok(Received::Suback(_)) => accepted = true,
            Ok(Received::Publishes(publishes)) => {
                let mut rest = &publishes.packets[..];
                while let Ok(Some(frame)) = packet::frame(rest) {
                    if let Ok(publish) = packet::publish(&frame, connection.version()) {
                        counters.send_modify(|counters| note(counters, &mut own_topics, &publish));
                    }
                    rest = &rest[frame.len..];
                }
            }
            Ok(Received::Pong | Received::Unsuback | Received::TooLarge) => {}
            Err(_) if !accepted => return Ended::NotOffered,
            Err(error) => return Ended::Lost(error),
        }
    }
}

fn note(counters: &mut BrokerCounters, own_topics: &mut HashSet<Vec<u8>>, publish: &Publish<'_>) {
    if own_topics.len() < OWN_TOPICS_MAX && !own_topics.contains(publish.topic) {
        own_topics.insert(publish.topic.to_vec());
        counters.own_retained = own_topics.len() as u64;
    }
    let number = || std::str::from_utf8(publish.payload).ok()?.trim().parse().ok();
    match publish.topic {
        DROPPED => counters.dropped = number(),
        RETAINED => {
            counters.retained = number();
            counters.offered = Some(true);
        }
        UPTIME if !publish.retained => counters.ticks += 1,
        _ => {}
    }
}
