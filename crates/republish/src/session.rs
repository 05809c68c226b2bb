//! One connection: every device once, then those that change, until the link is lost or the service stops.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtt::connection::{Connection, Received};
use mqtt::packet::{self, Puback, Publish};
use mqtt::reason;
use presence::{Device, DeviceName, Status};
use server::feed::{Behind, ChangeReader, names_of_part};
use server::registry::{Record, Snapshot};
use system::{clock, sentence};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::announcements::{Announcement, Announcements};
use crate::cleanup::{Cleanup, CleanupError, FOUND_MAX};
use crate::in_flight::InFlight;
use crate::own_messages::OwnMessages;
use crate::plan::{Plan, PlanStep, Publication, RetainedMessage, Trigger};
use crate::service::{OFFLINE, ONLINE, RepublishError, Republisher};
use server::registry::DeviceRegistry;

/// The summary is published this often, if it has changed.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// All devices are looked at again this long after the broker has refused a message.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// How long the goodbye may take: a stop is bounded by five seconds.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 << 10;

/// The longest that nothing is looked at.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// What one connection has to do.
pub struct RepublishSession<'a> {
    all: &'a Republisher,
    connection: Connection,
    reader: ChangeReader,
    announcements: Announcements,
    plan: Plan,
    /// Planned and not sent yet; the numbers are for [`Plan::note_failed`].
    outbox: VecDeque<(RetainedMessage, Option<u64>)>,
    in_flight: InFlight<Option<u64>>,
    own: OwnMessages,
    summary_at: Instant,
    /// When all devices are looked at again.
    walk_at: Option<Instant>,
    cleanup: Option<AbortOnDropHandle<Result<Vec<DeviceName>, CleanupError>>>,
    /// How many looks at all devices the latest cleanup has followed.
    cleaned: u64,
}

impl<'a> RepublishSession<'a> {
    pub fn new(all: &'a Republisher, connection: Connection) -> Self {
        let settings = &all.settings;
        // Before the names of devices are gathered: none is missed.
        let reader = all.feed.follow_internally();
        let receive_max = connection.offer().receive_max;
        Self {
            all,
            connection,
            reader,
            announcements: Announcements::new(settings.settle, settings.selector.clone()),
            plan: Plan::new(settings.topics(), settings.discovery(), DeviceRegistry::PARTS),
            outbox: VecDeque::new(),
            in_flight: InFlight::new(receive_max),
            own: OwnMessages::default(),
            summary_at: Instant::now(),
            walk_at: None,
            cleanup: None,
            cleaned: 0,
        }
    }

    /// Whether every device was published.
    pub fn is_online(&self) -> bool {
        self.own.is_online()
    }

