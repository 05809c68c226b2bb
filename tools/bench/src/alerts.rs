//! What alert rules cost in this process: microseconds of a core for each second of a fleet of which half is offline, and bytes for
//! all that ten rules remember: while every alert is pending, after everything has fired, and after every device is back; against
//! the same engine with no device. Beside it the same while devices change, and what is remembered of a fleet that is connected. No
//! broker, no store.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use alerts::{
    CountThreshold, DropThreshold, Engine, GroupBy, Kind, Now, Observation, Part, Rule, RuleSet, WallMillis,
};
use presence::query::Filter;
use presence::{Device, DeviceName, EventKind, Status};
use rustix::time::ClockId;

use crate::process::{own_processor_time, pause, resident_bytes_of_this};
use crate::rounds::{Figures, print_ratio};
use crate::{Outcome, Size};

/// Device types.
const TYPES: u32 = 10;
/// Devices that connect or disconnect in each second of the second figure.
const CHANGES: u32 = 1_000;
/// Seconds of the fleet's life that are measured, after everything has fired that fires.
const SECONDS: u32 = 600;

pub fn run(size: &Size) -> Outcome<()> {
    let mut ours = Figures::new("half of the fleet offline", "µs of a core/s");
    let mut none = Figures::new("no device", "µs of a core/s");
    for round in 1..=size.rounds {
        println!("round {round}");
        none.push(Fleet::new(0, 0).micros_a_second(0)?);
        for (offline_percent, what) in [(0, "all devices connected"), (50, "half of them offline")] {
            println!("  {what}");
            let memory = Memory::now()?;
            let mut fleet = Fleet::new(size.devices, offline_percent);
            memory.print_growth("all alerts pending", &fleet)?;
            fleet.pass(150, 0);
            memory.print_growth("all that fire fire", &fleet)?;
            if offline_percent > 0 {
                ours.push(fleet.micros_a_second(0)?);
                let changing = fleet.micros_a_second(CHANGES)?;
                println!("  with {CHANGES} changes a second: {changing:.0} µs of a core/s");
                fleet.connect_all();
                memory.print_growth("all devices back", &fleet)?;
            }
        }
    }
    print_ratio("alerts", &ours, &none);
    Ok(())
}

/// Ten rules of every kind over the whole fleet.
fn rules() -> RuleSet {
    let hour = Duration::from_secs(3_600);
    let often = |start| CountThreshold { window: hour, start, stop: 1 };
    let drop = DropThreshold { window: Duration::from_secs(300), min_percent: 20, min_devices: 10 };
    let listed = (0..10_000).map(|number| {
        let device = Device { device_type: "type-0", id: &format!("missing-{number}") };
        Arc::new(DeviceName::of(device))
    });
    let kinds = [
        ("offline", Kind::OfflineFor, 60, GroupBy::Type),
        ("long-offline", Kind::OfflineFor, 90, GroupBy::Rule),
        ("block-offline", Kind::OfflineFor, 60, GroupBy::AddressBlock),
        ("flapping", Kind::Flapping(often(5)), 0, GroupBy::Type),
        ("slow-flapping", Kind::Flapping(often(20)), 0, GroupBy::Rule),
        ("drop", Kind::FleetDrop(drop), 0, GroupBy::Rule),
        ("drop-of-type", Kind::FleetDrop(drop), 0, GroupBy::Type),
        ("missing", Kind::NeverConnected(listed.collect()), 60, GroupBy::Rule),
        ("twins", Kind::DuplicateIdentity(often(6)), 0, GroupBy::Rule),
        ("refused", Kind::Refusals(often(10)), 0, GroupBy::Rule),
    ];
    let rule = |(name, kind, hold, group_by): (&str, Kind, u64, GroupBy)| Rule {
        name: name.into(),
        kind,
        hold: Duration::from_secs(hold),
        keep_firing_for: Duration::ZERO,
        selector: Filter::default(),
        excluded_causes: Vec::new(),
        group_by,
        group_wait: Duration::from_secs(30),
        group_interval: Duration::from_secs(300),
        repeat_interval: Some(Duration::from_secs(14_400)),
        webhooks: vec!["ops".into()],
    };
    let rules = kinds.map(rule).into();
    RuleSet { startup_grace: Duration::ZERO, rules, ..RuleSet::default() }
}

