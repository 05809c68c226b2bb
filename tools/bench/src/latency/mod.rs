//! How long lookups take at 10, 50 and 90 % of the rate that the service reaches, of 10,000, a million and ten million devices. They
//! are sent when they are due, whether or not earlier ones have been answered, and timed from then: a service that stands still
//! for a moment is charged with all that would have come meanwhile.

mod client;

use std::time::Duration;

use self::client::{Client, Pace};
use crate::lookup::{place_clients, place_servers};
use crate::lookups::random_after;
use crate::messages::path;
use crate::process::{Process, pause, until};
use crate::processors::Processors;
use crate::restart::{fill, restart};
use crate::rounds::{Figures, percentile, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

const SIZES: [u32; 3] = [10_000, 1_000_000, 10_000_000];
const SHARES: [u32; 3] = [10, 50, 90];
/// So many lookups are written out before the load begins: those of a large fleet are of more devices than the caches hold.
const LOOKUPS: usize = 1 << 19;

/// A service that takes less than a twentieth of a processor for so long rests.
const RESTS_FOR: Duration = Duration::from_secs(1);
const REST_BOUND: Duration = Duration::from_secs(120);

/// What is asked, and for how long.
#[derive(clap::Args, Clone)]
pub struct Load {
    /// Connections that are kept open.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Seconds at each rate, in each round.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
}

/// The figures of one fleet at one share of the rate that it reaches.
struct AtShare {
    share: u32,
    median: Figures,
    p99: Figures,
}

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    let binary = binary(size)?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("store.db");
    // On one processor the client would be timed, too; with only one there is no other way.
    let processors = Processors::two()?;
    let mut sizes: Vec<u32> = SIZES.into_iter().filter(|devices| *devices < size.devices).collect();
    sizes.push(size.devices);
    let (mut filled, mut by_size) = (0, Vec::new());
    for devices in sizes {
        fill(&file, filled..devices)?;
        filled = devices;
        println!("{devices} devices");
        place_servers(processors)?;
        let mut service = restart(&binary, &file)?;
        service.wait_for_devices(devices)?;
        place_clients(processors)?;
        wait_until_it_rests(&service.process)?;
        by_size.push(measure(&service, devices, size.rounds, load)?);
    }
    let Some((smallest, largest)) = by_size.first().zip(by_size.last()) else { return Ok(()) };
    for (small, large) in smallest.iter().zip(largest) {
        println!("\nat {} %, the largest fleet against the smallest:", small.share);
        print_ratio("median", &large.median, &small.median);
        print_ratio("p99", &large.p99, &small.p99);
    }
    Ok(())
}

fn measure(service: &Service, devices: u32, rounds: u32, load: &Load) -> Outcome<Vec<AtShare>> {
    let mut client = Client::open(&service.url, load.connections, requests(devices))?;
    let figures = |share| AtShare {
        share,
        median: Figures::new("median", "us"),
        p99: Figures::new("99th percentile", "us"),
    };
    let mut shares: Vec<AtShare> = SHARES.map(figures).into();
    for round in 1..=rounds {
        let reached = client.ask(Pace::AsAnswered, load.seconds)?.rate;
        println!("round {round}: {reached:.0} lookups a second, each connection asking when it is answered");
        for AtShare { share, median, p99 } in &mut shares {
            let pace = Pace::EachSecond(reached * f64::from(*share) / 100.0);
            let took = client.ask(pace, load.seconds)?;
            println!("  {share} %: {:.0} lookups a second", took.rate);
            median.push(percentile(took.micros.clone(), 50));
            p99.push(percentile(took.micros, 99));
        }
    }
    Ok(shares)
}

/// What follows a start is no part of what is measured.
fn wait_until_it_rests(service: &Process) -> Outcome<()> {
    let mut before = service.processor_time_of_all()?;
    until("the service to rest", REST_BOUND, || {
        pause(RESTS_FOR);
        let now = service.processor_time_of_all()?;
        let used = (now.user - before.user) + (now.kernel - before.kernel);
        before = now;
        Ok(used < RESTS_FOR / 20)
    })
}

/// Requests for random devices.
fn requests(devices: u32) -> Vec<String> {
    let mut number = 1;
    let mut request = || {
        number = random_after(number);
        // The lower bits of such a number are less random.
        let device = (u64::from(number) * u64::from(devices)) >> 32;
        format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", path(device as u32))
    };
    std::iter::repeat_with(&mut request).take(LOOKUPS).collect()
}
