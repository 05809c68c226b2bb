//! One MQTT connection from CONNECT to its end: packets out, packets in, keep-alive. What to subscribe to, and what to do
//! when it ends, is decided by the caller.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::{Instant, sleep_until, timeout};

use super::deadlines::{AnswerError, Deadlines, Due, PONG_TIMEOUT, SUBACK_TIMEOUT};
use super::offer::{self, NotOffered, Offer};
use super::packet::{self, MalformedPacket, Puback, Suback, kind};
use super::property::Properties;
use super::reason;
use super::settings::{ConnectSettings, MqttVersion};
use super::transport::{DialError, DialStep, Dialer, Link, ReceiveBuffer};

/// How long connecting may take, from the first address to the CONNACK.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// A message up to this size is skipped without keeping it, so that one oversized message costs only itself; of more than
/// that the stream is taken for broken.
const SKIP_MAX_BYTES: usize = 16 * packet::PACKET_MAX_BYTES;
/// How long a broker that is there may take to answer a PINGREQ. Beyond that the link is doubted, long before the connection
/// is given up.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// A broker that takes nothing of a packet of ours for this long has stopped reading.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// An accepted connection.
pub struct Connection {
    link: Link,
    receive_buffer: ReceiveBuffer,
    version: MqttVersion,
    buffer: BytesMut,
    deadlines: Deadlines,
    offer: Offer,
    last_packet_id: u16,
    write_timeout: Duration,
    /// Bytes still to be dropped of a packet that is too large.
    skip: usize,
}

/// What the broker sent.
#[derive(Debug)]
pub enum Received {
    Publishes(Publishes),
    Suback(Suback),
    Unsuback,
    Puback(Puback),
    Pong,
    /// A PUBLISH larger than any status message; it is skipped.
    TooLarge,
}

