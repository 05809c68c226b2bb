//! The same as `population` on a stand-in for the platform's broker: it keeps 5,000 messages for one subscription, drops
//! the rest without a word, and has no counters to ask. 50 types fit; of the type that does not, the service knows the
//! devices from a file of the operator's or from its store.

use std::fs;
use std::time::Instant;

use platform_broker::{Limits, PlatformBroker};
use tempfile::TempDir;

use crate::broker::FILTER;
use crate::organization::{MONTH, MONTH_BEFORE, Organization};
use crate::peers::{Given, Target, mosquitto_sub, paho, print_right};
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

/// What the platform keeps for one subscription, of 200,000 devices; a smaller fleet gets as much less.
const BUFFER: u32 = 5_000;
const DEVICES: u32 = 200_000;

pub fn run(size: &Size, given: &Given) -> Outcome<()> {
    let binary = binary(size)?;
    let mut organization = Organization::of_the_platform(size.devices);
    let total = organization.devices();
    let buffer = (u64::from(size.devices) * u64::from(BUFFER) / u64::from(DEVICES)) as usize;
    let broker = PlatformBroker::start(Limits { buffer_messages: buffer, ..Limits::default() });
    println!("{total} devices; the broker keeps {buffer} messages for one subscription");

    let directory = TempDir::new()?;
    let file = directory.path().join("devices");
    let (large, ids) = organization.last_type();
    fs::write(&file, ids.map(|id| format!("{large}/{id}\n")).collect::<String>())?;
    let file = file.display().to_string();
    let limits = format!("{buffer},{}", buffer * 10);
    let quiet = given.quiet_interval_ms.to_string();
    let basics = ["--replay-limits", &limits, "--broker-counters", "false", "--quiet-interval-ms", &quiet];
    let mut from_file = Figures::new("devices from a file", "s");
    let mut from_store = Figures::new("devices from the store", "s");
    let (mut right_by_file, mut right_by_store) = (total, total);
    for round in 1..=size.rounds {
        println!("round {round}");
        let store = format!("sqlite:{}", directory.path().join(format!("store-{round}.db")).display());
        let stored = [&basics[..], &["--store", &store]].concat();
        let listed = [&stored[..], &["--devices-file", &file]].concat();
        // The first fills the store that the second begins with; every status has changed in between.
        for (arguments, month, figures, right) in [
            (listed, MONTH_BEFORE, &mut from_file, &mut right_by_file),
            (stored, MONTH, &mut from_store, &mut right_by_store),
        ] {
            organization.month = month;
            organization.messages().for_each(|m| broker.publish_unforwarded(&m.topic, m.payload));
            let started = Instant::now();
            let mut service = Service::start_with(&binary, &broker.url(), &arguments)?;
            let outcome = service.wait_for_outcome()?;
            figures.push(started.elapsed().as_secs_f64());
            let here = organization.right_at(&service.url)?;
            println!("  devstatus calls it {outcome}, {here} devices are right");
            *right = here.min(*right);
        }
    }
    let target = Target { port: broker.port(), client_id: "a:org1:peer", filter: FILTER };
    let sides = [
        ("devstatus, file", right_by_file),
        ("devstatus, store", right_by_store),
        ("mosquitto_sub, given time", mosquitto_sub(organization.messages(), &target, given)?),
        ("paho, given time", paho(organization.messages(), &target, given)?),
    ];
    print_right(total, &sides);
    print_ratio("platform-population", &from_file, &from_store);
    Ok(())
}
