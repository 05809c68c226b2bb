//! What ends a service by itself.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::source_threads::{end_of_all, spawn_with_runtime};
use super::*;
use server::health::ReadyOn;

/// How long a part may take to notice that another one has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A thread that fails, as a source, the writer and the rest have one.
fn failing<T: Send + 'static>(name: &'static str) -> oneshot::Receiver<T> {
    spawn_with_runtime(name, |_runtime, _ended| panic!("a test wants this thread to fail")).unwrap()
}

/// A service of parts that do nothing until `shutdown`.
fn idle(shutdown: &CancellationToken) -> RunningService {
    let (metrics, registry) = (Metrics::default(), Arc::new(DeviceRegistry::default()));
    let health = Arc::new(Health::new(ReadyOn::Unproven));
    let (_, pending) = backlog(0, metrics.clone());
    let (stopped, stop_writer) = (shutdown.clone(), CancellationToken::new());
    let until = |stop: CancellationToken| {
        spawn_with_runtime("idle", move |runtime, ended| {
            runtime.block_on(stop.cancelled());
            // A test that has failed waits no more.
            let _ = ended.send(());
        })
        .unwrap()
    };
    let parts = Parts::new(shutdown.clone());
    parts.spawn("idle part", async move { stopped.cancelled().await });
    RunningService {
        http_address: (Ipv4Addr::LOCALHOST, 0).into(),
        progress: ProgressSource { registry: Arc::clone(&registry), health, metrics: metrics.clone() },
        shutdown: shutdown.clone(),
        source: spawn_with_runtime("source", {
            let shutdown = shutdown.clone();
            move |runtime, ended| {
                runtime.block_on(shutdown.cancelled());
                let _ = ended.send(Ok(()));
            }
        })
        .unwrap(),
        ingest: thread::spawn({
            let (runtime, shutdown) = (Handle::current(), shutdown.clone());
            move || runtime.block_on(shutdown.cancelled())
        }),
        abandon: pending.abandon(),
        metrics,
        writer: until(stop_writer.clone()),
        stop_writer,
        parts,
        registry,
    }
}

async fn end_of(service: RunningService) -> Result<(), ServeError> {
    timeout(PATIENCE, service.wait()).await.unwrap()
}

/// Waits until the service has ended because this part of it has.
async fn expect_failure(service: RunningService, part: &str) {
    let shutdown = service.shutdown.clone();
    let error = end_of(service).await.unwrap_err();
    assert_eq!(error.to_string(), format!("internal error: the {part} ended unexpectedly"));
    assert!(shutdown.is_cancelled(), "nothing is answered any more");
}

#[tokio::test]
async fn a_service_that_is_stopped_ends_without_an_error() {
    let shutdown = CancellationToken::new();
    let service = idle(&shutdown);
    shutdown.cancel();
    end_of(service).await.unwrap();
}

#[tokio::test]
async fn a_writer_that_fails_ends_the_service_with_an_error() {
    let shutdown = CancellationToken::new();
    let service = RunningService { writer: failing("writer"), ..idle(&shutdown) };
    expect_failure(service, "writer of the store").await;
}

#[tokio::test]
async fn a_decoder_that_fails_ends_the_service_with_an_error() {
    let shutdown = CancellationToken::new();
    let ingest = thread::spawn(|| panic!("a test wants this thread to fail"));
    let service = RunningService { ingest, ..idle(&shutdown) };
    expect_failure(service, "decoder").await;
}

#[tokio::test]
async fn a_reader_that_fails_ends_the_service_with_an_error_whatever_the_others_do() {
    let shutdown = CancellationToken::new();
    let (_working, other) = oneshot::channel();
    let (ended, source) = oneshot::channel();
    let service = RunningService { source, ..idle(&shutdown) };
    let ends = end_of_all(vec![other, failing("source")]);
    let ends = async { ended.send(ends.await).unwrap() };
    tokio::join!(ends, expect_failure(service, "reader of a broker"));
}

#[tokio::test]
async fn a_part_that_fails_or_ends_too_early_ends_the_service_with_an_error() {
    for fails in [true, false] {
        let shutdown = CancellationToken::new();
        let service = idle(&shutdown);
        service.parts.spawn("part", async move { assert!(!fails, "a test wants this task to fail") });
        expect_failure(service, "part").await;
    }
}

#[tokio::test]
async fn a_part_that_fails_while_the_service_stops_is_an_error() {
    let shutdown = CancellationToken::new();
    let service = idle(&shutdown);
    let stopped = shutdown.clone();
    service.parts.spawn("part", async move {
        stopped.cancelled().await;
        panic!("a test wants this task to fail");
    });
    shutdown.cancel();
    expect_failure(service, "part").await;
}
