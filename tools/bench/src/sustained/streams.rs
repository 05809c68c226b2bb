//! Streams of changes beside the lookups that are measured: some that go on after the same early event again and again, and
//! one that takes snapshots. What they show is not looked at, only how much of it came.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::Outcome;

/// So long a resumed stream is read before it is resumed once more.
const RESUMED_FOR: Duration = Duration::from_secs(1);
/// So often a stream looks whether all is over.
const READ_TIMEOUT: Duration = Duration::from_millis(100);

/// Takes snapshots until all is over; gives how many were whole.
pub fn snapshots(address: &str, over: &AtomicBool) -> Outcome<usize> {
    let mut whole = 0;
    while !over.load(Ordering::Relaxed) {
        let mut tail = Vec::new();
        let mut is_whole = false;
        listen(address, "?snapshot=true", None, &mut |bytes| {
            tail.extend_from_slice(bytes);
            is_whole = memmem::find(&tail, b"event: snapshot_complete").is_some();
            tail.drain(..tail.len().saturating_sub(64));
            !is_whole && !over.load(Ordering::Relaxed)
        })?;
        whole += usize::from(is_whole);
    }
    Ok(whole)
}

/// Resumes a stream from its first event until all is over; gives how often.
pub fn resumptions(address: &str, over: &AtomicBool) -> Outcome<usize> {
    let mut head = Vec::new();
    listen(address, "", None, &mut |bytes| {
        head.extend_from_slice(bytes);
        first_id(&head).is_none() && !over.load(Ordering::Relaxed)
    })?;
    let id = first_id(&head).ok_or("a stream begins without an id")?;
    let mut resumed = 0;
    while !over.load(Ordering::Relaxed) {
        let until = Instant::now() + RESUMED_FOR;
        listen(address, "", Some(&id), &mut |_| Instant::now() < until && !over.load(Ordering::Relaxed))?;
        resumed += 1;
    }
    Ok(resumed)
}

fn first_id(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    let (id, _) = text.split_once("\nid: ")?.1.split_once('\n')?;
    Some(id.trim_end().to_owned())
}

/// Reads a stream for as long as `go_on` wants; it is also asked when nothing comes.
fn listen(
    address: &str,
    query: &str,
    last_event_id: Option<&str>,
    go_on: &mut dyn FnMut(&[u8]) -> bool,
) -> Outcome<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    let id = last_event_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    write!(stream, "GET /api/v1/events{query} HTTP/1.1\r\nHost: {address}\r\n{id}\r\n")?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match stream.read(&mut buffer) {
            Ok(0) => return Err("a stream has ended".into()),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(error) => return Err(error.into()),
        };
        if !go_on(&buffer[..read]) {
            return Ok(());
        }
    }
}
