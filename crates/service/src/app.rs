//! Wires the parts together. Nothing else.

mod deliveries;
mod huge_pages;
mod ingest_thread;
mod machine_limits;
mod parts;
mod repeat;
mod republishing;
mod running;
mod source_threads;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::net::TcpSocket;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::deliveries::register;
pub use self::deliveries::{NotifySettings, NotifySource, Reread};
use self::ingest_thread::spawn_ingest;
use self::machine_limits::{within_descriptors, within_memory};
use self::parts::Parts;
pub use self::running::RunningService;
use self::source_threads::{SourceParts, link_health, spawn_sources, spawn_writer};
use crate::progress::ProgressSource;
use alerting::desk::AlertDesk;
use formats::catalog::Formats;
use server::feed::Feed;
use server::feed::settings::FeedSettings;
use server::gauges::Gauges;
use server::health::{Health, PeerHealth, StoreHealth};
use server::history::EventQueue;
use server::http_settings::HttpSettings;
use server::metrics::Metrics;
use server::persistence::instances::Instances;
use server::persistence::peers::Peers;
use server::persistence::writer::Writer;
use server::persistence::{self, Maintenance};
use server::read_through::{ReadThrough, StoreCatalog};
use server::registry::DeviceRegistry;
use server::removal::{self, Removal};
use server::series::SeriesReader;
use server::sync::backlog::{Backlog, backlog};
use server::sync::settings::SourceSettings;
use server::sync::{Leadership, SourceError};
use serving::api::{ApiParts, MakeApi};
use serving::frontend::{Frontend, FrontendError};
use store::settings::{Location, StoreSettings};
use store::{self, ChangeCursor, StoreError};
use webhooks::desk::WebhookDesk;

/// Connections that wait to be accepted; as the standard library has it.
const LISTEN_BACKLOG: u32 = 1024;

