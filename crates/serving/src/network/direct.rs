//! Answers that are given below the HTTP library, straight into the bytes that are sent.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, Response};
use httpdate::HttpDate;

use presence::digits;
use system::clock;

/// Answers requests of one kind from their bytes.
pub trait Direct: Send + Sync {
    /// Appends the whole answer to what has come, from its status line on, and returns when it was done. `None`: that is no request of
    /// this kind, and the router answers it; nothing has been appended and nothing counted then.
    fn answer(&self, request: &[u8], peer: IpAddr, answer: &mut Vec<u8>) -> Option<Instant>;
}

/// What answers the requests of all connections.
#[derive(Clone)]
pub struct App {
    pub router: Router,
    /// Asked before the router.
    pub direct: Option<Arc<dyn Direct>>,
}

/// Appends an answer as the HTTP library would write it.
pub fn write_response(response: &Response<Bytes>, is_head: bool, answer: &mut Vec<u8>) {
    let status = response.status();
    write_text(
        answer,
        format_args!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default()),
    );
    for (name, value) in response.headers() {
        write_header(answer, name, value);
    }
    write_body(response.body(), is_head, answer);
}

pub fn write_header(answer: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    answer.extend_from_slice(name.as_str().as_bytes());
    answer.extend_from_slice(b": ");
    answer.extend_from_slice(value.as_bytes());
    answer.extend_from_slice(b"\r\n");
}

/// Appends the last headers of every answer, and its body.
pub fn write_body(body: &[u8], is_head: bool, answer: &mut Vec<u8>) {
    answer.extend_from_slice(b"content-length: ");
    digits::write(body.len() as u64, answer);
    answer.extend_from_slice(b"\r\ndate: ");
    write_date(answer);
    answer.extend_from_slice(b"\r\n\r\n");
    if !is_head {
        answer.extend_from_slice(body);
    }
}

fn write_text(answer: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    answer.write_fmt(text).expect("a vector takes any text");
}

/// The time of day as HTTP writes it (RFC 9110, section 5.6.7): a text that changes once a second.
fn write_date(answer: &mut Vec<u8>) {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = clock::second_since_1970();
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now || text.is_empty() {
            *second = now;
            text.clear();
            let date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(now));
            write!(text, "{date}").expect("a text takes any text");
        }
        answer.extend_from_slice(text.as_bytes());
    });
}
