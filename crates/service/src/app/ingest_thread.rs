//! The thread that decodes.

use std::sync::Arc;
use std::thread;

use super::ServeError;
use formats::catalog::Formats;
use server::history::EventQueue;
use server::ingest::Ingest;
use server::persistence::writer::Writer;
use server::sync::backlog::Pending;
use server::sync::settings::Partition;

/// Starts the thread that decodes and merges, so that nothing else waits for it.
pub(super) fn spawn_ingest(
    writer: &Writer,
    events: Arc<EventQueue>,
    formats: Vec<Arc<Formats>>,
    partition: Option<Partition>,
    pending: Pending,
) -> Result<thread::JoinHandle<()>, ServeError> {
    let (pending_acks, feed) = (Arc::clone(&writer.pending_acks), Arc::clone(&writer.feed));
    let ingest = Ingest::new(
        Arc::clone(&writer.registry),
        writer.metrics.clone(),
        events,
        pending_acks,
        feed,
        partition,
    )
    .with_formats(formats);
    thread::Builder::new()
        .name("ingest".to_owned())
        .spawn(move || ingest.run(&pending))
        .map_err(|error| ServeError::Thread("ingest", error))
}
