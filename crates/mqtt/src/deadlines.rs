//! What a connection waits for from its broker, and until when. Pure: time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::packet::Suback;

/// The answer to a SUBSCRIBE: brokers send it at once, or behind the messages that it brings.
pub const SUBACK_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages may come before the SUBACK and prolong the wait for it, up to this much in all.
const SUBACK_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// The answer to a PINGREQ may stand behind a long replay, so the broker is given more time for it than for any packet.
pub const PONG_TIMEOUT: Duration = Duration::from_secs(300);
/// A broker that has sent this much while a PINGREQ waits is busy, not dead: the PINGREQ may wait as long again.
const BUSY_BYTES: usize = 16 << 20;
/// Bytes of a packet that is not whole yet count as a sign of life only in this number, so that a broker that sends one
/// byte now and then is taken for dead; a status message is far smaller and counts as a whole.
const PART_BYTES: usize = 64 << 10;
/// PINGRESPs that nobody asked for, until the broker is taken for broken: none is due, some are harmless.
const UNASKED_PONGS_MAX: u32 = 100;

/// What is due at the next deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// We must send something, or the broker takes us for dead.
    Ping,
    /// No packet came from the broker for one and a half times the keep-alive.
    Silent,
    NoSuback,
    NoPong,
}

/// A broker that breaks the protocol in what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("the broker sent a SUBACK with packet id {0}, for which there was no SUBSCRIBE")]
    UnknownSuback(u16),
    #[error("the broker's SUBACK has {found} return codes for {expected} filters")]
    SubackCodes { found: usize, expected: usize },
    #[error("the broker sent more than {UNASKED_PONGS_MAX} PINGRESPs that nobody asked for")]
    UnaskedPongs,
}

/// What one connection waits for.
#[derive(Debug)]
pub struct Deadlines {
    keep_alive: Duration,
    last_sent: Instant,
    /// When the last whole packet came, or a large part of one.
    last_sign: Instant,
    /// When bytes last came.
    last_bytes: Instant,
    part_bytes: usize,
    pings: VecDeque<Instant>,
    bytes_since_ping: usize,
    unasked_pongs: u32,
    subscribes: Vec<Subscribe>,
}

#[derive(Debug)]
struct Subscribe {
    packet_id: u16,
    filters: usize,
    sent: Instant,
    deadline: Instant,
}

impl Deadlines {
    pub fn new(keep_alive: Duration, now: Instant) -> Self {
        Self {
            keep_alive,
            last_sent: now,
            last_sign: now,
            last_bytes: now,
            part_bytes: 0,
            pings: VecDeque::new(),
            bytes_since_ping: 0,
            unasked_pongs: 0,
            subscribes: Vec::new(),
        }
    }

    pub fn keep_alive(&self) -> Duration {
        self.keep_alive
    }

    /// The broker has said in its CONNACK what it wants.
    pub fn set_keep_alive(&mut self, keep_alive: Duration) {
        self.keep_alive = keep_alive;
    }

    /// How long the broker may send no packet.
    pub fn silence_max(&self) -> Duration {
        self.keep_alive * 3 / 2
    }

    pub fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    pub fn sent_ping(&mut self, now: Instant) {
        if self.pings.is_empty() {
            self.bytes_since_ping = 0;
        }
        self.pings.push_back(now);
    }

    pub fn sent_subscribe(&mut self, packet_id: u16, filters: usize, now: Instant) {
        self.subscribes.push(Subscribe { packet_id, filters, sent: now, deadline: now + SUBACK_TIMEOUT });
    }

    pub fn received_bytes(&mut self, len: usize, now: Instant) {
        self.last_bytes = now;
        self.bytes_since_ping = self.bytes_since_ping.saturating_add(len);
        self.part_bytes += len;
        if self.part_bytes >= PART_BYTES {
            self.received_packet(now);
        }
    }

    pub fn received_packet(&mut self, now: Instant) {
        self.last_sign = now;
        self.part_bytes = 0;
    }

    pub fn received_publishes(&mut self, now: Instant) {
        self.received_packet(now);
        for subscribe in &mut self.subscribes {
            subscribe.deadline = (now + SUBACK_TIMEOUT).min(subscribe.sent + SUBACK_TIMEOUT_MAX);
        }
    }

    /// Says whether somebody had asked for it.
    pub fn received_pong(&mut self, now: Instant) -> Result<bool, AnswerError> {
        if self.pings.pop_front().is_some() {
            self.received_packet(now);
            self.bytes_since_ping = 0;
            return Ok(true);
        }
        self.unasked_pongs += 1;
        if self.unasked_pongs > UNASKED_PONGS_MAX { Err(AnswerError::UnaskedPongs) } else { Ok(false) }
    }

    pub fn received_suback(&mut self, suback: &Suback, now: Instant) -> Result<(), AnswerError> {
        self.received_packet(now);
        let at = self.subscribes.iter().position(|subscribe| subscribe.packet_id == suback.packet_id);
        let subscribe = self.subscribes.swap_remove(at.ok_or(AnswerError::UnknownSuback(suback.packet_id))?);
        let (found, expected) = (suback.codes.len(), subscribe.filters);
        if found == expected { Ok(()) } else { Err(AnswerError::SubackCodes { found, expected }) }
    }