/// A batch of whole PUBLISH packets.
#[derive(Debug, Default)]
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
    #[error("the broker did not accept the connection within {} seconds: {}", OPEN_TIMEOUT.as_secs(), .0)]
    Timeout(DialStep),
    #[error("the connection ended before the broker accepted it")]
    Link(#[source] LinkError),
    #[error("{}", reason::login_refusal(*.version, *.code, .properties, &reason::SettingNames::OF_SOURCE))]
    Refused { version: MqttVersion, code: u8, properties: Box<Properties> },
    /// The login was accepted, and what is needed is not to be had.
    #[error(transparent)]
    NotOffered(#[from] NotOffered),
}

impl OpenError {
    /// Whether the broker took the connection and closed it without an answer.
    pub fn is_closed_before_connack(&self) -> bool {
        match self {
            OpenError::Link(LinkError::Closed { .. } | LinkError::Io { .. }) => true,
            OpenError::Link(_)
            | OpenError::Dial(_)
            | OpenError::Timeout(_)
            | OpenError::Refused { .. }
            | OpenError::NotOffered(_) => false,
        }
    }

    /// Whether the broker refused who we are, so that trying again changes nothing.
    pub fn is_login_refused(&self) -> bool {
        match self {
            OpenError::Refused { version: MqttVersion::V311, code, .. } => matches!(code, 1 | 2 | 4 | 5),
            OpenError::Refused { version: MqttVersion::V5, code, .. } => {
                matches!(code, 0x84..=0x87 | 0x8a | 0x8c)
            }
            OpenError::Dial(_) | OpenError::Timeout(_) | OpenError::Link(_) | OpenError::NotOffered(_) => {
                false
            }
        }
    }

    /// Whether the broker has said that it would not grant the subscription.
    pub fn is_subscription_refused(&self) -> bool {
        match self {
            OpenError::NotOffered(_) => true,
            OpenError::Dial(_) | OpenError::Timeout(_) | OpenError::Link(_) | OpenError::Refused { .. } => {
                false
            }
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// `idle`: for how long nothing had been sent either way.
    #[error("the broker closed the connection")]
    Closed { idle: Duration },
    #[error("{}", reason::disconnect(*.code, .properties, &reason::SettingNames::OF_SOURCE))]
    Disconnected { code: u8, properties: Box<Properties> },
    #[error("the connection failed")]
    Io { source: io::Error, idle: Duration },
    #[error("the broker sent data that is not MQTT")]
    Malformed(#[from] MalformedPacket),
    #[error(
        "the port answers as a web server, not as an MQTT broker: check the port, or use ws:// or wss://"
    )]
    Http,
    #[error("the port answers with TLS: use mqtts:// or wss:// in the broker's URL, or the port without TLS")]
    Tls,
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error("the broker used a topic alias (MQTT 5), though none was allowed to it")]
    TopicAlias,
    #[error("the broker wants to authenticate in steps (AUTH), which devstatus does not offer")]
    Authentication,
    #[error("a SUBSCRIBE of {len} bytes is due, and the broker takes packets of at most {max} bytes")]
    PacketTooLarge { len: usize, max: usize },
    #[error("the broker has sent no whole packet for {} seconds", .0.as_secs_f32())]
    Silent(Duration),
    #[error("the broker did not answer a SUBSCRIBE with a SUBACK within {} seconds", SUBACK_TIMEOUT.as_secs())]
    NoSuback,
    #[error("the broker did not answer a PINGREQ within {} seconds", PONG_TIMEOUT.as_secs())]
    NoPong,
    #[error("the broker has read nothing for {} seconds", .limit.as_secs())]
    NotReading { limit: Duration },
    /// Without a new connection the broker would not send again what is not acknowledged.
    #[error("more messages that must be acknowledged arrived than may wait for decoding")]
    Overrun,
}

impl LinkError {
    /// Whether somebody else ended the connection, which may be an answer, and not we for a fault of the broker's.
    pub fn is_end_by_peer(&self) -> bool {
        match self {
            LinkError::Closed { .. } | LinkError::Io { .. } | LinkError::Disconnected { .. } => true,
            LinkError::Malformed(_)
            | LinkError::Http
            | LinkError::Tls
            | LinkError::Answer(_)
            | LinkError::TopicAlias
            | LinkError::Authentication
            | LinkError::PacketTooLarge { .. }
            | LinkError::Silent(_)
            | LinkError::NoSuback
            | LinkError::NoPong
            | LinkError::NotReading { .. }
            | LinkError::Overrun => false,
        }
    }

    /// For how long nothing had been sent either way, if the connection broke without a word.
    pub fn idle(&self) -> Option<Duration> {
        match self {
            LinkError::Closed { idle } | LinkError::Io { idle, .. } => Some(*idle),
            _ => None,
        }
    }

    /// The reason code of the DISCONNECT with which we end the connection; `None` where it has ended already.
    fn reason_code(&self) -> Option<u8> {
        match self {
            LinkError::Closed { .. } | LinkError::Io { .. } | LinkError::Disconnected { .. } => None,
            LinkError::Http | LinkError::Tls | LinkError::NotReading { .. } => None,
            LinkError::Malformed(MalformedPacket::TooLarge { .. }) => Some(0x95),
            LinkError::Malformed(_) => Some(0x81),
            LinkError::Answer(_) | LinkError::Authentication => Some(0x82),
            LinkError::TopicAlias => Some(0x94),
            LinkError::PacketTooLarge { .. }
            | LinkError::Silent(_)
            | LinkError::NoSuback
            | LinkError::NoPong
            | LinkError::Overrun => Some(0x80),
        }
    }
}

impl Connection {
    /// Connects and logs in as `client_id`.
    pub async fn open(
        dialer: &Dialer,
        settings: &ConnectSettings,
        client_id: &str,
    ) -> Result<Self, OpenError> {
        let mut step = DialStep::default();
        let opened = timeout(OPEN_TIMEOUT, Self::open_untimed(dialer, settings, client_id, &mut step)).await;
        opened.map_err(|_| OpenError::Timeout(step))?
    }

    async fn open_untimed(
        dialer: &Dialer,
        settings: &ConnectSettings,
        client_id: &str,
        step: &mut DialStep,
    ) -> Result<Self, OpenError> {
        let (link, receive_buffer) = dialer.dial(step).await?;
        *step = DialStep::Login;
        let mut connection = Self {
            link,
            receive_buffer,
            version: settings.mqtt_version,
            buffer: BytesMut::new(),
            deadlines: Deadlines::new(settings.keep_alive, Instant::now()),
            offer: Offer::new(&Properties::default(), settings, client_id),
            last_packet_id: 0,
            write_timeout: WRITE_TIMEOUT,
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
            will: settings.will.as_ref(),
        };
        connection.write(&connect.encode()).await.map_err(OpenError::Link)?;
        let packet::Connack { code, properties } = connection.connack().await.map_err(OpenError::Link)?;
        for property in &properties.user_properties {
            tracing::debug!(name = property.name, value = property.value, "the broker's CONNACK adds");
        }
        if code != 0 {
            let (version, properties) = (settings.mqtt_version, Box::new(properties));
            return Err(OpenError::Refused { version, code, properties });
        }
        offer::check(&properties, settings)?;
        connection.offer = Offer::new(&properties, settings, client_id);
        connection.deadlines.set_keep_alive(connection.offer.keep_alive);
        tracing::debug!(keep_alive_seconds = connection.offer.keep_alive.as_secs(), "the broker accepts");
        Ok(connection)
    }

    async fn connack(&mut self) -> Result<packet::Connack, LinkError> {
        loop {
            if self.buffer.starts_with(b"HTTP/") {
                return Err(LinkError::Http);
            }
            // The record of a TLS alert.
            if self.buffer.starts_with(&[0x15, 3]) {
                return Err(LinkError::Tls);
            }
            if let Some(frame) = packet::frame(&self.buffer)? {
                match frame.kind() {
                    kind::CONNACK => {}
                    kind::AUTH => return Err(LinkError::Authentication),
                    other => return Err(MalformedPacket::Unexpected(other).into()),
                }
                let (connack, len) = (packet::connack(frame.body, self.version)?, frame.len);
                let _ = self.buffer.split_to(len);
                return Ok(connack);
            }
            self.read().await?;
        }
    }

    /// How long no packet has come from the broker.
    pub fn silent_for(&self) -> Duration {
        self.deadlines.silent_for(Instant::now())
    }

    /// How long a broker that is there can be silent: until the next PINGREQ, and while it answers.
    pub fn longest_silence(&self) -> Duration {
        self.keep_alive() / 2 + ANSWER_TIME.min(self.keep_alive() / 4)
    }

    /// How many PINGREQs have not been answered yet. If it is none, the broker was there when the last one reached it.
    pub fn pings_unanswered(&self) -> usize {
        self.deadlines.pings_unanswered()
    }

    /// What the broker offers to this connection.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// How long nothing may be sent until the broker ends the connection.
    pub fn keep_alive(&self) -> Duration {
        self.deadlines.keep_alive()
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
        let subscribe = packet::subscribe(self.version, packet_id, filters, quality);
        let (len, max) = (subscribe.len(), self.offer.packet_max_bytes);
        if len > max {
            return Err(LinkError::PacketTooLarge { len, max });
        }
        self.write(&subscribe).await?;
        self.deadlines.sent_subscribe(packet_id, filters.len(), Instant::now());
        Ok(packet_id)
    }

    pub async fn unsubscribe(&mut self, filters: &[impl AsRef<str>]) -> Result<(), LinkError> {
        let packet_id = self.next_packet_id();
        self.write(&packet::unsubscribe(self.version, packet_id, filters)).await
    }

    /// Sends a PINGREQ; some brokers answer it only after everything that was due before.
    pub async fn ping(&mut self) -> Result<(), LinkError> {
        self.write(&packet::PINGREQ).await?;
        self.deadlines.sent_ping(Instant::now());
        Ok(())
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
        let received = self.receive_pending().await;
        if let Err(reason) = received.as_ref().map_err(LinkError::reason_code)
            && let Some(reason) = reason
        {
            let goodbye = packet::disconnect_for(self.version, reason);
            // The broker may read nothing any more.
            let _ = timeout(CLOSE_TIMEOUT, self.link.write(&goodbye)).await;
        }
        received
    }

    async fn receive_pending(&mut self) -> Result<Received, LinkError> {
        loop {
            if !self.skipping()
                && let Some(received) = self.take()?
            {
                return Ok(received);
            }
            let (at, due) = self.deadlines.next();
            tokio::select! {
                read = self.read() => read?,
                () = sleep_until(at) => match due {
                    Due::Ping => self.ping().await?,
                    Due::Silent => return Err(LinkError::Silent(self.deadlines.silence_max())),
                    Due::NoSuback => return Err(LinkError::NoSuback),
                    Due::NoPong if self.deadlines.excuse_pong(Instant::now()) => {}
                    Due::NoPong => return Err(LinkError::NoPong),
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

    /// The next batch of PUBLISH packets or single other packet that is there as a whole.
    fn take(&mut self) -> Result<Option<Received>, LinkError> {
        let (mut publishes, mut run_len) = (Publishes::default(), 0);
        // A fault behind the batch is met again, at the front, once the batch has been taken.
        while let Ok(Some(frame)) = packet::frame(&self.buffer[run_len..]) {
            if frame.kind() != kind::PUBLISH {
                break;
            }
            if self.version == MqttVersion::V5 && packet::has_topic_alias(&frame) {
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
            self.deadlines.received_publishes(Instant::now());
            return Ok(Some(Received::Publishes(publishes)));
        }
        loop {
            let frame = match packet::frame(&self.buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(None),
                Err(MalformedPacket::TooLarge { len, publish: true }) if len <= SKIP_MAX_BYTES => {
                    self.skip = len;
                    return Ok(Some(Received::TooLarge));
                }
                Err(error) => return Err(error.into()),
            };
            let (now, len) = (Instant::now(), frame.len);
            let received = match frame.kind() {
                kind::PUBLISH => return Err(LinkError::TopicAlias),
                kind::SUBACK => {
                    let suback = packet::suback(frame.body, self.version)?;
                    self.deadlines.received_suback(&suback, now)?;
                    Some(Received::Suback(suback))
                }
                kind::UNSUBACK => {
                    self.deadlines.received_packet(now);
                    Some(Received::Unsuback)
                }
                kind::PUBACK => {
                    self.deadlines.received_packet(now);
                    Some(Received::Puback(packet::read_puback(frame.body)?))
                }
                kind::PINGRESP => self.deadlines.received_pong(now)?.then_some(Received::Pong),
                kind::DISCONNECT => {
                    let packet::Disconnect { code, properties } = packet::disconnect(frame.body)?;
                    return Err(LinkError::Disconnected { code, properties: Box::new(properties) });
                }
                kind::AUTH => return Err(LinkError::Authentication),
                other => return Err(MalformedPacket::Unexpected(other).into()),
            };
            self.buffer.advance(len);
            // Without a value it is a PINGRESP that nobody asked for.
            if received.is_some() {
                return Ok(received);
            }
        }
    }

    async fn read(&mut self) -> Result<(), LinkError> {
        let read = self.link.read(&mut self.buffer).await;
        let now = Instant::now();
        let idle = self.deadlines.idle(now);
        let len = read.map_err(|source| LinkError::Io { source, idle })?;
        self.deadlines.received_bytes(len, now);
        if len == 0 { Err(LinkError::Closed { idle }) } else { Ok(()) }
    }

    /// Drops what has arrived of a packet that is being skipped; true while more of it must come.
    fn skipping(&mut self) -> bool {
        let len = self.skip.min(self.buffer.len());
        self.buffer.advance(len);
        self.skip -= len;
        self.skip > 0
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        let idle = self.deadlines.idle(Instant::now());
        let limit = self.write_timeout;
        let written =
            timeout(limit, self.link.write(bytes)).await.map_err(|_| LinkError::NotReading { limit })?;
        written.map_err(|source| LinkError::Io { source, idle })?;
        self.deadlines.sent(Instant::now());
        Ok(())
    }

    fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        self.last_packet_id
    }
}

#[cfg(test)]
mod tests;
