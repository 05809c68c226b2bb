//! A stand-in for the platform's broker, with the behaviour that was measured there: how it replays retained messages,
//! which it drops without a word, and what it closes the connection for. Clients may publish. Sessions are not kept.
//!
//! A package of its own, because the end-to-end tests, the measurements and the demo need it. It knows nothing of devstatus:
//! what the two say to each other is written down twice, independently.

pub mod listener;
pub mod packet;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use self::listener::Listener;
use self::packet::{Connect, Message, Subscription};

/// Bytes that the writer hands over at once; between two such chunks an answer can overtake the replay.
const CHUNK_BYTES: usize = 64 * 1024;
const UNSUBSCRIBE: u8 = 0xA0;
const UNSUBACK: u8 = 0xB0;
/// "Not authorised", in MQTT 3.1.1 and in MQTT 5.
const CONNACK_REFUSED: (u8, u8) = (5, 0x87);
/// "Topic filter invalid": MQTT 3.1.1 has no such answer, there the connection is closed.
const SUBACK_REFUSED: u8 = 0x8F;

/// The platform's limits; the default is what the public cloud had for an `a` application.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Messages that the buffer of a subscription holds.
    pub buffer_messages: usize,
    /// Whether the same SUBSCRIBE again on the same connection brings everything.
    pub second_subscribe_brings_all: bool,
    /// How long after the SUBACK the replay begins; a PINGREQ is answered at once meanwhile.
    pub replay_delay: Duration,
    /// Whether anybody may log in and subscribe to the topics of any other source. The platform lets only its applications in, and only
    /// to its own topics.
    pub any_topics: bool,
    /// Whether a filter with wildcards brings what is retained. RabbitMQ 3 answers only filters without.
    pub replays_to_wildcards: bool,
    /// Whether it pauses in the middle of a replay; what else it sends, it sends at once meanwhile.
    pub pause: Option<Pause>,
}

/// How a broker pauses in a replay.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    /// After each so many messages.
    pub after_messages: usize,
    pub lasts: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            buffer_messages: 5_000,
            second_subscribe_brings_all: true,
            replay_delay: Duration::from_millis(50),
            any_topics: false,
            replays_to_wildcards: true,
            pause: None,
        }
    }
}

pub struct PlatformBroker {
    listener: Listener,
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    retained: BTreeMap<String, Vec<u8>>,
    clients: HashMap<String, Client>,
    subscriptions: Vec<Subscription>,
    dropped: usize,
    next_session: u64,
    /// How many retained messages may match one filter, if not as many as there are.
    filter_messages_max: Option<usize>,
    /// Scalable applications whose shared subscription is there: only who makes it gets what is retained.
    shared_subscriptions: HashSet<String>,
    /// How often the shared subscription of a scalable application was refused because its buffer was too small.
    shared_refusals: HashMap<String, u32>,
}

/// After so many refusals of its shared subscription, every connection of a scalable application is closed at once.
const SHARED_REFUSALS_MAX: u32 = 2;

struct Client {
    session: u64,
    level: u8,
    /// How often each filter was asked for on this connection.
    filters: HashMap<String, u32>,
    outbox: Arc<Outbox>,
}

