//! The live subscription: connect, subscribe to every device, hand everything over, and begin again when it ends.

mod end;
mod replay_end;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};

use self::end::{LiveEnd, SubackRefusal, before_the_suback, connection_end, state_after};
use self::replay_end::replay_over;
use super::backlog::{Acceptance, PacketBatch, PassId};
use super::broker_behavior::BrokerBehavior;
use super::link_watch::LinkWatch;
use super::replay::{Replay, ReplayStep};
use super::rival::{self, ConnectionEnd, RivalWatch};
use super::settings::{ApplicationKind, SourceSettings};
use super::{CLOSES_MAX, Source, SourceError, until};
use crate::clock;
use crate::freshness::RoundNumber;
use crate::health::BrokerHealth;
use crate::pending_ack::PendingAck;
use formats::catalog::Formats;
use mqtt::connection::{Connection, LinkError, OpenError, Publishes, Received};
use mqtt::idle::IdleCloses;
use mqtt::packet::Suback;
use mqtt::transport::Dialer;
use system::backoff::Backoff;
use system::sentence;

/// What the population needs to know of the live subscription.
#[derive(Clone, Copy, Debug)]
pub enum LiveEvent {
    /// The broker accepted the subscription; from now on changes arrive as they happen. If it `replays`, the end of the
    /// replay is told, too.
    Subscribed { replays: bool },
    /// The replay that came with the subscription is over, or seems to be.
    ReplayOver(LiveReplay),
    /// The connection ended.
    Down,
}

/// What the replay of the live subscription brought.
#[derive(Clone, Copy, Debug)]
pub struct LiveReplay {
    pub pass: PassId,
    /// Some could not be handed over to the decoder.
    pub lost: bool,
    /// The silence that ended it, if it was shorter than the operator has set: then it is watched still.
    pub early_silence: Option<Duration>,
    /// The answer to a PINGREQ came behind it.
    pub is_fenced: bool,
    /// A retained message answered a subscription with wildcards, if there was one.
    pub shows_replay: bool,
    /// Not only of the types that the subscription names.
    pub of_every_device: bool,
    /// When it was asked for.
    pub started: Instant,
    /// The round that it is the first pass of.
    pub round: RoundNumber,
}

/// The live subscription of one source.
pub struct Live<'a> {
    pub source: &'a Source,
    pub dialer: &'a Dialer,
    pub events: mpsc::UnboundedSender<LiveEvent>,
    pub way: Cell<Way>,
    pub scaling: Cell<Scaling>,
    /// When the subscription was asked for, in milliseconds since 1970.
    pub subscribed_ms: Cell<i64>,
    /// Asks for the broker's own counters.
    pub counters_wanted: &'a Notify,
    /// What replays have shown of the broker.
    pub behavior: &'a BrokerBehavior,
}

/// As whom to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    AsConfigured,
    /// As an instance of the scalable application, though none is configured. The broker refuses the subscription of the
    /// application as a whole where more is retained than its buffer holds, and later every connection; an instance gets
    /// nothing that is retained, so nothing is too much for it.
    AsInstance,
}

/// How to subscribe. Each is tried where the broker has just refused the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To every device at quality of service 1: what is not acknowledged is sent again to the same session.
    Acknowledged,
    /// To every device.
    Everything,
    /// Type by type, as far as types are known.
    ByType,
}

impl Way {
    /// Only a session that outlives its connection has anything to be sent again.
    pub fn first(settings: &SourceSettings) -> Self {
        if settings.formats.are_platform_only()
            && settings.share.partition().is_some()
            && !settings.population.types.is_empty()
        {
            // All types are known, so what others take need not come here at all.
            return Way::ByType;
        }
        if settings.clean_session { Way::Everything } else { Way::Acknowledged }
    }

    /// The platform, for one, closes the connection for quality 1 where more is retained than it would queue.
    fn next(self, settings: &SourceSettings) -> Self {
        match self {
            Way::Acknowledged => Way::Everything,
            // Only the platform's topics name types.
            Way::Everything if !settings.formats.are_platform_only() => Way::first(settings),
            Way::Everything => Way::ByType,
            Way::ByType => Way::first(settings),
        }
    }

    fn quality(self) -> u8 {
        match self {
            Way::Acknowledged => 1,
            Way::Everything | Way::ByType => 0,
        }
    }
}

