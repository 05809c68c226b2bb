//! Wires the parts together and stops them in order. Nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::http::settings::HttpSettings;
use crate::http::{self, Context};
use crate::ingest::Ingest;
use crate::map::DeviceMap;
use crate::metrics::Metrics;
use crate::source::backlog::backlog;
use crate::source::settings::SourceSettings;
use crate::source::{Source, SourceError};

/// Why the service does not start, or ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot start the thread for {0}")]
    Thread(&'static str, #[source] io::Error),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("the {0} ended by a fault of its own")]
    Fault(&'static str),
}

/// A service that runs.
pub struct Running {
    /// Where HTTP is answered; the port is real even if any was asked for.
    pub http_address: SocketAddr,
    shutdown: CancellationToken,
    source: oneshot::Receiver<Result<(), SourceError>>,
    http: JoinHandle<()>,
    ingest: thread::JoinHandle<()>,
}

/// Starts everything; `shutdown` ends it.
pub async fn start(
    source: SourceSettings,
    http: HttpSettings,
    shutdown: CancellationToken,
) -> Result<Running, Error> {
    let address = SocketAddr::new(http.listen, http.port);
    let listener = TcpListener::bind(address).await.map_err(|error| Error::Listen(address, error))?;
    let http_address = listener.local_addr().map_err(|error| Error::Listen(address, error))?;

    let metrics = Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let map = Arc::new(DeviceMap::default());
    let health = Arc::new(Health::new(source.population.ready_on));
    let context = Context {
        map: Arc::clone(&map),
        health: Arc::clone(&health),
        registry: Arc::new(registry),
        organization: source.identity.organization.as_str().into(),
    };

    let (backlog, pending) = backlog(source.backlog_max_bytes, metrics.clone());
    let ingest = Ingest::new(Arc::clone(&map), metrics.clone());
    let ingest = thread::Builder::new()
        .name("ingest".to_owned())
        .spawn(move || ingest.run(&pending))
        .map_err(|error| Error::Thread("ingest", error))?;
    let source = Source::new(source, backlog, map, health, metrics, shutdown.clone());
    let source = spawn_source(source)?;
    let http = tokio::spawn(http::serve(listener, http::router(context), shutdown.clone()));
    tracing::info!("listening on http://{http_address}");
    Ok(Running { http_address, shutdown, source, http, ingest })
}

impl Running {
    /// Waits until everything has ended: after shutdown, or because the source gave up.
    pub async fn wait(self) -> Result<(), Error> {
        // The source ends first: with shutdown, or with an error that ends the rest. Then nothing is handed over any
        // more, and the decoder ends once it has applied what was. A decoder that ends before has failed, and a service
        // that takes nothing in must not go on answering.
        let mut ingest = tokio::task::spawn_blocking(|| self.ingest.join());
        let source = tokio::select! {
            biased;
            source = self.source => source.unwrap_or(Ok(())),
            _ = &mut ingest => {
                self.shutdown.cancel();
                return Err(Error::Fault("decoder"));
            }
        };
        self.shutdown.cancel();
        let http = self.http.await;
        let ingest = ingest.await;
        source?;
        match (http, ingest) {
            (Err(_), _) => Err(Error::Fault("HTTP server")),
            (Ok(()), Ok(Ok(()))) => Ok(()),
            (Ok(()), _) => Err(Error::Fault("decoder")),
        }
    }
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
