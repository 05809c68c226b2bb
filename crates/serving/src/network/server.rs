//! The accept loop: how many connections there are, of whom, and that all end within the time that a stop may take.

use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{ClientTimeouts, ConnectedClient, ServeContext};
use super::direct::App;
use super::places::{ConnectionPlace, Places, Use};
use super::proxy::{self, TrustedProxies};
use super::signals::Signal;
use super::tls::{HTTP_2, Tls};
use server::access::network;
use server::http_settings::HttpSettings;
use server::metrics::{CutConnection, HttpMetrics};
use system::log_limit::OnceAMinute;

/// From the accepted connection to the end of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What the kernel holds of an answer that is not on its way yet. Without a limit it holds megabytes for each client that
/// reads slowly, and some thousands of them take the memory of all sockets.
const UNSENT_MAX_BYTES: u32 = 128 * 1024;
/// How long requests that run may go on once a stop is asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection in a reserved place may take, which is good for one short answer.
const RESERVED_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept: mostly there are no file descriptors left, and trying at once only burns the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What connections are accepted with.
pub struct Server {
    listener: TcpListener,
    served: ServeContext,
    tls: Option<Arc<Tls>>,
    places: Arc<Places>,
    addresses: Arc<Addresses>,
    proxy_protocol: bool,
}

impl Server {
    pub fn new(
        listener: TcpListener,
        app: App,
        settings: &HttpSettings,
        tls: Option<Arc<Tls>>,
        metrics: HttpMetrics,
        shutdown: CancellationToken,
    ) -> Self {
        let addresses = Addresses::new(settings.connections_per_address, TrustedProxies::new(settings));
        Self {
            listener,
            served: ServeContext { app, metrics, shutdown, timeouts: ClientTimeouts::default() },
            tls,
            places: Arc::new(Places::new(settings.connections_max)),
            addresses: Arc::new(addresses),
            proxy_protocol: settings.proxy_protocol,
        }
    }

    /// Serves until shutdown, then lets what runs finish.
    pub async fn run(self) {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                () = self.served.shutdown.cancelled() => break,
            };
            match accepted {
                Ok(connection) => self.admit(&connections, connection),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        self.places.stop();
        connections.close();
        if timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
            tracing::warn!("some connections were still busy and are cut");
        }
    }

    async fn accept(&self) -> std::io::Result<NewConnection> {
        let (stream, address) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_MAX_BYTES)?;
        Ok(NewConnection { stream, peer: address.ip(), place: self.places.take().await })
    }

    fn admit(&self, connections: &TaskTracker, connection: NewConnection) {
        let NewConnection { stream, peer, place } = connection;
        let open = Open::new(&self.served.metrics);
        let admission = Admission {
            served: self.served.clone(),
            acceptor: self.tls.as_ref().map(|tls| tls.acceptor(place.good_for)),
            addresses: Arc::clone(&self.addresses),
            is_announced: self.proxy_protocol && self.addresses.proxies.trust(peer),
        };
        connections.spawn(async move {
            let metrics = admission.served.metrics.clone();
            let client =
                ConnectedClient { peer, good_for: place.good_for, progress: Arc::clone(&place.progress) };
            // A fault while an answer is on its way: no other can be given, so the connection is broken off.
            let serving = AssertUnwindSafe(admission.serve(stream, client)).catch_unwind();
            let ended = match place.good_for {
                Use::Anything => serving.await,
                Use::HealthOnly => timeout(RESERVED_TIMEOUT, serving).await.unwrap_or(Ok(())),
            };
            if ended.is_err() {
                metrics.panics.inc();
            }
            drop((place, open));
        });
    }
}

/// A connection that was accepted, and its place among those that may be open.
struct NewConnection {
    stream: TcpStream,
    peer: IpAddr,
    place: ConnectionPlace,
}

/// What one connection is served with, once it is known whose it is.
struct Admission {
    served: ServeContext,
    acceptor: Option<TlsAcceptor>,
    addresses: Arc<Addresses>,
    /// It begins with a header of the PROXY protocol.
    is_announced: bool,
}

