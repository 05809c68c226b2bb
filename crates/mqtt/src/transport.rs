//! Bytes to and from the broker: TCP, TLS, websocket, or a websocket in TLS. What the bytes mean is not known here.

use std::net::SocketAddr;
use std::time::Duration;
use std::{fmt, io};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WebSocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

use super::packet::PACKET_MAX_BYTES;
use super::settings::{ConnectSettings, Endpoint, Transport};
use system::sentence;
use system::tls::{self, ClientCertificateError, ConnectorSource, TrustError};

/// The buffers that are read into: large enough that the system call costs nothing for each message.
const READ_BYTES: usize = 256 * 1024;
/// With less room than this in it, the next buffer is taken. What is left of this one is lost for as long as its packets wait.
const READ_MIN_BYTES: usize = READ_BYTES / 16;

/// The receive buffer that rides out a pause of the reader at full replay speed (a broker sends about 100 MB/s).
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024 * 1024;

/// When nothing has come for this long, the delayed acknowledgement of TCP is sent. A broker that uses Nagle's algorithm, as mosquitto does unless
/// told otherwise, holds back its last packet until then, up to 40 ms. An acknowledgement after each read instead would cut a replay into
/// small segments.
const QUIET_BEFORE_ACK: Duration = Duration::from_millis(1);

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("cannot find the address of {0}")]
    Resolve(String, #[source] io::Error),
    #[error("cannot connect to {0}")]
    Connect(Endpoint, #[source] io::Error),
    #[error(transparent)]
    TrustStore(#[from] TrustError),
    #[error(transparent)]
    ClientCertificate(#[from] ClientCertificateError),
    #[error("{0} is no name that a certificate can be checked against")]
    ServerName(String),
    #[error("the TLS handshake with {0} failed: {1}")]
    Tls(Endpoint, String),
    #[error("the websocket handshake with {0} failed: {1}")]
    WebSocket(Endpoint, String),
}

/// How far the opening of a connection has come, for who must say what took too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DialStep {
    #[default]
    Tcp,
    Tls,
    WebSocket,
    Login,
}

impl fmt::Display for DialStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DialStep::Tcp => "no TCP connection was made, so a firewall may drop what is sent to the port",
            DialStep::Tls => {
                "the TLS handshake was not answered, so the port may be one without TLS (mqtt://), or a proxy that does not reach the broker"
            }
            DialStep::WebSocket => {
                "the websocket handshake was not answered, so the port may be one without websockets (mqtt://), or a proxy that does not reach the broker"
            }
            DialStep::Login => {
                "CONNECT was not answered with a CONNACK, so it may be the port of another service, one with TLS (mqtts://), or a proxy that does not reach the broker"
            }
        })
    }
}

/// An open connection.
pub enum Link {
    Stream(Box<dyn Stream>),
    WebSocket(Box<WebSocketStream<Box<dyn Stream>>>),
}

/// What the kernel holds for a reader that pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveBuffer {
    /// Asked for and granted, in bytes; the kernel counts its own bookkeeping along.
    Granted(usize),
    /// Grown by the kernel as it is needed, up to so many bytes where that is known.
    Adjusted(Option<usize>),
}

impl fmt::Display for ReceiveBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReceiveBuffer::Granted(bytes) => write!(f, "{bytes} bytes"),
            ReceiveBuffer::Adjusted(Some(bytes)) => write!(f, "as the kernel sees fit, up to {bytes} bytes"),
            ReceiveBuffer::Adjusted(None) => f.write_str("as the kernel sees fit"),
        }
    }
}

/// What TCP and TLS have in common.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Has the kernel send the acknowledgement that it holds back.
    fn acknowledge_now(&self);
}

impl Stream for TcpStream {
    fn acknowledge_now(&self) {
        // Then it holds back again: it would acknowledge each segment of a replay by itself. An error means that the connection has
        // failed, which the next read shows.
        #[cfg(target_os = "linux")]
        for at_once in [true, false] {
            let _ = rustix::net::sockopt::set_tcp_quickack(self, at_once);
        }
    }
}