impl PlatformBroker {
    pub fn start(limits: Limits) -> Self {
        let shared = Arc::new(Shared { limits, state: Mutex::default() });
        let listener = Listener::start({
            let shared = Arc::clone(&shared);
            move |stream| shared.serve(stream)
        });
        Self { listener, shared }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.listener.port())
    }

    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Sends to every subscription that matches; retained, it replaces the topic's retained message, and an empty one
    /// clears it.
    pub fn publish(&self, topic: &str, payload: impl AsRef<[u8]>, retain: bool) {
        self.shared.publish(Message { topic, payload: payload.as_ref(), retain });
    }

    /// Replaces the topic's retained message and sends it to nobody: every buffer was full.
    pub fn publish_unforwarded(&self, topic: &str, payload: impl AsRef<[u8]>) {
        self.shared.lock().retained.insert(topic.to_owned(), payload.as_ref().to_vec());
    }

    /// From now on closes the connection instead of a SUBACK for a filter that matches more retained messages than this.
    pub fn refuse_above(&self, messages: usize) {
        self.shared.lock().filter_messages_max = Some(messages);
    }

    /// Every subscription asked for so far, in order.
    pub fn subscriptions(&self) -> Vec<Subscription> {
        self.shared.lock().subscriptions.clone()
    }

    /// Retained messages that did not fit a buffer and were dropped without a word.
    pub fn dropped(&self) -> usize {
        self.shared.lock().dropped
    }

    /// How many connections came so far.
    pub fn connections(&self) -> usize {
        self.listener.accepted()
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        self.listener.cut();
    }

    /// From now on closes every new connection at once, or serves them again.
    pub fn refuse(&self, refusing: bool) {
        self.listener.refuse(refusing);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with the lock")
    }

    fn publish(&self, Message { topic, payload, retain }: Message<'_>) {
        let mut state = self.lock();
        if retain && payload.is_empty() {
            state.retained.remove(topic);
        } else if retain {
            state.retained.insert(topic.to_owned(), payload.to_vec());
        }
        for client in state.clients.values() {
            let mut chunk = Vec::new();
            for _ in 0..client.matching(topic) {
                packet::write_publish(&mut chunk, client.level, Message { topic, payload, retain: false });
            }
            client.outbox.push(|queues| queues.messages.extend((!chunk.is_empty()).then_some(chunk)));
        }
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
        let Ok(first) = packet::read_packet(&mut reader) else { return };
        let Some(connect) = packet::parse_connect(&first.body) else { return };
        let is_application = connect.client_id.starts_with("a:") || connect.client_id.starts_with("A:");
        if !is_application && !self.limits.any_topics {
            let code = if connect.level == 5 { CONNACK_REFUSED.1 } else { CONNACK_REFUSED.0 };
            stream.write_all(&packet::connack(connect.level, code)).ok();
            return;
        }
        let refusals = self.lock().shared_refusals.get(&connect.client_id).copied();
        if refusals.is_some_and(|refusals| refusals >= SHARED_REFUSALS_MAX) {
            return;
        }
        if connect.keep_alive_secs > 0 {
            let patience = Duration::from_millis(1_500) * u32::from(connect.keep_alive_secs);
            stream.set_read_timeout(Some(patience)).expect("a read timeout can be set");
        }
        let outbox = Arc::new(Outbox::default());
        let writing = std::thread::spawn({
            let outbox = Arc::clone(&outbox);
            let stream = stream.try_clone().expect("a socket can be cloned");
            move || outbox.write_to(stream)
        });
        outbox.push(|queues| queues.answers.extend(packet::connack(connect.level, 0)));
        let session = self.lock().enter(&connect, &outbox);
        while let Ok(packet) = packet::read_packet(&mut reader) {
            if self.answer(&connect, &outbox, &packet).is_none() {
                break;
            }
        }
        self.lock().leave(&connect.client_id, session);
        outbox.close();
        // A writer that waits for a slow reader is freed by this.
        stream.shutdown(Shutdown::Both).ok();
        writing.join().expect("writing does not panic");
    }

    /// Answers one packet; `None` closes the connection.
    fn answer(&self, connect: &Connect, outbox: &Outbox, packet: &packet::Packet) -> Option<()> {
        match packet.kind() {
            packet::SUBSCRIBE => {
                let asked = packet::parse_subscribe(connect.level, &packet.body)?;
                self.subscribe(connect, outbox, asked)
            }
            UNSUBSCRIBE => {
                self.unsubscribe(connect, outbox, &packet.body);
                Some(())
            }
            packet::PUBLISH => {
                // At quality of service 0, which is all that the platform's devices use for their statuses.
                let (topic, payload) = packet::parse_published(connect.level, &packet.body)?;
                self.publish(Message { topic: &topic, payload: &payload, retain: packet.retain() });
                Some(())
            }
            packet::PINGREQ => {
                outbox.push(|queues| queues.answers.extend(packet::pingresp()));
                Some(())
            }
            packet::DISCONNECT => None,
            _ => Some(()),
        }
    }

    fn subscribe(&self, connect: &Connect, outbox: &Outbox, asked: packet::Subscribe) -> Option<()> {
        let mut state = self.lock();
        let mut codes = Vec::new();
        let mut replay = Vec::new();
        for subscription in asked.subscriptions {
            state.subscriptions.push(subscription.clone());
            let code = self.grant(&mut state, connect, &subscription, &mut replay);
            // MQTT 3.1.1 clients are sent away where MQTT 5 clients are told why.
            (code < 0x80 || connect.level == 5).then_some(())?;
            codes.push(code);
        }
        outbox.push(|queues| {
            queues.answers.extend(packet::suback(connect.level, asked.packet_id, &codes));
            queues.messages.extend(replay);
            queues.replay_from = Some(Instant::now() + self.limits.replay_delay);
            queues.pause = self.limits.pause.map(|pause| pause.lasts);
        });
        Some(())
    }

    /// Grants or refuses one filter and appends its retained messages to the replay.
    fn grant(
        &self,
        state: &mut State,
        connect: &Connect,
        asked: &Subscription,
        replay: &mut Vec<Vec<u8>>,
    ) -> u8 {
        const QUOTA_EXCEEDED: u8 = 0x97;
        if !self.limits.any_topics && !is_allowed(&asked.filter) {
            return SUBACK_REFUSED;
        }
        let State {
            retained,
            clients,
            dropped,
            filter_messages_max,
            shared_subscriptions,
            shared_refusals,
            ..
        } = state;
        let is_whole = is_whole_application(&connect.client_id);
        let Some(client) = clients.get_mut(&connect.client_id) else { return SUBACK_REFUSED };
        // Of a scalable application only who makes the shared subscription gets retained messages, and no instance.
        let replays = connect.client_id.starts_with("a:")
            || is_whole && !shared_subscriptions.contains(&connect.client_id);
        let is_answered = self.limits.replays_to_wildcards || !asked.filter.contains(['+', '#']);
        let found = retained_matching(retained, &asked.filter).filter(|_| replays && is_answered);
        let found = found.collect::<Vec<_>>();
        if is_whole && replays {
            if found.len() > self.limits.buffer_messages {
                *shared_refusals.entry(connect.client_id.clone()).or_default() += 1;
                return QUOTA_EXCEEDED;
            }
            shared_subscriptions.insert(connect.client_id.clone());
        }
        let quota = if asked.qos > 0 { Some(self.limits.buffer_messages) } else { None };
        if [quota, *filter_messages_max].into_iter().flatten().any(|most| found.len() > most) {
            return QUOTA_EXCEEDED;
        }
        let times = client.filters.entry(asked.filter.clone()).or_default();
        *times += 1;
        let all = *times > 1 && self.limits.second_subscribe_brings_all;
        let kept = if all { found.len() } else { found.len().min(self.limits.buffer_messages) };
        *dropped += found.len() - kept;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES * 2);
        let burst = self.limits.pause.map_or(usize::MAX, |pause| pause.after_messages);
        for (number, (topic, payload)) in (1..).zip(&found[..kept]) {
            packet::write_publish(&mut chunk, connect.level, Message { topic, payload, retain: true });
            if chunk.len() >= CHUNK_BYTES || number % burst == 0 {
                replay.push(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_BYTES * 2)));
            }
        }
        replay.extend((!chunk.is_empty()).then_some(chunk));
        asked.qos
    }

    fn unsubscribe(&self, connect: &Connect, outbox: &Outbox, body: &[u8]) {
        let Some(asked) = packet::parse_unsubscribe(connect.level, body) else { return };
        if let Some(client) = self.lock().clients.get_mut(&connect.client_id) {
            for filter in &asked.filters {
                client.filters.remove(filter);
            }
        }
        let mut answer = asked.packet_id.to_be_bytes().to_vec();
        if connect.level == 5 {
            answer.push(0);
            answer.resize(answer.len() + asked.filters.len(), 0);
        }
        outbox.push(|queues| packet::write_packet(&mut queues.answers, UNSUBACK, &answer));
    }
}

