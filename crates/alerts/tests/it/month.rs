//! A month of a fleet's life from a seed: outages of devices, sites, the broker and the service. Every notification is judged
//! against the truth, which the engine does not see: none may be false, and none may be missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use alerts::{
    Engine, GroupBy, Kind, Notification, NotificationStatus, Now, Observation, Part, Rule, RuleSet,
    WallMillis,
};
use presence::{Device, EventKind, Status};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::fixture::{SOURCE, drop_by_type, flapping, rule, rule_set};

const SITES: usize = 4;
const DEVICES_PER_SITE: usize = 25;
const MONTH: u64 = 30 * 86_400;
/// The engine is asked that often, and so exact is the judgement.
const STEP: u64 = 5;
const GRACE: u64 = 300;
const HOLD: u64 = 600;
const DROP_WINDOW: u64 = 300;

/// A time in which something is away, in seconds from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    from: u64,
    until: u64,
}

impl Span {
    fn has(&self, at: u64) -> bool {
        self.from <= at && at < self.until
    }
}

/// What really happens.
struct Truth {
    /// By site and number.
    devices: Vec<Vec<Span>>,
    sites: Vec<Vec<Span>>,
    broker: Vec<Span>,
    service: Vec<Span>,
    /// Whether the clock of rules runs, by steps.
    runs: Vec<bool>,
    /// When each device may come or go, in order.
    changes: Vec<(u64, usize)>,
}

impl Truth {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        // Each hour has one cause of trouble beyond single devices, so that the test knows what follows from it.
        let (mut broker, mut service) = (Vec::new(), Vec::new());
        let mut sites = vec![Vec::new(); SITES];
        for start in (7_200..MONTH - 43_200).step_by(43_200) {
            let from = start + random.random_range(0..7_200);
            let until = from + random.random_range(120..7_200);
            match random.random_range(0..4) {
                0 => broker.push(Span { from, until }),
                1 => service.push(Span { from, until: from + random.random_range(60..1_200) }),
                _ => sites[random.random_range(0..SITES)].push(Span { from, until }),
            }
        }
        let devices = (0..SITES * DEVICES_PER_SITE)
            .map(|device| {
                let mut spans: Vec<Span> = Vec::new();
                let mut at = random.random_range(0..200_000);
                while at < MONTH - 20_000 {
                    let until = at + random.random_range(10..14_400);
                    // While a site is away, or has just come back, its devices have no outages of their own.
                    let is_apart = |span: &Span| until + 7_200 < span.from || span.until + 7_200 < at;
                    if sites[device / DEVICES_PER_SITE].iter().all(is_apart) {
                        spans.push(Span { from: at, until });
                    }
                    at = until + random.random_range(3_600..200_000);
                }
                spans
            })
            .collect();
        let mut truth = Self { devices, sites, broker, service, runs: Vec::new(), changes: Vec::new() };
        let mut observed_since = Some(0);
        for at in (0..MONTH).step_by(STEP as usize) {
            observed_since = if truth.is_observed(at) { observed_since.or(Some(at)) } else { None };
            truth.runs.push(observed_since.is_some_and(|since| since + GRACE <= at));
        }
        for device in 0..SITES * DEVICES_PER_SITE {
            let own = truth.devices[device].iter().flat_map(|span| [span.from, span.until]);
            let late = late(device);
            let site = truth.sites[device / DEVICES_PER_SITE].iter();
            let of_site = site.flat_map(|span| [span.from, span.until + late]);
            truth.changes.extend(own.chain(of_site).chain([0]).map(|at| (at, device)));
        }
        truth.changes.sort_unstable();
        truth
    }

    fn is_connected(&self, device: usize, at: u64) -> bool {
        let site = device / DEVICES_PER_SITE;
        let late = late(device);
        !self.devices[device].iter().any(|span| span.has(at))
            && !self.sites[site].iter().any(|span| Span { from: span.from, until: span.until + late }.has(at))
    }

    fn is_observed(&self, at: u64) -> bool {
        !self.broker.iter().chain(&self.service).any(|span| span.has(at))
    }
}

/// After an outage of a site its devices come back one after the other.
fn late(device: usize) -> u64 {
    device as u64 % 60
}

fn rules() -> RuleSet {
    let rules = vec![
        Rule { group_by: GroupBy::Device, ..rule("offline", Kind::OfflineFor, HOLD) },
        drop_by_type(DROP_WINDOW, 50, 10),
        rule("flapping", flapping(3_600, 5, 1), 0),
    ];
    rule_set(GRACE, rules)
}

/// A notification in seconds from the beginning.
#[derive(Debug)]
struct Sent {
    at: u64,
    rule: String,
    subject: String,
    is_firing: bool,
}

fn sent(at: u64, notification: &Notification) -> Sent {
    let subject = notification.group.to_string();
    let is_firing = notification.status == NotificationStatus::Firing;
    Sent { at, rule: notification.rule.to_string(), subject, is_firing }
}

