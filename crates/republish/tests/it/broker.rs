//! A broker on loopback that knows wills, retained messages and quality of service 1, and breaks connections at any place.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mqtt::filter::overlap;
use mqtt::packet::{self, Publish, kind};
use mqtt::settings::{Endpoint, MqttVersion, Transport};
use parking_lot::Mutex;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const VERSION: MqttVersion = MqttVersion::V311;
const CONNECT: u8 = 1;
const SUBSCRIBE: u8 = 8;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// Of so many messages, one breaks its connection.
const MESSAGES_PER_BREAK: u32 = 40;

/// Says what is wrong with a message.
pub type Check = Box<dyn Fn(&str, &[u8]) -> Option<String> + Send + Sync>;

#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
    port: u16,
}

struct Shared {
    state: Mutex<State>,
    check: Check,
}

struct State {
    rng: ChaCha8Rng,
    breaks: bool,
    retained: BTreeMap<String, Vec<u8>>,
    /// The wills of those that are connected, by client id, and the number of the connection.
    wills: HashMap<String, (u64, Option<Will>)>,
    connections: u64,
    faults: Vec<String>,
}

#[derive(Clone)]
struct Will {
    topic: String,
    payload: Vec<u8>,
}

impl Broker {
    pub async fn start(seed: u64, check: Check) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let port = listener.local_addr().expect("it is bound").port();
        let state = State {
            rng: ChaCha8Rng::seed_from_u64(seed),
            breaks: true,
            retained: BTreeMap::new(),
            wills: HashMap::new(),
            connections: 0,
            faults: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), check });
        let broker = Self { shared, port };
        let accepting = broker.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(stream));
            }
        });
        broker
    }

    pub fn endpoint(&self) -> Endpoint {
        let host = "127.0.0.1".to_owned();
        Endpoint { transport: Transport::Tcp, host, port: self.port, path: String::new() }
    }

    /// From now on every connection lasts.
    pub fn stop_breaking(&self) {
        self.shared.state.lock().breaks = false;
    }

    pub fn retained(&self) -> BTreeMap<String, Vec<u8>> {
        self.shared.state.lock().retained.clone()
    }

    /// What was wrong with messages. A panic would end one connection only.
    pub fn faults(&self) -> Vec<String> {
        self.shared.state.lock().faults.clone()
    }

    pub fn connections(&self) -> u64 {
        self.shared.state.lock().connections
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut client = None;
        let goodbye = self.read(&mut stream, &mut client).await.unwrap_or(false);
        let Some((id, number)) = client else { return };
        let mut state = self.shared.state.lock();
        // The takeover has published the will.
        if state.wills.get(&id).is_some_and(|(of, _)| *of == number)
            && let Some((_, Some(will))) = state.wills.remove(&id)
            && !goodbye
        {
            state.retain(&will.topic, &will.payload);
        }
    }

    /// Reads until the end; says whether there was a goodbye.
    async fn read(
        &self,
        stream: &mut TcpStream,
        client: &mut Option<(String, u64)>,
    ) -> std::io::Result<bool> {
        let mut buffer = Vec::new();
        loop {
            while let Some(frame) = packet::frame(&buffer).expect("MQTT") {
                let (len, mut answer) = (frame.len, Vec::new());
                match frame.kind() {
                    CONNECT => {
                        *client = Some(self.connect(frame.body));
                        answer.extend([0x20, 2, 0, 0]);
                    }
                    kind::PUBLISH => {
                        match self.publish(&packet::publish(&frame, VERSION).expect("a PUBLISH")) {
                            Some(puback) => answer = puback,
                            None => return Ok(false),
                        }
                    }
                    SUBSCRIBE => answer = self.subscribe(frame.body),
                    PINGREQ => answer.extend([0xd0, 0]),
                    DISCONNECT => return Ok(true),
                    other => panic!("a packet of type {other}"),
                }
                stream.write_all(&answer).await?;
                buffer.drain(..len);
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(false);
            }
        }
    }

    fn connect(&self, body: &[u8]) -> (String, u64) {
        // Behind the protocol's name and version, the flags, and the keep-alive.
        let (flags, mut rest) = (body[7], &body[10..]);
        let mut text = || {
            let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            let (text, behind) = rest[2..].split_at(len);
            rest = behind;
            String::from_utf8(text.to_vec()).expect("a text")
        };
        let id = text();
        let will = (flags & 4 != 0).then(|| Will { topic: text(), payload: text().into_bytes() });
        let mut state = self.shared.state.lock();
        state.connections += 1;
        let number = state.connections;
        if let Some((_, Some(will))) = state.wills.insert(id.clone(), (number, will)) {
            state.retain(&will.topic, &will.payload);
        }
        (id, number)
    }

    /// The acknowledgement; `None`: the connection breaks, before the message counts or after it.
    fn publish(&self, message: &Publish<'_>) -> Option<Vec<u8>> {
        let topic = str::from_utf8(message.topic).expect("a text");
        let mut state = self.shared.state.lock();
        if !message.retained {
            state.faults.push(format!("{topic} is not retained"));
        }
        let breaks = state.breaks && state.rng.random_range(0..MESSAGES_PER_BREAK) == 0;
        if breaks && state.rng.random_bool(0.5) {
            return None;
        }
        state.faults.extend((self.shared.check)(topic, message.payload));
        state.retain(topic, message.payload);
        (!breaks).then(|| packet::puback(message.packet_id.expect("quality of service 1")))
    }

    fn subscribe(&self, body: &[u8]) -> Vec<u8> {
        let mut rest = &body[2..];
        let mut filters = Vec::new();
        while let Some((len, behind)) = rest.split_first_chunk::<2>() {
            let (filter, behind) = behind.split_at(usize::from(u16::from_be_bytes(*len)));
            filters.push(str::from_utf8(filter).expect("a text"));
            rest = &behind[1..];
        }
        let mut answer = vec![0x90, 2 + filters.len() as u8, body[0], body[1]];
        answer.extend(filters.iter().map(|_| 0));
        for (topic, payload) in &self.shared.state.lock().retained {
            if filters.iter().any(|filter| overlap(filter, topic)) {
                let publish = Publish { topic: topic.as_bytes(), payload, retained: true, packet_id: None };
                packet::put_publish(&mut answer, VERSION, &publish);
            }
        }
        answer
    }
}

impl State {
    fn retain(&mut self, topic: &str, payload: &[u8]) {
        if payload.is_empty() {
            self.retained.remove(topic);
        } else {
            self.retained.insert(topic.to_owned(), payload.to_vec());
        }
    }
}
