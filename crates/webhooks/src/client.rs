//! Sends a message to an endpoint over HTTP/1.1 and reads what it answers, within limits. No proxy is used and no redirect
//! followed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::address::is_public;
use crate::answer::{Failure, judge};
use crate::message::WebhookMessage;
use crate::rotation::SecretRotation;
use crate::settings::{EndpointSettings, Format};
use crate::signature::signatures;
use system::tls::ConnectorSource;
use system::turn::give_way;
use system::{clock, tls};

/// From the name of the host to the end of the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the request to the head of the answer: what takes longer should be answered at once and done later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// A short body of an answer is read, so that the connection can be used again.
const BODY_MAX_BYTES: usize = 16 << 10;
/// So much of the body is shown with an attempt that has failed: what endpoints say of an error is shorter.
const BODY_SHOWN_BYTES: usize = 1 << 10;
/// How long reading it may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest head of an answer.
const HEAD_MAX_BYTES: usize = 16 << 10;

const AGENT: &str = concat!("devstatus/", env!("CARGO_PKG_VERSION"));

/// How an endpoint is reached.
pub struct Client {
    endpoint: EndpointSettings,
    /// `None`: without TLS.
    tls: Option<ConnectorSource>,
    /// `None`: the secrets in the endpoint's file count.
    rotation: Option<SecretRotation>,
}

/// A connection that can be used again; dropping it ends it.
pub struct OpenConnection {
    sender: SendRequest<Full<Bytes>>,
    task: AbortHandle,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

impl Client {
    pub fn new(endpoint: EndpointSettings) -> Result<Self, tls::TrustError> {
        let tls =
            if endpoint.url.is_https() { Some(ConnectorSource::new(endpoint.tls.clone())?) } else { None };
        Ok(Self { endpoint, tls, rotation: None })
    }

    /// From now on messages are signed with the secrets that were made for the endpoint.
    pub fn set_rotation(&mut self, rotation: Option<SecretRotation>) {
        self.rotation = rotation;
    }

    pub fn rotation(&self) -> Option<&SecretRotation> {
        self.rotation.as_ref()
    }

    /// Sends a message and returns the status of the answer; the connection is used, and left behind if it can be used again.
    pub async fn post(
        &self,
        connection: &mut Option<OpenConnection>,
        message: &WebhookMessage,
    ) -> Result<u16, Failure> {
        give_way();
        if let Some(open) = connection.take().filter(|open| !open.sender.is_closed()) {
            match self.send(open, message).await {
                // The endpoint may have closed it, as it had been idle: that is no failure.
                Err(Failure::Unreachable(_)) => {}
                Ok((answer, reusable)) => return finish(answer, reusable, connection).await,
                Err(failure) => return Err(failure),
            }
        }
        let open = match timeout(CONNECT_TIMEOUT, self.connect()).await {
            Ok(open) => open.map_err(|error| Failure::Unreachable(tls::explain_handshake(&error)))?,
            Err(_elapsed) => return Err(Failure::Unreachable("no connection within 10 s".to_owned())),
        };
        let (answer, reusable) = self.send(open, message).await?;
        finish(answer, reusable, connection).await
    }

    /// Resolves the name once and connects to what was resolved and checked, to nothing else.
    async fn connect(&self) -> io::Result<OpenConnection> {
        let url = &self.endpoint.url;
        let host = url.host();
        let resolved: Vec<SocketAddr> = lookup_host((host.as_str(), url.port())).await?.collect();
        let allowed =
            resolved.into_iter().filter(|address| self.endpoint.allow_private || is_public(address.ip()));
        let mut failed = io::Error::other(
            "its name leads to no public address: set allow_private to reach one of a private network",
        );
        for address in allowed {
            match TcpStream::connect(address).await {
                Ok(stream) => return self.over(stream, host).await,
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn over(&self, stream: TcpStream, host: String) -> io::Result<OpenConnection> {
        stream.set_nodelay(true)?;
        let stream: Box<dyn ByteStream> = match &self.tls {
            Some(source) => {
                let connector = source.connector().map_err(io::Error::other)?;
                let name = ServerName::try_from(host).map_err(io::Error::other)?;
                Box::new(connector.connect(name, stream).await?)
            }
            None => Box::new(stream),
        };
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_MAX_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // Its end is seen by whoever sends next.
        let task = tokio::spawn(async move { drop(connection.await) });
        Ok(OpenConnection { sender, task: task.abort_handle() })
    }

    async fn send(
        &self,
        mut open: OpenConnection,
        message: &WebhookMessage,
    ) -> Result<(Response<Incoming>, OpenConnection), Failure> {
        let sent = async {
            open.sender.ready().await?;
            open.sender.send_request(self.request(message)).await
        };
        match timeout(ANSWER_TIMEOUT, sent).await {
            Ok(Ok(answer)) => Ok((answer, open)),
            Ok(Err(error)) => Err(Failure::Unreachable(error.to_string())),
            // The message may have been taken, so it is not sent again at once.
            Err(_elapsed) => Err(Failure::Silent),
        }
    }

    fn request(&self, message: &WebhookMessage) -> Request<Full<Bytes>> {
        let now_ms = clock::now_millis();
        let timestamp = now_ms.div_euclid(1_000);
        let WebhookMessage { id, body, .. } = message;
        let content_type = match (self.endpoint.format, self.endpoint.batch_max) {
            (Format::Ntfy, _) => "text/plain; charset=utf-8",
            (
                Format::Standard | Format::Alertmanager | Format::Slack | Format::Teams | Format::PagerDuty,
                _,
            ) => "application/json",
            (Format::CloudEvents, 1) => "application/cloudevents+json",
            (Format::CloudEvents, _) => "application/cloudevents-batch+json",
        };
        let mut request = Request::post(self.endpoint.url.target())
            .header(HOST, self.endpoint.url.authority())
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, content_type)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .body(Full::new(body.clone()))
            .expect("a URL and base64 make a request");
        let of_file = &self.endpoint.secrets;
        if !of_file.is_empty() {
            let signatures = match &self.rotation {
                Some(rotation) => signatures(rotation.secrets(of_file, now_ms), id, timestamp, body),
                None => signatures(of_file, id, timestamp, body),
            };
            let signatures = HeaderValue::from_str(&signatures).expect("base64 makes a header");
            request.headers_mut().insert("webhook-signature", signatures);
        }
        request.headers_mut().extend(self.endpoint.headers.clone());
        request
    }
}

/// Judges an answer, and keeps the connection if the answer has a short body with an end.
async fn finish(
    answer: Response<Incoming>,
    open: OpenConnection,
    connection: &mut Option<OpenConnection>,
) -> Result<u16, Failure> {
    let status = answer.status().as_u16();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let outcome = judge(status, retry_after, clock::since_1970().as_secs());
    let mut shown = Vec::new();
    if matches!(timeout(BODY_TIMEOUT, is_short(answer.into_body(), &mut shown)).await, Ok(true)) {
        *connection = Some(open);
    }
    outcome.map(|()| status).map_err(|failure| failure.with_answer(&shown))
}

/// Reads a body, and keeps the beginning of it.
async fn is_short(mut body: Incoming, shown: &mut Vec<u8>) -> bool {
    let mut left = BODY_MAX_BYTES;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let data = frame.data_ref().map_or(&[][..], |data| data);
        let room = BODY_SHOWN_BYTES.saturating_sub(shown.len());
        shown.extend_from_slice(&data[..data.len().min(room)]);
        let Some(rest) = left.checked_sub(data.len()) else { return false };
        left = rest;
    }
    true
}
