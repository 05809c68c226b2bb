//! A broker whose answers a test writes down: refusals, silence, garbage, and connections closed instead of an answer.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::listener::Listener;
use super::packet::{self, Connect, Subscribe};

/// What the broker does when it is asked something.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Bytes before the answer, for instance a message that overtakes it.
    pub before: Vec<u8>,
    /// The code of the answer, one and the same for every filter; `None`: no answer.
    pub code: Option<u8>,
    /// Bytes after the answer.
    pub after: Vec<u8>,
    /// Whether the connection is closed then.
    pub close: bool,
}

impl Reply {
    pub fn code(code: u8) -> Self {
        Self { before: Vec::new(), code: Some(code), after: Vec::new(), close: false }
    }

    pub fn silence() -> Self {
        Self { before: Vec::new(), code: None, after: Vec::new(), close: false }
    }

    /// Closes the connection instead of an answer.
    pub fn close() -> Self {
        Self { close: true, ..Self::silence() }
    }

    /// Sends the bytes instead of an answer and stays.
    pub fn bytes(bytes: &[u8]) -> Self {
        Self { after: bytes.to_vec(), ..Self::silence() }
    }

    /// Sends the bytes instead of an answer and closes.
    pub fn raw(bytes: &[u8]) -> Self {
        Self { after: bytes.to_vec(), close: true, ..Self::silence() }
    }
}

/// The answers of the broker, from its next packet on.
#[derive(Clone, Debug)]
pub struct Script {
    pub connect: Reply,
    pub subscribe: Reply,
    /// To a SUBSCRIBE of the broker's counters; `None`: as to any other.
    pub subscribe_counters: Option<Reply>,
    pub ping: Reply,
}

impl Default for Script {
    /// Lets everybody in and grants everything.
    fn default() -> Self {
        Self {
            connect: Reply::code(0),
            subscribe: Reply::code(0),
            subscribe_counters: None,
            ping: Reply::code(0),
        }
    }
}

pub struct ClosingBroker {
    listener: Listener,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Script>,
    connects: Mutex<Vec<Connect>>,
    subscribes: Mutex<Vec<Subscribe>>,
    pings: AtomicUsize,
    disconnects: AtomicUsize,
}

impl ClosingBroker {
    /// Never lets anybody in: a service that answers then knows nothing but what is in the store.
    pub fn silent() -> Self {
        Self::start(Script { connect: Reply::silence(), ..Script::default() })
    }

    pub fn start(script: Script) -> Self {
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            connects: Mutex::default(),
            subscribes: Mutex::default(),
            pings: AtomicUsize::new(0),
            disconnects: AtomicUsize::new(0),
        });
        let listener = Listener::start({
            let shared = Arc::clone(&shared);
            move |stream| {
                // A client that goes away ends the conversation; the test sees that on the client's side.
                shared.converse(stream).ok();
            }
        });
        Self { listener, shared }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.listener.port())
    }

    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Answers by another script from now on, on open connections too.
    pub fn follow(&self, script: Script) {
        *self.shared.script.lock().expect("no thread panics with the lock") = script;
    }

    /// Every CONNECT so far.
    pub fn connects(&self) -> Vec<Connect> {
        self.shared.connects.lock().expect("no thread panics with the lock").clone()
    }

    /// Every SUBSCRIBE so far.
    pub fn subscribes(&self) -> Vec<Subscribe> {
        self.shared.subscribes.lock().expect("no thread panics with the lock").clone()
    }

    /// How many PINGREQs came so far.
    pub fn pings(&self) -> usize {
        self.shared.pings.load(Ordering::Relaxed)
    }

    /// How many clients said DISCONNECT before they went.
    pub fn disconnects(&self) -> usize {
        self.shared.disconnects.load(Ordering::Relaxed)
    }

    pub fn cut(&self) {
        self.listener.cut();
    }
}

impl Shared {
    fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut level = 4;
        loop {
            let packet = packet::read_packet(&mut reader)?;
            let (reply, answer) = match packet.kind() {
                packet::CONNECT => {
                    let connect = packet::parse_connect(&packet.body).expect("a CONNECT that can be read");
                    level = connect.level;
                    self.connects.lock().expect("no thread panics with the lock").push(connect);
                    let reply = self.script().connect;
                    let answer = reply.code.map(|code| packet::connack(level, code));
                    (reply, answer)
                }
                packet::SUBSCRIBE => {
                    let asked =
                        packet::parse_subscribe(level, &packet.body).expect("a SUBSCRIBE that can be read");
                    self.subscribes.lock().expect("no thread panics with the lock").push(asked.clone());
                    let Script { subscribe, subscribe_counters, .. } = self.script();
                    let is_of_counters = asked.subscriptions.iter().any(|one| one.filter.starts_with("$SYS"));
                    let reply = subscribe_counters.filter(|_| is_of_counters).unwrap_or(subscribe);
                    let answer = reply.code.map(|code| {
                        packet::suback(level, asked.packet_id, &vec![code; asked.subscriptions.len()])
                    });
                    (reply, answer)
                }
                packet::PINGREQ => {
                    self.pings.fetch_add(1, Ordering::Relaxed);
                    let reply = self.script().ping;
                    let answer = reply.code.map(|_| packet::pingresp());
                    (reply, answer)
                }
                packet::DISCONNECT => {
                    self.disconnects.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                _ => continue,
            };
            stream.write_all(&reply.before)?;
            stream.write_all(&answer.unwrap_or_default())?;
            stream.write_all(&reply.after)?;
            let refused = packet.kind() == packet::CONNECT && reply.code.is_some_and(|code| code != 0);
            if reply.close || refused {
                return Ok(());
            }
        }
    }

    fn script(&self) -> Script {
        self.script.lock().expect("no thread panics with the lock").clone()
    }
}