    /// For how long no packet has come.
    pub fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_sign)
    }

    pub fn pings_unanswered(&self) -> usize {
        self.pings.len()
    }

    /// For how long nothing has been sent or received.
    pub fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_sent.max(self.last_bytes))
    }

    /// What is due next, and when.
    pub fn next(&self) -> (Instant, Due) {
        // What the broker wants within the keep-alive is a packet from us, however much it sends itself.
        let ping = (self.last_sent + self.keep_alive / 2, Due::Ping);
        let silent = (self.last_sign + self.silence_max(), Due::Silent);
        let suback = self.subscribes.iter().map(|subscribe| (subscribe.deadline, Due::NoSuback));
        let pong = self.pings.front().map(|&sent| (sent + PONG_TIMEOUT, Due::NoPong));
        let ends = suback.chain(pong).chain([silent]);
        // Of what is due at the same time, an end comes first.
        ends.chain([ping]).min_by_key(|(at, _)| *at).unwrap_or(silent)
    }

    /// A PINGRESP is overdue. Gives the broker more time if it was busy; says whether it was.
    pub fn excuse_pong(&mut self, now: Instant) -> bool {
        let busy = self.bytes_since_ping >= BUSY_BYTES;
        if busy {
            self.bytes_since_ping = 0;
            self.pings.iter_mut().for_each(|sent| *sent = now);
        }
        busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const KEEP_ALIVE: Duration = Duration::from_secs(60);

    fn suback(packet_id: u16, codes: usize) -> Suback {
        Suback { packet_id, codes: vec![0; codes], ..Suback::default() }
    }

    #[test]
    fn a_ping_is_due_after_half_the_keep_alive_however_much_the_broker_sends() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(KEEP_ALIVE, start);
        deadlines.received_packet(start + 20 * SECOND);
        assert_eq!(deadlines.next(), (start + 30 * SECOND, Due::Ping));
        deadlines.set_keep_alive(10 * SECOND);
        assert_eq!(deadlines.next(), (start + 5 * SECOND, Due::Ping));
    }

    #[test]
    fn bytes_now_and_then_are_no_sign_of_life_but_packets_and_large_parts_of_one_are() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(KEEP_ALIVE, start);
        for second in 1..=90 {
            deadlines.sent(start + second * SECOND);
            deadlines.received_bytes(1, start + second * SECOND);
        }
        assert_eq!(deadlines.next(), (start + 90 * SECOND, Due::Silent));
        deadlines.received_bytes(PART_BYTES, start + 90 * SECOND);
        assert_eq!(deadlines.next().1, Due::Ping);
        deadlines.sent(start + 200 * SECOND);
        assert_eq!(deadlines.next(), (start + 180 * SECOND, Due::Silent));
        deadlines.received_packet(start + 100 * SECOND);
        assert_eq!(deadlines.next(), (start + 190 * SECOND, Due::Silent));
    }

    #[test]
    fn a_suback_is_due_in_time_also_if_messages_come_before_it() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(2_000 * SECOND, start);
        deadlines.sent_subscribe(7, 2, start);
        assert_eq!(deadlines.next(), (start + SUBACK_TIMEOUT, Due::NoSuback));
        deadlines.received_publishes(start + 20 * SECOND);
        assert_eq!(deadlines.next(), (start + 50 * SECOND, Due::NoSuback));
        deadlines.received_publishes(start + 599 * SECOND);
        assert_eq!(deadlines.next(), (start + SUBACK_TIMEOUT_MAX, Due::NoSuback));
        assert_eq!(deadlines.received_suback(&suback(7, 2), start), Ok(()));
        assert_eq!(deadlines.next().1, Due::Ping);
    }

    #[test]
    fn a_suback_answers_a_subscribe_filter_by_filter() {
        let now = Instant::now();
        let mut deadlines = Deadlines::new(KEEP_ALIVE, now);
        deadlines.sent_subscribe(7, 2, now);
        assert_eq!(deadlines.received_suback(&suback(8, 2), now), Err(AnswerError::UnknownSuback(8)));
        let wrong = deadlines.received_suback(&suback(7, 0), now);
        assert_eq!(wrong, Err(AnswerError::SubackCodes { found: 0, expected: 2 }));
        assert_eq!(deadlines.received_suback(&suback(7, 2), now), Err(AnswerError::UnknownSuback(7)));
    }

    #[test]
    fn a_pong_may_wait_behind_a_replay_but_not_behind_a_few_messages() {
        let start = Instant::now();
        let overdue = start + PONG_TIMEOUT;
        let mut deadlines = Deadlines::new(KEEP_ALIVE, start);
        deadlines.sent_ping(start);
        deadlines.received_bytes(BUSY_BYTES - 1, overdue);
        deadlines.received_packet(overdue);
        deadlines.sent(overdue);
        assert_eq!(deadlines.next(), (overdue, Due::NoPong));
        assert!(!deadlines.excuse_pong(overdue));
        deadlines.received_bytes(1, overdue);
        assert!(deadlines.excuse_pong(overdue));
        assert_ne!(deadlines.next().1, Due::NoPong);
        assert!(!deadlines.excuse_pong(overdue + PONG_TIMEOUT), "it must go on sending");
    }

    #[test]
    fn a_flood_of_pongs_is_no_sign_of_life_and_has_an_end() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(KEEP_ALIVE, start);
        deadlines.sent_ping(start);
        assert_eq!(deadlines.received_pong(start), Ok(true));
        for _ in 0..UNASKED_PONGS_MAX {
            deadlines.sent(start + 80 * SECOND);
            assert_eq!(deadlines.received_pong(start + 80 * SECOND), Ok(false));
        }
        assert_eq!(deadlines.next(), (start + 90 * SECOND, Due::Silent));
        assert_eq!(deadlines.received_pong(start), Err(AnswerError::UnaskedPongs));
    }
}
