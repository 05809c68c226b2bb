//! Every retained status from a stock mosquitto, which drops what a reader does not take at once: how many devices are
//! right in the end, and the time until the service knows that it has them all. `mosquitto_sub` and paho are given a
//! minute on the same broker; the time is compared with `mosquitto_sub` on a broker that drops nothing.

use std::time::Instant;

use crate::broker::Broker;
use crate::organization::Organization;
use crate::peers::{Given, Target, drain_seconds, mosquitto_sub, paho, print_right};
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

pub fn run(size: &Size, given: &Given) -> Outcome<()> {
    let binary = binary(size)?;
    let organization = Organization::uneven(size.devices);
    let roomy = Broker::roomy(size.devices, organization.messages())?;
    let stock = Broker::stock(organization.messages())?;
    let mut ours = Figures::new("devstatus to its outcome", "s");
    let mut peer = Figures::new("mosquitto_sub, no drops", "s");
    let quiet = given.quiet_interval_ms.to_string();
    let mut right = size.devices;
    for round in 1..=size.rounds {
        println!("round {round}");
        peer.push(drain_seconds(roomy.port, size.devices)?);
        let started = Instant::now();
        let mut service = Service::start_with(&binary, &stock.url(), &["--quiet-interval-ms", &quiet])?;
        let outcome = service.wait_for_outcome()?;
        ours.push(started.elapsed().as_secs_f64());
        let here = organization.right_at(&service.url)?;
        println!("  devstatus calls it {outcome}, {here} devices are right");
        right = right.min(here);
    }
    let target = Target { port: stock.port, client_id: "bench-peer" };
    let sides = [
        ("devstatus, worst round", right),
        ("mosquitto_sub, given time", mosquitto_sub(&organization, &target, given)?),
        ("paho, given time", paho(&organization, &target, given)?),
    ];
    print_right(size.devices, &sides);
    print_ratio("population", &ours, &peer);
    Ok(())
}
