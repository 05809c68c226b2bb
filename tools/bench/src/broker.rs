//! A mosquitto filled with retained statuses, which drops nothing or is as Debian ships it. It listens on loopback and
//! keeps nothing on disk.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mqtt::packet::{self, Connect, PINGREQ, kind};
use mqtt::settings::MqttVersion;
use tempfile::TempDir;

use crate::Outcome;
use crate::messages::{self, Message};
use crate::process::{Process, free_port, until};

/// How long it may take to start.
const START_BOUND: Duration = Duration::from_secs(20);
/// How long the broker may take over what was published; far more than millions of messages need.
const ANSWER_BOUND: Duration = Duration::from_secs(600);
/// Publishes go out in pieces of about this size.
const WRITE_BYTES: usize = 256 * 1024;

/// The filter that matches all of them.
pub const FILTER: &str = "iot-2/type/+/id/+/mon";

/// A running broker.
pub struct Broker {
    pub process: Process,
    pub port: u16,
    /// Bytes of all topics and payloads that it holds.
    pub message_bytes: u64,
    _directory: TempDir,
}

impl Broker {
    /// Starts a broker that drops nothing and publishes the retained status of so many devices.
    pub fn start(devices: u32) -> Outcome<Self> {
        Self::roomy(devices, (0..devices).map(messages::message))
    }

    /// Starts a broker with room for every message twice, so that nothing is dropped for a slow reader. Not 0, which some
    /// releases of mosquitto take for unlimited and others for none.
    pub fn roomy(devices: u32, messages: impl Iterator<Item = Message>) -> Outcome<Self> {
        let queue = u64::from(devices) * 2 + 1000;
        let settings = format!("max_queued_messages {queue}\nmax_queued_bytes 0\nsys_interval 0\n");
        Self::start_with(&settings, messages)
    }

    /// Starts a broker with the limits that it has when nothing is set.
    pub fn stock(messages: impl Iterator<Item = Message>) -> Outcome<Self> {
        Self::start_with("", messages)
    }

    fn start_with(settings: &str, messages: impl Iterator<Item = Message>) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let configuration = directory.path().join("mosquitto.conf");
        fs::write(
            &configuration,
            format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type error\n{settings}"
            ),
        )?;
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(&configuration).stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::start(&mut command)?;
        let mut broker = Self { process, port, message_bytes: 0, _directory: directory };
        until("mosquitto to listen", START_BOUND, || {
            broker.process.check_runs()?;
            Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        broker.publish(messages)?;
        Ok(broker)
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    fn publish(&mut self, messages: impl Iterator<Item = Message>) -> Outcome<()> {
        let started = Instant::now();
        let mut publisher = Publisher::connect(self.port)?;
        let mut devices = 0;
        for message in messages {
            devices += 1;
            self.message_bytes += (message.topic.len() + message.payload.len()) as u64;
            publisher.retain(&message)?;
        }
        publisher.flush()?;
        let mean = self.message_bytes / devices.max(1);
        println!(
            "{devices} retained statuses, {mean} bytes of topic and payload each, published in {:.1} s",
            started.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

/// A connection that publishes.
pub struct Publisher {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Publisher {
    pub fn connect(port: u16) -> Outcome<Self> {
        let stream = log_in(port, "bench-publisher")?;
        // Messages count from when they are written, and not from when the broker has acknowledged those before.
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(WRITE_BYTES + 1024) })
    }

    /// Publishes and retains; may wait for the broker.
    pub fn retain(&mut self, message: &messages::Message) -> Outcome<()> {
        put_retained(&mut self.buffer, message);
        if self.buffer.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    /// Sends what is gathered.
    pub fn write(&mut self) -> Outcome<()> {
        self.stream.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Returns when the broker has everything: it works through its packets in order, so its answer to a ping is the end
    /// mark.
    pub fn flush(&mut self) -> Outcome<()> {
        self.buffer.extend_from_slice(&PINGREQ);
        self.write()?;
        expect(&mut self.stream, kind::PINGRESP)
    }
}

/// A connection that the broker has accepted.
pub fn log_in(port: u16, client_id: &str) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_BOUND))?;
    let connect = Connect {
        version: MqttVersion::V311,
        client_id,
        user_name: None,
        password: None,
        keep_alive_s: 0,
        clean_session: true,
        session_expiry_s: 0,
        will: None,
    };
    stream.write_all(&connect.encode())?;
    expect(&mut stream, kind::CONNACK)?;
    Ok(stream)
}

/// Reads one packet of a kind, whose length fits one byte.
pub fn expect(stream: &mut TcpStream, wanted: u8) -> Outcome<()> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut packet = head.to_vec();
    packet.resize(2 + usize::from(head[1]), 0);
    stream.read_exact(&mut packet[2..])?;
    match packet::frame(&packet) {
        Ok(Some(frame)) if frame.kind() == wanted => Ok(()),
        other => Err(format!("the broker answered {other:?} instead of packet type {wanted}").into()),
    }
}

/// A PUBLISH with quality of service 0 and the retain flag.
fn put_retained(buffer: &mut Vec<u8>, message: &Message) {
    let mut length = 2 + message.topic.len() + message.payload.len();
    buffer.push(0x31);
    while length >= 0x80 {
        buffer.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    buffer.push(length as u8);
    buffer.extend_from_slice(&(message.topic.len() as u16).to_be_bytes());
    buffer.extend_from_slice(message.topic.as_bytes());
    buffer.extend_from_slice(message.payload.as_bytes());
}
