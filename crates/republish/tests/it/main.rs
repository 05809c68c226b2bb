//! The whole way from the registry to a broker: devices come, go and are forgotten while connections break at every place and
//! the service is killed. What is retained at the end is the state.

mod broker;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use mqtt::settings::ConnectSettings;
use parking_lot::Mutex;
use presence::payload::Payload;
use presence::query::Filter;
use presence::{Device, EventKind, Moment, PresenceEvent, Status};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use republish::metrics::RepublishMetrics;
use republish::settings::RepublishSettings;
use republish::{Describe, Republisher};
use serde_json::{Value, json};
use server::clock;
use server::feed::settings::FeedSettings;
use server::feed::{Feed, RemovalReason};
use server::freshness::RoundNumber;
use server::health::{Health, PopulationReport, PopulationState, ReadyOn};
use server::metrics::Metrics;
use server::registry::{Applied, Arrival, DeviceRegistry, Provenance, Snapshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use broker::{Broker, Check};

const SEEDS: u64 = 4;
const STEPS: usize = 600;
const IDS: [&str; 8] = ["a", "b/c", "d+", "e#", "f%", "é", "g h", "i_-"];

/// More than anything takes, and less than the runner waits.
const PATIENCE: Duration = Duration::from_secs(25);

/// So few that the republisher is too far behind now and then.
const CHANGES_HELD: u32 = 16;

struct Texts;

impl Describe for Texts {
    fn device(&self, device: &Snapshot) -> Vec<u8> {
        let status = match device.status {
            Status::Connected => "connected",
            Status::Disconnected => "disconnected",
        };
        let since = device.event.time.nanos();
        let shown =
            json!({"type": &*device.device_type, "id": &*device.id, "status": status, "since": since});
        shown.to_string().into_bytes()
    }

    fn summary(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(std::future::ready(None))
    }
}

struct World {
    rng: ChaCha8Rng,
    settle: Duration,
    registry: Arc<DeviceRegistry>,
    feed: Arc<Feed>,
    health: Arc<Health>,
    broker: Broker,
    sessions: HashMap<&'static str, Moment>,
}

impl World {
    async fn new(seed: u64, settle: Duration) -> Self {
        let health = Arc::new(Health::new(ReadyOn::Unproven));
        health.population_done(PopulationReport {
            state: PopulationState::Complete,
            evidence: "count_matches",
            types_total: 0,
            types_proven: 0,
            types: Vec::new(),
        });
        let settings = FeedSettings { streams_max: 1, stream_lag_max: CHANGES_HELD };
        let feed = Arc::new(Feed::new(settings, Arc::clone(&health), Metrics::default()));
        tokio::spawn(Arc::clone(&feed).wake_readers(CancellationToken::new()));
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            settle,
            registry: Arc::default(),
            feed,
            health,
            broker: Broker::start(seed, check(settle)).await,
            sessions: HashMap::new(),
        }
    }

    fn republisher(&self) -> Republisher {
        Republisher {
            settings: RepublishSettings {
                prefix: "p".to_owned(),
                connect: ConnectSettings::new(self.broker.endpoint()),
                client_id: "me".to_owned(),
                selector: Filter::default(),
                settle: self.settle,
                home_assistant: Some("ha".to_owned()),
            },
            registry: Arc::clone(&self.registry),
            feed: Arc::clone(&self.feed),
            health: Arc::clone(&self.health),
            describe: Arc::new(Texts),
            metrics: RepublishMetrics::default(),
        }
    }

    /// Something happens to a device.
    fn step(&mut self) {
        let id = IDS[self.rng.random_range(0..IDS.len())];
        let device = Device { device_type: "t/y", id };
        let now = Moment::from_nanos(i128::from(clock::now_millis()) * 1_000_000);
        match self.rng.random_range(0..10) {
            0 => {
                self.sessions.remove(id);
                self.registry.forget_device(device, |record| {
                    self.feed.publish_removal(record, RemovalReason::Forgotten)
                });
            }
            1..6 => {
                self.sessions.insert(id, now);
                self.apply(device, EventKind::Connect, now, now);
            }
            6.. => {
                let session = *self.sessions.entry(id).or_insert(now);
                self.apply(device, EventKind::Disconnect, session, now);
            }
            ..0 => {}
        }
    }

    fn apply(&self, device: Device<'_>, kind: EventKind, session: Moment, time: Moment) {
        let event = PresenceEvent { kind, session, time, close_code: 0, payload: Payload::pack(b"{}") };
        let arrival = Arrival { provenance: Provenance::Live, at: clock::now(), round: RoundNumber::NONE };
        self.registry.apply_then(device, event, arrival, |record, applied| match applied {
            Applied::Known => {}
            Applied::Refined => self.feed.publish(record, Some(record.resolve().status), true),
            Applied::Changed { from, .. } => self.feed.publish(record, from, true),
        });
    }

    /// What is retained, and what should be: of each device the text, or only its status where a bounce leaves the text as it was.
    fn outcome(&self) -> [BTreeMap<String, Value>; 2] {
        let of_text = |text: &[u8]| {
            let text: Value = serde_json::from_slice(text).expect("JSON");
            if self.settle.is_zero() { text } else { text["status"].clone() }
        };
        let mut expected = BTreeMap::from([("p/service".to_owned(), json!("online"))]);
        for part in 0..DeviceRegistry::PARTS {
            for name in self.registry.names_in_part(part, |_| true) {
                let device =
                    self.registry.read(name.device(), Snapshot::of).expect("nobody forgets it meanwhile");
                expected.insert(format!("device {}", name.id), of_text(&Texts.device(&device)));
                expected.insert(format!("discovery {}", name.id), json!("connectivity"));
            }
        }
        let mut retained = BTreeMap::new();
        for (topic, payload) in self.broker.retained() {
            if topic == "p/service" {
                retained.insert(topic, json!(String::from_utf8(payload).expect("a text")));
                continue;
            }
            let text: Value = serde_json::from_slice(&payload).expect("JSON");
            let (kind, name, value) = if topic.starts_with("ha/") {
                let class = text["components"]["connectivity"]["device_class"].clone();
                ("discovery", text["device"]["name"].clone(), class)
            } else {
                ("device", text["id"].clone(), of_text(&payload))
            };
            retained.insert(format!("{kind} {}", name.as_str().expect("a name")), value);
        }
        [retained, expected]
    }

    async fn wait_for_state(&self) {
        let is_reached = async {
            while self.outcome()[0] != self.outcome()[1] {
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(PATIENCE, is_reached).await.is_err() {
            let [retained, expected] = self.outcome();
            assert_eq!(retained, expected);
        }
    }

    async fn run(mut self) {
        let republisher = self.republisher();
        let first = tokio::spawn(async move { republisher.run(CancellationToken::new()).await });
        for step in 0..STEPS {
            self.step();
            if step == STEPS / 2 {
                // As when the process is killed; what happens until the next is there is published by that one.
                first.abort();
            }
            if self.rng.random_range(0..8) == 0 {
                sleep(Duration::from_millis(self.rng.random_range(1..30))).await;
            }
            if step == STEPS / 2 + 20 {
                let republisher = self.republisher();
                tokio::spawn(async move { republisher.run(CancellationToken::new()).await });
            }
        }
        assert!(self.broker.connections() > 2, "connections break");
        self.broker.stop_breaking();
        self.wait_for_state().await;
        // More at once than the feed holds, and no other connection that mends it.
        (0..3 * CHANGES_HELD).for_each(|_| self.step());
        self.wait_for_state().await;
        assert_eq!(self.broker.faults(), Vec::<String>::new());
    }
}

/// No message is older than the one before it about the device, and no disconnect is published before it has settled.
fn check(settle: Duration) -> Check {
    let newest = Mutex::new(HashMap::<String, i64>::new());
    Box::new(move |topic, payload| {
        if !topic.starts_with("p/t") {
            return None;
        }
        if payload.is_empty() {
            newest.lock().remove(topic);
            return None;
        }
        let text: Value = serde_json::from_slice(payload).expect("JSON");
        let since = text["since"].as_i64().expect("a number");
        let before = newest.lock().insert(topic.to_owned(), since);
        if before.is_some_and(|before| before > since) {
            return Some(format!("{topic} goes back"));
        }
        let lasted_ms = clock::now_millis() - since / 1_000_000;
        let is_settled = lasted_ms >= i64::try_from(settle.as_millis()).expect("an hour at most");
        (text["status"] == "disconnected" && !is_settled).then(|| format!("{topic} has not settled"))
    })
}

async fn run_worlds(settle: Duration) {
    let worlds = (0..SEEDS).map(|seed| async move {
        println!("seed {seed}");
        World::new(seed, settle).await.run().await;
    });
    join_all(worlds).await;
}

#[tokio::test]
async fn what_is_retained_becomes_the_state_whatever_breaks() {
    run_worlds(Duration::ZERO).await;
}

#[tokio::test]
async fn a_disconnect_that_has_not_settled_is_never_published_whatever_breaks() {
    run_worlds(Duration::from_secs(1)).await;
}
