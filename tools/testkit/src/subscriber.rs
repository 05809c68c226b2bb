//! A subscriber on a bare socket: what a broker of the rig really sends, so that the rig itself is tested.

use std::io::{BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::PATIENCE;
use super::packet::{self, Packet, Subscription};

/// Bytes taken from the socket at once.
const READ_BYTES: usize = 256 * 1024;

/// One received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
}

pub struct Subscriber {
    stream: BufReader<TcpStream>,
}

impl Subscriber {
    pub fn connect(port: u16, client_id: &str) -> Self {
        Self::try_connect(port, client_id).expect("the broker lets the subscriber in")
    }

    /// `None` when the broker refuses the client or closes the connection.
    pub fn try_connect(port: u16, client_id: &str) -> Option<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout can be set");
        // A broker that refuses at once may have closed before it reads.
        stream.write_all(&packet::connect(client_id, None)).ok()?;
        let mut subscriber = Self { stream: BufReader::with_capacity(READ_BYTES, stream) };
        let answer = subscriber.next()?;
        (answer.kind() == packet::CONNACK && answer.body == [0, 0]).then_some(subscriber)
    }

    /// Sends a SUBSCRIBE and does not wait for its answer.
    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        let asked = packet::subscribe(7, &[Subscription { filter: filter.to_owned(), qos }]);
        self.stream.get_mut().write_all(&asked).expect("the broker reads the SUBSCRIBE");
    }

    /// Sends a PINGREQ and does not wait for its answer.
    pub fn ping(&mut self) {
        self.stream.get_mut().write_all(&[packet::PINGREQ, 0]).expect("the broker reads the PINGREQ");
    }

    /// The packet types in the order of arrival, up to and with the first of `kind`.
    pub fn kinds_until(&mut self, kind: u8) -> Vec<u8> {
        let mut kinds = Vec::new();
        while kinds.last() != Some(&kind) {
            kinds.push(self.next().expect("the broker keeps the connection").kind());
        }
        kinds
    }

    /// The next `count` messages; other packets are passed over.
    pub fn messages(&mut self, count: usize) -> Vec<Received> {
        let mut received = Vec::with_capacity(count);
        while received.len() < count {
            let packet = self.next().expect("the broker keeps the connection");
            if packet.kind() == packet::PUBLISH {
                let (topic, payload) =
                    packet::parse_publish(&packet.body).expect("a PUBLISH that can be read");
                received.push(Received { topic, payload, retain: packet.retain() });
            }
        }
        received
    }

    /// Whether nothing at all arrives for `interval`.
    pub fn is_quiet_for(&mut self, interval: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(interval)).expect("a read timeout can be set");
        let answer = packet::read_packet(&mut self.stream);
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).expect("a read timeout can be set");
        matches!(answer, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }
}

impl Iterator for Subscriber {
    type Item = Packet;

    /// The next packet; `None` when the broker has closed the connection.
    fn next(&mut self) -> Option<Packet> {
        match packet::read_packet(&mut self.stream) {
            Ok(packet) => Some(packet),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                None
            }
            Err(error) => panic!("a packet can be read from the broker: {error}"),
        }
    }
}
