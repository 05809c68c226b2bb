//! Wires the parts together and stops them in order. Nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::net::TcpSocket;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::memory;
use crate::progress::Watched;
use http_api::settings::HttpSettings;
use http_api::{Context, Front, FrontError, Gauges};
use server::feed::Feed;
use server::feed::settings::FeedSettings;
use server::health::{Following, Health, Keeping};
use server::history::EventQueue;
use server::ingest::Ingest;
use server::metrics::Metrics;
use server::persistence::instances::Instances;
use server::persistence::peers::Peers;
use server::persistence::writer::Writer;
use server::persistence::{self, DevicesOf, HistoryOf, Upkeep};
use server::read_through::{KeptInStore, Recall};
use server::registry::DeviceMap;
use server::removal::{self, Removal};
use server::sync::backlog::{Abandon, Backlog, Pending, backlog};
use server::sync::settings::SourceSettings;
use server::sync::{Lead, Source, SourceError};
use store::settings::{Location, StoreSettings};
use store::{self, Mark, StoreError};
use system::descriptors;

/// Connections that wait to be accepted; as the standard library has it.
const LISTEN_BACKLOG: u32 = 1024;

/// How long the decoder may go on with what waited when the stop began. A stop is bounded by five seconds. What it leaves was not
/// answered yet, and the broker has retained the status of each device: the next start reads it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the last flush may take, after the decoder has ended.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the service does not start, or ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot start the thread for {0}")]
    Thread(&'static str, #[source] io::Error),
    #[error(transparent)]
    Front(#[from] FrontError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("the {0} ended by a fault of its own")]
    Fault(&'static str),
}

/// A service that runs.
pub struct Running {
    /// Where HTTP is answered; the port is real even if any was asked for.
    pub http_address: SocketAddr,
    /// For whoever shows how far the population is.
    pub watched: Watched,
    shutdown: CancellationToken,
    source: oneshot::Receiver<Result<(), SourceError>>,
    http: JoinHandle<()>,
    ingest: thread::JoinHandle<()>,
    /// Ends the decoder before it has applied everything.
    abandon: Abandon,
    metrics: Metrics,
    writer: JoinHandle<()>,
    /// Ends the writer, once nothing comes any more.
    stop_writer: CancellationToken,
    /// Says goodbye to the others; `None` where there are none to say it to.
    instances: Option<JoinHandle<()>>,
    map: Arc<DeviceMap>,
}

/// Starts everything; `shutdown` ends it.
pub async fn start(
    source: SourceSettings,
    http: HttpSettings,
    store: StoreSettings,
    shutdown: CancellationToken,
) -> Result<Running, Error> {
    warn_of_readable_passwords(&source, &store);
    let metrics = Metrics::default();
    let http = within_descriptors(http);
    let address = http.address();
    let streams = http.streams;
    let front = Front::open(http, metrics.http.clone())?;
    let socket = bind(address).map_err(|error| Error::Listen(address, error))?;
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let means = Means::new(&source, &store, streams, metrics);
    let (removals, removals_of_writer) = removal::queue();
    let Restored { map, writer, mark } = restore(store, &means, removals_of_writer).await?;
    let Means { events, health, feed, metrics, lead } = means;
    let listener = socket.listen(LISTEN_BACKLOG).map_err(|error| Error::Listen(address, error))?;
    let http_address = listener.local_addr().map_err(|error| Error::Listen(address, error))?;
    let gauges = Gauges { map: Arc::clone(&map), health: Arc::clone(&health), feed: Arc::clone(&feed) };
    registry.register_collector(Box::new(gauges));
    let watched = Watched { map: Arc::clone(&map), health: Arc::clone(&health), metrics: metrics.clone() };
    let (backlog, pending) = backlog(within_memory(source.backlog_max_bytes), metrics.clone());
    let abandon = pending.abandon();
    let recall = recall(&writer, &backlog, &shutdown);
    let kept = recall.clone().map(|recall| Arc::new(KeptInStore { recall, runtime: Handle::current() }) as _);
    let context = Context {
        map: Arc::clone(&map),
        recall,
        health: Arc::clone(&health),
        registry: Arc::new(registry),
        requests: metrics.requests.clone(),
        replay_limits: source.population.replay_limits.as_slice().into(),
        organization: source.identity.organization.as_str().into(),
        history: Arc::new(HistoryOf(Arc::clone(&writer.store))),
        feed: Arc::clone(&feed),
        removals,
        history_kept: writer.settings.history,
    };

    let receipts = Arc::clone(&writer.receipts);
    let ingest = Ingest::new(
        Arc::clone(&map),
        metrics.clone(),
        events,
        receipts,
        Arc::clone(&feed),
        source.share.partition(),
    );
    let ingest = spawn_ingest(ingest, pending)?;
    let instances = mark.and_then(|mark| share(&source, mark, &writer, &backlog, &shutdown));
    let source = Source::new(source, backlog, Arc::clone(&map), health, metrics.clone(), shutdown.clone())
        .led_by(lead);
    let source = spawn_source(source.knowing(kept))?;
    tracing::info!("listening on {}://{http_address}", front.scheme());
    let http = tokio::spawn(front.serve(listener, context, shutdown.clone()));
    let stop_writer = CancellationToken::new();
    let writer = tokio::spawn(writer.run(stop_writer.clone()));
    tokio::spawn(Arc::clone(&feed).wake_readers(shutdown.clone()));
    Ok(Running {
        http_address,
        watched,
        shutdown,
        source,
        http,
        ingest,
        abandon,
        metrics,
        writer,
        stop_writer,
        instances,
        map,
    })
}

impl Running {
    /// Waits until everything has ended: after shutdown, or because the source gave up.
    pub async fn wait(self) -> Result<(), Error> {
        // The source ends first: with shutdown, or with an error that ends the rest. Then nothing is handed over any
        // more, and the decoder ends once it has applied what was. A decoder that ends before has failed, and a service
        // that takes nothing in must not go on answering.
        let (mut source, mut ingest) = (self.source, tokio::task::spawn_blocking(|| self.ingest.join()));
        let ended_first = tokio::select! {
            biased;
            source = &mut source => Ok(source),
            ingest = &mut ingest => Err(ingest),
        };
        let (source, ingested) = match ended_first {
            Ok(source) => (source, None),
            // Nobody hands anything over any more: the source has ended, too, and says so in a moment.
            Err(Ok(Ok(()))) => (source.await, Some(Ok(Ok(())))),
            Err(_) => {
                self.shutdown.cancel();
                return Err(Error::Fault("decoder"));
            }
        };
        let source = source.unwrap_or(Ok(()));
        self.shutdown.cancel();
        let kept = async {
            let ingest = match ingested {
                Some(ended) => ended,
                None => match timeout(DRAIN_TIMEOUT, &mut ingest).await {
                    Ok(ended) => ended,
                    Err(_elapsed) => {
                        let bytes = self.metrics.backlog_waiting_bytes.get();
                        tracing::warn!(
                            bytes,
                            "messages still wait for decoding and are given up: the next start reads what the broker has retained"
                        );
                        self.abandon.abandon();
                        ingest.await
                    }
                },
            };
            self.stop_writer.cancel();
            let writer = timeout(LAST_FLUSH_TIMEOUT, self.writer).await;
            if writer.is_err() {
                let devices = self.map.dirty_waiting();
                tracing::error!(devices, "the store does not take the last changes: they are lost");
            }
            (ingest, writer)
        };
        let left = async {
            if let Some(instances) = self.instances {
                // It is bounded, and nothing depends on it.
                let _ = instances.await;
            }
        };
        let (http, (ingest, writer), ()) = tokio::join!(self.http, kept, left);
        source?;
        match (http, ingest, writer) {
            (Err(_), _, _) => Err(Error::Fault("HTTP server")),
            (Ok(()), Ok(Ok(())), Ok(Err(_))) => Err(Error::Fault("writer of the store")),
            (Ok(()), Ok(Ok(())), Ok(Ok(())) | Err(_)) => Ok(()),
            (Ok(()), _, _) => Err(Error::Fault("decoder")),
        }
    }
}

/// Follows the other instances that use the store, and where messages are shared with them, finds out who reads what is
/// retained.
fn share(
    source: &SourceSettings,
    mark: Mark,
    writer: &Writer,
    backlog: &Backlog,
    shutdown: &CancellationToken,
) -> Option<JoinHandle<()>> {
    let peers = Peers {
        store: Arc::clone(&writer.store),
        backlog: backlog.clone(),
        map: Arc::clone(&writer.map),
        health: Arc::clone(&writer.health),
        metrics: writer.metrics.clone(),
        feed: Arc::clone(&writer.feed),
        lead: Arc::clone(&writer.lead),
    };
    // With the last end of the backlog, which it holds until shutdown, the decoder ends.
    tokio::spawn(peers.run(mark, shutdown.clone()));
    if !source.gets_retained() || source.share.partition().is_some() {
        writer.health.rely_on_others();
    }
    if source.gets_retained() {
        return None;
    }
    let instances = Instances {
        store: Arc::clone(&writer.store),
        health: Arc::clone(&writer.health),
        map: Arc::clone(&writer.map),
        metrics: writer.metrics.clone(),
        receipts: Arc::clone(&writer.receipts),
        lead: Arc::clone(&writer.lead),
        // One and a half times the interval, by the standard; brokers look now and then.
        broker_notices: 2 * source.keep_alive,
    };
    Some(tokio::spawn(instances.run(shutdown.clone())))
}

/// Whoever reads from the store what the map does not hold; `None` where it holds everything.
fn recall(writer: &Writer, backlog: &Backlog, shutdown: &CancellationToken) -> Option<Arc<Recall>> {
    if !writer.map.is_limited() {
        return None;
    }
    let devices = Arc::new(DevicesOf(Arc::clone(&writer.store)));
    let backlog = Arc::new(backlog.clone());
    let recall =
        Recall::new(devices, Arc::clone(&writer.map), Arc::downgrade(&backlog), writer.metrics.clone());
    let shutdown = shutdown.clone();
    // With the last end of the backlog the decoder ends, and requests may last longer.
    tokio::spawn(async move {
        shutdown.cancelled().await;
        drop(backlog);
    });
    Some(Arc::new(recall))
}

/// Lets as few clients in as leave room for broker and store; further ones wait, as beyond any other number.
fn within_descriptors(mut http: HttpSettings) -> HttpSettings {
    let Some(most) = descriptors::raise() else { return http };
    let fit = descriptors::for_clients(most);
    if fit < http.connections_max {
        tracing::warn!(
            "the process may have {most} files open, which is room for {fit} connections of the {} of --connections-max: \
             further ones wait; a higher hard limit (LimitNOFILE, ulimit -Hn) gives it room",
            http.connections_max
        );
        http.connections_max = fit;
    }
    http
}

/// Says which passwords others can read on their way to another machine.
fn warn_of_readable_passwords(source: &SourceSettings, store: &StoreSettings) {
    if source.login.is_some() && source.endpoint.is_readable_by_others() {
        tracing::warn!(
            "the token goes to {} without encryption, where others may read it: use mqtts:// or wss://",
            source.endpoint.host
        );
    }
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

/// Lets no more wait for decoding than the memory of this process has room for beside everything else.
fn within_memory(backlog_max_bytes: usize) -> usize {
    let Some(limit) = memory::limit() else { return backlog_max_bytes };
    let fit = memory::for_backlog(limit);
    if fit < backlog_max_bytes {
        tracing::info!(
            "the control group allows {limit} bytes of memory: {fit} of them instead of the {backlog_max_bytes} of \
             --backlog-max-bytes may wait for decoding"
        );
    }
    fit.min(backlog_max_bytes)
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
struct Restored {
    map: Arc<DeviceMap>,
    writer: Writer,
    /// Where the changes of other instances begin that are not in the map; `None` where there are no others.
    mark: Option<Mark>,
}

/// What is there before the store is.
struct Means {
    events: Arc<EventQueue>,
    health: Arc<Health>,
    feed: Arc<Feed>,
    metrics: Metrics,
    lead: Arc<Lead>,
}

impl Means {
    fn new(source: &SourceSettings, store: &StoreSettings, streams: FeedSettings, metrics: Metrics) -> Self {
        let health = Arc::new(Health::new(source.population.ready_on));
        let is_shared = store.location.is_shared();
        if !source.gets_retained() && !is_shared {
            tracing::warn!(
                "the broker shares the messages among all processes that connect as this application, and the store is not \
                 shared: if there are others, each hears only a part of the changes and answers wrongly. Give them a --store \
                 that they share, or each its own --id"
            );
        }
        let has_others = is_shared && !source.gets_retained();
        Self {
            events: Arc::new(EventQueue::new(metrics.clone())),
            feed: Arc::new(Feed::new(streams, Arc::clone(&health), metrics.clone())),
            health,
            metrics,
            lead: Arc::new(if has_others { Lead::of_several() } else { Lead::of_one() }),
        }
    }
}

/// Starts the thread that decodes and merges, so that nothing else waits for it.
fn spawn_ingest(ingest: Ingest, pending: Pending) -> Result<thread::JoinHandle<()>, Error> {
    thread::Builder::new()
        .name("ingest".to_owned())
        .spawn(move || ingest.run(&pending))
        .map_err(|error| Error::Thread("ingest", error))
}

/// Opens the store and fills a map from it, unless only what is asked for is to be held.
async fn restore(
    settings: StoreSettings,
    means: &Means,
    removals: mpsc::Receiver<Removal>,
) -> Result<Restored, Error> {
    let Means { events, health, feed, metrics, lead } = means;
    let started = Instant::now();
    let opened = store::open(&settings).await?;
    // Before loading: what changes meanwhile comes twice rather than never.
    let mark = if opened.shared { Some(opened.store.mark().await?) } else { None };
    let map = Arc::new(match settings.map_limit {
        Some(devices) => DeviceMap::holding(devices),
        None if opened.outlives => DeviceMap::tracking_changes(),
        None => DeviceMap::default(),
    });
    let restored = if map.is_limited() {
        Default::default()
    } else {
        persistence::restore(&*opened.store, &map).await?
    };
    let writer = Writer {
        map: Arc::clone(&map),
        events: Arc::clone(events),
        receipts: Arc::default(),
        store: opened.store,
        health: Arc::clone(health),
        metrics: metrics.clone(),
        feed: Arc::clone(feed),
        lead: Arc::clone(lead),
        settings,
        removals,
        good: if opened.outlives { Keeping::Good } else { Keeping::Off },
        horizon: Mutex::default(),
        upkeep: Upkeep::default(),
        refused: Mutex::default(),
    };
    writer.begin_upkeep(restored.newest_heard_at).await;
    if opened.shared {
        // What the others write from now on is not here before they are followed.
        health.set_following(Following::Broken);
    }
    writer.note_kept(feed.head()).await;
    if opened.outlives {
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(devices = restored.devices, elapsed_ms, "restored from the store");
    }
    Ok(Restored { map, writer, mark })
}

/// Gives the source a thread and a runtime of its own, where nothing else can keep it from reading.
fn spawn_source(source: Source) -> Result<oneshot::Receiver<Result<(), SourceError>>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Thread("source", error))?;
    let (ended, receiver) = oneshot::channel();
    thread::Builder::new()
        .name("source".to_owned())
        .spawn(move || {
            let result = runtime.block_on(source.run());
            // The receiver is gone only if the whole service is. The source goes after that: with it the backlog ends,
            // and a decoder that ends before it is told that the source has would look like a fault.
            let _ = ended.send(result);
            drop(source);
        })
        .map_err(|error| Error::Thread("source", error))?;
    Ok(receiver)
}
