//! One connection that reads retained messages filter by filter. Which filters, and what it amounts to, is decided in
//! `population`.

use tokio::time::Instant;

use super::backlog::{Acceptance, PacketBatch, Tally};
use super::broker_behavior::{BrokerBehavior, ReplayBehavior};
use super::evidence::Pass;
use super::replay::{QuietInterval, Replay, ReplayStep};
use super::{Source, until};
use crate::clock;
use mqtt::connection::{Connection, LinkError, OpenError, Received};
use mqtt::reason;
use mqtt::settings::{ConnectSettings, MqttVersion};
use mqtt::transport::Dialer;

/// Reads with a client id of its own beside the live subscription.
pub struct PassReader<'a> {
    source: &'a Source,
    dialer: &'a Dialer,
    settings: ConnectSettings,
    client_id: String,
    behavior: &'a BrokerBehavior,
    connection: Option<Connection>,
}

/// Why a pass came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("no connection to read retained messages")]
    Open(#[source] OpenError),
    #[error("the broker refused the subscription with {}", reason::subscription_refusal(*.0, *.1))]
    Refused(MqttVersion, u8),
    #[error("the broker sent no SUBACK")]
    ClosedInstead(#[source] LinkError),
    #[error("the connection ended in the middle of a replay")]
    Lost(#[source] LinkError),
    #[error("the service stops")]
    Stopping,
}

impl PassError {
    /// Whether the broker does not grant what was asked for, so that asking for less may help.
    pub fn is_refusal(&self) -> bool {
        match self {
            PassError::Refused(..) | PassError::ClosedInstead(_) => true,
            PassError::Open(_) | PassError::Lost(_) | PassError::Stopping => false,
        }
    }
}

impl<'a> PassReader<'a> {
    pub fn new(source: &'a Source, dialer: &'a Dialer, role: &str, behavior: &'a BrokerBehavior) -> Self {
        // Nothing of these sessions is worth keeping: each pass reads anew.
        let settings = ConnectSettings { clean_session: true, ..source.settings.connect() };
        let client_id = source.client_id_of(role);
        Self { source, dialer, settings, client_id, behavior, connection: None }
    }

    /// Subscribes and reads until the replay is over and applied. The subscription stays: the same filters again on this
    /// connection make some brokers send what they dropped the first time.
    pub async fn read(&mut self, filters: &[String]) -> Result<Pass, PassError> {
        match self.read_once(filters).await {
            // A link that breaks at this moment looks like a refusal; only what happens twice is one.
            Err(PassError::ClosedInstead(_) | PassError::Lost(_)) => self.read_once(filters).await,
            read => read,
        }
    }

    async fn read_once(&mut self, filters: &[String]) -> Result<Pass, PassError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.dialer, &self.settings, &self.client_id)
                .await
                .map_err(PassError::Open)?,
        };
        let replay = self.replay(&mut connection, filters).await?;
        self.connection = Some(connection);
        if !by_name(filters) {
            self.behavior.learn(ReplayBehavior::of(&replay));
        }
        let read_ms = replay.started.elapsed().as_millis();
        let tally = self.source.backlog.drained(replay.pass).await.ok_or(PassError::Stopping)?;
        let (lost, early_silence) = (replay.lost, replay.early_silence());
        tracing::debug!(
            client_id = self.client_id,
            filter = filters.first(),
            retained = tally.retained,
            new_devices = tally.new_devices,
            longest_pause_ms = replay.longest_pause().as_millis(),
            early_silence_ms = early_silence.map(|silence| silence.as_millis()),
            read_ms,
            applied_ms = replay.started.elapsed().as_millis(),
            "read what is retained"
        );
        let Tally { retained, new_devices, expired, .. } = tally;
        let is_fenced = replay.is_fenced();
        Ok(Pass { retained, new_devices, expired, lost, early_silence, is_fenced, is_confirmed: false })
    }

    /// Ends the subscription to these filters, so that changes come only once.
    pub async fn leave(&mut self, filters: &[String]) {
        if let Some(connection) = &mut self.connection
            && connection.unsubscribe(filters).await.is_err()
        {
            self.connection = None;
        }
    }

    /// Says goodbye, if there is a connection.
    pub async fn close(self) {
        if let Some(connection) = self.connection {
            connection.close().await;
        }
    }

    async fn replay(&self, connection: &mut Connection, filters: &[String]) -> Result<Replay, PassError> {
        let subscribed_ms = clock::now_millis();
        let packet_id = connection.subscribe(filters, 0).await.map_err(before_the_suback)?;
        connection.ping().await.map_err(before_the_suback)?;
        let pass = self.source.next_pass();
        let full = self.source.settings.quiet_interval;
        // Devices that are asked for by name are asked for once, so no other pass tells that one ended early.
        let quiet =
            if by_name(filters) { QuietInterval::full(full) } else { self.behavior.quiet_interval(full) };
        let mut replay = Replay::new(pass, quiet, self.behavior.pong_is_end_mark(), Instant::now());
        if by_name(filters) {
            replay.expect(filters.len() as u64);
        }
        loop {
            let received = tokio::select! {
                received = connection.receive() => received,
                () = until(replay.over_at()) => match replay.due() {
                    ReplayStep::Over => return Ok(replay),
                    ReplayStep::Ping => {
                        connection.ping().await.map_err(PassError::Lost)?;
                        continue;
                    }
                },
                () = self.source.shutdown.cancelled() => return Err(PassError::Stopping),
            };
            match received {
                Ok(Received::Publishes(publishes)) => {
                    replay.received(publishes.retained, Instant::now());
                    let (packets, version) = (publishes.packets, connection.version());
                    let round = self.source.round();
                    let batch = PacketBatch {
                        link: self.source.link,
                        packets,
                        version,
                        round,
                        subscribed_ms,
                        may_have_waited: false,
                        pass: Some(pass),
                        pending_ack: None,
                    };
                    replay.lost |= self.source.backlog.offer(batch) == Acceptance::No;
                    connection.acknowledge(&publishes.packet_ids).await.map_err(PassError::Lost)?;
                }
                Ok(Received::Suback(suback)) if suback.packet_id == packet_id => {
                    if let Some(&code) = suback.codes.iter().find(|&&code| code >= 0x80) {
                        return Err(PassError::Refused(connection.version(), code));
                    }
                    replay.accept(Instant::now());
                }
                Ok(Received::Pong) => replay.pong(connection.pings_unanswered()),
                Ok(Received::TooLarge) => self.source.metrics.undecodable("too_long"),
                Ok(Received::Suback(_) | Received::Unsuback | Received::Puback(_)) => {}
                Err(error) if !replay.is_accepted() => return Err(before_the_suback(error)),
                Err(error) => return Err(PassError::Lost(error)),
            }
        }
    }
}

/// What it means that a connection ended before the SUBACK. A packet that the broker would not take is as good as refused.
fn before_the_suback(error: LinkError) -> PassError {
    let is_refusal = error.is_end_by_peer() || matches!(error, LinkError::PacketTooLarge { .. });
    if is_refusal { PassError::ClosedInstead(error) } else { PassError::Lost(error) }
}

/// Whether each filter names one device, so that it is known how many messages can come.
fn by_name(filters: &[String]) -> bool {
    filters.iter().all(|filter| !filter.contains(['+', '#']))
}
