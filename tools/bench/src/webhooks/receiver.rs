//! Ten endpoints on one thread: each counts what it receives, and how long after it was published.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use memchr::memmem::find;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use crate::Outcome;
use crate::latencies::Latencies;

/// When each change was published. They go through the devices again and again.
pub struct Sent {
    began: Instant,
    devices: u32,
    next: AtomicU32,
    /// In nanoseconds after `began`, plus one; 0: it is not counted.
    at: Vec<AtomicU64>,
}

impl Sent {
    pub fn new(devices: u32, changes: u32) -> Self {
        let at = (0..changes).map(|_| AtomicU64::new(0)).collect();
        Self { began: Instant::now(), devices, next: AtomicU32::new(0), at }
    }

    /// The device and step of the change that is published now; `None`: there are no more.
    pub fn next(&self, is_counted: bool) -> Option<(u32, u32)> {
        let number = self.next.load(Ordering::SeqCst);
        let at = self.at.get(usize::try_from(number).ok()?)?;
        if is_counted {
            at.store(self.now_ns() + 1, Ordering::SeqCst);
        }
        self.next.store(number + 1, Ordering::SeqCst);
        Some((number % self.devices, number / self.devices))
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What one endpoint has received.
struct Received {
    /// How often each change came.
    times: Vec<AtomicU8>,
    latencies: Mutex<Latencies>,
}

/// All of them.
pub struct Endpoints {
    each: Vec<(u16, Arc<Received>)>,
}

impl Endpoints {
    pub fn start(number: u32, sent: &Arc<Sent>) -> Outcome<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let mut each = Vec::new();
        let mut listeners = Vec::new();
        for _ in 0..number {
            let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
            let times = sent.at.iter().map(|_| AtomicU8::new(0)).collect();
            let received = Arc::new(Received { times, latencies: Mutex::default() });
            each.push((listener.local_addr()?.port(), Arc::clone(&received)));
            listeners.push((listener, received));
        }
        let sent = Arc::clone(sent);
        thread::spawn(move || {
            runtime.block_on(async {
                for (listener, received) in listeners {
                    tokio::spawn(accept(listener, received, Arc::clone(&sent)));
                }
                std::future::pending::<()>().await;
            });
        });
        Ok(Self { each })
    }

    /// The tables of the settings file, but for the place of the secret.
    pub fn tables(&self) -> String {
        let table = |(number, (port, _)): (usize, &(u16, Arc<Received>))| {
            format!(
                "[[webhook]]\nname = \"endpoint-{number}\"\nurl = \"http://127.0.0.1:{port}/\"\nsecret_file = \"SECRET_FILE\"\nallow_private = true\n"
            )
        };
        self.each.iter().enumerate().map(table).collect()
    }

    /// Whether each has received every change that was published.
    pub fn have_all(&self, sent: &Sent) -> bool {
        let number = usize::try_from(sent.next.load(Ordering::SeqCst)).unwrap_or(usize::MAX);
        let has_all = |received: &Received| {
            received.times[..number].iter().all(|times| times.load(Ordering::SeqCst) > 0)
        };
        self.each.iter().all(|(_, received)| has_all(received))
    }

    /// Those of all endpoints since the last call.
    pub fn take_latencies(&self) -> Latencies {
        let mut all = Latencies::default();
        for (_, received) in &self.each {
            all.add_all(&std::mem::take(&mut *received.latencies.lock().expect("no holder has failed")));
        }
        all
    }
}

async fn accept(listener: TcpListener, received: Arc<Received>, sent: Arc<Sent>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (received, sent) = (Arc::clone(&received), Arc::clone(&sent));
        // The service has ended it when it fails.
        tokio::spawn(async move { drop(serve(stream, &received, &sent).await) });
    }
}

async fn serve(mut stream: TcpStream, received: &Received, sent: &Sent) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let request = loop {
            if let Some(len) = request_len(&buffer) {
                break len;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        note(&buffer[..request], received, sent);
        buffer.drain(..request);
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
}

/// The length of the first request, if it is there to its end.
fn request_len(buffer: &[u8]) -> Option<usize> {
    let head = find(buffer, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
    })?;
    Some(head + length).filter(|len| buffer.len() >= *len)
}

fn note(request: &[u8], received: &Received, sent: &Sent) {
    let Some(number) = number_of(request, sent.devices) else { return };
    let (Some(at), Some(times)) = (sent.at.get(number), received.times.get(number)) else { return };
    let at_ns = at.load(Ordering::SeqCst);
    // A repetition says nothing of how long the first took.
    if times.fetch_add(1, Ordering::SeqCst) == 0 && at_ns > 0 {
        let latency_ns = (sent.now_ns() + 1).saturating_sub(at_ns);
        received.latencies.lock().expect("no holder has failed").add(latency_ns);
    }
}

/// The number of the change that a message is about: its time is that of the step, and its id that of the device.
fn number_of(request: &[u8], devices: u32) -> Option<usize> {
    let behind = |mark: &[u8], len: usize| {
        let at = find(request, mark)? + mark.len();
        std::str::from_utf8(request.get(at..at + len)?).ok()
    };
    let time = behind(b"\"timestamp\":\"2026-12-", 11)?;
    let part = |range: std::ops::Range<usize>| time.get(range)?.parse::<u32>().ok();
    let step = (part(0..2)? - 1) * 86_400 + part(3..5)? * 3_600 + part(6..8)? * 60 + part(9..11)?;
    let device: u32 = behind(b"\"id\":\"d", 8)?.parse().ok()?;
    usize::try_from(u64::from(step) * u64::from(devices) + u64::from(device)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_which_change_it_is_about() {
        let body = r#"{"type":"device.connected","timestamp":"2026-12-02T00:01:02.000Z","data":{"type":"sensor-07","id":"d00000007"}}"#;
        let request = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(request_len(request.as_bytes()), Some(request.len()));
        assert_eq!(request_len(&request.as_bytes()[..request.len() - 1]), None);
        assert_eq!(number_of(request.as_bytes(), 10), Some((86_400 + 62) * 10 + 7));
    }
}
