//! Huge pages hold the devices, so that lookups take less time; but while the kernel clears one for a thread, lookups wait.

use std::sync::Arc;
use std::time::Duration;

use server::health::Health;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Has the kernel give the process no more of them once the devices have been found: from then on memory mostly grows slowly. It lasts until
/// the next start, so a fleet that is found later has small pages until then.
pub(super) async fn end_once_populated(health: Arc<Health>, shutdown: CancellationToken) {
    let populated = async {
        while !health.populated() {
            sleep(LOOK_INTERVAL).await;
        }
    };
    if shutdown.run_until_cancelled(populated).await.is_none() {
        return;
    }
    if let Err(error) = system::huge_pages::disable() {
        tracing::debug!(%error, "lookups may wait for huge pages");
    }
    shutdown.cancelled().await;
}
