//! What a client must understand of its bytes to know which change it has received: little, because a thousand clients run on
//! the cores of the servers that are measured.

use memchr::memmem;

use crate::Outcome;

/// Bytes of a stream, of which the end may be missing.
pub trait Wire {
    /// Finds the numbers of the changes whose last byte has come, in order; says how many bytes at the end must be given
    /// again with the next ones.
    fn changes(&mut self, bytes: &[u8], found: &mut dyn FnMut(u64) -> Outcome<()>) -> Outcome<usize>;
}

/// Server-Sent Events: the id of a change is `{epoch}-{number}`, and further parts. The id comes before the data; it is taken
/// for the change when the next block, or nothing more, follows.
#[derive(Default)]
pub struct Events;

const ID: &[u8] = b"\nid: ";
const DATA: &[u8] = b"\nevent: change\n";
/// More than an id and the name of its event take.
const HEAD_MAX: usize = 120;

impl Wire for Events {
    fn changes(&mut self, bytes: &[u8], found: &mut dyn FnMut(u64) -> Outcome<()>) -> Outcome<usize> {
        let mut done = 0;
        for at in memmem::find_iter(bytes, ID) {
            let line = &bytes[at + ID.len()..];
            let Some(end) = memchr::memchr(b'\n', line) else { break };
            if line.len() < end + DATA.len() {
                break;
            }
            done = at + ID.len() + end;
            if !line[end..].starts_with(DATA) {
                continue;
            }
            let id = std::str::from_utf8(&line[..end])?;
            let number = id.split('-').nth(1).and_then(|number| number.parse::<u64>().ok());
            let number = number.and_then(|number| number.checked_sub(1));
            found(number.ok_or_else(|| format!("no id of a change: {id}"))?)?;
        }
        Ok((bytes.len() - done).min(HEAD_MAX))
    }
}

/// MQTT: the PUBLISH packets in the order in which they come are the changes.
#[derive(Default)]
pub struct Publishes {
    received: u64,
    /// Bytes of the current packet that are still to come.
    left: usize,
}

impl Wire for Publishes {
    fn changes(&mut self, mut bytes: &[u8], found: &mut dyn FnMut(u64) -> Outcome<()>) -> Outcome<usize> {
        loop {
            let passed = self.left.min(bytes.len());
            bytes = &bytes[passed..];
            let was_in_packet = self.left > 0;
            self.left -= passed;
            if self.left > 0 {
                return Ok(0);
            }
            if was_in_packet {
                found(self.received)?;
                self.received += 1;
            }
            let Some((kind, rest)) = bytes.split_first() else { return Ok(0) };
            if kind >> 4 != 3 {
                return Err(format!("the broker sent packet type {}", kind >> 4).into());
            }
            let Some((length, head)) = length(rest) else { return Ok(bytes.len()) };
            bytes = &rest[head..];
            self.left = length;
        }
    }
}

/// The length that a packet says it has, and in how many bytes it says so.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((length, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The changes found if the bytes come in pieces of this size.
    fn found(mut wire: impl Wire, bytes: &[u8], piece: usize) -> Vec<u64> {
        let (mut all, mut kept) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            kept.extend_from_slice(piece);
            let mut found = |change| {
                all.push(change);
                Ok(())
            };
            let again = wire.changes(&kept, &mut found).unwrap();
            kept.drain(..kept.len() - again);
        }
        all
    }

    #[test]
    fn every_change_is_found_once_however_its_bytes_come() {
        let mut events = b"HTTP/1.0 200 OK\r\n\r\nretry: 2000\nid: 1a-0-0\n\n".to_vec();
        let mut publishes = Vec::new();
        for number in 1..40u64 {
            events.extend(format!("id: 1a-{number}-5\nevent: change\ndata: {{\"id: \":1}}\n\n").bytes());
            publishes.extend([0x31, 0x83, 0x01]);
            publishes.extend([b'x'; 0x83]);
        }
        events.extend(b": keep-alive\nid: 1a-39-5\n\nid: 1a-40\nevent: change\n".iter());
        for piece in [1, 2, 3, 7, 100, 10_000] {
            assert_eq!(found(Events, &events, piece), (0..40).collect::<Vec<_>>(), "{piece}");
            assert_eq!(
                found(Publishes::default(), &publishes, piece),
                (0..39).collect::<Vec<_>>(),
                "{piece}"
            );
        }
    }
}
