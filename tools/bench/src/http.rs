//! Asks a server on loopback one question, and what came back, head and body. Load is made by wrk, not here.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::TlsConfig;

use crate::Outcome;

/// No answer takes this long unless something hangs.
const ANSWER_BOUND: Duration = Duration::from_secs(10);

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
