//! Asks a server on loopback: one question and what came back, head and body, or many in turn on a connection whose answers are
//! timed. Load is made by wrk, not here.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::tls::TlsConfig;

use crate::Outcome;

/// No answer takes this long unless something hangs.
const ANSWER_BOUND: Duration = Duration::from_secs(30);

/// An answer as a measurement compares it.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// Bytes of the head as HTTP/1.1 writes it, without the status line.
    pub fn header_bytes(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum()
    }
}

/// A client that keeps its connection, and trusts whatever certificate the servers of this program have.
pub struct Client(Agent);

impl Client {
    pub fn new() -> Self {
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let tls =
            TlsConfig::builder().unversioned_rustls_crypto_provider(provider).disable_verification(true);
        let settings = Agent::config_builder().http_status_as_error(false).timeout_global(Some(ANSWER_BOUND));
        Self(settings.tls_config(tls.build()).build().into())
    }

    pub fn ask(&self, url: &str) -> Outcome<Answer> {
        let mut response = self.0.get(url).call()?;
        let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let mut body = String::new();
        response.body_mut().as_reader().read_to_string(&mut body)?;
        Ok(Answer { status: response.status().as_u16(), headers, body })
    }
}

/// One connection, and nothing between the clock and the socket.
pub struct Connection(BufReader<TcpStream>);

/// An answer of 200, and how long it took.
pub struct Timed {
    pub micros: f64,
    pub body: Vec<u8>,
}

/// A connection to a server without TLS.
pub fn connect(url: &str) -> Outcome<TcpStream> {
    let address = url.strip_prefix("http://").ok_or("the server listens without TLS")?;
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_BOUND))?;
    Ok(stream)
}

impl Connection {
    pub fn open(url: &str) -> Outcome<Self> {
        Ok(Self(BufReader::with_capacity(1 << 16, connect(url)?)))
    }

    pub fn ask(&mut self, path: &str) -> Outcome<Timed> {
        self.send(path, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    fn part(&mut self, bytes: usize) -> Outcome<Vec<u8>> {
        let mut part = vec![0; bytes];
        self.0.read_exact(&mut part)?;
        Ok(part)
    }

    /// A body that comes with the length of each part before it.
    fn chunks(&mut self) -> Outcome<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            let bytes = usize::from_str_radix(line.trim_end(), 16)?;
            body.extend(self.part(bytes)?);
            self.0.read_line(&mut line)?;
            if bytes == 0 {
                return Ok(body);
            }
        }
    }

    pub fn send(&mut self, path: &str, request: &str) -> Outcome<Timed> {
        let began = Instant::now();
        self.0.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (String::new(), None);
        self.0.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse()?);
            }
        }
        let body = match length {
            Some(length) => self.part(length)?,
            None => self.chunks()?,
        };
        let micros = began.elapsed().as_secs_f64() * 1e6;
        if !status.starts_with("HTTP/1.1 200") {
            return Err(format!("{path} is answered {status}{}", String::from_utf8_lossy(&body)).into());
        }
        Ok(Timed { micros, body })
    }
}