impl Live<'_> {
    /// Runs until shutdown; returns an error only if the very first login is refused.
    pub async fn run(&self) -> Result<(), SourceError> {
        let mut backoff = Backoff::default();
        let mut accepted_before = false;
        let mut closes = 0;
        let mut rivals = RivalWatch::default();
        let mut idle_closes = IdleCloses::default();
        loop {
            let client_id = self.source.live_client_id(self.scaling.get());
            match self.open(&client_id).await {
                None => return Ok(()),
                Some(Ok(mut connection)) => {
                    accepted_before = true;
                    self.source.metrics.broker_connects.inc();
                    let (broker, receive_buffer) =
                        (&self.source.settings.endpoint, connection.receive_buffer());
                    tracing::info!(%broker, %receive_buffer, "connected");
                    let accepted_at = Instant::now();
                    let end = self.subscribed(&mut connection, &mut backoff).await;
                    let idle_timeout = idle_closes.note(end.idle(), connection.keep_alive());
                    let connection_end = match &idle_timeout {
                        Some(_) => ConnectionEnd::Other,
                        None => connection_end(&end, accepted_at.elapsed()),
                    };
                    self.source.report_rival(rivals.note(connection_end, &client_id));
                    self.source.health.link_lost(connection.silent_for());
                    self.behavior.live_is_gone();
                    self.notify(LiveEvent::Down);
                    if matches!(end, LiveEnd::Shutdown | LiveEnd::Refused(_)) {
                        connection.close().await;
                    }
                    closes = if matches!(end, LiveEnd::ClosedInstead(_)) { closes + 1 } else { 0 };
                    if matches!(end, LiveEnd::Refused(_)) || closes == CLOSES_MAX {
                        // The same again would be refused again: try the other way next time.
                        if !self.falls_back_to_instance() {
                            self.way.set(self.way.get().next(&self.source.settings));
                        }
                        closes = 0;
                    }
                    match state_after(&end, idle_timeout, &self.topics()) {
                        None => return Ok(()),
                        Some(state) => self.source.report(state),
                    }
                }
                Some(Err(error)) if error.is_login_refused() => {
                    if !accepted_before && !self.source.is_one_of_several {
                        return Err(SourceError::LoginRefused(error));
                    }
                    self.source.report(BrokerHealth::LoginRefused(sentence(&error)));
                }
                Some(Err(error)) => {
                    rivals.note(ConnectionEnd::Other, &client_id);
                    closes = if error.is_closed_before_connack() { closes + 1 } else { 0 };
                    if closes == CLOSES_MAX {
                        self.falls_back_to_instance();
                        closes = 0;
                    }
                    self.source.report(if error.is_subscription_refused() {
                        BrokerHealth::SubscriptionRefused(sentence(&error))
                    } else {
                        BrokerHealth::Lost(sentence(&error))
                    });
                }
            }
            tokio::select! {
                () = sleep(backoff.wait()) => {}
                () = self.source.shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// `None`: shutdown came first.
    async fn open(&self, client_id: &str) -> Option<Result<Connection, OpenError>> {
        let settings = self.source.settings.connect();
        tokio::select! {
            opened = Connection::open(self.dialer, &settings, client_id) => Some(opened),
            () = self.source.shutdown.cancelled() => None,
        }
    }

    /// Connects as an instance from now on, if it is a scalable application without one. Returns whether that is new.
    fn falls_back_to_instance(&self) -> bool {
        let is_whole = match &self.source.settings.identity.kind {
            ApplicationKind::Scalable { instance } => instance.is_none(),
            ApplicationKind::Client | ApplicationKind::Standalone => false,
        };
        if !is_whole || self.scaling.get() == Scaling::AsInstance {
            return false;
        }
        self.scaling.set(Scaling::AsInstance);
        tracing::warn!(
            refused = self.source.live_client_id(Scaling::AsConfigured),
            instead = self.source.live_client_id(Scaling::AsInstance),
            "the broker refuses the shared subscription of the application as a whole, as the platform does where more \
             statuses are retained than its buffer holds: connecting as an instance, which gets no retained status; \
             these are read over other connections. To connect so from the start, name an instance: --scalable INSTANCE"
        );
        true
    }

    /// Subscribes and hands over what comes until the connection ends.
    async fn subscribed(&self, connection: &mut Connection, backoff: &mut Backoff) -> LiveEnd {
        let mut accepted = false;
        match self.follow(connection, backoff, &mut accepted).await {
            Ok(end) => end,
            Err(error) if !accepted => before_the_suback(error),
            Err(error) => LiveEnd::Lost(error),
        }
    }

    /// The same; `accepted` says whether the SUBACK had come when an error ends it.
    async fn follow(
        &self,
        connection: &mut Connection,
        backoff: &mut Backoff,
        accepted: &mut bool,
    ) -> Result<LiveEnd, LinkError> {
        // Before anything can come: what comes over this connection is heard of in this round.
        let replays = self.source.settings.gets_retained() && self.source.reads_retained();
        let round = replays.then(|| self.source.next_round());
        self.silence_unretained();
        let mut watch = LinkWatch::new(&self.source.health);
        let accepted_at = Instant::now();
        let mut filters = self.filters();
        let of_every_device = self.is_to_every_device(&filters);
        self.subscribed_ms.set(clock::now_millis());
        let packet_id = self.subscribe(connection, &filters).await?;
        let mut replay = Some(self.begin_replay(round));
        let (pending_acks, mut durable) = mpsc::unbounded_channel::<Vec<u16>>();
        loop {
            let over_at = replay.as_ref().and_then(Replay::over_at);
            let received = tokio::select! {
                received = connection.receive() => received?,
                Some(packet_ids) = durable.recv() => {
                    connection.acknowledge(&packet_ids).await?;
                    continue;
                }
                () = until(over_at) => {
                    if replay.as_mut().map(Replay::due) == Some(ReplayStep::Ping) {
                        connection.ping().await?;
                        continue;
                    }
                    self.replay_silent(&mut replay, backoff, |replay| {
                        Some(replay_over(replay, round?, of_every_device, &filters))
                    });
                    continue;
                }
                () = watch.due() => {
                    if accepted_at.elapsed() >= rival::SHORT_LIFE {
                        self.source.report_rival(None);
                    }
                    watch.check(connection).await?;
                    continue;
                }
                () = self.source.types_read.notified(), if !of_every_device => {
                    self.follow_new_types(connection, &mut filters).await?;
                    continue;
                }
                () = self.source.shutdown.cancelled() => return Ok(LiveEnd::Shutdown),
            };
            watch.received(connection);
            match received {
                Received::Publishes(publishes) => {
                    self.hand_over(connection, publishes, replay.as_mut(), &pending_acks).await?;
                }
                Received::Suback(suback) if suback.packet_id == packet_id => {
                    if let Err(refusal) = self.accepted(connection, suback, round) {
                        return Ok(LiveEnd::Refused(refusal));
                    }
                    *accepted = true;
                    replay.iter_mut().for_each(|replay| replay.accept(Instant::now()));
                }
                Received::Pong => {
                    replay.iter_mut().for_each(|replay| replay.pong(connection.pings_unanswered()));
                }
                Received::TooLarge => self.source.metrics.undecodable("too_long"),
                Received::Suback(_) | Received::Unsuback | Received::Puback(_) => {}
            }
        }
    }

    /// What happened to devices of sources that retain nothing while there was no link is repeated by nobody.
    fn silence_unretained(&self) {
        let formats = &self.source.settings.formats;
        if formats.lack_retained() {
            let is_unretained = |source: Option<&str>| source.is_some_and(|name| formats.is_unretained(name));
            self.source.registry.silence_sources(is_unretained);
        }
    }

    /// Shows that the subscription holds, if its SUBACK grants it.
    fn accepted(
        &self,
        connection: &Connection,
        suback: Suback,
        round: Option<RoundNumber>,
    ) -> Result<(), SubackRefusal> {
        if let Some(&code) = suback.codes.iter().find(|&&code| code >= 0x80) {
            let version = connection.version();
            return Err(SubackRefusal { version, code, properties: suback.properties });
        }
        self.source.report_limits(connection.offer(), self.lower_quality(&suback));
        self.source.report(BrokerHealth::Subscribed);
        round.into_iter().for_each(|round| self.source.health.round_begun(round));
        self.notify(LiveEvent::Subscribed { replays: round.is_some() });
        Ok(())
    }

    /// What it means that a SUBACK grants less than was asked for; `None` if it does not.
    fn lower_quality(&self, suback: &Suback) -> Option<String> {
        let asked = self.way.get().quality();
        let lowest = suback.codes.iter().copied().min()?;
        (lowest < asked).then(|| {
            format!(
                "The broker grants QoS {lowest} where QoS {asked} was asked for, so what is published while the service \
                 is away is read only as far as it is retained."
            )
        })
    }

    async fn subscribe(
        &self,
        connection: &mut Connection,
        filters: &BTreeSet<String>,
    ) -> Result<u16, LinkError> {
        let shared: Vec<String> = filters.iter().map(|filter| self.source.settings.shared(filter)).collect();
        let packet_id = connection.subscribe(&shared, self.way.get().quality()).await?;
        connection.ping().await?;
        Ok(packet_id)
    }

    /// What to subscribe to: every device at once, or each known type if the broker has just refused that.
    fn filters(&self) -> BTreeSet<String> {
        let types = self.source.subscribed_types();
        if self.way.get() != Way::ByType || types.is_empty() {
            return self.source.settings.formats.filters().into_iter().collect();
        }
        types.iter().map(|device_type| Formats::filter_of_type(device_type)).collect()
    }

    /// The topics for a person.
    fn topics(&self) -> String {
        self.source.settings.formats.filters().join(", ")
    }

    fn is_to_every_device(&self, filters: &BTreeSet<String>) -> bool {
        self.source.settings.formats.covers_all(filters.iter().map(String::as_str))
    }

    /// Subscribes to the types that have turned up since, where the subscription names its types.
    async fn follow_new_types(
        &self,
        connection: &mut Connection,
        filters: &mut BTreeSet<String>,
    ) -> Result<(), LinkError> {
        let new: Vec<String> = self.filters().difference(filters).cloned().collect();
        if !new.is_empty() {
            let shared: Vec<String> = new.iter().map(|filter| self.source.settings.shared(filter)).collect();
            connection.subscribe(&shared, self.way.get().quality()).await?;
            filters.extend(new);
        }
        Ok(())
    }

    /// Counts a batch for the replay that is on, if any, and hands it to the decoder. Acknowledges all of it at once where
    /// nothing would be sent again anyway.
    async fn hand_over(
        &self,
        connection: &mut Connection,
        publishes: Publishes,
        replay: Option<&mut Replay>,
        pending_acks: &mpsc::UnboundedSender<Vec<u16>>,
    ) -> Result<(), LinkError> {
        // What comes after its end was told belongs to no pass.
        let pass = replay.as_ref().filter(|replay| !replay.is_reported()).map(|replay| replay.pass);
        let (at_once, later) = if self.source.settings.clean_session {
            (publishes.packet_ids, Vec::new())
        } else {
            (Vec::new(), publishes.packet_ids)
        };
        let must_not_be_lost = !later.is_empty();
        let pending_ack = must_not_be_lost.then(|| PendingAck::new(later, pending_acks.clone()));
        let (version, round) = (connection.version(), self.source.round());
        let may_have_waited = !self.source.settings.clean_session;
        let subscribed_ms = self.subscribed_ms.get();
        let batch = PacketBatch {
            link: self.source.link,
            packets: publishes.packets,
            version,
            round,
            subscribed_ms,
            may_have_waited,
            pass,
            pending_ack,
        };
        let lost = self.source.backlog.offer(batch) == Acceptance::No;
        if lost && pass.is_none() {
            self.source.live_loss.add();
        }
        if let Some(replay) = replay {
            replay.received(publishes.retained, Instant::now());
            replay.lost |= lost;
            if replay.is_reported() && publishes.retained > 0 {
                self.behavior.live_seems_over(replay.longest_pause());
            }
            // So many prove nothing by themselves: the counters are asked for while the rest still comes.
            let lowest_limit = self.source.settings.population.replay_limits.first();
            if lowest_limit.is_some_and(|&lowest| replay.retained >= lowest) {
                self.counters_wanted.notify_one();
            }
        }
        if lost && must_not_be_lost {
            return Err(LinkError::Overrun);
        }
        connection.acknowledge(&at_once).await
    }

    fn notify(&self, event: LiveEvent) {
        // The population ends before the live subscription only at shutdown.
        let _ = self.events.send(event);
    }
}
