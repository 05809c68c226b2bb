//! How long lookups take at 10, 50 and 90 % of the rate that the service reaches, of 10,000, a million and ten million devices, and
//! how long nginx takes with one static answer. They are sent when they are due, whether or not earlier ones have been answered,
//! and timed from then: a server that stands still for a moment is charged with all that would have come meanwhile.
//!
//! All servers run from the beginning to the end, and are asked in turns, for half a second at a time: a machine that is slow for
//! some seconds is so for all of them. A machine that takes a processor away for some milliseconds makes the p99 of what was due
//! meanwhile, so that is also taken of each twentieth of a second: the median of these shows the server alone, and how many are
//! above a millisecond is compared with nginx, which has the same machine.

mod client;

use std::fs;
use std::path::Path;
use std::time::Duration;

use self::client::{Client, Pace};
use crate::lookup::{Nginx, check, place_clients, place_servers};
use crate::lookups::random_after;
use crate::messages::path;
use crate::process::{Process, pause, until};
use crate::processors::Processors;
use crate::restart::{fill, restart};
use crate::rounds::{median, percentile};
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
    /// Connections that are kept open to each server.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Milliseconds at each rate, in each round.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    millis: u64,
}

/// A server, and what was measured of it.
struct Target {
    name: String,
    client: Client,
    reached: Vec<f64>,
    shares: [AtShare; SHARES.len()],
}

/// Microseconds at one share of the rate, of each round.
#[derive(Default)]
struct AtShare {
    medians: Vec<f64>,
    p99s: Vec<f64>,
    /// The p99 of each window.
    window_p99s: Vec<f64>,
}

/// No server has such a p99 unless something stands still.
const STANDSTILL_MICROS: f64 = 1_000.0;

impl AtShare {
    /// The part of the windows in which something stood still.
    fn disturbed(&self) -> f64 {
        let disturbed = self.window_p99s.iter().filter(|p99| **p99 > STANDSTILL_MICROS).count();
        disturbed as f64 / self.window_p99s.len() as f64
    }
}

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    let binary = binary(size)?;
    let directory = tempfile::tempdir()?;
    // On one processor the client would be timed, too; with only one there is no other way.
    let processors = Processors::two()?;
    let services = start_services(&binary, directory.path(), size.devices, processors)?;
    let (_, smallest) = services.first().ok_or("no fleet")?;
    let typical = check(smallest, size.devices.min(SIZES[0]))?;
    place_servers(processors)?;
    let nginx = Nginx::start(1, &typical, None)?;
    place_clients(processors)?;
    let mut targets = vec![Target::open("nginx".to_owned(), &nginx.url, SIZES[0], load)?];
    for (devices, service) in &services {
        wait_until_it_rests(&service.process)?;
        targets.push(Target::open(format!("{devices} devices"), &service.url, *devices, load)?);
    }
    for round in 1..=size.rounds {
        println!("round {round}");
        for target in &mut targets {
            target.measure(load)?;
        }
    }
    print(&targets);
    Ok(())
}

/// A service for each size of fleet, each with a file of its own.
fn start_services(
    binary: &Path,
    directory: &Path,
    devices: u32,
    processors: Option<Processors>,
) -> Outcome<Vec<(u32, Service)>> {
    let mut sizes: Vec<u32> = SIZES.into_iter().filter(|size| *size < devices).collect();
    sizes.push(devices);
    let (all, mut filled, mut services) = (directory.join("all.db"), 0, Vec::new());
    for devices in sizes {
        place_clients(processors)?;
        fill(&all, filled..devices)?;
        filled = devices;
        let file = directory.join(format!("{devices}.db"));
        fs::copy(&all, &file)?;
        println!("{devices} devices");
        place_servers(processors)?;
        let mut service = restart(binary, &file)?;
        service.wait_for_devices(devices)?;
        services.push((devices, service));
    }
    Ok(services)
}

impl Target {
    fn open(name: String, url: &str, devices: u32, load: &Load) -> Outcome<Self> {
        let client = Client::open(url, load.connections, requests(devices))?;
        Ok(Self { name, client, reached: Vec::new(), shares: Default::default() })
    }

    fn measure(&mut self, load: &Load) -> Outcome<()> {
        let time = Duration::from_millis(load.millis);
        let reached = self.client.ask(Pace::AsAnswered, time)?.rate;
        self.reached.push(reached);
        print!("  {:<20} {reached:>8.0}/s; median and p99 in us", self.name);
        for (share, at) in SHARES.into_iter().zip(&mut self.shares) {
            let took = self.client.ask(Pace::EachSecond(reached * f64::from(share) / 100.0), time)?;
            let all = took.windows.concat();
            let (median, p99) = (percentile(all.clone(), 50), percentile(all, 99));
            print!("  {share} %: {median:.0} {p99:.0}");
            at.medians.push(median);
            at.p99s.push(p99);
            let windows = took.windows.into_iter().filter(|window| !window.is_empty());
            at.window_p99s.extend(windows.map(|window| percentile(window, 99)));
        }
        println!();
        Ok(())
    }
}

/// The medians of all rounds, and how the largest fleet compares with the smallest and with nginx.
fn print(targets: &[Target]) {
    println!("\nmedians of the rounds, with the middle half of them");
    for target in targets {
        println!("{}: {:.0} lookups a second at most", target.name, median(&target.reached));
        for (share, at) in SHARES.into_iter().zip(&target.shares) {
            println!("  {share} %: median {} us, p99 {} us", spread(&at.medians), spread(&at.p99s));
            let disturbed = at.disturbed() * 100.0;
            println!("        of windows p99 {} us, above 1 ms in {disturbed:.0} %", spread(&at.window_p99s));
        }
    }
    let [peers @ .., largest] = targets else { return };
    for (place, share) in SHARES.into_iter().enumerate() {
        println!("\nat {share} %");
        // nginx, and the smallest fleet unless it is this one.
        for peer in peers.iter().take(2) {
            print_ratio("median", largest, peer, |target| &target.shares[place].medians);
            print_ratio("p99", largest, peer, |target| &target.shares[place].p99s);
            print_ratio("p99 of windows", largest, peer, |target| &target.shares[place].window_p99s);
        }
    }
}

fn print_ratio(what: &str, ours: &Target, peer: &Target, figures: impl Fn(&Target) -> &[f64]) {
    let ratio = median(figures(ours)) / median(figures(peer));
    println!("{what} ratio, {} : {}, medians: {ratio:.2}", ours.name, peer.name);
}

fn spread(values: &[f64]) -> String {
    let quarter = |percent| percentile(values.to_vec(), percent);
    format!("{:.1} ({:.1} to {:.1})", median(values), quarter(25), quarter(75))
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
