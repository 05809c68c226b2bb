//! A request whose head says nothing that takes an HTTP library to follow: what programs send that ask for a device and
//! have no special wishes. Read without a copy and without an allocation.

use httparse::{EMPTY_HEADER, Request, Status};

/// A longer head is read by the library.
pub const PLAIN_MAX_BYTES: usize = 2 * 1024;
/// Programs send five or six.
const HEADERS_MAX: usize = 16;

/// What these say changes no answer to a plain request.
const WITHOUT_EFFECT: [&str; 10] = [
    "user-agent",
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "pragma",
    "priority",
    "traceparent",
    "tracestate",
    "x-request-id",
];

/// A GET or HEAD without a body, of HTTP/1.1, on a connection that stays open.
#[derive(Debug, PartialEq, Eq)]
pub struct PlainRequest<'a> {
    pub is_head: bool,
    /// Without a query and without escapes.
    pub path: &'a str,
    pub host: &'a str,
    pub authorization: Option<&'a [u8]>,
}

impl<'a> PlainRequest<'a> {
    /// `None`: the bytes are not just one plain request. What is one, the strict reader of framings accepts as one request, too.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > PLAIN_MAX_BYTES || !has_plain_line_ends(bytes) {
            return None;
        }
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut request = Request::new(&mut headers);
        if request.parse(bytes) != Ok(Status::Complete(bytes.len())) || request.version != Some(1) {
            return None;
        }
        let is_head = match request.method? {
            "GET" => false,
            "HEAD" => true,
            _ => return None,
        };
        let path = request.path.filter(|path| is_plain_path(path))?;
        let (mut host, mut authorization) = (None, None);
        for header in request.headers.iter() {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("host") && host.is_none() {
                host = Some(std::str::from_utf8(header.value).ok()?);
            } else if is("authorization") && authorization.is_none() {
                authorization = Some(header.value);
            } else if is("connection") {
                if !header.value.eq_ignore_ascii_case(b"keep-alive") {
                    return None;
                }
            } else if !WITHOUT_EFFECT.iter().any(|name| is(name)) {
                return None;
            }
        }
        Some(Self { is_head, path, host: host?, authorization })
    }
}

/// The path that is asked for, before it is known whether the request is plain: what is there can be fetched while that is found out.
pub fn early_path(bytes: &[u8]) -> Option<&str> {
    let path = bytes.strip_prefix(b"GET ").or_else(|| bytes.strip_prefix(b"HEAD "))?;
    std::str::from_utf8(&path[..memchr::memchr(b' ', path)?]).ok()
}

/// A line may end in a bare LF for httparse, and not for everybody.
fn has_plain_line_ends(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).all(|at| at > 0 && bytes[at - 1] == b'\r')
}

/// The characters that stand for themselves wherever a path is read.
const PLAIN_IN_PATHS: [bool; 256] = {
    let mut plain = [false; 256];
    let characters = b"/-._~:@!$&'()*+,;=0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut at = 0;
    while at < characters.len() {
        plain[characters[at] as usize] = true;
        at += 1;
    }
    plain
};

