//! Many connections on one thread that never sleeps: it sends the lookups that are due, and times the answers that have come.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::{Outcome, http};

/// What an answer takes at most.
const ANSWER_MAX_BYTES: usize = 64 << 10;
const EVENTS_AT_ONCE: usize = 64;
/// What was due within such a time is looked at by itself, too.
const WINDOW: Duration = Duration::from_millis(50);

/// When a lookup is due.
#[derive(Clone, Copy)]
pub enum Pace {
    /// As soon as the one before it on the same connection has been answered.
    AsAnswered,
    /// So many a second on all connections together, one after the other in turns.
    EachSecond(f64),
}

/// What came of the lookups.
pub struct Took {
    /// Lookups that were answered in a second.
    pub rate: f64,
    /// Microseconds from when each was due, window by window.
    pub windows: Vec<Vec<f64>>,
}

pub struct Client {
    connections: Vec<Connection>,
    epoll: OwnedFd,
    requests: Vec<String>,
    next_request: usize,
}

struct Connection {
    stream: TcpStream,
    /// When its next lookup is due, or the one that waits for an answer was.
    due: Instant,
    is_waiting: bool,
    answer: Vec<u8>,
    read: usize,
}

impl Client {
    pub fn open(url: &str, connections: u32, requests: Vec<String>) -> Outcome<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut opened = Vec::new();
        for number in 0..connections {
            let stream = http::connect(url)?;
            stream.set_nonblocking(true)?;
            epoll::add(&epoll, &stream, EventData::new_u64(number.into()), EventFlags::IN)?;
            let answer = vec![0; ANSWER_MAX_BYTES];
            opened.push(Connection { stream, due: Instant::now(), is_waiting: false, answer, read: 0 });
        }
        Ok(Self { connections: opened, epoll, requests, next_request: 0 })
    }

    /// Asks for so long, and waits for the answers to what was due by then.
    pub fn ask(&mut self, pace: Pace, time: Duration) -> Outcome<Took> {
        let began = Instant::now();
        let end = began + time;
        let of_all = match pace {
            Pace::AsAnswered => Duration::ZERO,
            Pace::EachSecond(rate) => Duration::from_secs_f64(1.0 / rate.max(1.0)),
        };
        let interval = of_all * self.connections.len() as u32;
        for (number, connection) in (0..).zip(&mut self.connections) {
            connection.due = began + of_all * number;
        }
        let (mut windows, mut answered) =
            (vec![Vec::new(); time.div_duration_f64(WINDOW).ceil() as usize], 0);
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; EVENTS_AT_ONCE];
        loop {
            let is_over = self.send_due(end)?;
            if is_over {
                break;
            }
            let ready = epoll::wait(&self.epoll, &mut events, Some(&Timespec::default()))?;
            for event in &events[..ready] {
                let connection = &mut self.connections[event.data.u64() as usize];
                if connection.read_answer()? {
                    let now = Instant::now();
                    let window = connection.due.duration_since(began).div_duration_f64(WINDOW) as usize;
                    let micros = now.duration_since(connection.due).as_secs_f64() * 1e6;
                    windows.get_mut(window).into_iter().for_each(|window| window.push(micros));
                    answered += 1;
                    connection.due = match pace {
                        Pace::AsAnswered => now,
                        Pace::EachSecond(_) => connection.due + interval,
                    };
                }
            }
        }
        Ok(Took { rate: f64::from(answered) / began.elapsed().as_secs_f64(), windows })
    }

    /// Sends what is due; `true`: nothing more is before the end, and everything has been answered.
    fn send_due(&mut self, end: Instant) -> Outcome<bool> {
        let now = Instant::now();
        let mut is_over = true;
        for connection in &mut self.connections {
            is_over &= !connection.is_waiting && connection.due >= end;
            if !connection.is_waiting && connection.due <= now && connection.due < end {
                let request = &self.requests[self.next_request];
                self.next_request = (self.next_request + 1) % self.requests.len();
                connection.stream.write_all(request.as_bytes())?;
                connection.is_waiting = true;
            }
        }
        Ok(is_over)
    }
}

impl Connection {
    /// Whether the answer is whole now.
    fn read_answer(&mut self) -> Outcome<bool> {
        match self.stream.read(&mut self.answer[self.read..]) {
            Ok(0) => return Err("the service has ended a connection".into()),
            Ok(bytes) => self.read += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let answer = &self.answer[..self.read];
        let Some(head) = memmem::find(answer, b"\r\n\r\n") else { return Ok(false) };
        let (head, body) = (&answer[..head], &answer[head + 4..]);
        if !head.starts_with(b"HTTP/1.1 200") {
            return Err(format!("a lookup is answered {}", String::from_utf8_lossy(answer)).into());
        }
        if body.len() < content_length(head)? {
            return Ok(false);
        }
        (self.read, self.is_waiting) = (0, false);
        Ok(true)
    }
}

fn content_length(head: &[u8]) -> Outcome<usize> {
    // Servers write the name in two ways.
    let at = memmem::find(head, b"ontent-length: ").or_else(|| memmem::find(head, b"ontent-Length: "));
    let value = &head[at.ok_or("an answer does not say how long it is")? + b"ontent-length: ".len()..];
    let digits = value.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Ok(std::str::from_utf8(digits)?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_an_answer_is_read_from_its_head() {
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\ncontent-length: 319\r\nx: 1").unwrap(), 319);
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\nContent-Length: 7").unwrap(), 7);
        assert!(content_length(b"HTTP/1.1 200 OK\r\nx: 1").is_err());
    }
}