impl Admission {
    /// Serves a client whose address has not too many connections.
    async fn serve(self, mut stream: TcpStream, mut client: ConnectedClient) {
        let Self { served, acceptor, addresses, is_announced } = self;
        if is_announced {
            let header = timeout(HANDSHAKE_TIMEOUT, proxy::read_header(&mut stream));
            let header = tokio::select! {
                header = header => header,
                () = served.shutdown.cancelled() => return,
                () = client.progress.signals.wait(Signal::GiveWay) => return served.metrics.cut(CutConnection::GaveWay),
            };
            match header {
                Ok(Ok(Some(source))) => client.peer = source,
                Ok(Ok(None)) => {}
                Ok(Err(_)) | Err(_) => return served.metrics.cut(CutConnection::ProxyProtocol),
            }
        }
        let Some(_counted) = Addresses::count(&addresses, client.peer) else {
            served.metrics.cut(CutConnection::TooManyOfAddress);
            return addresses.warn(client.peer);
        };
        serve(served, acceptor, stream, client).await;
    }
}

/// Serves one client, inside TLS if there is an acceptor.
async fn serve(
    served: ServeContext,
    acceptor: Option<TlsAcceptor>,
    stream: TcpStream,
    client: ConnectedClient,
) {
    let Some(acceptor) = acceptor else { return served.connection(stream, client).await };
    let handshake = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    let accepted = tokio::select! {
        accepted = handshake => accepted,
        () = served.shutdown.cancelled() => return,
        () = client.progress.signals.wait(Signal::GiveWay) => return served.metrics.cut(CutConnection::GaveWay),
    };
    match accepted {
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(HTTP_2) => {
            served.http2(stream, client).await;
        }
        Ok(Ok(stream)) => served.connection(stream, client).await,
        Ok(Err(_refused)) => served.metrics.cut(CutConnection::TlsHandshake),
        Err(_elapsed) => served.metrics.cut(CutConnection::SlowTlsHandshake),
    }
}

/// One more open connection as long as this lives.
struct Open(HttpMetrics);

