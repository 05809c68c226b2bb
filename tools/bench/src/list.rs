//! How long a filtered page of 100 devices and the summary take, against one lookup: the three take turns on one
//! connection, and the slowest of a hundred of each are compared. Beside them a thousand devices looked up by one request, against
//! the median lookup, and how fast the whole list is streamed.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::time::Instant;

use crate::broker::Broker;
use crate::http::{self, Connection, Timed};
use crate::messages::{TYPES, path};
use crate::rounds::{Figures, percentile, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

/// Questions that people ask of a fleet, each with a filter that another part of the order serves.
const QUERIES: [&str; 10] = [
    "status=connected",
    "type=sensor-07&status=disconnected",
    "close_code=160",
    "close_code=160&sort=-since",
    "address=10.3.0.0/16",
    "since=2026-11-10T00:00:00Z&until=2026-11-11T00:00:00Z",
    "since=2026-11-10T00:00:00Z&until=2026-11-11T00:00:00Z&sort=since",
    "id_prefix=d0000",
    "sort=-since&status=disconnected",
    "type=sensor-01&type=sensor-02&sort=since",
];

/// Devices that one request looks up, as many as it may, and after how many lookups that is asked.
const NAMES: u32 = 1_000;
const LOOKUPS_BETWEEN_NAMES: u32 = 50;

/// How often is asked.
#[derive(clap::Args, Clone)]
pub struct Load {
    /// Requests of each kind in a round.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    requests: u32,
}

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    let binary = binary(size)?;
    let broker = Broker::start(size.devices)?;
    let mut service = Service::start(&binary, &broker)?;
    service.wait_for_devices(size.devices)?;
    service.wait_until_ready()?;
    let mut connection = Connection::open(&service.url)?;
    let mut lookup = Figures::new("lookup", "us, 99th percentile");
    let mut page = Figures::new("page of 100", "us, 99th percentile");
    let mut summary = Figures::new("summary", "us, 99th percentile");
    let mut one = Figures::new("lookup, median", "us");
    let mut names = Figures::new("1,000 devices in one request, median", "us");
    let mut export = Figures::new("the whole list", "MB/s");
    for round in 1..=size.rounds {
        println!("round {round}");
        let times = measure(&mut connection, size.devices, load, round)?;
        one.push(percentile(times.lookups.clone(), 50));
        lookup.push(percentile(times.lookups, 99));
        names.push(percentile(times.names, 50));
        page.push(percentile(times.pages.iter().flatten().copied().collect(), 99));
        summary.push(percentile(times.summaries, 99));
        for (query, pages) in QUERIES.iter().zip(times.pages) {
            let median = percentile(pages.clone(), 50);
            println!("    {:>10.1} {median:>10.1} us (99th, median)  {query}", percentile(pages, 99));
        }
        export.push(megabytes_a_second(&service.url, size.devices)?);
    }
    print_ratio("1,000 devices", &names, &one);
    print_ratio("list", &page, &lookup);
    print_ratio("summary", &summary, &lookup);
    Ok(())
}

/// Microseconds of each request.
#[derive(Default)]
struct Times {
    lookups: Vec<f64>,
    /// By query.
    pages: [Vec<f64>; QUERIES.len()],
    summaries: Vec<f64>,
    names: Vec<f64>,
}

fn measure(connection: &mut Connection, devices: u32, load: &Load, round: u32) -> Outcome<Times> {
    let mut times = Times::default();
    // Each query is read on from page to page, and from the beginning once it is through.
    let mut cursors: [Option<String>; QUERIES.len()] = std::array::from_fn(|_| None);
    for number in 0..load.requests {
        // Multiplying by a large odd number jumps all over the fleet.
        let device = (number + round).wrapping_mul(2_654_435_761) % devices;
        times.lookups.push(connection.ask(&path(device))?.micros);
        let which = number as usize % QUERIES.len();
        let cursor = cursors[which].take().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let answer = connection.ask(&format!("/api/v1/devices?limit=100&{}{cursor}", QUERIES[which]))?;
        times.pages[which].push(answer.micros);
        cursors[which] = next_cursor(&answer);
        times.summaries.push(connection.ask("/api/v1/summary")?.micros);
        if number % LOOKUPS_BETWEEN_NAMES == 0 {
            times.names.push(ask_for_names(connection, device, devices)?.micros);
        }
    }
    Ok(times)
}

fn next_cursor(page: &Timed) -> Option<String> {
    let body = std::str::from_utf8(&page.body).ok()?;
    let (_, cursor) = body.rsplit_once("\"next_cursor\":\"")?;
    Some(cursor.split_once('"')?.0.to_owned())
}

/// Looks up many devices, `first` and others from all over the fleet.
fn ask_for_names(connection: &mut Connection, first: u32, devices: u32) -> Outcome<Timed> {
    let mut body = String::from(r#"{"devices":["#);
    for number in 0..NAMES.min(devices) {
        // Steps of a prime, so that none comes twice.
        let device = ((u64::from(first) + u64::from(number) * 611_953) % u64::from(devices)) as u32;
        let separator = if number == 0 { "" } else { "," };
        write!(body, r#"{separator}{{"type":"sensor-{:02}","id":"d{device:08}"}}"#, device % TYPES)?;
    }
    body.push_str("]}");
    let path = "/api/v1/devices:lookup";
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.send(path, &(head + &body))
}

/// Reads the whole list as NDJSON; the megabytes a second of what comes.
fn megabytes_a_second(url: &str, devices: u32) -> Outcome<f64> {
    // The older version, whose answers do not come in chunks: a line may lie across two.
    let request = "GET /api/v1/devices HTTP/1.0\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n";
    let mut stream = http::connect(url)?;
    let began = Instant::now();
    stream.write_all(request.as_bytes())?;
    let (mut buffer, mut bytes, mut lines, mut last) = (vec![0; 1 << 18], 0, 0, 0);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        bytes += read;
        // One may lie across two reads.
        lines += usize::from(last == b'}' && buffer[0] == b'\n');
        lines += memchr::memmem::find_iter(&buffer[..read], b"}\n").count();
        last = buffer[read - 1];
    }
    let seconds = began.elapsed().as_secs_f64();
    if lines != devices as usize {
        return Err(format!("the list of {devices} devices has {lines} lines").into());
    }
    println!("    the whole list: {:.1} MB in {seconds:.2} s", bytes as f64 / 1e6);
    Ok(bytes as f64 / 1e6 / seconds)
}
