//! Every device, and what changes meanwhile: after it, the client has seen each device once and each later change once.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::frame;
use super::stream::{Follower, joined};
use crate::devices::view::Viewer;
use server::feed::{Behind, FleetWalk};

/// How far a snapshot is.
pub struct SnapshotWalk {
    fleet: FleetWalk,
    devices: u64,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// The next step, and whether it was the last. It waits if too many others walk.
    pub async fn walk(
        &mut self,
        walk: &mut Option<Box<SnapshotWalk>>,
        keep_alive_at: Instant,
    ) -> Result<(Bytes, bool), Behind> {
        let walk = match walk {
            Some(walk) => walk,
            None => {
                let permit = self.context.feed.walks().clone().acquire_owned();
                let Ok(permit) = timeout_at(keep_alive_at, permit).await else {
                    return Ok((frame::keep_alive(None), false));
                };
                self.reader.go_to(self.context.feed.head());
                self.begin_settling();
                let permit = permit.expect("the semaphore is never closed");
                let new = SnapshotWalk { fleet: FleetWalk::default(), devices: 0, _permit: permit };
                walk.insert(Box::new(new))
            }
        };
        let (registry, feed) = (&self.context.map, &self.context.feed);
        if !walk.fleet.advance(registry, feed, |device| self.filter.admits_name(device)).await {
            return Ok((frame::snapshot_complete(self.position(), walk.devices), true));
        }
        let shown = walk.show(self);
        let changed = walk.catch_up(self)?;
        Ok((joined([shown, changed].into_iter()), false))
    }
}

impl SnapshotWalk {
    /// The next devices.
    fn show(&mut self, follower: &Follower) -> Bytes {
        let context = &follower.context;
        let viewer = Viewer::of(context);
        let devices = self.fleet.read_step(&context.map, &context.feed);
        let admitted = devices.iter().filter(|snapshot| follower.admits(snapshot));
        let shown: Vec<Bytes> = admitted.map(|snapshot| frame::device(snapshot, &viewer)).collect();
        self.devices += shown.len() as u64;
        joined(shown.into_iter())
    }

    /// The changes up to what has been shown, as far as they are not in it.
    fn catch_up(&self, follower: &mut Follower) -> Result<Bytes, Behind> {
        let mut blocks = Vec::new();
        while follower.reader.position() < self.fleet.read_up_to() {
            let batch = follower.reader.take()?;
            let context = follower.context.clone();
            let viewer = Viewer::of(&context);
            let news = batch.changes().iter().filter(|change| self.fleet.is_news(&context.map, change));
            blocks.extend(news.flat_map(|change| follower.without_ids(change, &viewer)));
        }
        Ok(joined(blocks.into_iter()))
    }
}