    /// Publishes until `shutdown`, or until the link is lost.
    pub async fn run(&mut self, shutdown: &CancellationToken) -> Result<(), RepublishError> {
        loop {
            self.read_changes();
            self.begin_what_is_due().await;
            let has_more = self.plan_on().await;
            if shutdown.is_cancelled() {
                return self.say_goodbye().await;
            }
            // A broker that reads nothing does not hold up a stop; the will takes the place of the goodbye.
            let Some(sent) = shutdown.run_until_cancelled(self.send()).await else { return Ok(()) };
            sent?;
            if (has_more || !self.outbox.is_empty()) && self.in_flight.has_room() {
                yield_now().await;
                continue;
            }
            let wait = self.longest_wait();
            let received = tokio::select! {
                () = shutdown.cancelled() => return self.say_goodbye().await,
                received = self.connection.receive() => Some(received?),
                () = self.reader.wait() => None,
                found = finished(&mut self.cleanup) => {
                    self.note_found(found);
                    None
                }
                () = sleep(wait) => None,
            };
            if let Some(Received::Puback(puback)) = received {
                self.note_acknowledged(puback);
            }
            if self.in_flight.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(RepublishError::NotAcknowledged);
            }
        }
    }

    /// Takes all changes that there are. If some were dropped before they were read, all devices are looked at again.
    fn read_changes(&mut self) {
        loop {
            match self.reader.take() {
                Ok(batch) if batch.changes().is_empty() => return,
                Ok(batch) => {
                    for change in batch.changes() {
                        let (device, announcements) = (&change.snapshot, &mut self.announcements);
                        let announced = if change.removal.is_some() {
                            vec![announcements.forget(device)]
                        } else {
                            announcements.offer(device, change.previous)
                        };
                        announced.into_iter().for_each(|announcement| self.note(announcement));
                    }
                }
                Err(Behind) => {
                    self.reader.go_to(self.all.feed.head());
                    self.announcements.clear();
                    self.plan.walk_again();
                }
            }
        }
    }

    fn note(&mut self, announcement: Announcement) {
        match announcement {
            Announcement::Changed(name) => self.plan.note_change(name),
            Announcement::Forgotten(name) => self.plan.note_retained(name),
            Announcement::Back(name) if self.plan.has_published(name.device()) => {}
            Announcement::Back(name) => self.plan.note_change(name),
        }
    }

    async fn begin_what_is_due(&mut self) {
        for name in self.announcements.due(&self.all.registry, clock::now_millis()) {
            self.plan.note_change(name);
        }
        if let Some(after) = self.announcements.take_overflow() {
            self.walk_again_after(after);
        }
        if self.walk_at.take_if(|at| *at <= Instant::now()).is_some() {
            self.plan.walk_again();
            self.own.retry();
        }
        if self.plan.walks_done() == 0 {
            return;
        }
        // Behind the messages about all devices, so that it is never said of older ones.
        if self.own.say_online() {
            self.say(self.plan.topics().service(), ONLINE.into());
        }
        if self.summary_at <= Instant::now() {
            self.summary_at = Instant::now() + SUMMARY_INTERVAL;
            let summary = self.all.describe.summary().await;
            if let Some(summary) = summary.and_then(|summary| self.own.say_summary(summary)) {
                self.say(self.plan.topics().summary(), summary);
            }
        }
        // While the devices are still being found, one that is not known yet may be among them.
        let is_due = self.cleaned < self.plan.walks_done() && self.all.feed.is_populated();
        if is_due && self.cleanup.is_none() {
            self.cleaned = self.plan.walks_done();
            let cleanup = Cleanup::new(&self.all.settings, Arc::clone(&self.all.registry));
            self.cleanup = Some(AbortOnDropHandle::new(tokio::spawn(cleanup.run())));
        }
    }

    fn walk_again_after(&mut self, wait: Duration) {
        let at = Instant::now() + wait;
        self.walk_at = Some(self.walk_at.map_or(at, |other| other.min(at)));
    }

    fn say(&mut self, topic: String, payload: Vec<u8>) {
        self.outbox.push_back((RetainedMessage { topic, payload }, None));
    }

    /// Plans as many messages as the broker takes now; says whether there is more to plan.
    async fn plan_on(&mut self) -> bool {
        while self.outbox.is_empty() || self.in_flight.len() + self.outbox.len() < self.in_flight.most() {
            let (announcements, reader, all) = (&mut self.announcements, &self.reader, self.all);
            match self.plan.next(|name, trigger| wanted(name, trigger, announcements, reader, all)) {
                PlanStep::Publish { messages, key } => {
                    self.outbox.extend(messages.into_iter().map(|message| (message, Some(key))));
                }
                PlanStep::Gather(part) => {
                    let selector = &self.all.settings.selector;
                    let is_wanted = |device: Device<'_>| selector.admits_name(device);
                    let names = names_of_part(&self.all.registry, part, is_wanted).await;
                    self.plan.add_names(names);
                }
                PlanStep::Yield | PlanStep::ReadChanges => return true,
                PlanStep::Wait => return self.plan.walks_done() > 0 && !self.is_online(),
            }
        }
        true
    }

    /// Sends what was planned, as far as the broker takes more.
    async fn send(&mut self) -> Result<(), RepublishError> {
        let (version, max) = (self.connection.version(), self.connection.offer().packet_max_bytes);
        let mut packets = Vec::new();
        while self.in_flight.has_room() && packets.len() < WRITE_BYTES {
            let Some((RetainedMessage { topic, payload }, key)) = self.outbox.pop_front() else { break };
            let begin = packets.len();
            let packet_id = self.in_flight.add(key, Instant::now());
            let (topic, payload, packet_id) = (topic.as_bytes(), &*payload, Some(packet_id));
            packet::put_publish(
                &mut packets,
                version,
                &Publish { topic, payload, retained: true, packet_id },
            );
            if packets.len() - begin > max {
                packets.truncate(begin);
                let _ = packet_id.and_then(|packet_id| self.in_flight.acknowledge(packet_id));
                self.all.metrics.failed.inc();
                tracing::warn!(max, "a message is larger than the broker takes, and is not republished");
            }
        }
        self.show_in_flight();
        if packets.is_empty() { Ok(()) } else { Ok(self.connection.send(&packets).await?) }
    }

    fn show_in_flight(&self) {
        self.all.metrics.in_flight.set(i64::try_from(self.in_flight.len()).unwrap_or(i64::MAX));
    }

    fn note_acknowledged(&mut self, Puback { packet_id, code }: Puback) {
        let Some(key) = self.in_flight.acknowledge(packet_id) else { return };
        self.show_in_flight();
        if code < 0x80 {
            self.all.metrics.published.inc();
            return;
        }
        self.all.metrics.failed.inc();
        if self.walk_at.is_none() {
            let reason = reason::name_5(code);
            tracing::warn!(
                code,
                reason,
                "the broker refuses a message; what it refuses is published again in a minute"
            );
        }
        match key {
            Some(key) => self.plan.note_failed(key),
            None => self.own.note_refused(),
        }
        self.walk_again_after(RETRY_AFTER);
    }

    /// What the cleanup has found is dropped from the broker.
    fn note_found(&mut self, found: Result<Vec<DeviceName>, CleanupError>) {
        match found {
            Ok(names) => {
                if names.len() >= FOUND_MAX {
                    self.cleaned = 0;
                }
                if !names.is_empty() {
                    tracing::info!(
                        devices = names.len(),
                        "retained messages about devices that are gone are dropped"
                    );
                }
                names.into_iter().for_each(|name| self.plan.note_retained(name));
            }
            Err(error) => tracing::warn!(
                error = %sentence(&error),
                "what is retained of devices that are gone cannot be looked for, and stays"
            ),
        }
    }

    fn longest_wait(&self) -> Duration {
        let now = Instant::now();
        let due = [self.in_flight.deadline(), self.walk_at, Some(self.summary_at)];
        let until = due.into_iter().flatten().map(|at| at.saturating_duration_since(now));
        until
            .chain(self.announcements.due_in(clock::now_millis()))
            .min()
            .map_or(IDLE_MAX, |wait| wait.min(IDLE_MAX))
    }

    /// Says that the service is offline, and closes the connection.
    async fn say_goodbye(&mut self) -> Result<(), RepublishError> {
        self.outbox.clear();
        self.say(self.plan.topics().service(), OFFLINE.into());
        let goodbye = async {
            while !(self.outbox.is_empty() && self.in_flight.is_empty()) {
                self.send().await?;
                if let Received::Puback(puback) = self.connection.receive().await? {
                    self.note_acknowledged(puback);
                }
            }
            Ok::<(), RepublishError>(())
        };
        // Without it, the broker publishes the will.
        if let Ok(Ok(())) = timeout(GOODBYE_TIMEOUT, goodbye).await {
            let _ = self.connection.send(&packet::DISCONNECT).await;
        }
        Ok(())
    }
}

/// What should be retained of a device now.
fn wanted(
    name: &DeviceName,
    trigger: Trigger,
    announcements: &mut Announcements,
    reader: &ChangeReader,
    all: &Republisher,
) -> Publication {
    let read = |record: &Record<'_>| (Snapshot::of(record), all.feed.head());
    let Some((device, head)) = all.registry.read(name.device(), read) else { return Publication::Nothing };
    if !announcements.selects(&device) {
        return Publication::Nothing;
    }
    if announcements.settles() && device.status == Status::Disconnected {
        if head > reader.position() {
            return Publication::Unread;
        }
        if announcements.holds(&device, trigger == Trigger::Walk, clock::now_millis()) {
            return Publication::Held;
        }
    }
    Publication::Content(all.describe.device(&device))
}

/// Waits until the cleanup has ended, and takes it.
async fn finished(
    cleanup: &mut Option<AbortOnDropHandle<Result<Vec<DeviceName>, CleanupError>>>,
) -> Result<Vec<DeviceName>, CleanupError> {
    let Some(running) = cleanup else { return pending().await };
    let found = running.await;
    *cleanup = None;
    // It ends before only if it panics.
    found.unwrap_or_else(|_| Ok(Vec::new()))
}
