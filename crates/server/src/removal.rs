//! How an administrator's request to forget a device reaches the writer of the store, which alone knows that no earlier change
//! of the device is still on its way there.

use tokio::sync::{mpsc, oneshot};

use presence::Device;

/// Requests that wait at most; a further one waits for a place. People make them one at a time.
const QUEUE_MAX: usize = 16;

/// One device to forget.
#[derive(Debug)]
pub struct Removal {
    pub device_type: String,
    pub id: String,
    /// Where the outcome goes; closed if nobody waits for it any more.
    pub done: oneshot::Sender<Result<(), StoreFailed>>,
}

/// The store did not drop the device.
#[derive(Debug)]
pub struct StoreFailed;

/// Takes the requests.
#[derive(Clone, Debug)]
pub struct RemovalQueue(mpsc::Sender<Removal>);

/// A queue, and the end of it that the writer reads.
pub fn queue() -> (RemovalQueue, mpsc::Receiver<Removal>) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    (RemovalQueue(sender), receiver)
}

impl RemovalQueue {
    /// Waits until the device is forgotten, in memory and in the store.
    pub async fn forget(&self, device: Device<'_>) -> Result<(), StoreFailed> {
        let (done, outcome) = oneshot::channel();
        let removal = Removal { device_type: device.device_type.to_owned(), id: device.id.to_owned(), done };
        self.0.send(removal).await.map_err(|_stopping| StoreFailed)?;
        outcome.await.map_err(|_stopping| StoreFailed)?
    }
}
