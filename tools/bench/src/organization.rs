//! Retained statuses in types of uneven size, and which of them somebody has got right. What a status looks like is known
//! to `messages`.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::Outcome;
use crate::messages::{Message, message_of};

/// Requests on the way at a time.
const PIPELINE: usize = 100;
/// No answer takes this long unless something hangs.
const ANSWER_BOUND: Duration = Duration::from_secs(30);

/// The month of `messages`, in which the statuses of an organization are from, and the one before.
pub const MONTH: &str = "2026-11";
pub const MONTH_BEFORE: &str = "2026-10";

/// Device types by name, and how many devices each has.
pub struct Organization {
    types: Vec<(String, u32)>,
    /// When all sessions began and ended; every status of a later month is newer.
    pub month: &'static str,
}

impl Organization {
    /// So many devices in 40 types: the first has 30 in a hundred, of the others the second half as many as the first, the
    /// third a third, and so on.
    pub fn uneven(devices: u32) -> Self {
        const OTHERS: u32 = 39;
        let first = devices / 10 * 3;
        let rest = f64::from(devices - first);
        let all: f64 = (1..=OTHERS).map(|rank| 1.0 / f64::from(rank)).sum();
        let mut sizes: Vec<u32> = (1..=OTHERS).map(|rank| (rest / f64::from(rank) / all) as u32).collect();
        let given: u32 = sizes.iter().sum();
        // What rounding has left over.
        sizes[0] += devices - first - given;
        sizes.insert(0, first);
        Self::new(&sizes)
    }

    /// So many devices in 50 types, the largest nearly a quarter above the mean: 4,900 of 200,000; and a tenth more in one
    /// type that is larger than all of them.
    pub fn of_the_platform(devices: u32) -> Self {
        const TYPES: u32 = 50;
        let mean = f64::from(devices / TYPES);
        let size = |number| mean * (0.775 + 0.45 * f64::from(number) / f64::from(TYPES - 1));
        let mut sizes: Vec<u32> = (0..TYPES).map(|number| size(number) as u32).collect();
        sizes.push(devices / 10);
        Self::new(&sizes)
    }

    fn new(sizes: &[u32]) -> Self {
        let types = (0..).zip(sizes).map(|(n, size): (u32, _)| (format!("type-{n:02}"), *size));
        Self { types: types.collect(), month: MONTH }
    }

    pub fn devices(&self) -> u32 {
        self.types.iter().map(|(_, size)| size).sum()
    }

    /// The type that comes last, and the ids of its devices.
    pub fn last_type(&self) -> (&str, impl Iterator<Item = String>) {
        let (name, size) = self.types.last().expect("an organization has types");
        (name, (0..*size).map(id))
    }

    /// The retained status of each device, type by type.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        let names =
            self.types.iter().flat_map(|(name, size)| (0..*size).map(move |number| (name, id(number))));
        (0..).zip(names).map(|(device, (name, id))| {
            let Message { topic, payload } = message_of(device, name, &id);
            Message { topic, payload: payload.replace(MONTH, self.month) }
        })
    }

    /// How many devices a service answers with exactly what was published; asks it for every one.
    pub fn right_at(&self, url: &str) -> Outcome<u32> {
        let messages: Vec<Message> = self.messages().collect();
        count_right(
            url,
            &messages,
            |message| {
                let (device_type, id) = names(&message.topic).ok_or("a topic of the platform's form")?;
                Ok(format!("/{device_type}/{id}"))
            },
            |message, body| body == message.payload.as_bytes(),
        )
    }
}

/// How many of these messages are among these lines, of a topic, a blank and a payload each.
pub fn right_in(messages: impl Iterator<Item = Message>, lines: impl BufRead) -> Outcome<u32> {
    let hasher = BuildHasherDefault::<DefaultHasher>::new();
    let mut expected: HashSet<u64> =
        messages.map(|m| hasher.hash_one(format!("{} {}", m.topic, m.payload))).collect();
    let all = expected.len();
    for line in lines.lines() {
        expected.remove(&hasher.hash_one(line?));
    }
    Ok((all - expected.len()) as u32)
}

/// Asks a service for every device; how many of the answers are right.
pub fn count_right<T>(
    url: &str,
    devices: &[T],
    path: impl Fn(&T) -> Outcome<String>,
    is_right: impl Fn(&T, &[u8]) -> bool,
) -> Outcome<u32> {
    let address = url.strip_prefix("http://").ok_or("an address of http://")?;
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_BOUND))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut right = 0;
    for batch in devices.chunks(PIPELINE) {
        let mut requests = String::new();
        for device in batch {
            requests += &format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", path(device)?);
        }
        stream.write_all(requests.as_bytes())?;
        for device in batch {
            right += u32::from(is_right(device, &body(&mut answers)?));
        }
    }
    Ok(right)
}

fn id(number: u32) -> String {
    format!("d{number:08}")
}

fn names(topic: &str) -> Option<(&str, &str)> {
    topic.strip_prefix("iot-2/type/")?.strip_suffix("/mon")?.split_once("/id/")
}

/// The body of the next answer; it must say how long it is.
fn body(answers: &mut impl BufRead) -> Outcome<Vec<u8>> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        answers.read_line(&mut line)?;
        if line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_are_as_uneven_as_they_are_said_to_be() {
        let uneven = Organization::uneven(1_000_000);
        assert_eq!((uneven.devices(), uneven.types.len(), uneven.types[0].1), (1_000_000, 40, 300_000));
        let platform = Organization::of_the_platform(200_000);
        let sizes: Vec<u32> = platform.types.iter().map(|(_, size)| *size).collect();
        assert_eq!((sizes.len(), sizes[50], sizes[..50].iter().max()), (51, 20_000, Some(&4_900)));
        assert!((199_900..=200_000).contains(&sizes[..50].iter().sum::<u32>()), "{sizes:?}");
    }

    #[test]
    fn only_a_status_that_was_published_is_right_and_only_once() {
        let organization = Organization::uneven(200);
        let first = organization.messages().next().unwrap();
        let line = format!("{} {}\n", first.topic, first.payload);
        let other = format!("{} {}\n", first.topic, "{}");
        let lines = line.clone() + &line + &other;
        assert_eq!(right_in(organization.messages(), lines.as_bytes()).unwrap(), 1);
    }
}
