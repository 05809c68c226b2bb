//! What alert rules cost in this process: microseconds of a core for each second of a fleet of which half is offline, and bytes for
//! each alert, ten rules; against the same engine with no device. No broker, no store.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use alerts::{Engine, GroupBy, Kind, Now, Observation, Part, Rule, RuleSet, WallMillis};
use presence::query::Filter;
use presence::{Device, Status};
use rustix::time::{ClockId, clock_gettime};

use crate::rounds::{Figures, print_ratio};
use crate::{Outcome, Size};

const RULES: u64 = 10;
/// Seconds of the fleet's life that are measured, after everything has fired that fires.
const SECONDS: u32 = 600;

pub fn run(size: &Size) -> Outcome<()> {
    let mut ours = Figures::new("half of the fleet offline", "µs of a core/s");
    let mut none = Figures::new("no device", "µs of a core/s");
    for round in 1..=size.rounds {
        println!("round {round}");
        none.push(Fleet::new(0)?.micros_a_second()?);
        let before = resident_bytes()?;
        let mut fleet = Fleet::new(size.devices)?;
        let bytes = resident_bytes()?.saturating_sub(before) as f64;
        let alerts = fleet.engine.totals().map(|totals| totals.firing + totals.pending).sum::<usize>();
        println!("  {alerts} alerts, {:.0} resident bytes each", bytes / alerts.max(1) as f64);
        ours.push(fleet.micros_a_second()?);
    }
    print_ratio("alerts", &ours, &none);
    Ok(())
}

/// Rules that select the tenth part of the fleet each, as sites have them.
fn rules() -> RuleSet {
    let rule = |number: u64| Rule {
        name: format!("offline-{number}").into(),
        kind: Kind::OfflineFor,
        hold: Duration::from_secs(60),
        keep_firing_for: Duration::ZERO,
        selector: Filter { types: vec![format!("type-{number}")], ..Filter::default() },
        excluded_causes: Vec::new(),
        group_by: GroupBy::Type,
        group_wait: Duration::from_secs(30),
        group_interval: Duration::from_secs(300),
        repeat_interval: Some(Duration::from_secs(14_400)),
        webhooks: vec!["ops".into()],
    };
    RuleSet { startup_grace: Duration::ZERO, rules: (0..RULES).map(rule).collect(), ..RuleSet::default() }
}

struct Fleet {
    engine: Engine,
    now: Now,
}

impl Fleet {
    /// Everything has fired that fires.
    fn new(devices: u32) -> Outcome<Self> {
        let now = Now::at_wall(WallMillis(1_780_000_000_000));
        let mut engine = Engine::new(Arc::new(rules()), now);
        engine.set_observed(now, Part::Fleet, true);
        for number in 0..devices {
            let (device_type, id) =
                (format!("type-{}", u64::from(number) % RULES), format!("device-{number}"));
            let is_offline = (number / RULES as u32).is_multiple_of(2);
            let status = if is_offline { Status::Disconnected } else { Status::Connected };
            let observation = Observation {
                device: Device { device_type: &device_type, id: &id },
                source: "iot-platform",
                before: None,
                status: Some(status),
                cause: is_offline.then_some("connection"),
                address: None,
                since: now.wall,
                event: None,
            };
            engine.observe(now, &observation);
        }
        let mut fleet = Self { engine, now };
        fleet.pass(120);
        Ok(fleet)
    }

    fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.now = self.now.later(Duration::from_secs(1));
            drop(self.engine.advance(self.now));
        }
    }

    fn micros_a_second(&mut self) -> Outcome<f64> {
        let before = processor_time();
        self.pass(SECONDS);
        Ok((processor_time() - before).as_secs_f64() / f64::from(SECONDS) * 1e6)
    }
}

/// Processor time that this process has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn resident_bytes() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no memory figures")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1_024)
}
