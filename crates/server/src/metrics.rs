//! What is counted, under which name; every name is in `docs/metrics.md`. What is read off the state of the service
//! instead is in `gauges`.

mod feed;
mod http;
mod read_through;
mod requests;
mod store;

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub use feed::FeedMetrics;
pub use http::{CutConnection, HttpMetrics, RefusedRequest, ReloadTarget};
pub use read_through::ReadThroughMetrics;
pub use requests::{RequestMetrics, RouteMetrics};
pub use store::StoreMetrics;

/// All counters of the process; cloning shares them.
#[derive(Clone, Default)]
pub struct Metrics {
    /// Messages handed over by the source.
    pub messages_received: Counter,
    /// Bytes of the packets handed over by the source.
    pub bytes_received: Counter,
    /// Messages that could not be decoded, by reason.
    pub messages_undecodable: Family<ReasonLabel, Counter>,
    /// The same by source, with those about a device of another source.
    pub source_messages_undecodable: Family<SourceLabel, Counter>,
    /// Messages that were understood and change nothing, by source and reason.
    pub messages_ignored: Family<SourceLabel, Counter>,
    /// Clients that a broker says are connected to it, by source.
    pub source_broker_clients: Family<SourceNameLabel, Gauge>,
    /// Messages that counted although something about them was wrong, by what it was.
    pub message_flaws: Family<FlawLabel, Counter>,
    /// Messages about applications, which match the device filter.
    pub messages_of_applications: Counter,
    /// Messages about device types that another instance takes.
    pub messages_of_others: Counter,
    /// Messages that were understood and change no status, by kind.
    pub notices: Family<KindLabel, Counter>,
    /// Messages whose payload names another device than their topic.
    pub client_id_mismatches: Counter,
    /// Presence events that changed a device's state.
    pub events_applied: Counter,
    /// Events that were known or superseded already.
    pub events_known: Counter,
    /// Packets refused because the backlog was full.
    pub backlog_dropped_bytes: Counter,
    /// Bytes handed over by the source and not yet decoded.
    pub backlog_waiting_bytes: Gauge,
    /// Connections to the broker that were established.
    pub broker_connects: Counter,
    /// Rounds of the population that have ended, by result.
    pub population_rounds: Family<OutcomeLabel, Counter>,
    /// How long a packet batch takes from the socket into the registry.
    pub ingest_lag: Lag,
    /// How long requests take.
    pub requests: RequestMetrics,
    /// What is kept, and what waits for it.
    pub store: StoreMetrics,
    /// What is read from the store because it is asked for and not held.
    pub read_through: ReadThroughMetrics,
    /// The live changes, and those who follow them.
    pub feed: FeedMetrics,
    /// What the HTTP server refuses and whom it cuts off.
    pub http: HttpMetrics,
    /// Failures of a part that begins anew after each.
    pub part_failures: Family<PartLabel, Counter>,
}

/// From a message on an idle machine to a backlog of millions.
const LAG_SECONDS: [f64; 9] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0, 60.0];

/// Times between the socket and the registry.
#[derive(Clone)]
pub struct Lag(Histogram);

impl Default for Lag {
    fn default() -> Self {
        Self(Histogram::new(LAG_SECONDS))
    }
}

impl Lag {
    pub fn observe(&self, lag: Duration) {
        self.0.observe(lag.as_secs_f64());
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ReasonLabel {
    pub reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct SourceLabel {
    pub source: String,
    pub reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct SourceNameLabel {
    pub source: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct FlawLabel {
    pub flaw: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct KindLabel {
    pub kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OutcomeLabel {
    pub outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PartLabel {
    pub part: &'static str,
}

impl Metrics {
    /// Counts one message that nothing could be made of.
    pub fn undecodable(&self, reason: &'static str) {
        self.messages_undecodable.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Registers everything under `devstatus_…`.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("devstatus");
        self.register_messages(r);
        r.register(
            "events_applied",
            "Presence events that changed a device's state",
            self.events_applied.clone(),
        );
        r.register("events_known", "Presence events already known or superseded", self.events_known.clone());
        r.register(
            "backlog_dropped_bytes",
            "Bytes dropped because the backlog between socket and decoder was full",
            self.backlog_dropped_bytes.clone(),
        );
        r.register(
            "backlog_waiting_bytes",
            "Bytes between socket and decoder",
            self.backlog_waiting_bytes.clone(),
        );
        r.register("broker_connects", "Connections to the broker established", self.broker_connects.clone());
        r.register(
            "population_rounds",
            "Rounds of the population that have ended, by result",
            self.population_rounds.clone(),
        );
        r.register_with_unit(
            "ingest_lag",
            "Time from reading a batch of packets off the socket until it is applied",
            Unit::Seconds,
            self.ingest_lag.0.clone(),
        );
        r.register("build", "What runs", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        self.requests.register(r);
        self.store.register(r);
        self.read_through.register(r);
        self.feed.register(r);
        self.http.register(r);
        r.register(
            "part_failures",
            "Internal errors of webhooks, alert rules or republishing, which began anew",
            self.part_failures.clone(),
        );
    }

    fn register_messages(&self, r: &mut Registry) {
        r.register("messages_received", "Status messages received", self.messages_received.clone());
        r.register("received_bytes", "Bytes of status packets received", self.bytes_received.clone());
        r.register(
            "messages_undecodable",
            "Messages that could not be decoded",
            self.messages_undecodable.clone(),
        );
        r.register(
            "source_messages_undecodable",
            "Messages that could not be decoded, by source",
            self.source_messages_undecodable.clone(),
        );
        r.register(
            "source_messages_ignored",
            "Messages that were understood and change nothing, by source",
            self.messages_ignored.clone(),
        );
        r.register(
            "source_broker_clients",
            "Clients that the broker says are connected to it, by source",
            self.source_broker_clients.clone(),
        );
        r.register(
            "message_flaws",
            "Statuses that counted although something about them was wrong",
            self.message_flaws.clone(),
        );
        r.register(
            "messages_of_applications",
            "Messages about applications, which are no devices",
            self.messages_of_applications.clone(),
        );
        r.register(
            "messages_of_others",
            "Messages about device types that another instance takes",
            self.messages_of_others.clone(),
        );
        r.register("notices", "Messages that were understood and change no status", self.notices.clone());
        r.register(
            "client_id_mismatches",
            "Messages whose payload names another device than their topic",
            self.client_id_mismatches.clone(),
        );
    }
}