/// Why the service does not start, or ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot start the thread for {0}")]
    Thread(&'static str, #[source] io::Error),
    #[error(transparent)]
    Frontend(#[from] FrontendError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("internal error: the {0} ended unexpectedly")]
    Internal(&'static str),
}

/// What a service is started with.
pub struct StartSettings {
    /// Of several sources this has what concerns the whole service.
    pub source: SourceSettings,
    pub further: Vec<SourceSettings>,
    pub http: HttpSettings,
    pub store: StoreSettings,
    pub notify: NotifySource,
}

/// Starts everything; `shutdown` ends it.
pub async fn start(
    StartSettings { source, further, http, store, notify }: StartSettings,
    make_api: MakeApi,
    shutdown: CancellationToken,
) -> Result<RunningService, ServeError> {
    further.iter().for_each(warn_of_readable_login);
    warn_of_readable_passwords(&source, &store);
    let metrics = Metrics::default();
    let http = within_descriptors(http);
    let address = http.address();
    let streams = http.streams;
    let frontend = Frontend::open(http, metrics.http.clone())?;
    let socket = bind(address).map_err(|error| ServeError::Listen(address, error))?;
    let (mut metrics_registry, notify_metrics) = register(&metrics);
    let means = Means::new(&source, &further, &store, streams, metrics);
    let (removals, removals_of_writer) = removal::queue();
    let running = Parts::new(shutdown.clone());
    let StartState { registry, writer, cursor } = restore(store, &means, removals_of_writer).await?;
    let (gauges, progress) = means.watch(&registry);
    metrics_registry.register_collector(Box::new(gauges));
    let Means { events, health, feed, metrics, leadership } = means;
    running.spawn("end of huge pages", huge_pages::end_once_populated(Arc::clone(&health), shutdown.clone()));
    let listener = socket.listen(LISTEN_BACKLOG).map_err(|error| ServeError::Listen(address, error))?;
    let http_address = listener.local_addr().map_err(|error| ServeError::Listen(address, error))?;
    let formats = formats_of(&source, &further, &registry);
    let (backlog, pending) = backlog(within_memory(source.backlog_max_bytes), metrics.clone());
    let abandon = pending.abandon();
    let read_through = read_through(&writer, &backlog, &shutdown);
    let catalog = read_through.clone().map(|read_through| Arc::new(catalog(read_through)) as _);
    let parts = ApiParts {
        map: Arc::clone(&registry),
        read_through,
        health: Arc::clone(&health),
        registry: Arc::new(metrics_registry),
        requests: metrics.requests.clone(),
        replay_limits: source.population.replay_limits.as_slice().into(),
        organization: source.identity.organization.as_str().into(),
        formats: formats.iter().cloned().collect(),
        history: Arc::clone(&writer.store) as _,
        series: series(&writer, &running, &shutdown),
        feed: Arc::clone(&feed),
        removals,
        webhooks: WebhookDesk::default(),
        alerts: AlertDesk::default(),
        history_retention: writer.settings.history,
    };
    let api = make_api(parts.clone());
    let notify = notify.follow(shutdown.clone()).services(notify_metrics, &writer, &api, &parts);
    let ingest = spawn_ingest(&writer, events, formats, source.share.partition(), pending)?;
    share(&source, cursor, &writer, &backlog, &running, &shutdown);
    let parts = SourceParts::new(&registry, health, &metrics, leadership, catalog);
    let source = spawn_sources(parts.sources(source, further, backlog, &shutdown))?;
    tracing::info!("listening on {}://{http_address}", frontend.scheme());
    running.spawn("HTTP server", frontend.serve(listener, api, shutdown.clone()));
    let stop_writer = CancellationToken::new();
    let writer = spawn_writer(writer, stop_writer.clone())?;
    running.spawn("waking of streams", Arc::clone(&feed).wake_readers(shutdown.clone()));
    let notify = notify.spawn(shutdown.clone())?;
    // Its sender is gone if the thread has failed, which is an end, too.
    running.spawn("thread of webhooks, alert rules and republishing", async move { drop(notify.await) });
    Ok(RunningService {
        http_address,
        progress,
        shutdown,
        source,
        ingest,
        abandon,
        metrics,
        writer,
        stop_writer,
        parts: running,
        registry,
    })
}

/// The formats of all sources, whose names the registry counts devices by.
fn formats_of(
    first: &SourceSettings,
    further: &[SourceSettings],
    registry: &DeviceRegistry,
) -> Vec<Arc<Formats>> {
    let formats: Vec<_> =
        [first].into_iter().chain(further).map(|source| Arc::clone(&source.formats)).collect();
    registry.name_sources(formats.iter().flat_map(|formats| formats.names()));
    formats
}

/// Tells the population which devices the store keeps.
fn catalog(read_through: Arc<ReadThrough>) -> StoreCatalog {
    StoreCatalog { read_through, runtime: Handle::current() }
}

/// Starts the recorder of the series, and returns their reader.
fn series(writer: &Writer, running: &Parts, shutdown: &CancellationToken) -> Arc<SeriesReader> {
    running.spawn("recorder of the series", writer.recorder().run(shutdown.clone()));
    Arc::new(SeriesReader::new(Arc::clone(&writer.store)))
}

/// Follows the other instances that use the store, and where messages are shared with them, finds out who reads what is
/// retained.
fn share(
    source: &SourceSettings,
    cursor: Option<ChangeCursor>,
    writer: &Writer,
    backlog: &Backlog,
    running: &Parts,
    shutdown: &CancellationToken,
) {
    // There are none.
    let Some(cursor) = cursor else { return };
    let peers = Peers {
        store: Arc::clone(&writer.store),
        backlog: backlog.clone(),
        registry: Arc::clone(&writer.registry),
        health: Arc::clone(&writer.health),
        metrics: writer.metrics.clone(),
        feed: Arc::clone(&writer.feed),
        leadership: Arc::clone(&writer.leadership),
    };
    // With the last end of the backlog, which it holds until shutdown, the decoder ends.
    running.spawn("reader of what other instances write", peers.run(cursor, shutdown.clone()));
    if !source.gets_retained() || source.share.partition().is_some() {
        writer.health.rely_on_others();
    }
    if source.gets_retained() {
        return;
    }
    let instances = Instances {
        store: Arc::clone(&writer.store),
        health: Arc::clone(&writer.health),
        registry: Arc::clone(&writer.registry),
        metrics: writer.metrics.clone(),
        pending_acks: Arc::clone(&writer.pending_acks),
        leadership: Arc::clone(&writer.leadership),
        // One and a half times the interval, by the standard; brokers look now and then.
        broker_notices: 2 * source.keep_alive,
    };
    running.spawn("heartbeat among the instances", instances.run(shutdown.clone()));
}

/// Reads from the store what the registry does not hold; `None` where it holds everything.
fn read_through(
    writer: &Writer,
    backlog: &Backlog,
    shutdown: &CancellationToken,
) -> Option<Arc<ReadThrough>> {
    if !writer.registry.is_limited() {
        return None;
    }
    let devices = Arc::clone(&writer.store) as _;
    let backlog = Arc::new(backlog.clone());
    let read_through = ReadThrough::new(
        devices,
        Arc::clone(&writer.registry),
        Arc::downgrade(&backlog),
        writer.metrics.clone(),
    );
    let shutdown = shutdown.clone();
    // With the last end of the backlog the decoder ends, and requests may last longer.
    tokio::spawn(async move {
        shutdown.cancelled().await;
        drop(backlog);
    });
    Some(Arc::new(read_through))
}

/// Says that others can read the token on its way to the broker.
fn warn_of_readable_login(source: &SourceSettings) {
    if source.login.is_some() && source.endpoint.is_readable_by_others() {
        tracing::warn!(
            "the token goes to {} without encryption, where others may read it: use mqtts:// or wss://",
            source.endpoint.host
        );
    }
}

/// Says which passwords others can read on their way to another machine.
fn warn_of_readable_passwords(source: &SourceSettings, store: &StoreSettings) {
    warn_of_readable_login(source);
    let (server, remedy) = match &store.location {
        Location::Postgres(server) => (server, "sslmode=verify-full"),
        Location::Valkey(server) => (server, "valkeys://"),
        Location::Memory | Location::Sqlite(_) => return,
    };
    if server.shows_password() {
        tracing::warn!(
            "the password of the store may go to {server} without encryption, where others may read it: use {remedy}"
        );
    }
}

/// Takes the address, so that a start that cannot listen fails at once; it listens once there are answers.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The address of a process that has just ended is free.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// What the start has taken from the store.
struct StartState {
    registry: Arc<DeviceRegistry>,
    writer: Writer,
    /// Where the changes of other instances begin that are not in the registry; `None` where there are no others.
    cursor: Option<ChangeCursor>,
}

/// What is there before the store is.
struct Means {
    events: Arc<EventQueue>,
    health: Arc<Health>,
    feed: Arc<Feed>,
    metrics: Metrics,
    leadership: Arc<Leadership>,
}

impl Means {
    fn new(
        source: &SourceSettings,
        further: &[SourceSettings],
        store: &StoreSettings,
        streams: FeedSettings,
        metrics: Metrics,
    ) -> Self {
        let ready_on = source.population.ready_on;
        let health = if further.is_empty() {
            Health::new(ready_on)
        } else {
            let links = [source].into_iter().chain(further).map(link_health);
            Health::of_links(ready_on, links.collect())
        };
        let health = Arc::new(health);
        let is_shared = store.location.is_shared();
        if !source.gets_retained() && !is_shared {
            tracing::warn!(
                "the broker shares the messages among all processes that connect as this application, and the store is not \
                 shared: if there are others, each receives only a part of the changes and answers wrongly. Give them a --store \
                 that they share, or each its own --id"
            );
        }
        let has_others = is_shared && !source.gets_retained();
        Self {
            events: Arc::new(EventQueue::new(metrics.clone())),
            feed: Arc::new(Feed::new(streams, Arc::clone(&health), metrics.clone())),
            health,
            metrics,
            leadership: Arc::new(if has_others { Leadership::of_several() } else { Leadership::of_one() }),
        }
    }

    /// What shows the registry: metrics and the progress of the service.
    fn watch(&self, registry: &Arc<DeviceRegistry>) -> (Gauges, ProgressSource) {
        let (registry, health) = (Arc::clone(registry), Arc::clone(&self.health));
        let gauges = Gauges {
            registry: Arc::clone(&registry),
            health: Arc::clone(&health),
            feed: Arc::clone(&self.feed),
        };
        (gauges, ProgressSource { registry, health, metrics: self.metrics.clone() })
    }
}

/// Opens the store and fills a registry from it, unless only what is asked for is to be held.
async fn restore(
    settings: StoreSettings,
    means: &Means,
    removals: mpsc::Receiver<Removal>,
) -> Result<StartState, ServeError> {
    let Means { events, health, feed, metrics, leadership } = means;
    let started = Instant::now();
    let opened = store::open(&settings).await?;
    // Before loading: what changes meanwhile comes twice rather than never.
    let cursor = if opened.shared { Some(opened.store.cursor().await?) } else { None };
    let registry = Arc::new(match settings.map_limit {
        Some(devices) => DeviceRegistry::holding(devices),
        None if opened.outlives => DeviceRegistry::tracking_changes(),
        None => DeviceRegistry::default(),
    });
    registry.forget_cursor.lock().clone_from(&cursor);
    let restored = if registry.is_limited() {
        Default::default()
    } else {
        persistence::restore(&*opened.store, &registry).await?
    };
    let writer = Writer {
        registry: Arc::clone(&registry),
        events: Arc::clone(events),
        pending_acks: Arc::default(),
        store: opened.store,
        health: Arc::clone(health),
        metrics: metrics.clone(),
        feed: Arc::clone(feed),
        leadership: Arc::clone(leadership),
        settings,
        removals,
        good: if opened.outlives { StoreHealth::Good } else { StoreHealth::Off },
        commit_watermark: Mutex::default(),
        maintenance: Maintenance::default(),
        refused: Mutex::default(),
        order: Mutex::default(),
    };
    writer.begin_maintenance(restored.newest_received_at).await;
    if opened.shared {
        // What the others write from now on is not here before they are followed.
        health.set_peer_health(PeerHealth::Broken);
    }
    writer.note_watermark(feed.head()).await;
    if opened.outlives {
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(devices = restored.devices, elapsed_ms, "restored from the store");
    }
    Ok(StartState { registry, writer, cursor })
}