impl State {
    /// Takes the client in; another one of the same client id is sent away, as on every broker.
    fn enter(&mut self, connect: &Connect, outbox: &Arc<Outbox>) -> u64 {
        self.next_session += 1;
        let session = self.next_session;
        let client =
            Client { session, level: connect.level, filters: HashMap::new(), outbox: Arc::clone(outbox) };
        if let Some(earlier) = self.clients.insert(connect.client_id.clone(), client) {
            earlier.outbox.close();
        }
        session
    }

    /// Forgets the client, unless a later session has taken its place.
    fn leave(&mut self, client_id: &str, session: u64) {
        if self.clients.get(client_id).is_some_and(|client| client.session == session) {
            self.clients.remove(client_id);
        }
    }
}

impl Client {
    /// How many subscriptions of this client match: each has a buffer of its own and delivers the message.
    fn matching(&self, topic: &str) -> usize {
        let exact = usize::from(self.filters.contains_key(topic));
        let wild = self
            .filters
            .keys()
            .filter(|filter| filter.contains(['+', '#']) && packet::matches(filter, topic));
        exact + wild.count()
    }
}

/// Whether it is a scalable application that names no instance, `A:{organization}:{application}`.
fn is_whole_application(client_id: &str) -> bool {
    client_id.starts_with("A:") && client_id.split(':').count() == 3
}