impl Stream for TlsStream<TcpStream> {
    fn acknowledge_now(&self) {
        self.get_ref().0.acknowledge_now();
    }
}

/// What is the same for every connection to one broker, made once.
pub struct Dialer {
    endpoint: Endpoint,
    tls: Option<ConnectorSource>,
}

impl Dialer {
    /// Reads the certificates to trust, if they are needed.
    pub fn new(settings: &ConnectSettings) -> Result<Self, DialError> {
        let tls = match settings.endpoint.transport {
            Transport::Tls | Transport::Wss => Some(ConnectorSource::new(settings.tls.clone())?),
            Transport::Tcp | Transport::Ws => None,
        };
        Ok(Self { endpoint: settings.endpoint.clone(), tls })
    }

    /// Connects; tries every address of the host.
    pub async fn dial(&self, step: &mut DialStep) -> Result<(Link, ReceiveBuffer), DialError> {
        *step = DialStep::Tcp;
        let (tcp, receive_buffer) = self.tcp().await?;
        *step = DialStep::Tls;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(tls) => Box::new(self.tls(tls, tcp).await?),
        };
        let link = match self.endpoint.transport {
            Transport::Tcp | Transport::Tls => Link::Stream(stream),
            Transport::Ws | Transport::Wss => {
                *step = DialStep::WebSocket;
                self.web_socket(stream).await?
            }
        };
        Ok((link, receive_buffer))
    }

    async fn tcp(&self) -> Result<(TcpStream, ReceiveBuffer), DialError> {
        let endpoint = &self.endpoint;
        let addresses = lookup_host((endpoint.host.as_str(), endpoint.port))
            .await
            .map_err(|error| DialError::Resolve(endpoint.host.clone(), error))?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match connect(address).await {
                Ok(connected) => return Ok(connected),
                Err(error) => last = error,
            }
        }
        Err(DialError::Connect(endpoint.clone(), last))
    }

    async fn tls(&self, tls: &ConnectorSource, tcp: TcpStream) -> Result<TlsStream<TcpStream>, DialError> {
        let name = ServerName::try_from(self.endpoint.host.clone())
            .map_err(|_| DialError::ServerName(self.endpoint.host.clone()))?;
        let connected = tls.connector()?.connect(name, tcp).await;
        connected.map_err(|error| DialError::Tls(self.endpoint.clone(), tls::explain_handshake(&error)))
    }

    async fn web_socket(&self, stream: Box<dyn Stream>) -> Result<Link, DialError> {
        let Endpoint { transport, host, port, path } = &self.endpoint;
        let failed = |error| DialError::WebSocket(self.endpoint.clone(), web_socket_refusal(&error, path));
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let url = format!("{}://{host}:{port}{path}", transport.scheme());
        let mut request = url.into_client_request().map_err(failed)?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
        let config = WebSocketConfig::default()
            .max_message_size(Some(PACKET_MAX_BYTES * 16))
            .max_frame_size(Some(PACKET_MAX_BYTES * 16));
        let connected = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
        connected.map(|(socket, _response)| Link::WebSocket(Box::new(socket))).map_err(failed)
    }
}

