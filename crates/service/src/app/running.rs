//! A service that runs, and the order in which its parts stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::ServeError;
use super::parts::Parts;
use crate::progress::ProgressSource;
use server::metrics::Metrics;
use server::registry::DeviceRegistry;
use server::sync::backlog::Abandon;

/// How long the decoder may go on with what waited when the stop began. A stop is bounded by five seconds. What it leaves was not
/// answered yet, and the broker has retained the status of each device: the next start reads it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the last flush may take, after the decoder has ended.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// A service that runs.
pub struct RunningService {
    /// Where HTTP is answered; the port is real even if any was asked for.
    pub http_address: SocketAddr,
    /// For the terminal, which shows how far the population is.
    pub progress: ProgressSource,
    pub(super) shutdown: CancellationToken,
    pub(super) source: oneshot::Receiver<Result<(), ServeError>>,
    pub(super) ingest: thread::JoinHandle<()>,
    /// Ends the decoder before it has applied everything.
    pub(super) abandon: Abandon,
    pub(super) metrics: Metrics,
    pub(super) writer: oneshot::Receiver<()>,
    /// Ends the writer, once nothing comes any more.
    pub(super) stop_writer: CancellationToken,
    /// HTTP, other instances, webhooks and the like.
    pub(super) parts: Parts,
    pub(super) registry: Arc<DeviceRegistry>,
}

impl RunningService {
    /// Waits until everything has ended: after shutdown, or because the source gave up or a part has failed.
    pub async fn wait(self) -> Result<(), ServeError> {
        // The source ends first: with shutdown, or with an error that ends the rest. Then nothing is handed over any
        // more, and the decoder ends once it has applied what was. A decoder that ends before has failed, and a service
        // that takes nothing in must not go on answering, nor one that keeps nothing: the writer ends last.
        let (mut source, mut ingest) = (self.source, tokio::task::spawn_blocking(|| self.ingest.join()));
        let (mut writer, mut parts) = (self.writer, self.parts);
        let ended_first = tokio::select! {
            biased;
            source = &mut source => FirstEnd::Source(source.unwrap_or(Ok(()))),
            ingest = &mut ingest => FirstEnd::Decoder(ingest),
            _ = &mut writer => FirstEnd::Writer,
            name = parts.failed() => FirstEnd::Part(name),
        };
        let (source, ingested) = match ended_first {
            FirstEnd::Source(source) => (source, None),
            // Nobody hands anything over any more: the source has ended, too, and says so in a moment.
            FirstEnd::Decoder(Ok(Ok(()))) => (source.await.unwrap_or(Ok(())), Some(Ok(Ok(())))),
            // What was taken in is stored before the end.
            FirstEnd::Part(name) => (Err(ServeError::Internal(name)), None),
            FirstEnd::Decoder(_) => {
                self.shutdown.cancel();
                return Err(ServeError::Internal("decoder"));
            }
            FirstEnd::Writer => {
                self.shutdown.cancel();
                return Err(ServeError::Internal("writer of the store"));
            }
        };
        self.shutdown.cancel();
        let decoder_and_writer = async {
            let ingest = match ingested {
                Some(ended) => ended,
                None => match timeout(DRAIN_TIMEOUT, &mut ingest).await {
                    Ok(ended) => ended,
                    Err(_elapsed) => {
                        let bytes = self.metrics.backlog_waiting_bytes.get();
                        tracing::warn!(
                            bytes,
                            "messages that still wait for decoding are given up: the next start reads the retained messages again"
                        );
                        self.abandon.abandon();
                        ingest.await
                    }
                },
            };
            self.stop_writer.cancel();
            let writer = timeout(LAST_FLUSH_TIMEOUT, writer).await;
            if writer.is_err() {
                let devices = self.registry.dirty_waiting();
                tracing::error!(devices, "the store does not take the last changes: they are lost");
            }
            (ingest, writer)
        };
        let (parts, (ingest, writer)) = tokio::join!(parts.end(), decoder_and_writer);
        source?;
        parts.map_err(ServeError::Internal)?;
        match (ingest, writer) {
            (Ok(Ok(())), Ok(Err(_))) => Err(ServeError::Internal("writer of the store")),
            (Ok(Ok(())), Ok(Ok(())) | Err(_)) => Ok(()),
            _ => Err(ServeError::Internal("decoder")),
        }
    }
}

/// What has ended first.
enum FirstEnd {
    Source(Result<(), ServeError>),
    Decoder(Result<thread::Result<()>, JoinError>),
    Writer,
    Part(&'static str),
}
