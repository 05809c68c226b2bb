//! Messages a second: the service from its start until it knows every device, against `mosquitto_sub` that prints the
//! same retained messages to /dev/null, and against a bare socket that counts them. The broker is the same and drops
//! nothing. The service has its default store; without one, it is measured beside that. With another source than the IoT platform, the service is measured on as many of the platform's devices in
//! turns with it, too.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::broker::{Broker, FILTER};
use crate::last_wills::LastWills;
use crate::process::Process;
use crate::rounds::{Figures, print_ratio};
use crate::service::{POPULATION_BOUND, Service, binary};
use crate::{Outcome, Size, socket};

#[derive(clap::Args, Clone)]
pub struct Options {
    /// Last wills and births of this source, for example tasmota, against the platform's statuses.
    #[arg(long)]
    source: Option<String>,
}

pub fn run(size: &Size, options: &Options) -> Outcome<()> {
    let binary = binary(size)?;
    let platform =
        Fleet { broker: Broker::start(size.devices)?, filter: FILTER.to_owned(), source: "iot-platform" };
    let other = match &options.source {
        Some(source) => {
            let fleet = LastWills::of(source, size.devices)?;
            let broker = Broker::roomy(size.devices, fleet.messages())?;
            Some(Fleet { broker, filter: fleet.filter(), source })
        }
        None => None,
    };
    let measured = other.as_ref().unwrap_or(&platform);
    let mut ours = Figures::new("devstatus", "messages/s");
    let mut peer = Figures::new("mosquitto_sub", "messages/s");
    let mut bare_socket = Figures::new("a bare socket", "messages/s");
    let mut without_store = Figures::new("devstatus, no store", "messages/s");
    let mut of_platform = Figures::new("devstatus, iot-platform", "messages/s");
    for round in 1..=size.rounds {
        println!("round {round}");
        peer.push(drain(measured, size.devices)?);
        bare_socket.push(socket::drain(measured.broker.port, &measured.filter, size.devices)?);
        ours.push(populate(&binary, measured, size.devices, &[])?);
        without_store.push(populate(&binary, measured, size.devices, &["--store", "memory:"])?);
        if other.is_some() {
            of_platform.push(populate(&binary, &platform, size.devices, &[])?);
        }
    }
    print_ratio("ingest", &ours, &peer);
    print_ratio("ingest against a bare socket", &ours, &bare_socket);
    print_ratio("ingest without a store against a bare socket", &without_store, &bare_socket);
    if other.is_some() {
        print_ratio("a source against the platform", &ours, &of_platform);
    }
    Ok(())
}

/// Retained states on a broker, and what reads them.
struct Fleet<'a> {
    broker: Broker,
    filter: String,
    source: &'a str,
}

/// Messages a second that the service takes in, from its start until it knows every device.
fn populate(binary: &Path, fleet: &Fleet<'_>, devices: u32, store: &[&str]) -> Outcome<f64> {
    let started = Instant::now();
    let mut arguments = vec!["--source", fleet.source];
    arguments.extend(store);
    let mut service = Service::start_with(binary, &fleet.broker.url(), &arguments)?;
    let population = service.wait_for_devices(devices)?;
    let rate = f64::from(devices) / started.elapsed().as_secs_f64();
    println!("  devstatus calls its population {population}");
    Ok(rate)
}

/// Messages a second that `mosquitto_sub` takes in, from its start to its end.
fn drain(fleet: &Fleet<'_>, devices: u32) -> Outcome<f64> {
    let started = Instant::now();
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &fleet.broker.port.to_string(), "-t", &fleet.filter]);
    command.args(["-C", &devices.to_string(), "-W", &POPULATION_BOUND.as_secs().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = Process::start(&mut command)?.finish(POPULATION_BOUND)?;
    if !status.success() {
        return Err(format!("mosquitto_sub ended with {status}: it did not get every message").into());
    }
    Ok(f64::from(devices) / started.elapsed().as_secs_f64())
}
