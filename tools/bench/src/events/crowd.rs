//! Many clients on one thread, each of which notes when a change has reached it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mqtt::packet::{self, Connect};
use mqtt::settings::MqttVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::Times;
use super::wire::{Events, Publishes, Wire};
use crate::Outcome;
use crate::broker::FILTER;
use crate::latencies::Latencies;

/// How long a client may wait for its next bytes.
const SILENCE_BOUND: Duration = Duration::from_secs(60);
/// One buffer for all clients, as they read in turn; it stays in the processor's cache.
const READ_BYTES: usize = 256 * 1024;
/// Clients that connect at once: fewer than the listen queues hold.
const CONNECT_AT_ONCE: usize = 100;

const REQUEST: &[u8] = b"GET /api/v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n";

/// What the clients follow.
#[derive(Clone, Copy)]
pub enum Side {
    /// A broker on a loopback port.
    Broker(u16),
    Service(SocketAddr),
}

/// Clients that wait for changes.
pub struct Crowd {
    thread: JoinHandle<Result<Latencies, String>>,
}

impl Crowd {
    /// Connects all clients, and returns when each of them follows.
    pub fn gather(side: Side, clients: u32, counted_from: u64, times: Arc<Times>) -> Outcome<Self> {
        let (ready, all_ready) = channel();
        let thread = thread::Builder::new().name("clients".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            let local = LocalSet::new();
            let following = local.run_until(async move {
                let streams = connect_all(side, clients).await?;
                // The waiting task is there, or the run has failed.
                let _ = ready.send(());
                follow_all(side, streams, counted_from, times).await
            });
            runtime.block_on(following).map_err(|error: Box<dyn std::error::Error>| error.to_string())
        })?;
        let crowd = Self { thread };
        if wait(&all_ready) {
            Ok(crowd)
        } else {
            Err(crowd.percentile_99().err().ok_or("the clients ended")?)
        }
    }

    /// Waits until every client has every change; the latency that one delivery in a hundred exceeds, in milliseconds.
    pub fn percentile_99(self) -> Outcome<f64> {
        let latencies = self.thread.join().map_err(|_| "the clients panicked")??;
        println!("  {latencies}");
        Ok(latencies.at(990))
    }
}

fn wait(ready: &Receiver<()>) -> bool {
    ready.recv_timeout(SILENCE_BOUND).is_ok()
}

async fn connect_all(side: Side, clients: u32) -> Outcome<Vec<TcpStream>> {
    let mut streams = Vec::new();
    let numbers: Vec<u32> = (0..clients).collect();
    for some in numbers.chunks(CONNECT_AT_ONCE) {
        let connecting: Vec<_> =
            some.iter().map(|number| tokio::task::spawn_local(connect(side, *number))).collect();
        for connecting in connecting {
            let connected = connecting.await?;
            streams.push(connected.map_err(|error: String| error)?);
        }
    }
    Ok(streams)
}

/// A client that follows: its request has been granted.
async fn connect(side: Side, number: u32) -> Result<TcpStream, String> {
    let connected = async {
        match side {
            Side::Service(address) => {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(REQUEST).await?;
                let mut status = [0; 12];
                stream.read_exact(&mut status).await?;
                if !status.ends_with(b" 200") {
                    return Err(std::io::Error::other("the service refuses the stream"));
                }
                Ok(stream)
            }
            Side::Broker(port) => {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
                let client_id = format!("client-{number}");
                let connect = Connect {
                    version: MqttVersion::V311,
                    client_id: &client_id,
                    user_name: None,
                    password: None,
                    keep_alive_s: 0,
                    clean_session: true,
                    session_expiry_s: 0,
                    will: None,
                };
                stream.write_all(&connect.encode()).await?;
                stream.write_all(&packet::subscribe(MqttVersion::V311, 1, &[FILTER], 0)).await?;
                // CONNACK and SUBACK.
                stream.read_exact(&mut [0; 9]).await?;
                Ok(stream)
            }
        }
    };
    match timeout(SILENCE_BOUND, connected).await {
        Ok(connected) => connected.map_err(|error| format!("client {number}: {error}")),
        Err(_elapsed) => Err(format!("client {number} waits in vain to be let in")),
    }
}

async fn follow_all(
    side: Side,
    streams: Vec<TcpStream>,
    counted_from: u64,
    times: Arc<Times>,
) -> Outcome<Latencies> {
    let latencies = Rc::new(RefCell::new(Latencies::default()));
    let buffer = Rc::new(RefCell::new(vec![0; READ_BYTES]));
    let following: Vec<_> = streams
        .into_iter()
        .map(|stream| {
            let client = Client {
                wire: match side {
                    Side::Service(_) => Box::new(Events) as Box<dyn Wire>,
                    Side::Broker(_) => Box::new(Publishes::default()),
                },
                expected: 0,
                counted_from,
                times: Arc::clone(&times),
                latencies: Rc::clone(&latencies),
            };
            tokio::task::spawn_local(follow(stream, client, Rc::clone(&buffer)))
        })
        .collect();
    for following in following {
        following.await??;
    }
    let latencies = Rc::try_unwrap(latencies).map_err(|_| "a client goes on")?;
    Ok(latencies.into_inner())
}

struct Client {
    wire: Box<dyn Wire>,
    /// The number of the next change.
    expected: u64,
    counted_from: u64,
    times: Arc<Times>,
    latencies: Rc<RefCell<Latencies>>,
}

/// Reads until the last change has come.
async fn follow(stream: TcpStream, mut client: Client, buffer: Rc<RefCell<Vec<u8>>>) -> Result<(), String> {
    let mut carried = Vec::new();
    while client.expected < client.times.published.len() as u64 {
        match timeout(SILENCE_BOUND, stream.readable()).await {
            Ok(readable) => readable.map_err(|error| error.to_string())?,
            Err(_elapsed) => return Err(format!("change {} does not come", client.expected)),
        }
        // Nobody else runs before the end of this block, so the buffer is this client's.
        let mut buffer = buffer.borrow_mut();
        buffer[..carried.len()].copy_from_slice(&carried);
        let read = match stream.try_read(&mut buffer[carried.len()..]) {
            Ok(0) => return Err(format!("the stream ended before change {}", client.expected)),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.to_string()),
        };
        let bytes = &buffer[..carried.len() + read];
        let again = client.take(bytes).map_err(|error| error.to_string())?;
        carried.clear();
        carried.extend_from_slice(&bytes[bytes.len() - again..]);
    }
    Ok(())
}

impl Client {
    fn take(&mut self, bytes: &[u8]) -> Outcome<usize> {
        let now = self.times.now();
        let mut latencies = self.latencies.borrow_mut();
        let (expected, times, counted_from) = (&mut self.expected, &self.times, self.counted_from);
        self.wire.changes(bytes, &mut |change| {
            if change != *expected {
                return Err(format!("change {change} comes where {expected} was to come").into());
            }
            *expected += 1;
            let published = times.published(change).ok_or("a change that nobody has published")?;
            if change >= counted_from {
                latencies.add(now.saturating_sub(published));
            }
            Ok(())
        })
    }
}
