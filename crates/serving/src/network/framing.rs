//! Where requests end on a connection, read strictly (RFC 9112). The HTTP library is lenient in places where a proxy in
//! front may read otherwise: a line that ends with a bare LF, two lengths, a length beside a transfer coding. An attacker who finds
//! such a difference can hide one request in another (request smuggling), so these requests are refused.

/// The longest line that is waited for. The HTTP library refuses a head beyond half as much.
const LINE_MAX_BYTES: usize = 64 * 1024;
/// A chunk's size with its extensions, of which no client sends any.
const CHUNK_LINE_MAX_BYTES: usize = 256;

/// The bytes from here on must not be read as a request. The offset is of a byte in the piece that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingError {
    Head { at: usize },
    Body { at: usize },
}

/// How far a connection is in its requests.
#[derive(Debug, Default)]
pub struct Framing {
    state: FramingState,
    head: RequestHead,
    /// The beginning of a line whose end has not arrived.
    line: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FramingState {
    #[default]
    RequestLine,
    Field,
    Body {
        left: u64,
    },
    ChunkSize,
    Chunk {
        left: u64,
    },
    ChunkEnd,
    Trailer,
}

/// What the head of the request has said so far of its body.
#[derive(Clone, Copy, Debug, Default)]
struct RequestHead {
    is_http_1_0: bool,
    length: Option<u64>,
    is_chunked: bool,
}

/// The line cannot be read in one way only.
struct Ambiguous;

impl Framing {
    /// Whether all that has arrived are whole requests.
    pub fn is_between_requests(&self) -> bool {
        self.state == FramingState::RequestLine && self.line.is_empty()
    }

    /// Follows the bytes that have arrived.
    pub fn check(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            at += match self.state {
                FramingState::Body { left } | FramingState::Chunk { left } => self.skip(left, rest.len()),
                FramingState::RequestLine
                | FramingState::Field
                | FramingState::ChunkSize
                | FramingState::ChunkEnd
                | FramingState::Trailer => self.take_line(rest).map_err(|offset| self.error(at + offset))?,
            };
        }
        Ok(())
    }

    fn error(&self, at: usize) -> FramingError {
        match self.state {
            FramingState::RequestLine | FramingState::Field => FramingError::Head { at },
            FramingState::Body { .. }
            | FramingState::ChunkSize
            | FramingState::Chunk { .. }
            | FramingState::ChunkEnd
            | FramingState::Trailer => FramingError::Body { at },
        }
    }

    /// Passes over bytes of a body; says how many.
    fn skip(&mut self, left: u64, available: usize) -> usize {
        let skipped = usize::try_from(left).map_or(available, |left| left.min(available));
        let left = left - skipped as u64;
        self.state = match self.state {
            FramingState::Chunk { .. } if left == 0 => FramingState::ChunkEnd,
            FramingState::Chunk { .. } => FramingState::Chunk { left },
            _ if left == 0 => FramingState::RequestLine,
            _ => FramingState::Body { left },
        };
        skipped
    }

    /// Takes one line, or what there is of it; says how many bytes that were. The error is the offset of the last of them.
    fn take_line(&mut self, bytes: &[u8]) -> Result<usize, usize> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.line.extend_from_slice(bytes);
            let most = match self.state {
                FramingState::ChunkSize | FramingState::ChunkEnd => CHUNK_LINE_MAX_BYTES,
                _ => LINE_MAX_BYTES,
            };
            return if self.line.len() > most { Err(0) } else { Ok(bytes.len()) };
        };
        let begun = std::mem::take(&mut self.line);
        let whole;
        let line = if begun.is_empty() {
            &bytes[..end]
        } else {
            whole = [&begun[..], &bytes[..end]].concat();
            &whole[..]
        };
        let line = line.strip_suffix(b"\r").filter(|line| !line.contains(&b'\r')).ok_or(end)?;
        self.state = self.after(line).map_err(|Ambiguous| end)?;
        Ok(end + 1)
    }

    /// What follows after this line.
    fn after(&mut self, line: &[u8]) -> Result<FramingState, Ambiguous> {
        match (self.state, line) {
            // Empty lines between requests mean nothing.
            (FramingState::RequestLine, []) => Ok(FramingState::RequestLine),
            (FramingState::RequestLine, line) => {
                self.head =
                    RequestHead { is_http_1_0: line.ends_with(b" HTTP/1.0"), ..RequestHead::default() };
                Ok(FramingState::Field)
            }
            (FramingState::Field, []) if self.head.is_chunked => Ok(FramingState::ChunkSize),
            (FramingState::Field, []) => Ok(match self.head.length {
                None | Some(0) => FramingState::RequestLine,
                Some(left) => FramingState::Body { left },
            }),
            (FramingState::Field, line) => self.head.read_field(line).map(|()| FramingState::Field),
            (FramingState::ChunkSize, line) => Ok(match chunk_size(line)? {
                0 => FramingState::Trailer,
                left => FramingState::Chunk { left },
            }),
            (FramingState::ChunkEnd, []) => Ok(FramingState::ChunkSize),
            (FramingState::Trailer, []) => Ok(FramingState::RequestLine),
            (FramingState::Trailer, line) if !is_folded(line) => Ok(FramingState::Trailer),
            (
                FramingState::ChunkEnd
                | FramingState::Trailer
                | FramingState::Body { .. }
                | FramingState::Chunk { .. },
                _,
            ) => Err(Ambiguous),
        }
    }
}

