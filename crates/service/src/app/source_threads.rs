//! Each source on a thread of its own, and the end of all of them. What else has a thread and a runtime of its own starts here, too.

use std::sync::Arc;
use std::thread;

use futures_util::future::try_join_all;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::ServeError;
use server::health::{Health, LinkHealth};
use server::metrics::Metrics;
use server::persistence::writer::Writer;
use server::registry::DeviceRegistry;
use server::sync::backlog::{Backlog, LinkId};
use server::sync::settings::SourceSettings;
use server::sync::{DeviceCatalog, Leadership, Source, SourceError};

/// The health of one link of several.
pub(super) fn link_health(source: &SourceSettings) -> LinkHealth {
    LinkHealth {
        name: source.name.as_deref().unwrap_or_default().into(),
        sources: source.formats.names().into_iter().map(Arc::from).collect(),
        health: Arc::new(Health::new(source.population.ready_on)),
    }
}

/// What sources are made with.
pub(super) struct SourceParts {
    registry: Arc<DeviceRegistry>,
    health: Arc<Health>,
    metrics: Metrics,
    leadership: Arc<Leadership>,
    catalog: Option<Arc<dyn DeviceCatalog>>,
}

impl SourceParts {
    pub(super) fn new(
        registry: &Arc<DeviceRegistry>,
        health: Arc<Health>,
        metrics: &Metrics,
        leadership: Arc<Leadership>,
        catalog: Option<Arc<dyn DeviceCatalog>>,
    ) -> Self {
        Self { registry: Arc::clone(registry), health, metrics: metrics.clone(), leadership, catalog }
    }

    /// One source, or one for each broker. With the last of them the backlog, and so the decoder, ends.
    pub(super) fn sources(
        self,
        first: SourceSettings,
        further: Vec<SourceSettings>,
        backlog: Backlog,
        shutdown: &CancellationToken,
    ) -> Vec<Source> {
        let Self { registry, health, metrics, leadership, catalog } = self;
        if further.is_empty() {
            let source = Source::new(first, backlog, registry, health, metrics, shutdown.clone());
            return vec![source.with_leadership(leadership).knowing(catalog)];
        }
        let sources = [first].into_iter().chain(further).zip(health.links()).zip(0..);
        let with_link = |((source, link), number): ((_, &LinkHealth), _)| {
            let (registry, health) = (Arc::clone(&registry), Arc::clone(&link.health));
            Source::new(source, backlog.clone(), registry, health, metrics.clone(), shutdown.clone())
                .with_link(LinkId(number))
        };
        sources.map(with_link).collect()
    }
}

/// When a source has ended; nothing comes of one whose thread has failed.
pub(super) type SourceEnd = oneshot::Receiver<Result<(), SourceError>>;

/// Starts each source; the end of the whole comes with the last of them, or with the first that gives up or fails.
pub(super) fn spawn_sources(
    sources: Vec<Source>,
) -> Result<oneshot::Receiver<Result<(), ServeError>>, ServeError> {
    let ends = sources.into_iter().map(spawn_source).collect::<Result<Vec<_>, ServeError>>()?;
    let (ended, receiver) = oneshot::channel();
    tokio::spawn(async move {
        // The receiver is gone only if the whole service is.
        let _ = ended.send(end_of_all(ends).await);
    });
    Ok(receiver)
}

pub(super) async fn end_of_all(ends: Vec<SourceEnd>) -> Result<(), ServeError> {
    let each = ends.into_iter().map(async |end: SourceEnd| match end.await {
        Ok(ended) => ended.map_err(ServeError::from),
        Err(_failed) => Err(ServeError::Internal("reader of a broker")),
    });
    try_join_all(each).await.map(drop)
}

/// Gives the source a thread and a runtime of its own, where nothing else can keep it from reading.
fn spawn_source(source: Source) -> Result<SourceEnd, ServeError> {
    spawn_with_runtime("source", move |runtime, ended| {
        let result = runtime.block_on(source.run());
        // The receiver is gone only if the whole service is. The source goes after that: with it the backlog ends,
        // and a decoder that ends before it is told that the source has would look like a fault.
        let _ = ended.send(result);
        drop(source);
    })
}

/// Gives the writer a thread and a runtime of its own: to take thousands of changes, and to merge them into a store in memory,
/// takes milliseconds, and a lookup would wait for them on a thread of the main runtime. The receiver gets nothing if the writer fails.
pub(super) fn spawn_writer(
    writer: Writer,
    stop: CancellationToken,
) -> Result<oneshot::Receiver<()>, ServeError> {
    let answers = Handle::current();
    spawn_with_runtime("writer", move |runtime, ended| {
        runtime.block_on(writer.run(answers, stop));
        // The receiver is gone if the last flush has taken too long.
        let _ = ended.send(());
    })
}

/// Runs something on a thread with a runtime for this thread alone. The receiver gets what `run` sends as its result.
pub(super) fn spawn_with_runtime<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce(Runtime, oneshot::Sender<T>) + Send + 'static,
) -> Result<oneshot::Receiver<T>, ServeError> {
    let failed = |error| ServeError::Thread(name, error);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (ended, receiver) = oneshot::channel();
    thread::Builder::new().name(name.to_owned()).spawn(move || run(runtime, ended)).map_err(failed)?;
    Ok(receiver)
}