fn is_plain_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| PLAIN_IN_PATHS[usize::from(byte)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::network::framing::Framing;

    /// Pieces of requests, good ones more often than others.
    fn pieces() -> impl Strategy<Value = String> {
        const GOOD: [&str; 4] = ["GET /a/b HTTP/1.1\r\n", "Host: a\r\n", "Accept: */*\r\n", "\r\n"];
        const ODD: [&str; 15] = [
            "\n",
            "\r",
            " ",
            "\t",
            ":",
            "Host: a\n",
            "accept:b\rc\r\n",
            " folded\r\n",
            "GET /a/b HTTP/1.1\n",
            "POST / HTTP/1.1\r\n",
            "Content-Length: 1\r\n",
            "Transfer-Encoding: chunked\r\n",
            "0\r\n",
            "\0",
            "x",
        ];
        let piece = prop_oneof![4 => prop::sample::select(&GOOD[..]), 1 => prop::sample::select(&ODD[..])];
        prop::collection::vec(piece.prop_map(str::to_owned), 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn the_strict_reader_of_framings_accepts_a_plain_request_as_one(begin in any::<bool>(), rest in pieces(), end in any::<bool>()) {
            let begin = if begin { "GET /a/b HTTP/1.1\r\nHost: a\r\n" } else { "" };
            let text = format!("{begin}{rest}{}", if end { "\r\n" } else { "" });
            let mut framing = Framing::default();
            if PlainRequest::read(text.as_bytes()).is_some() {
                prop_assert_eq!(framing.check(text.as_bytes()), Ok(()), "{:?}", text);
                prop_assert!(framing.is_between_requests(), "{:?}", text);
            }
        }
    }

    fn read(line: &str, fields: &str) -> Option<(bool, String)> {
        let request = format!("{line}\r\n{fields}\r\n");
        let plain = PlainRequest::read(request.as_bytes())?;
        Some((plain.is_head, format!("{} of {}", plain.path, plain.host)))
    }

    #[test]
    fn what_common_programs_send_is_plain() {
        let plain = Some((false, "/pump/1 of a:5000".to_owned()));
        for fields in [
            "Host: a:5000\r\n",
            "host:a:5000\r\nUser-Agent: curl/8\r\nAccept: */*\r\n",
            "Host: a:5000\r\nUser-Agent: x\r\nAccept-Encoding: gzip\r\nAccept: */*\r\nConnection: keep-alive\r\n",
            "Host: a:5000\r\ntraceparent: 00-1\r\nAuthorization: Bearer x\r\n",
        ] {
            assert_eq!(read("GET /pump/1 HTTP/1.1", fields), plain, "{fields}");
        }
        assert_eq!(read("HEAD /a HTTP/1.1", "Host: b\r\n"), Some((true, "/a of b".to_owned())));
    }

    #[test]
    fn what_says_more_is_left_to_the_library() {
        let host = "Host: a\r\n";
        for line in [
            "POST /pump/1 HTTP/1.1",
            "GET /pump/1 HTTP/1.0",
            "GET /pump/1?x=1 HTTP/1.1",
            "GET /pump/%41 HTTP/1.1",
            "GET http://a/pump/1 HTTP/1.1",
            "GET /pump/\u{e4} HTTP/1.1",
            "GET /pump/\" HTTP/1.1",
            "GET * HTTP/1.1",
            "GET /pump/1",
            &format!("GET /pump/{} HTTP/1.1", "x".repeat(PLAIN_MAX_BYTES)),
        ] {
            assert_eq!(read(line, host), None, "{line}");
        }
        for more in [
            "Host: a",
            "Connection: close",
            "Connection: keep-alive, upgrade",
            "Content-Length: 0",
            "Transfer-Encoding: chunked",
            "Expect: 100-continue",
            "Cookie: a=b",
            "Origin: http://b",
            "Sec-Fetch-Mode: cors",
            "X-Forwarded-For: 192.0.2.1",
            "Forwarded: for=192.0.2.1",
            "Authorization: a\r\nAuthorization: b",
            "Unknown: x",
            "Accept : x",
            "Accept: x\n",
            "Accept: x\ry",
        ] {
            assert_eq!(read("GET /pump/1 HTTP/1.1", &format!("{host}{more}\r\n")), None, "{more}");
        }
        assert_eq!(read("GET /pump/1 HTTP/1.1", ""), None);
        let request = "GET /pump/1 HTTP/1.1\r\nHost: a\r\n\r\n";
        for bytes in [&request[..request.len() - 1], &request.repeat(2), ""] {
            assert_eq!(PlainRequest::read(bytes.as_bytes()), None, "{bytes:?}");
        }
    }
}
