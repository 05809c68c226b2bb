//! One MQTT connection from CONNECT to its end: packets out, packets in, keep-alive. What to subscribe to, and what to do
//! when it ends, is decided by the caller.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::{Instant, sleep_until, timeout};

use super::packet::{self, Malformed, Suback, kind};
use super::settings::{MqttVersion, SourceSettings};
use super::transport::{DialError, Dialer, Link, ReceiveBuffer};

/// How long connecting may take, from the first address to the CONNACK.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// A year; a deadline farther away could overflow.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);
/// A message up to this size is skipped without keeping it, so that one oversized message costs only itself; of more than
/// that the stream is taken for broken.
const SKIP_MAX_BYTES: usize = 16 * packet::PACKET_MAX_BYTES;
/// How long a broker that is there may take to answer a PINGREQ. Beyond that the link is doubted, long before the connection
/// is given up.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// An accepted connection.
pub struct Connection {
    link: Link,
    receive_buffer: ReceiveBuffer,
    version: MqttVersion,
    buffer: BytesMut,
    keep_alive: Duration,
    last_sent: Instant,
    last_received: Instant,
    last_packet_id: u16,
    /// PINGREQs that were sent and not answered yet.
    pings_unanswered: u32,
    /// Bytes still to be dropped of a packet that is too large.
    skip: usize,
}

/// What the broker sent.
#[derive(Debug)]
pub enum Received {
    Publishes(Publishes),
    Suback(Suback),
    Unsuback,
    Pong,
    /// A PUBLISH larger than any status message; it is skipped.
    TooLarge,
}

/// A run of whole PUBLISH packets.
#[derive(Debug)]
pub struct Publishes {
    pub packets: Bytes,
    /// How many have the retain flag.
    pub retained: u64,
    /// The packets to acknowledge, in order.
    pub packet_ids: Vec<u16>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the broker did not accept the connection within {} seconds", OPEN_TIMEOUT.as_secs())]
    Timeout,
    #[error("the connection ended before the broker accepted it")]
    Link(#[source] LinkError),
    #[error("{}", refusal(*.0, *.1))]
    Refused(MqttVersion, u8),
}

impl OpenError {
    /// Whether the broker took the connection and closed it without an answer.
    pub fn is_closed_before_connack(&self) -> bool {
        match self {
            OpenError::Link(LinkError::Closed | LinkError::Io(_)) => true,
            OpenError::Link(_) | OpenError::Dial(_) | OpenError::Timeout | OpenError::Refused(..) => false,
        }
    }