impl RequestHead {
    fn read_field(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Ambiguous)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if is_folded(line) || name.iter().any(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(Ambiguous);
        }
        let is_framed = self.is_chunked || self.length.is_some();
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = without_spaces(value);
            if is_framed || !digits.iter().all(u8::is_ascii_digit) {
                return Err(Ambiguous);
            }
            let digits = std::str::from_utf8(digits).map_err(|_| Ambiguous)?;
            self.length = Some(digits.parse().map_err(|_empty_or_too_large| Ambiguous)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if is_framed || self.is_http_1_0 || !without_spaces(value).eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguous);
            }
            self.is_chunked = true;
        }
        Ok(())
    }
}

/// A line that begins so once was the continuation of the one before.
fn is_folded(line: &[u8]) -> bool {
    line.starts_with(b" ") || line.starts_with(b"\t")
}

/// A tab is allowed as well, but not every proxy takes it for a space.
fn without_spaces(mut value: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = value {
        value = rest;
    }
    value
}

/// The number before the extensions, which may hold no control characters.
fn chunk_size(line: &[u8]) -> Result<u64, Ambiguous> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, extensions) = line.split_at(end);
    let is_plain = extensions.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
    if !(extensions.is_empty() || extensions.starts_with(b";")) || !is_plain {
        return Err(Ambiguous);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Ambiguous)?;
    u64::from_str_radix(digits, 16).map_err(|_empty_or_too_large| Ambiguous)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fault of these bytes, which is the same however they are cut into pieces.
    fn error(text: &str) -> Option<FramingError> {
        let whole = Framing::default().check(text.as_bytes()).err();
        let mut framing = Framing::default();
        let singly = text.bytes().enumerate().find_map(|(at, byte)| {
            framing.check(&[byte]).err().map(|error| match error {
                FramingError::Head { .. } => FramingError::Head { at },
                FramingError::Body { .. } => FramingError::Body { at },
            })
        });
        assert_eq!(whole, singly, "{text:?}");
        whole
    }

    #[test]
    fn requests_that_everybody_reads_alike_are_let_through() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET / HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-LENGTH:  3 \r\n\r\nab\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\na\r\n\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nT: 1\r\n\r\n\
             GET / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(error(text), None, "{text:?}");
        }
    }

    #[test]
    fn ambiguous_framing_is_refused_at_the_ambiguous_byte() {
        let head = "POST / HTTP/1.1\r\n";
        for line in [
            "Host: a\n",
            "Host: a\rb\r\n",
            " folded: a\r\n",
            "\tfolded\r\n",
            "no colon\r\n",
            "Content-Length : 3\r\n",
            "Content-Length: +3\r\n",
            "Content-Length: 3 3\r\n",
            "Content-Length: 3, 3\r\n",
            "Content-Length: 0x3\r\n",
            "Content-Length:\r\n",
            "Content-Length:\t3\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding:\tchunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding:\x0bchunked\r\n",
        ] {
            let expected = FramingError::Head { at: head.len() + line.find('\n').unwrap() };
            assert_eq!(error(&format!("{head}{line}\r\n")), Some(expected), "{line:?}");
        }
        for fields in [
            ["Content-Length: 3", "Content-Length: 3"],
            ["Content-Length: 3", "Transfer-Encoding: chunked"],
            ["Transfer-Encoding: chunked", "Content-Length: 3"],
            ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ] {
            let text = format!("{head}{}\r\n\r\n", fields.join("\r\n"));
            assert_eq!(error(&text), Some(FramingError::Head { at: text.len() - 3 }), "{text:?}");
        }
        assert!(error("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").is_some());
        assert!(error("GET / HTTP/1.1\n").is_some() && error("\nGET").is_some());
    }

    #[test]
    fn chunks_that_a_proxy_may_read_otherwise_are_refused() {
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in [
            "3\nabc\r\n",
            "\r\n",
            "+3\r\n",
            "0x3\r\n",
            "3 \r\n",
            "3 ;a\r\n",
            "3;a\nb\r\n",
            "3;a\x01\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "10000000000000000\r\n",
            "0\r\nA: b\n\r\n",
            "0\r\n folded\r\n\r\n",
        ] {
            let found = error(&format!("{head}{body}"));
            assert!(matches!(found, Some(FramingError::Body { .. })), "{body:?}: {found:?}");
        }
        let endless = format!("{head}3;{}", "a".repeat(CHUNK_LINE_MAX_BYTES));
        assert!(Framing::default().check(endless.as_bytes()).is_err());
    }
}