/// The retained messages that match, looked for only where they can stand.
fn retained_matching<'a>(
    retained: &'a BTreeMap<String, Vec<u8>>,
    filter: &'a str,
) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    let prefix = &filter[..filter.find(['+', '#']).unwrap_or(filter.len())];
    retained
        .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
        .take_while(move |(topic, _)| topic.starts_with(prefix))
        .filter(move |(topic, _)| packet::matches(filter, topic))
        .map(|(topic, payload)| (topic.as_str(), payload.as_slice()))
}

/// What an application may subscribe to; `$SYS` and everything with `#` is refused.
fn is_allowed(filter: &str) -> bool {
    let levels = filter.split('/').collect::<Vec<_>>();
    match levels[..] {
        _ if filter.contains('#') => false,
        ["iot-2", "type", _, "id", _, "mon"] | ["iot-2", "app", _, "mon"] => true,
        ["iot-2", "type", _, "id", _, "evt" | "cmd", _, "fmt", _] => true,
        _ => false,
    }
}

/// What waits to be written to one client.
#[derive(Default)]
struct Outbox {
    queues: Mutex<Queues>,
    changed: Condvar,
}

#[derive(Default)]
struct Queues {
    /// CONNACK, SUBACK, PINGRESP: these overtake the messages.
    answers: Vec<u8>,
    /// Chunks of whole packets.
    messages: std::collections::VecDeque<Vec<u8>>,
    replay_from: Option<Instant>,
    /// Between two chunks.
    pause: Option<Duration>,
    closed: bool,
}

impl Outbox {
    fn push(&self, change: impl FnOnce(&mut Queues)) {
        change(&mut self.queues.lock().expect("no thread panics with the lock"));
        self.changed.notify_one();
    }

    fn close(&self) {
        self.push(|queues| queues.closed = true);
    }

    /// Writes until the outbox is closed or the client is gone; then closes the connection.
    fn write_to(&self, mut stream: TcpStream) {
        while let Some(chunk) = self.next() {
            if stream.write_all(&chunk).is_err() {
                break;
            }
        }
        stream.shutdown(Shutdown::Both).ok();
    }

    fn next(&self) -> Option<Vec<u8>> {
        let mut queues = self.queues.lock().expect("no thread panics with the lock");
        loop {
            if !queues.answers.is_empty() {
                return Some(std::mem::take(&mut queues.answers));
            }
            if queues.closed {
                return None;
            }
            let rest = queues.replay_from.map(|from| from.saturating_duration_since(Instant::now()));
            queues = match rest {
                Some(rest) if !rest.is_zero() => {
                    self.changed.wait_timeout(queues, rest).expect("no thread panics with the lock").0
                }
                Some(_) | None => match queues.messages.pop_front() {
                    Some(chunk) => {
                        queues.replay_from = queues.pause.map(|pause| Instant::now() + pause);
                        return Some(chunk);
                    }
                    None => self.changed.wait(queues).expect("no thread panics with the lock"),
                },
            };
        }
    }
}
