//! A publisher on a bare socket: a hundred thousand messages in about a second, and a barrier after which the broker has
//! them all.

use std::io::Write;
use std::net::TcpStream;

use super::PATIENCE;
use super::packet::{self, Message};

/// Bytes that are gathered before they are written to the socket.
const WRITE_BYTES: usize = 256 * 1024;

pub struct Publisher {
    stream: TcpStream,
    waiting: Vec<u8>,
}

impl Publisher {
    /// Connects with MQTT 3.1.1 to a broker on loopback.
    pub fn connect(port: u16, login: Option<(&str, &str)>) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the broker accepts the publisher");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout can be set");
        stream.set_nodelay(true).expect("delay can be switched off");
        let client_id = format!("publisher-{}-{}", std::process::id(), local_port(&stream));
        stream.write_all(&packet::connect(&client_id, login)).expect("the broker reads the CONNECT");
        let answer = packet::read_packet(&mut stream).expect("the broker answers the CONNECT");
        assert_eq!((answer.kind(), answer.body), (packet::CONNACK, vec![0, 0]), "the publisher is let in");
        Self { stream, waiting: Vec::with_capacity(WRITE_BYTES * 2) }
    }

    /// Publishes and retains; nothing is certain before [`Publisher::flush`].
    pub fn retain(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        self.push(Message { topic, payload: payload.as_ref(), retain: true });
    }

    /// Publishes to those who are subscribed now; nothing is certain before [`Publisher::flush`].
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        self.push(Message { topic, payload: payload.as_ref(), retain: false });
    }

    /// Publishes at QoS 1 to those who are subscribed, or have a session that is; returns when the broker has the message.
    pub fn deliver(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        self.flush();
        self.waiting.extend(packet::publish_acknowledged(1, topic, payload.as_ref()));
        self.write();
        let answer = packet::read_packet(&mut self.stream).expect("the broker acknowledges the PUBLISH");
        assert_eq!((answer.kind(), answer.body), (packet::PUBACK, vec![0, 1]));
    }

    /// Returns when the broker has taken in everything published so far: a broker answers the packets of one connection
    /// in order, so its PINGRESP comes after the last message was stored.
    pub fn flush(&mut self) {
        self.waiting.extend_from_slice(&[packet::PINGREQ, 0]);
        self.write();
        let answer = packet::read_packet(&mut self.stream).expect("the broker answers the PINGREQ");
        assert_eq!(answer.kind(), packet::PINGRESP);
    }

    fn push(&mut self, message: Message<'_>) {
        packet::write_publish(&mut self.waiting, 4, message);
        if self.waiting.len() >= WRITE_BYTES {
            self.write();
        }
    }

    fn write(&mut self) {
        self.stream.write_all(&self.waiting).expect("the broker reads what is published");
        self.waiting.clear();
    }
}

fn local_port(stream: &TcpStream) -> u16 {
    stream.local_addr().expect("a connected socket has an address").port()
}
