//! A client of Server-Sent Events: opens a stream, reads it event by event, remembers where it is.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::PATIENCE;
use super::http::{self, Connection, Response};

/// One event as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: String,
    pub data: Value,
    /// The id of its own block, if it had one.
    pub id: Option<String>,
}

impl Event {
    /// The device, its status and the time that decided it, as one text.
    pub fn summary(&self) -> String {
        let text = |name: &str| self.data[name].as_str().unwrap_or("null").to_owned();
        format!("{}/{} {} {}", text("type"), text("id"), text("status"), text("since"))
    }
}

/// An open stream.
pub struct EventStream {
    lines: BufReader<Chunks>,
    /// What a client would send to go on from here.
    pub last_event_id: Option<String>,
    /// Comments so far.
    pub comments: usize,
}

impl EventStream {
    /// Opens a stream, which must be granted.
    pub fn open(address: SocketAddr, query: &str) -> Self {
        Self::resume(address, query, None)
    }

    /// Opens a stream that goes on after an event.
    pub fn resume(address: SocketAddr, query: &str, last_event_id: Option<&str>) -> Self {
        match Self::ask(address, query, last_event_id) {
            Ok(stream) => stream,
            Err(refusal) => panic!("no stream for {query:?}: {} {}", refusal.status, refusal.text()),
        }
    }

    /// Asks for a stream; the error is the answer that came instead.
    pub fn ask(address: SocketAddr, query: &str, last_event_id: Option<&str>) -> Result<Self, Response> {
        let header = last_event_id.map(|id| ("Last-Event-ID", id));
        Self::ask_with(address, query, header.as_slice())
    }

    /// The same with whatever headers.
    pub fn ask_with(address: SocketAddr, query: &str, headers: &[(&str, &str)]) -> Result<Self, Response> {
        let request = http::request_with("GET", &format!("/api/v1/events?{query}"), headers);
        let mut stream =
            BufReader::new(TcpStream::connect(address).expect("the service accepts a connection"));
        stream.get_ref().set_read_timeout(Some(PATIENCE)).expect("a read timeout can be set");
        stream.get_mut().write_all(&request).expect("the service reads the request");
        let head = head(&mut stream);
        if !head.starts_with("HTTP/1.1 200 ") {
            let mut connection = Connection::open(address);
            connection.send(&request);
            return Err(connection.receive("GET").expect("a refusal is a whole answer"));
        }
        assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        let lines = BufReader::new(Chunks { stream, left: 0 });
        let last_event_id = headers.iter().find(|(name, _)| *name == "Last-Event-ID");
        Ok(Self { lines, last_event_id: last_event_id.map(|(_, id)| (*id).to_owned()), comments: 0 })
    }

    /// The next event, which must be there.
    pub fn expect(&mut self, name: &str) -> Event {
        let event = self.next().unwrap_or_else(|| panic!("the stream ended where {name} was to come"));
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// The summaries of so many changes.
    pub fn changes(&mut self, number: usize) -> Vec<String> {
        (0..number).map(|_| self.expect("change").summary()).collect()
    }

    /// The socket, for a client that reads no more.
    pub fn into_socket(self) -> TcpStream {
        self.lines.into_inner().stream.into_inner()
    }
}

impl Iterator for EventStream {
    type Item = Event;

    /// The next event; `None` at the end of the stream.
    fn next(&mut self) -> Option<Event> {
        loop {
            let (mut name, mut data, mut id) = (String::new(), String::new(), None);
            loop {
                let mut line = String::new();
                let read = self.lines.read_line(&mut line).expect("the stream goes on or ends");
                if read == 0 {
                    return None;
                }
                let line = line.strip_suffix('\n').expect("a line is whole");
                match line.split_once(": ").unwrap_or((line, "")) {
                    ("", "") => break,
                    ("", _comment) => self.comments += 1,
                    ("event", value) => value.clone_into(&mut name),
                    ("data", value) => data.push_str(value),
                    ("id", value) => id = Some(value.to_owned()),
                    ("retry", value) => assert!(value.parse::<u32>().is_ok(), "{line}"),
                    _ => panic!("no field of an event: {line:?}"),
                }
            }
            if id.is_some() {
                self.last_event_id.clone_from(&id);
            }
            if !data.is_empty() {
                let data = serde_json::from_str(&data).expect("the data is JSON");
                return Some(Event { name, data, id });
            }
            if self.comments > 0 && name.is_empty() {
                // A sign of life: a test that waits for one looks at the comments.
                return Some(Event { name, data: Value::Null, id });
            }
        }
    }
}

fn head(stream: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let read = stream.read_line(&mut head).expect("the service answers");
        assert!(read > 0, "the service closed the connection: {head:?}");
    }
    head
}

/// The body of an answer in chunks.
struct Chunks {
    stream: BufReader<TcpStream>,
    left: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream was cut"));
            }
            self.left = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            if self.left == 0 {
                return Ok(0);
            }
        }
        let most = buffer.len().min(self.left);
        let read = self.stream.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream was cut"));
        }
        self.left -= read;
        if self.left == 0 {
            let mut end = [0; 2];
            self.stream.read_exact(&mut end)?;
        }
        Ok(read)
    }
}
