//! `devstatus simulate`: a simulated organisation on a broker of the user's.

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::SimulateSettings;
use simulator::message::Millis;
use simulator::publisher::{PublishError, Publisher};
use simulator::running::Fleet;
use system::clock;

/// Publishes until shutdown, or until the duration that was set is over.
pub async fn run(settings: SimulateSettings, shutdown: CancellationToken) -> Result<(), PublishError> {
    let fleet = Fleet::new(settings.fleet, Millis(clock::now_millis()));
    let stop = shutdown.child_token();
    let (publisher, populated) =
        Publisher::new(settings.source.connect(), settings.source.identity.client_id(), fleet, stop.clone());
    let end = async {
        if let (Ok(()), Some(duration)) = (populated.await, settings.duration) {
            tokio::select! {
                () = sleep(duration) => stop.cancel(),
                () = stop.cancelled() => {}
            }
        }
    };
    let (ended, ()) = tokio::join!(publisher.run(), end);
    ended.map(drop)
}
