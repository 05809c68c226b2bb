//! Every device, and what changes meanwhile: after it, the client has seen each device once and each later change once.
//!
//! The map is gone through part by part, and in a part by name, some devices at a time. Each device is read together with the
//! sequence of the newest change, under the lock under which changes of the device are published: it reflects its changes up
//! to there, and none later. After each step the changes up to that point are read from the feed, and of each it is decided:
//!
//! - its device has been shown, as it was before: the change is shown;
//! - its device has been shown, as it was after: it is not;
//! - its device is still to be shown: it is not, because it will be seen then;
//! - its device belongs to the part that is being shown and was added after the names had been gathered: the change is shown.
//!
//! So what a walk holds is the names of one part, and it never falls behind the feed by more than a step.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use super::frame;
use super::stream::{Follower, joined};
use crate::api::devices::view::Viewer;
use presence::{Device, DeviceName};
use server::feed::{Behind, Change};
use server::registry::{DeviceRegistry, Snapshot};

/// Devices that are read in one step, some twenty-five kilobytes of text.
const STEP: usize = 32;

/// How far a walk is.
pub struct Walk {
    part: usize,
    /// The newest change before the names were gathered.
    gathered_at: u64,
    names: Vec<DeviceName>,
    /// The first name of the latest step, and the newest change when each device of it was read.
    step_from: usize,
    read_at: Vec<u64>,
    devices: u64,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// The next step, and whether it was the last. It waits if too many others walk.
    pub async fn walk(
        &mut self,
        walk: &mut Option<Box<Walk>>,
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
                let walk = walk.insert(Box::new(Walk::new(permit)));
                walk.gather(self).await;
                walk
            }
        };
        if !walk.go_on(self).await {
            return Ok((frame::snapshot_complete(self.position(), walk.devices), true));
        }
        let shown = walk.show(self);
        let changed = walk.catch_up(self)?;
        Ok((joined([shown, changed].into_iter()), false))
    }

    /// Only types and ids, which no change alters, decide what is gone through.
    fn may_admit(&self, device: Device<'_>) -> bool {
        self.filter.admits_name(device)
    }
}

impl Walk {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        Self {
            part: 0,
            gathered_at: 0,
            names: Vec::new(),
            step_from: 0,
            read_at: Vec::new(),
            devices: 0,
            _permit: permit,
        }
    }

    /// Gathers the names of the part, some at a time: other connections are served in between.
    async fn gather(&mut self, follower: &Follower) {
        // Before the names: a device that is added later is not to be missed.
        self.gathered_at = follower.context.feed.head();
        (self.step_from, self.names, self.read_at) = (0, Vec::new(), Vec::new());
        let (map, mut next) = (&follower.context.map, Some(0));
        while let Some(from) = next {
            next = map.gather_names(self.part, from, |device| follower.may_admit(device), &mut self.names);
            yield_now().await;
        }
        self.names.sort_unstable();
    }

    /// Goes to the next part that has devices if this one has been shown; false after the last.
    async fn go_on(&mut self, follower: &Follower) -> bool {
        self.step_from += self.read_at.len();
        self.read_at.clear();
        while self.step_from == self.names.len() {
            if self.part + 1 == DeviceRegistry::PARTS {
                return false;
            }
            self.part += 1;
            self.gather(follower).await;
        }
        true
    }

    /// The next devices.
    fn show(&mut self, follower: &Follower) -> Bytes {
        let Follower { context, .. } = follower;
        let end = self.names.len().min(self.step_from + STEP);
        let viewer = Viewer::of(context);
        let mut shown = Vec::with_capacity(end - self.step_from);
        for name in &self.names[self.step_from..end] {
            let read = context.map.read(name.device(), |record| (Snapshot::of(record), context.feed.head()));
            // A device that was forgotten meanwhile has no changes before it comes back.
            let read_at = read.as_ref().map_or(self.gathered_at, |(_, read_at)| *read_at);
            self.read_at.push(read_at);
            if let Some((snapshot, _)) = read.filter(|(snapshot, _)| follower.admits(snapshot)) {
                shown.push(frame::device(&snapshot, &viewer));
            }
        }
        self.devices += shown.len() as u64;
        joined(shown.into_iter())
    }

    /// The changes up to what has been shown, as far as they are not in it.
    fn catch_up(&self, follower: &mut Follower) -> Result<Bytes, Behind> {
        let up_to = self.read_at.iter().copied().max().unwrap_or(0);
        let mut blocks = Vec::new();
        while follower.reader.position() < up_to {
            let run = follower.reader.take()?;
            let context = follower.context.clone();
            let viewer = Viewer::of(&context);
            let news = run.changes().iter().filter(|change| self.is_news(&context.map, change));
            blocks.extend(news.flat_map(|change| follower.without_ids(change, &viewer)));
        }
        Ok(joined(blocks.into_iter()))
    }

    fn is_news(&self, map: &DeviceRegistry, change: &Change) -> bool {
        let device = change.snapshot.device();
        let part = map.part_of(device);
        if part != self.part {
            return part < self.part;
        }
        let name =
            |name: &DeviceName| (*name.device_type).cmp(device.device_type).then((*name.id).cmp(device.id));
        match self.names.binary_search_by(name) {
            Ok(at) if at < self.step_from => true,
            Ok(at) => self.read_at.get(at - self.step_from).is_some_and(|read_at| change.sequence > *read_at),
            Err(_) => change.sequence > self.gathered_at,
        }
    }
}
