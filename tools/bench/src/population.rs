//! Every retained status from a stock mosquitto, which drops what a reader does not take at once: how many devices are
//! right in the end, and the time until the service knows that it has them all. `mosquitto_sub` and paho are given a
//! minute on the same broker; the time is compared with `mosquitto_sub` on a broker that drops nothing.

use std::time::{Duration, Instant};

use crate::broker::{Broker, FILTER};
use crate::last_wills::LastWills;
use crate::messages::Message;
use crate::organization::Organization;
use crate::peers::{Given, Target, drain_seconds, mosquitto_sub, paho, print_right};
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

/// How long the proof may take once there is a result: mosquitto counts itself every ten seconds.
const PROOF_BOUND: Duration = Duration::from_secs(30);

#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    given: Given,
    /// Last wills and births of this source, for example tasmota, instead of the platform's statuses.
    #[arg(long)]
    source: Option<String>,
}

/// Whose states are retained.
enum Fleet {
    Platform(Organization),
    Source(LastWills),
}

impl Fleet {
    fn messages(&self) -> Box<dyn Iterator<Item = Message> + '_> {
        match self {
            Self::Platform(organization) => Box::new(organization.messages()),
            Self::Source(fleet) => Box::new(fleet.messages()),
        }
    }

    fn filter(&self) -> String {
        match self {
            Self::Platform(_) => FILTER.to_owned(),
            Self::Source(fleet) => fleet.filter(),
        }
    }

    fn right_at(&self, url: &str) -> Outcome<u32> {
        match self {
            Self::Platform(organization) => organization.right_at(url),
            Self::Source(fleet) => fleet.right_at(url),
        }
    }

    fn source(&self) -> &str {
        match self {
            Self::Platform(_) => "iot-platform",
            Self::Source(fleet) => fleet.source(),
        }
    }
}

pub fn run(size: &Size, options: &Options) -> Outcome<()> {
    let given = &options.given;
    let fleet = match &options.source {
        Some(source) => Fleet::Source(LastWills::of(source, size.devices)?),
        None => Fleet::Platform(Organization::uneven(size.devices)),
    };
    let binary = binary(size)?;
    let filter = fleet.filter();
    let roomy = Broker::roomy(size.devices, fleet.messages())?;
    let stock = Broker::stock(fleet.messages())?;
    let mut ours = Figures::new("devstatus to its outcome", "s");
    let mut ready = Figures::new("devstatus until ready", "s");
    let mut proven = Figures::new("devstatus until complete", "s");
    let mut peer = Figures::new("mosquitto_sub, no drops", "s");
    let quiet = given.quiet_interval_ms.to_string();
    let arguments = ["--quiet-interval-ms", &quiet, "--source", fleet.source()];
    let mut right = size.devices;
    for round in 1..=size.rounds {
        println!("round {round}");
        peer.push(drain_seconds(roomy.port, &filter, size.devices)?);
        let started = Instant::now();
        let mut service = Service::start_with(&binary, &stock.url(), &arguments)?;
        service.wait_until_ready()?;
        ready.push(started.elapsed().as_secs_f64());
        let outcome = service.wait_for_outcome()?;
        ours.push(started.elapsed().as_secs_f64());
        let is_proven = service.wait_for_proof(PROOF_BOUND)?;
        proven.push(if is_proven { started.elapsed().as_secs_f64() } else { f64::NAN });
        let here = fleet.right_at(&service.url)?;
        println!("  devstatus calls it {outcome}, {here} devices are right");
        right = right.min(here);
    }
    let target = Target { port: stock.port, client_id: "bench-peer", filter: &filter };
    let sides = [
        ("devstatus, worst round", right),
        ("mosquitto_sub, given time", mosquitto_sub(fleet.messages(), &target, given)?),
        ("paho, given time", paho(fleet.messages(), &target, given)?),
    ];
    print_right(size.devices, &sides);
    print_ratio("population", &ours, &peer);
    Ok(())
}