impl Link {
    /// Appends what has arrived to `buffer`; 0: the broker closed the connection. Safe to cancel.
    pub async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        // Other systems are not asked for it.
        if cfg!(not(target_os = "linux")) {
            return self.read_some(buffer).await;
        }
        if let Ok(read) = timeout(QUIET_BEFORE_ACK, self.read_some(buffer)).await {
            return read;
        }
        match self {
            Link::Stream(stream) => stream.acknowledge_now(),
            Link::WebSocket(socket) => socket.get_ref().acknowledge_now(),
        }
        self.read_some(buffer).await
    }

    async fn read_some(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Link::Stream(stream) => {
                if buffer.capacity() - buffer.len() < READ_MIN_BYTES {
                    // With what has come of a packet it is as long as the others: somewhat more would take the allocator a quarter more.
                    buffer.reserve(READ_BYTES.saturating_sub(buffer.len()).max(READ_BYTES / 4));
                }
                stream.read_buf(buffer).await
            }
            Link::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Message::Binary(bytes))) if bytes.is_empty() => {}
                    Some(Ok(Message::Binary(bytes))) => {
                        buffer.extend_from_slice(&bytes);
                        return Ok(bytes.len());
                    }
                    Some(Ok(Message::Close(_))) | None => return Ok(0),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(io::Error::other(error)),
                }
            },
        }
    }

    /// Sends all of `bytes`.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Link::Stream(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Link::WebSocket(socket) => {
                let message = Message::Binary(Bytes::copy_from_slice(bytes));
                socket.send(message).await.map_err(io::Error::other)
            }
        }
    }

    /// Says goodbye as far as the transport knows how to.
    pub async fn close(mut self) -> io::Result<()> {
        match &mut self {
            Link::Stream(stream) => stream.shutdown().await,
            Link::WebSocket(socket) => SinkExt::close(socket.as_mut()).await.map_err(io::Error::other),
        }
    }
}

/// Why there is no websocket, and what to do about it.
fn web_socket_refusal(error: &WebSocketError, path: &str) -> String {
    let response = match error {
        WebSocketError::Http(response) => response,
        WebSocketError::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            return "the server does not speak MQTT over websockets (it does not agree to the subprotocol mqtt)"
                .to_owned();
        }
        WebSocketError::Protocol(ProtocolError::HandshakeIncomplete) => {
            return "the server closed the connection instead of an answer: check that the port is one for websockets"
                .to_owned();
        }
        WebSocketError::HttpFormat(_) | WebSocketError::Url(_) => return format!("{error}: check the URL"),
        other => return sentence(other),
    };
    let status = response.status();
    let advice = match status.as_u16() {
        300..=399 => "the server redirects, which is not followed: name the final URL as that of the broker",
        401 | 403 => "a server in front of the broker wants to know who asks, or refuses this machine",
        404 | 405 => "there is no websocket at this path: name the broker's in the URL, as in ws://host/path",
        502..=504 => "a proxy in front does not reach the broker: check the broker and the proxy",
        _ => "the server does not offer a websocket there: check host, port and path",
    };
    format!("status {status} for {path}: {advice}")
}

async fn connect(address: SocketAddr) -> io::Result<(TcpStream, ReceiveBuffer)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Before connecting, because the window that the broker is offered depends on it.
    let asked = ask_for_receive_buffer(&socket)?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let receive_buffer = if asked {
        ReceiveBuffer::Granted(socket2::SockRef::from(&stream).recv_buffer_size()?)
    } else {
        ReceiveBuffer::Adjusted(adjusted_up_to())
    };
    tracing::debug!(%address, %receive_buffer, "connected");
    Ok((stream, receive_buffer))
}

/// Asks for a fixed receive buffer if one larger than the kernel's own adjustment reaches can be had; says whether it did.
/// Asking for a size switches that adjustment off, so asking for less than it reaches would lose messages rather than
/// save them.
fn ask_for_receive_buffer(socket: &TcpSocket) -> io::Result<bool> {
    // With the right to it (CAP_NET_ADMIN), the common limit does not count.
    #[cfg(target_os = "linux")]
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER_BYTES).is_ok() {
        return Ok(true);
    }
    let (Some(allowed), Some(adjusted)) = (allowed(), adjusted_up_to()) else { return Ok(false) };
    let wanted = RECEIVE_BUFFER_BYTES.min(allowed);
    if wanted <= adjusted {
        return Ok(false);
    }
    socket.set_recv_buffer_size(u32::try_from(wanted).unwrap_or(u32::MAX))?;
    Ok(true)
}

/// The largest size that may be asked for without that right.
fn allowed() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok()?.trim().parse().ok()
}

/// How far the kernel's own adjustment reaches.
fn adjusted_up_to() -> Option<usize> {
    let sizes = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").ok()?;
    sizes.split_whitespace().nth(2)?.parse().ok()
}
