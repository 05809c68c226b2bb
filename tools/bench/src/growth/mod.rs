//! How the cost of a lookup, a page of a list, a merge, a restart and a device's memory grows with the fleet: each is measured at
//! several sizes, and printed and drawn with the exponent of its growth. The registry is that of the service, in this process and
//! without a broker, which could not hold so many messages; a restart is that of the binary, from a file.

mod chart;

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use formats::iot_platform::{PlatformMessage, decode};
use presence::query::{Filter, Position, Query, Sort, SortBy};
use presence::{Device, PresenceEvent, UnixSeconds};
use server::freshness::RoundNumber;
use server::registry::{Arrival, DeviceRegistry, Provenance};

use self::chart::Panel;
use crate::messages::{Message, change, message, names, path};
use crate::process::resident_bytes_of_this;
use crate::restart;
use crate::rounds::median;
use crate::service::binary;
use crate::{Outcome, Size};

/// Each size is about three times the one before.
const STEPS: [u32; 2] = [1, 3];
const SMALLEST: u32 = 10_000;
/// Devices of one page.
const PAGE: usize = 100;
/// Pages that are read at each size.
const PAGES: u32 = 200;
/// Lookups, and as many merges, that are timed together at each size.
const TIMED: u32 = 50_000;

/// What is measured.
#[derive(clap::Args, Clone)]
pub struct Options {
    /// Where the chart is written, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// One size of the fleet, and what was measured at it.
struct Cost {
    devices: u32,
    lookup_ns: f64,
    page_micros: f64,
    slowest_page_micros: f64,
    merge_ns: f64,
    bytes_a_device: f64,
    restart_ms: f64,
}

pub fn run(size: &Size, options: &Options) -> Outcome<()> {
    let binary = binary(size)?;
    let mut costs = in_memory(size)?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("store.db");
    let mut stored = 0;
    for cost in &mut costs {
        restart::fill(&file, stored..cost.devices)?;
        stored = cost.devices;
        cost.restart_ms = restart_ms(&binary, &file, cost.devices, size.rounds)?;
    }
    let panels = panels(&costs);
    print_table(&costs, &panels);
    if let Some(path) = &options.svg {
        fs::write(path, chart::svg(&panels))?;
    }
    Ok(())
}

/// From the smallest size to the one that was asked for.
fn sizes(largest: u32) -> Vec<u32> {
    let tens = std::iter::successors(Some(SMALLEST), |ten| ten.checked_mul(10));
    let mut sizes: Vec<u32> = tens
        .flat_map(|ten| STEPS.map(|step| ten.saturating_mul(step)))
        .take_while(|size| *size < largest)
        .collect();
    sizes.push(largest);
    sizes
}

/// All but restarts. One registry grows, so that what it takes is what the process has more than before it.
fn in_memory(size: &Size) -> Outcome<Vec<Cost>> {
    let registry = DeviceRegistry::tracking_changes();
    let empty = resident_bytes_of_this()?;
    let (mut costs, mut known, mut step) = (Vec::new(), 0, 0);
    for devices in sizes(size.devices) {
        for device in known..devices {
            apply(&registry, &message(device))?;
            if device.is_multiple_of(TIMED) {
                write_changes(&registry);
            }
        }
        write_changes(&registry);
        known = devices;
        let grown = resident_bytes_of_this()?.saturating_sub(empty);
        let (mut lookups, mut pages, mut slowest_pages, mut merges) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..size.rounds {
            lookups.push(lookup_ns(&registry, devices, round));
            // The first ones are read right after changes, so what the orders of lists owe for those is in the slowest.
            let mut micros = page_micros(&registry, devices, round)?;
            micros.sort_by(f64::total_cmp);
            slowest_pages.extend(micros.last());
            pages.extend(micros.get(micros.len() / 2));
            merges.push(merge_ns(&registry, devices, step)?);
            step += 1;
        }
        costs.push(Cost {
            devices,
            lookup_ns: median(&lookups),
            page_micros: median(&pages),
            slowest_page_micros: median(&slowest_pages),
            merge_ns: median(&merges),
            bytes_a_device: grown as f64 / f64::from(devices),
            restart_ms: f64::NAN,
        });
        println!("{devices} devices measured in memory");
    }
    Ok(costs)
}

/// Devices all over the fleet, each once: multiplying by a large prime jumps.
fn jump(number: u32, devices: u32) -> u32 {
    (u64::from(number) * 2_654_435_761 % u64::from(devices)) as u32
}

fn lookup_ns(registry: &DeviceRegistry, devices: u32, round: u32) -> f64 {
    let asked: Vec<_> = (0..TIMED).map(|number| names(jump(number + round, devices))).collect();
    let started = Instant::now();
    for (device_type, id) in &asked {
        let message =
            registry.read(Device { device_type, id }, |record| record.resolve().event.payload.unpack());
        black_box(message);
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(TIMED)
}

/// How long pages of the disconnected devices take, each behind another device, by id and by time in turns.
fn page_micros(registry: &DeviceRegistry, devices: u32, round: u32) -> Outcome<Vec<f64>> {
    let queries: Vec<Query> = (0..PAGES)
        .map(|number| {
            let (device_type, id) = names(jump(number + round * PAGES, devices));
            let device = Device { device_type: &device_type, id: &id };
            let time = registry.read(device, |record| record.resolve().event.time);
            let time = time.ok_or("a device is missing")?;
            let by = if number % 2 == 0 { SortBy::Id } else { SortBy::Since };
            Ok(Query {
                filter: Filter { status: Some(presence::Status::Disconnected), ..Filter::default() },
                sort: Sort { by, descending: false },
                after: Some(Position { device_type, id, time }),
                limit: PAGE,
            })
        })
        .collect::<Outcome<_>>()?;
    let micros = queries.iter().map(|query| {
        let started = Instant::now();
        black_box(registry.list(query));
        started.elapsed().as_secs_f64() * 1e6
    });
    Ok(micros.collect())
}

/// A change of each of many devices, decoded before.
fn merge_ns(registry: &DeviceRegistry, devices: u32, step: u32) -> Outcome<f64> {
    let changes: Vec<Message> =
        (0..TIMED.min(devices)).map(|number| change(jump(number, devices), step)).collect();
    let decoded = changes.iter().map(decoded).collect::<Outcome<Vec<_>>>()?;
    let started = Instant::now();
    for (device, event) in decoded {
        registry.apply(device, event, arrival());
    }
    let elapsed = started.elapsed();
    write_changes(registry);
    Ok(elapsed.as_secs_f64() * 1e9 / changes.len() as f64)
}

fn apply(registry: &DeviceRegistry, message: &Message) -> Outcome<()> {
    let (device, event) = decoded(message)?;
    registry.apply(device, event, arrival());
    Ok(())
}

/// What the writer does to the registry.
fn write_changes(registry: &DeviceRegistry) {
    while !registry.take_dirty(usize::MAX, usize::MAX, |_| 0) {}
}

fn decoded(message: &Message) -> Outcome<(Device<'_>, PresenceEvent)> {
    match decode(message.topic.as_bytes(), message.payload.as_bytes()) {
        PlatformMessage::Event { device, event, .. } => Ok((device, event)),
        _ => Err(format!("{} is no status", message.payload).into()),
    }
}

fn arrival() -> Arrival {
    Arrival { provenance: Provenance::Live, at: UnixSeconds(1_796_000_000), round: RoundNumber::NONE }
}

fn restart_ms(binary: &Path, file: &Path, devices: u32, rounds: u32) -> Outcome<f64> {
    let mut times = Vec::new();
    for round in 1..=rounds {
        let asked = jump(round, devices);
        let started = Instant::now();
        let service = restart::restart(binary, file)?;
        service.check_answer(&path(asked), &message(asked).payload)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&times))
}

fn panels(costs: &[Cost]) -> Vec<Panel> {
    let panel = |title, unit, figure: fn(&Cost) -> f64| {
        Panel::new(title, unit, costs.iter().map(|cost| (f64::from(cost.devices), figure(cost))).collect())
    };
    vec![
        panel("lookup", "ns", |cost| cost.lookup_ns),
        panel("page of 100", "µs", |cost| cost.page_micros),
        panel("slowest page", "µs", |cost| cost.slowest_page_micros),
        panel("merge", "ns", |cost| cost.merge_ns),
        panel("a device", "bytes", |cost| cost.bytes_a_device),
        panel("restart", "ms", |cost| cost.restart_ms),
    ]
}

fn print_table(costs: &[Cost], panels: &[Panel]) {
    print!("\n{:>12}", "devices");
    for panel in panels {
        print!("{:>26}", format!("{}, {}", panel.title, panel.unit));
    }
    println!();
    for (row, cost) in costs.iter().enumerate() {
        print!("{:>12}", cost.devices);
        for panel in panels {
            print!("{:>26.1}", panel.points[row].1);
        }
        println!();
    }
    print!("{:>12}", "exponent");
    for panel in panels {
        print!("{:>26}", panel.exponent_text());
    }
    println!();
}

#[cfg(test)]
mod tests {
    use super::sizes;

    #[test]
    fn sizes_grow_threefold_up_to_the_one_that_was_asked_for() {
        assert_eq!(sizes(2_000), [2_000]);
        assert_eq!(sizes(10_000), [10_000]);
        assert_eq!(sizes(1_000_000), [10_000, 30_000, 100_000, 300_000, 1_000_000]);
        assert_eq!(sizes(20_000_000).last(), Some(&20_000_000));
    }
}