impl Open {
    fn new(metrics: &HttpMetrics) -> Self {
        metrics.connections.inc();
        Self(metrics.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// How many connections each address has; one that has none takes no memory.
#[derive(Debug)]
struct Addresses {
    most: usize,
    open: Mutex<HashMap<u64, usize>>,
    log: OnceAMinute,
    proxies: TrustedProxies,
}

/// One connection of an address, as long as this lives.
struct ConnectionCount {
    addresses: Arc<Addresses>,
    network: Option<u64>,
}

impl Addresses {
    fn new(most: usize, proxies: TrustedProxies) -> Self {
        Self { most, open: Mutex::default(), log: OnceAMinute::default(), proxies }
    }

    /// Says that connections of an address are closed.
    fn warn(&self, address: IpAddr) {
        if let Some(times) = self.log.pass(std::time::Instant::now()) {
            tracing::warn!(
                %address,
                times,
                "connections are closed: the address has as many as --connections-per-address allows"
            );
        }
    }

    /// `None`: the address has as many as it may. A trusted proxy has the connections of everybody, and on loopback there may be a
    /// proxy, too.
    fn count(addresses: &Arc<Self>, address: IpAddr) -> Option<ConnectionCount> {
        let is_limited = !address.to_canonical().is_loopback() && !addresses.proxies.trust(address);
        let network = is_limited.then(|| network(address));
        if let Some(network) = network {
            let mut open = addresses.open.lock();
            let connections = open.entry(network).or_default();
            if *connections >= addresses.most {
                return None;
            }
            *connections += 1;
        }
        Some(ConnectionCount { addresses: Arc::clone(addresses), network })
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let mut open = self.addresses.open.lock();
        if let Some(connections) = open.get_mut(&network) {
            *connections -= 1;
            if *connections == 0 {
                open.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::tests::{Fixture, PATIENCE, ask};

    #[test]
    fn an_address_has_as_many_connections_as_it_may_and_loopback_as_many_as_it_likes() {
        let addresses = Arc::new(Addresses::new(2, TrustedProxies::new(&HttpSettings::default())));
        let count = |address: &str| Addresses::count(&addresses, address.parse().unwrap());
        let first = count("192.0.2.1").unwrap();
        let second = count("::ffff:192.0.2.1").unwrap();
        assert!(count("192.0.2.1").is_none());
        let other = count("192.0.2.2").unwrap();
        let local: Vec<_> = (0..10).map(|_| count("127.0.0.1").unwrap()).collect();
        drop(first);
        let third = count("192.0.2.1").unwrap();
        drop((second, third, other, local));
        assert!(addresses.open.lock().is_empty(), "nothing is kept of who is gone");
    }

    /// A server whose connections come from whatever address the test says: there is only loopback to connect from.
    struct Fleet {
        fixture: Fixture,
        server: Server,
        connections: TaskTracker,
    }

    impl Fleet {
        async fn new(settings: &HttpSettings) -> Self {
            let fixture = Fixture::new(settings);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let app = App { router: fixture.router(Router::new()), direct: None };
            let http = fixture.metrics.http.clone();
            let server = Server::new(listener, app, settings, None, http, CancellationToken::new());
            Self { fixture, server, connections: TaskTracker::new() }
        }

        async fn connect(&self, from: &str) -> TcpStream {
            let client = TcpStream::connect(self.server.listener.local_addr().unwrap()).await.unwrap();
            let connection = self.server.accept().await.unwrap();
            self.server.admit(&self.connections, NewConnection { peer: from.parse().unwrap(), ..connection });
            client
        }
    }

    #[tokio::test]
    async fn one_connection_too_many_of_an_address_is_closed_and_others_are_answered() {
        let fleet = Fleet::new(&HttpSettings { connections_per_address: 2, ..HttpSettings::default() }).await;
        let mut allowed = [fleet.connect("192.0.2.1").await, fleet.connect("192.0.2.1").await];
        let mut further = fleet.connect("192.0.2.1").await;
        let read = timeout(PATIENCE, further.read_u8()).await.expect("the connection ends");
        assert!(read.is_err(), "without an answer");
        for client in &mut allowed {
            assert_eq!(ask(client, "/livez").await.unwrap().status, 200, "those that stand are left alone");
        }
        let mut other = fleet.connect("192.0.2.2").await;
        assert_eq!(ask(&mut other, "/livez").await.unwrap().status, 200);
        assert!(
            fleet.fixture.counts("devstatus_http_connections_cut_total{reason=\"too_many_of_address\"} 1")
        );
        drop(allowed);
        let again = async { while ask(&mut fleet.connect("192.0.2.1").await, "/livez").await.is_none() {} };
        timeout(PATIENCE, again).await.expect("there is room once the others have gone");
    }

    #[tokio::test]
    async fn a_throttled_address_gets_retry_after_and_others_are_answered() {
        let fleet = Fleet::new(&HttpSettings { requests_per_second: 1, ..HttpSettings::default() }).await;
        let (mut busy, mut other) = (fleet.connect("192.0.2.1").await, fleet.connect("192.0.2.2").await);
        let mut answers = Vec::new();
        for _ in 0..50 {
            answers.push(ask(&mut busy, "/api/v1/types").await.unwrap());
        }
        assert_eq!(answers[0].status, 200);
        let refused = answers.iter().find(|answer| answer.status == 429);
        let refused = refused.expect("fifty are more than one a second");
        let wait = refused.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
        assert_eq!(wait, Some("1"), "{refused:?}");
        assert!(refused.body.contains("urn:devstatus:problem:too-many-requests"), "{refused:?}");
        assert_eq!(ask(&mut other, "/api/v1/types").await.unwrap().status, 200);
        assert_eq!(ask(&mut busy, "/livez").await.unwrap().status, 200, "the probes are for everybody");
        // On loopback there may be a proxy.
        let mut local = fleet.connect("127.0.0.1").await;
        for _ in 0..50 {
            assert_eq!(ask(&mut local, "/api/v1/types").await.unwrap().status, 200);
        }
    }
}
