//! For tests: a client, one request after another on a connection that stays open, and a look at the metrics.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Nothing that a test waits for takes longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    pub body: String,
}

/// Asks on a connection that stays open; `None`: it was closed instead.
pub async fn ask(client: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> Option<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.write_all(request.as_bytes()).await.ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, client.read_u8()).await.expect("an answer comes").ok()?);
    }
    let head = String::from_utf8(head).expect("the head is text").to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.parse().ok());
    let mut body = vec![0; length.expect("the answer has a length")];
    client.read_exact(&mut body).await.ok()?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = String::from_utf8(body).expect("the body is text");
    Some(Answer { status: status.expect("a status line"), head, body })
}

/// Whether this line is among the metrics.
pub fn has_metric_line(registry: &Registry, line: &str) -> bool {
    let mut text = String::new();
    encode(&mut text, registry).expect("a text takes any text");
    text.lines().any(|found| found == line)
}