    /// Whether the broker refused who we are, so that trying again changes nothing.
    pub fn is_login_refused(&self) -> bool {
        match self {
            OpenError::Refused(MqttVersion::V311, code) => matches!(code, 1 | 2 | 4 | 5),
            OpenError::Refused(MqttVersion::V5, code) => matches!(code, 0x84..=0x87 | 0x8a | 0x8c),
            OpenError::Dial(_) | OpenError::Timeout | OpenError::Link(_) => false,
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the broker closed the connection")]
    Closed,
    #[error("the broker ended the connection with reason 0x{0:02x}")]
    Disconnected(u8),
    #[error("the connection failed")]
    Io(#[source] io::Error),
    #[error("the broker sent what is not MQTT")]
    Malformed(#[from] Malformed),
    #[error("the broker has been silent for {} seconds", .0.as_secs())]
    Silent(Duration),
    /// Without a new connection the broker would not send again what is not acknowledged.
    #[error("more messages that must be acknowledged arrived than may wait for decoding")]
    Overrun,
}

impl Connection {
    /// Connects and logs in as `client_id`.
    pub async fn open(
        dialer: &Dialer,
        settings: &SourceSettings,
        client_id: &str,
    ) -> Result<Self, OpenError> {
        let opened = timeout(OPEN_TIMEOUT, Self::open_untimed(dialer, settings, client_id)).await;
        opened.map_err(|_| OpenError::Timeout)?
    }

    async fn open_untimed(
        dialer: &Dialer,
        settings: &SourceSettings,
        client_id: &str,
    ) -> Result<Self, OpenError> {
        let (link, receive_buffer) = dialer.dial().await?;
        let now = Instant::now();
        let mut connection = Self {
            link,
            receive_buffer,
            version: settings.mqtt_version,
            buffer: BytesMut::new(),
            // MQTT's zero: no keep-alive.
            keep_alive: if settings.keep_alive.is_zero() { FOR_EVER } else { settings.keep_alive },
            last_sent: now,
            last_received: now,
            last_packet_id: 0,
            pings_unanswered: 0,
            skip: 0,
        };
        let connect = packet::Connect {
            version: settings.mqtt_version,
            client_id,
            user_name: settings.login.as_ref().map(|login| login.key.as_str()),
            password: settings.login.as_ref().map(|login| login.token.expose()),
            keep_alive_s: u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX),
            clean_session: settings.clean_session,
            session_expiry_s: u32::try_from(settings.session_expiry.as_secs()).unwrap_or(u32::MAX),
        };
        connection.write(&connect.encode()).await.map_err(OpenError::Link)?;
        let connack = connection.connack().await.map_err(OpenError::Link)?;
        if connack.code != 0 {
            return Err(OpenError::Refused(settings.mqtt_version, connack.code));
        }
        Ok(connection)
    }

    async fn connack(&mut self) -> Result<packet::Connack, LinkError> {
        loop {
            if let Some(frame) = packet::frame(&self.buffer)? {
                if frame.kind() != kind::CONNACK {
                    return Err(Malformed::Unexpected(frame.kind()).into());
                }
                let (connack, len) = (packet::connack(frame.body)?, frame.len);
                let _ = self.buffer.split_to(len);
                return Ok(connack);
            }
            self.read().await?;
        }
    }

    /// How long nothing has come from the broker.
    pub fn silent_for(&self) -> Duration {
        self.last_received.elapsed()
    }

    /// How long a broker that is there can be silent: until the next PINGREQ, and while it answers.
    pub fn longest_silence(&self) -> Duration {
        self.keep_alive / 2 + ANSWER_TIME.min(self.keep_alive / 4)
    }

    /// How many PINGREQs have not been answered yet. If it is none, the broker was there when the last one reached it.
    pub fn pings_unanswered(&self) -> u32 {
        self.pings_unanswered
    }

    pub fn version(&self) -> MqttVersion {
        self.version
    }

    /// What the kernel holds while the reader pauses.
    pub fn receive_buffer(&self) -> ReceiveBuffer {
        self.receive_buffer
    }

    /// Sends a SUBSCRIBE at a quality of service and returns the number its SUBACK will carry.
    pub async fn subscribe(&mut self, filters: &[impl AsRef<str>], quality: u8) -> Result<u16, LinkError> {
        let packet_id = self.next_packet_id();
        self.write(&packet::subscribe(self.version, packet_id, filters, quality)).await?;
        Ok(packet_id)
    }

    pub async fn unsubscribe(&mut self, filters: &[impl AsRef<str>]) -> Result<(), LinkError> {
        let packet_id = self.next_packet_id();
        self.write(&packet::unsubscribe(self.version, packet_id, filters)).await
    }

    /// Sends a PINGREQ; some brokers answer it only after everything that was due before.
    pub async fn ping(&mut self) -> Result<(), LinkError> {
        self.pings_unanswered += 1;
        self.write(&packet::PINGREQ).await
    }

    pub async fn acknowledge(&mut self, packet_ids: &[u16]) -> Result<(), LinkError> {
        if packet_ids.is_empty() {
            return Ok(());
        }
        let pubacks: Vec<u8> = packet_ids.iter().flat_map(|&packet_id| packet::puback(packet_id)).collect();
        self.write(&pubacks).await
    }

    /// Sends packets that are already encoded.
    pub async fn send(&mut self, packets: &[u8]) -> Result<(), LinkError> {
        self.write(packets).await
    }

    /// What the broker sends next. Keeps the connection alive meanwhile. Safe to cancel.
    pub async fn receive(&mut self) -> Result<Received, LinkError> {
        loop {
            if !self.skipping()
                && let Some(received) = self.take()?
            {
                return Ok(received);
            }
            // What the broker wants within the keep-alive is a packet from us, however much it sends itself.
            let ping_at = self.last_sent + self.keep_alive / 2;
            // Anything received is a sign of life: an answer to a PINGREQ may wait behind a long replay.
            let silent_at = self.last_received + self.keep_alive * 3 / 2;
            tokio::select! {
                read = self.read() => read?,
                () = sleep_until(ping_at.min(silent_at)) => {
                    if Instant::now() >= silent_at {
                        return Err(LinkError::Silent(self.keep_alive * 3 / 2));
                    }
                    self.ping().await?;
                }
            }
        }
    }

    /// Sends DISCONNECT and closes.
    pub async fn close(mut self) {
        let goodbye = async {
            let _ = self.link.write(&packet::DISCONNECT).await;
            let _ = self.link.close().await;
        };
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }

    /// The next run of PUBLISH packets or single other packet that is there as a whole.
    fn take(&mut self) -> Result<Option<Received>, LinkError> {
        let mut publishes = Publishes { packets: Bytes::new(), retained: 0, packet_ids: Vec::new() };
        let mut run_len = 0;
        // A fault behind the run is met again, at the front, once the run has been taken.
        while let Ok(Some(frame)) = packet::frame(&self.buffer[run_len..]) {
            if frame.kind() != kind::PUBLISH {
                break;
            }
            publishes.retained += u64::from(frame.head & 1);
            if frame.head & 0b110 != 0
                && let Ok(publish) = packet::publish(&frame, self.version)
            {
                publishes.packet_ids.extend(publish.packet_id);
            }
            run_len += frame.len;
        }
        if run_len > 0 {
            publishes.packets = self.buffer.split_to(run_len).freeze();
            return Ok(Some(Received::Publishes(publishes)));
        }
        let frame = match packet::frame(&self.buffer) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(Malformed::TooLarge { len, publish: true }) if len <= SKIP_MAX_BYTES => {
                self.skip = len;
                return Ok(Some(Received::TooLarge));
            }
            Err(error) => return Err(error.into()),
        };
        let received = match frame.kind() {
            kind::SUBACK => Received::Suback(packet::suback(frame.body, self.version)?),
            kind::UNSUBACK => Received::Unsuback,
            kind::PINGRESP => {
                self.pings_unanswered = self.pings_unanswered.saturating_sub(1);
                Received::Pong
            }
            kind::DISCONNECT => return Err(LinkError::Disconnected(packet::disconnect_reason(frame.body))),
            other => return Err(Malformed::Unexpected(other).into()),
        };
        let len = frame.len;
        let _ = self.buffer.split_to(len);
        Ok(Some(received))
    }

    async fn read(&mut self) -> Result<(), LinkError> {
        let len = self.link.read(&mut self.buffer).await.map_err(LinkError::Io)?;
        self.last_received = Instant::now();
        if len == 0 { Err(LinkError::Closed) } else { Ok(()) }
    }

    /// Drops what has arrived of a packet that is being skipped; true while more of it must come.
    fn skipping(&mut self) -> bool {
        let len = self.skip.min(self.buffer.len());
        self.buffer.advance(len);
        self.skip -= len;
        self.skip > 0
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.link.write(bytes).await.map_err(LinkError::Io)?;
        self.last_sent = Instant::now();
        Ok(())
    }

    fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        self.last_packet_id
    }
}

/// What a refusing CONNACK means and what to check.
fn refusal(version: MqttVersion, code: u8) -> String {
    let meaning = match (version, code) {
        (MqttVersion::V311, 1) | (MqttVersion::V5, 0x84) => {
            "it does not speak this version of MQTT: check --mqtt-version"
        }
        (MqttVersion::V311, 2) | (MqttVersion::V5, 0x85) => {
            "it does not accept the client id: check organization and id"
        }
        (MqttVersion::V311, 3) | (MqttVersion::V5, 0x88 | 0x89) => "it is not available",
        (MqttVersion::V311, 4) | (MqttVersion::V5, 0x86) => "key or token is wrong: check both",
        (MqttVersion::V311, 5) | (MqttVersion::V5, 0x87) => {
            "the login is not authorised: check key and token, that the organization exists, and that the key may be used by applications"
        }
        (MqttVersion::V5, 0x8a) => "this client is banned: ask the broker's administrator",
        (MqttVersion::V5, 0x8c) => "it wants another authentication method",
        (MqttVersion::V311 | MqttVersion::V5, _) => "see the broker's log",
    };
    format!("the broker refused the login with code {code} (0x{code:02x}): {meaning}")
}