/// Lives through the month as a service would: a broker that is away brings nothing, a service that is away remembers what it
/// announced and the states that it knew.
fn live(truth: &Truth) -> Vec<Sent> {
    let start = Now { ticks: 5_000_000, wall: WallMillis(1_780_000_000_000) };
    let mut engine = Engine::new(Arc::new(rules()), start);
    let mut known = [None; SITES * DEVICES_PER_SITE];
    let mut all = Vec::new();
    let mut announced = Some(Vec::new());
    let mut changes = truth.changes.iter().peekable();
    let mut changed = BTreeSet::new();
    for at in (0..MONTH).step_by(STEP as usize) {
        let now = start.later(Duration::from_secs(at));
        while let Some((_, device)) = changes.next_if(|(time, _)| *time <= at) {
            changed.insert(*device);
        }
        if truth.service.iter().any(|span| span.has(at)) {
            announced.get_or_insert_with(|| engine.announced());
            continue;
        }
        if let Some(announced) = announced.take() {
            engine = Engine::new(Arc::new(rules()), now);
            engine.restore(now, announced);
            for (device, status) in known.iter().enumerate() {
                if let Some(status) = status {
                    observe(&mut engine, now, device, (None, *status), None);
                }
            }
        }
        engine.set_observed(now, Part::Fleet, truth.is_observed(at));
        if truth.is_observed(at) {
            for device in std::mem::take(&mut changed) {
                let known = &mut known[device];
                let is_connected = truth.is_connected(device, at);
                let status = if is_connected { Status::Connected } else { Status::Disconnected };
                if *known != Some(status) {
                    let event = if is_connected { EventKind::Connect } else { EventKind::Disconnect };
                    observe(&mut engine, now, device, (*known, status), Some(event));
                    *known = Some(status);
                }
            }
        }
        all.extend(engine.advance(now).iter().map(|notification| sent(at, notification)));
    }
    all
}

fn observe(
    engine: &mut Engine,
    now: Now,
    device: usize,
    (before, status): (Option<Status>, Status),
    event: Option<EventKind>,
) {
    let observation = Observation {
        device: Device { device_type: &site_name(device / DEVICES_PER_SITE), id: &device.to_string() },
        source: Some(SOURCE),
        before,
        status: Some(status),
        cause: None,
        address: None,
        since: WallMillis(0),
        event,
    };
    engine.observe(now, &observation);
}

fn site_name(site: usize) -> String {
    format!("site-{site}")
}

/// The first second by which a thing that is away was seen so for that long; `None`: it was back before.
fn due(truth: &Truth, span: Span, seconds: u64) -> Option<u64> {
    let mut seen = 0;
    for at in (span.from.next_multiple_of(STEP)..span.until).step_by(STEP as usize) {
        // A service that starts begins to count anew.
        if truth.service.iter().any(|span| span.has(at)) {
            seen = 0;
        }
        seen += if truth.runs[(at / STEP) as usize] { STEP } else { 0 };
        if seen > seconds {
            return Some(at);
        }
    }
    None
}

/// Takes the notifications that a span explains: one that it fires, at that time, and one that it is over.
fn explain(
    (all, used): (&[Sent], &mut [bool]),
    (rule, subject): (&str, &str),
    (fires_at, ends_at): (u64, u64),
    tolerance: u64,
) -> Result<(), String> {
    for (is_firing, expected) in [(true, fires_at), (false, ends_at)] {
        let is_it = |one: &Sent| {
            one.rule == rule
                && one.subject == subject
                && one.is_firing == is_firing
                && one.at.abs_diff(expected) <= tolerance
        };
        let mut fits = all.iter().enumerate().filter(|(number, one)| is_it(one) && !used[*number]);
        let found = fits.next().map(|(number, _)| number);
        match found {
            Some(number) => used[number] = true,
            None => return Err(format!("missing: {rule} {subject} firing={is_firing} at about {expected}")),
        }
    }
    Ok(())
}

/// When something that ended then was seen to have ended.
fn seen_over(truth: &Truth, until: u64) -> u64 {
    let mut at = until.next_multiple_of(STEP);
    while !truth.is_observed(at) {
        at += STEP;
    }
    at
}

fn judge(seed: u64) -> Result<BTreeMap<&'static str, usize>, String> {
    let truth = Truth::new(seed);
    let all = live(&truth);
    let mut used = vec![false; all.len()];
    let mut counts = BTreeMap::new();
    let near = 3 * STEP;
    for (device, spans) in truth.devices.iter().enumerate() {
        let subject = format!("{}/{device}", site_name(device / DEVICES_PER_SITE));
        for span in spans {
            // At the edge of its time an alert may fire or not.
            let (surely, perhaps) = (due(&truth, *span, HOLD + near), due(&truth, *span, HOLD - near));
            let Some(at) = perhaps else { continue };
            let over = seen_over(&truth, span.until);
            let explained = explain((&all, &mut used), ("offline", &subject), (at, over), 2 * near);
            if surely.is_some() {
                explained?;
                *counts.entry("offline").or_default() += 1;
            }
        }
    }
    for (site, spans) in truth.sites.iter().enumerate() {
        for span in spans {
            let at = due(&truth, *span, 0);
            let explained = at.map(|at| {
                // The rule ends when half of the thresholds is not reached any more, as the devices come back.
                let times = (at, seen_over(&truth, span.until + 40));
                explain((&all, &mut used), ("drop", &site_name(site)), times, 90)
            });
            if due(&truth, *span, 2 * near).is_some() {
                explained.unwrap_or(Ok(()))?;
                *counts.entry("drop").or_default() += 1;
            }
        }
    }
    for span in &truth.broker {
        let times = (span.from + 60, span.until + GRACE);
        explain((&all, &mut used), ("unobserved", ""), times, 2 * near)?;
        *counts.entry("unobserved").or_default() += 1;
    }
    let unexplained: Vec<_> = all.iter().zip(&used).filter(|(_, used)| !**used).map(|(one, _)| one).collect();
    if unexplained.is_empty() { Ok(counts) } else { Err(format!("false: {unexplained:?}")) }
}

#[test]
fn in_a_month_of_trouble_no_notification_is_false_and_none_is_missing() {
    for seed in 1..=3 {
        let counts = judge(seed).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        // The month had something of everything, or it would prove little.
        assert!(
            counts["offline"] > 100 && counts["drop"] > 5 && counts["unobserved"] > 3,
            "seed {seed}: {counts:?}"
        );
    }
}
