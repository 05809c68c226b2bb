//! Changes as fast as a mosquitto with the limits that it has when nothing is set takes them: how many of them a service with its
//! default store does not get, against a bare socket that counts them. Such a broker drops what a subscriber does not read in time.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, FILTER, Publisher};
use crate::messages::change;
use crate::process::until;
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::socket::Counter;
use crate::{Outcome, Size};

/// How long the service may take over what was published once nothing more is.
const CATCH_UP_BOUND: Duration = Duration::from_secs(120);
/// A reader that has got nothing for so long after the last change gets nothing more.
const SILENCE: Duration = Duration::from_secs(2);

#[derive(clap::Args, Clone)]
pub struct Load {
    /// Seconds of changes in each round.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
}

/// What was published.
struct Published {
    messages: u64,
    /// Steps that every device has made.
    steps: u32,
    seconds: f64,
}

impl Published {
    fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    fn print_lost(&self, side: &str, received: u64) {
        let lost = self.messages.saturating_sub(received);
        println!("  {side} has not got {lost} of {} messages", self.messages);
    }
}

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    let binary = binary(size)?;
    let mut ours = Figures::new("read by devstatus", "messages/s");
    let mut peer = Figures::new("read by a bare socket", "messages/s");
    for round in 1..=size.rounds {
        println!("round {round}");
        peer.push(read_by_socket(size.devices, load)?);
        ours.push(read_by_service(&binary, size.devices, load)?);
    }
    print_ratio("live", &ours, &peer);
    Ok(())
}

/// Publishes changes of one device after the other for so long, and until every device has made the last step begun.
fn publish(broker: &Broker, devices: u32, load: &Load) -> Outcome<Published> {
    let mut publisher = Publisher::connect(broker.port)?;
    let lasts = Duration::from_secs(load.seconds.into());
    let started = Instant::now();
    let mut steps = 0;
    while started.elapsed() < lasts {
        for device in 0..devices {
            publisher.retain(&change(device, steps))?;
        }
        steps += 1;
    }
    publisher.flush()?;
    let messages = u64::from(devices) * u64::from(steps);
    Ok(Published { messages, steps, seconds: started.elapsed().as_secs_f64() })
}

fn read_by_service(binary: &Path, devices: u32, load: &Load) -> Outcome<f64> {
    let broker = Broker::stock(std::iter::empty())?;
    let directory = tempfile::tempdir()?;
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    // A second reading of what is retained would bring more messages than were published.
    let arguments = ["--store", &store, "--reconcile-interval", "86400"];
    let mut service = Service::start_with(binary, &broker.url(), &arguments)?;
    service.wait_until_ready()?;
    let before = service.metric("devstatus_messages_received_total")?;
    let published = publish(&broker, devices, load)?;
    let ended = Instant::now();
    let (mut received, mut since) = (0, ended);
    until("the service to read the last change", CATCH_UP_BOUND, || {
        let now = service.metric("devstatus_messages_received_total")? - before;
        if now != received {
            (received, since) = (now, Instant::now());
        }
        Ok(received >= published.messages || since.elapsed() > SILENCE)
    })?;
    published.print_lost("devstatus", received);
    println!("  the last one was applied {:.2} s after it was published", (since - ended).as_secs_f64());
    println!("  {} MB resident at most", service.process.resident_bytes()?.peak >> 20);
    let last = published.steps.checked_sub(1).ok_or("nothing was published")?;
    service.check_changes(devices, last)?;
    Ok(published.rate())
}

fn read_by_socket(devices: u32, load: &Load) -> Outcome<f64> {
    let broker = Broker::stock(std::iter::empty())?;
    let mut counter = Counter::subscribe(broker.port, FILTER)?;
    counter.wait_for_answer()?;
    let reader = thread::spawn(move || {
        // Longer than the first message takes to be published.
        counter.read_until_silence(SILENCE).map(|()| counter.messages).map_err(|error| error.to_string())
    });
    let published = publish(&broker, devices, load)?;
    let received = reader.join().map_err(|_| "the reader panicked")??;
    published.print_lost("a bare socket", received);
    Ok(published.rate())
}
