//! Sends a fleet's messages to a broker, over the same connections as the service reads from, and comes back when the
//! connection is lost. What the messages say is decided in `running`.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::message::{Millis, StatusMessage};
use super::running::Fleet;
use mqtt::connection::{Connection, LinkError, OpenError, Received};
use mqtt::packet::{self, Publish};
use mqtt::settings::ConnectSettings;
use mqtt::transport::{DialError, Dialer};
use system::backoff::Backoff;
use system::{clock, sentence};

/// How often the fleet lives on: short enough that events do not come in visible bursts.
const STEP_INTERVAL: Duration = Duration::from_millis(50);

/// Messages sent before the broker must have answered a PINGREQ: about 1.5 MB, so a slow broker sets the pace instead of
/// filling buffers, and a connection that needs minutes for millions of devices shows that it lives.
const BATCH_MESSAGES: usize = 5_000;

/// How long a write or an answer under way may hold up the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// A message as it goes to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireMessage {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
}

impl From<StatusMessage> for WireMessage {
    fn from(message: StatusMessage) -> Self {
        let StatusMessage { topic, payload, retain } = message;
        Self { topic, payload: payload.into_bytes(), retain }
    }
}

/// Says in another format what a message of the platform says; `None`: that format has no message for it.
pub type Speech = Box<dyn FnMut(StatusMessage) -> Option<WireMessage> + Send>;

/// A fleet and the broker that it publishes to.
pub struct Publisher {
    settings: ConnectSettings,
    client_id: String,
    fleet: Fleet,
    shutdown: CancellationToken,
    populated: Option<oneshot::Sender<()>>,
    speech: Speech,
}

/// Why nothing can be published: known at the first connect, never later.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("cannot prepare connections to the broker")]
    Prepare(#[source] DialError),
    #[error(transparent)]
    LoginRefused(OpenError),
}

impl Publisher {
    /// The receiver gets word once the broker has taken the first message of every device.
    pub fn new(
        settings: ConnectSettings,
        client_id: String,
        fleet: Fleet,
        shutdown: CancellationToken,
    ) -> (Self, oneshot::Receiver<()>) {
        let (populated, receiver) = oneshot::channel();
        let speech: Speech = Box::new(|message| Some(message.into()));
        (Self { settings, client_id, fleet, shutdown, populated: Some(populated), speech }, receiver)
    }

    /// Speaks another format than the platform's.
    #[must_use]
    pub fn speaking(self, speech: Speech) -> Self {
        Self { speech, ..self }
    }

    /// Publishes until shutdown; gives the fleet back as it is then. What happens while the connection is down reaches
    /// nobody, as with a platform out of reach; the retained messages are all sent again afterwards.
    pub async fn run(mut self) -> Result<Fleet, PublishError> {
        let dialer = Dialer::new(&self.settings).map_err(PublishError::Prepare)?;
        let client_id = self.client_id.clone();
        let shutdown = self.shutdown.clone();
        let mut backoff = Backoff::default();
        let mut accepted = false;
        let mut complained = false;
        loop {
            let opened = tokio::select! {
                () = shutdown.cancelled() => return Ok(self.fleet),
                opened = Connection::open(&dialer, &self.settings, &client_id) => opened,
            };
            let why = match opened {
                Ok(connection) => {
                    accepted = true;
                    complained = false;
                    match self.serve(connection).await {
                        Ok(()) => return Ok(self.fleet),
                        Err(error) => sentence(&error),
                    }
                }
                Err(error) if !accepted && error.is_login_refused() => {
                    return Err(PublishError::LoginRefused(error));
                }
                Err(error) => sentence(&error),
            };
            if !complained {
                tracing::warn!(broker = %self.settings.endpoint, "{why}; trying again");
                complained = true;
            }
            if accepted && self.populated.is_none() {
                // Reached and filled before: the broker is likely to be back soon.
                backoff.reset();
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(self.fleet),
                () = sleep(backoff.wait()) => {}
            }
        }
    }

    /// Publishes over one connection; `Ok` means shutdown.
    async fn serve(&mut self, mut connection: Connection) -> Result<(), LinkError> {
        let shutdown = self.shutdown.clone();
        let overdue = async {
            shutdown.cancelled().await;
            sleep(STOP_TIMEOUT).await;
        };
        tokio::select! {
            published = self.publish(&mut connection) => published?,
            // A packet may be half written: there is no orderly goodbye.
            () = overdue => return Ok(()),
        }
        connection.close().await;
        Ok(())
    }

    async fn publish(&mut self, connection: &mut Connection) -> Result<(), LinkError> {
        // What happened while there was no connection is in the retained messages.
        self.fleet.step(now());
        let mut retained = self.fleet.retained_messages();
        let mut sent = 0;
        while !self.shutdown.is_cancelled() {
            let batch: Vec<StatusMessage> = retained.by_ref().take(BATCH_MESSAGES).collect();
            let is_last = batch.len() < BATCH_MESSAGES;
            sent += batch.len();
            let batch: Vec<WireMessage> = batch.into_iter().filter_map(&mut self.speech).collect();
            send(connection, &batch).await?;
            connection.ping().await?;
            while !matches!(connection.receive().await?, Received::Pong) {}
            if is_last {
                break;
            }
        }
        drop(retained);
        tracing::info!(broker = %self.settings.endpoint, retained = sent, "the fleet is published");
        if let Some(populated) = self.populated.take() {
            // A caller that does not wait for it has dropped the receiver.
            let _ = populated.send(());
        }
        self.live(connection).await
    }

    async fn live(&mut self, connection: &mut Connection) -> Result<(), LinkError> {
        // Publishing counts as sending, so the connection itself would never ask the broker for a sign of life.
        let mut ping = interval((self.settings.keep_alive / 2).max(Duration::from_secs(1)));
        let mut step = interval(STEP_INTERVAL);
        step.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                // Nothing is subscribed to: only answers to PINGREQs come.
                received = connection.receive() => drop(received?),
                _ = ping.tick() => connection.ping().await?,
                _ = step.tick() => {
                    let messages = self.fleet.step(now()).into_iter().filter_map(&mut self.speech);
                    send(connection, &messages.collect::<Vec<_>>()).await?;
                }
            }
        }
    }
}

async fn send(connection: &mut Connection, messages: &[WireMessage]) -> Result<(), LinkError> {
    if messages.is_empty() {
        return Ok(());
    }
    let mut packets = Vec::new();
    for WireMessage { topic, payload, retain } in messages {
        let publish = Publish { topic: topic.as_bytes(), payload, retained: *retain, packet_id: None };
        packet::put_publish(&mut packets, connection.version(), &publish);
    }
    connection.send(&packets).await
}

fn now() -> Millis {
    Millis(clock::now_millis())
}