/// Memory of this process before something.
struct Memory {
    resident_bytes: u64,
}

impl Memory {
    fn now() -> Outcome<Self> {
        Ok(Self { resident_bytes: resident_bytes_of_this()? })
    }

    fn print_growth(&self, what: &str, fleet: &Fleet) -> Outcome<()> {
        // The allocator gives back what is free only after some time.
        pause(Duration::from_secs(1));
        let bytes = resident_bytes_of_this()?.saturating_sub(self.resident_bytes);
        let (mut pending, mut firing) = (0, 0);
        for totals in fleet.engine.totals() {
            (pending, firing) = (pending + totals.pending, firing + totals.firing);
        }
        let (megabytes, each) = (bytes as f64 / 1e6, bytes / u64::from(fleet.devices).max(1));
        println!(
            "  {what:<20} {pending:>8} pending {firing:>6} fire {megabytes:>6.0} MB resident more, {each} bytes for each device"
        );
        Ok(())
    }
}

struct Fleet {
    engine: Engine,
    now: Now,
    devices: u32,
}

impl Fleet {
    /// Everything is pending that will fire.
    fn new(devices: u32, offline_percent: u32) -> Self {
        let now = Now::at_wall(WallMillis(1_780_000_000_000));
        let mut engine = Engine::new(Arc::new(rules()), now);
        engine.set_observed(now, Part::Fleet, true);
        let mut fleet = Self { engine, now, devices };
        for number in 0..devices {
            let is_offline = (number / TYPES) % 100 < offline_percent;
            let status = if is_offline { Status::Disconnected } else { Status::Connected };
            fleet.observe(number, (None, status), None);
        }
        fleet
    }

    /// Every device is connected, and the windows of what was counted are over.
    fn connect_all(&mut self) {
        for number in 0..self.devices {
            self.observe(number, (None, Status::Connected), None);
        }
        self.pass(3_700, 0);
    }

    fn observe(&mut self, number: u32, (before, status): (Option<Status>, Status), event: Option<EventKind>) {
        let (device_type, id) = (format!("type-{}", number % TYPES), format!("device-{number}"));
        let observation = Observation {
            device: Device { device_type: &device_type, id: &id },
            source: Some("iot-platform"),
            before,
            status: Some(status),
            cause: (status == Status::Disconnected).then_some("connection"),
            address: Some(Ipv4Addr::from(0x0a00_0000 + number).into()),
            since: self.now.wall,
            event,
        };
        self.engine.observe(self.now, &observation);
    }

    /// Each second so many devices change, those connected going and coming back in turns.
    fn pass(&mut self, seconds: u32, changes: u32) {
        for second in 0..seconds {
            self.now = self.now.later(Duration::from_secs(1));
            for change in 0..changes {
                // Of a thousand devices the second half is connected.
                let half = 50 * TYPES;
                let connected = (second / 2 * changes + change) % (self.devices / 2).max(1);
                let number = connected / half * 2 * half + half + connected % half;
                let (before, status, event) = if second % 2 == 0 {
                    (Status::Connected, Status::Disconnected, EventKind::Disconnect)
                } else {
                    (Status::Disconnected, Status::Connected, EventKind::Connect)
                };
                self.observe(number, (Some(before), status), Some(event));
            }
            drop(self.engine.advance(self.now));
        }
    }

    fn micros_a_second(&mut self, changes: u32) -> Outcome<f64> {
        let before = own_processor_time(ClockId::ProcessCPUTime);
        self.pass(SECONDS, changes);
        Ok((own_processor_time(ClockId::ProcessCPUTime) - before).as_secs_f64() / f64::from(SECONDS) * 1e6)
    }
}
