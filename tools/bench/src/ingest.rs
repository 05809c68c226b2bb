//! Messages a second: the service from its start until it knows every device, against `mosquitto_sub` that prints the
//! same retained messages to /dev/null. The broker is the same and drops nothing.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::broker::{Broker, FILTER};
use crate::process::Process;
use crate::rounds::{Figures, print_ratio};
use crate::service::{POPULATION_BOUND, Service, binary};
use crate::{Outcome, Size};

pub fn run(size: &Size) -> Outcome<()> {
    let binary = binary(size)?;
    let broker = Broker::start(size.devices)?;
    let mut ours = Figures::new("devstatus", "messages/s");
    let mut peer = Figures::new("mosquitto_sub", "messages/s");
    for round in 1..=size.rounds {
        println!("round {round}");
        peer.push(drain(&broker, size.devices)?);
        let started = Instant::now();
        let mut service = Service::start(&binary, &broker)?;
        let population = service.wait_for_devices(size.devices)?;
        ours.push(f64::from(size.devices) / started.elapsed().as_secs_f64());
        println!("  devstatus calls its population {population}");
    }
    print_ratio("ingest", &ours, &peer);
    Ok(())
}

/// Messages a second that `mosquitto_sub` takes in, from its start to its end.
fn drain(broker: &Broker, devices: u32) -> Outcome<f64> {
    let started = Instant::now();
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "-t", FILTER]);
    command.args(["-C", &devices.to_string(), "-W", &POPULATION_BOUND.as_secs().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = Process::start(&mut command)?.finish(POPULATION_BOUND)?;
    if !status.success() {
        return Err(format!("mosquitto_sub ended with {status}: it did not get every message").into());
    }
    Ok(f64::from(devices) / started.elapsed().as_secs_f64())
}
