//! The web page in Chromium, of a fleet that changes all the time: how soon the first view is drawn, against a static page from nginx;
//! how much memory its tab takes; and what it costs lookups, against a plain stream of changes. For the last, the service and the
//! client that looks devices up have a processor of their own: Chromium draws on the other one, and the stream is read there.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::browser::Browser;

use crate::broker::{Broker, Publisher};
use crate::http::Answer;
use crate::lookup::Nginx;
use crate::lookups::{self, random_after};
use crate::messages::{change, path};
use crate::process::pause;
use crate::processors::{Processors, move_process, move_thread};
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

/// The changes of so long are sent at once.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(10);
/// How often the memory of the tab is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// So often a stream looks whether all is over.
const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// A page with a heading and a figure, as the first view has them.
const STATIC_PAGE: &str =
    "<!doctype html><title>static</title><h1>Overview</h1><p class=\"figure-number\">1</p>";
/// Notes when a figure was drawn: in the frame after the one that has it.
const NOTE_DRAWN: &str = "
    const look = () => document.querySelector('.figure-number')
        ? requestAnimationFrame(() => requestAnimationFrame(() => { window.drawn = performance.now(); }))
        : requestAnimationFrame(look);
    look();";
/// The views that an operator leaves open, in turns.
const VIEWS: [&str; 3] = ["#/", "#/devices", "#/live"];

/// What happens.
#[derive(clap::Args, Clone)]
pub struct Load {
    /// Status changes a second.
    #[arg(long, default_value_t = 1_000)]
    changes: u32,
    /// Seconds in each round, with the tab, and as many with a stream.
    #[arg(long, default_value_t = 600)]
    seconds: u32,
    /// Lookups a second.
    #[arg(long, default_value_t = 200)]
    lookups: u32,
    /// How often the page is loaded in each round, and as often that of nginx.
    #[arg(long, default_value_t = 20)]
    loads: u32,
}

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    let binary = binary(size)?;
    let broker = Broker::start(size.devices)?;
    let mut service = Service::start(&binary, &broker)?;
    service.wait_for_devices(size.devices)?;
    service.wait_until_ready()?;
    let headers = vec![("content-type".to_owned(), "text/html".to_owned())];
    let page = Answer { status: 200, headers, body: STATIC_PAGE.to_owned() };
    let nginx = Nginx::start_padded(1, &page, None, None)?;
    let mut ours = Figures::new("devstatus", "ms");
    let mut peer = Figures::new("nginx", "ms");
    let mut tab = Figures::new("p99 with a tab", "us");
    let mut stream = Figures::new("p99 with a stream", "us");
    let mut memory = Figures::new("tab, at most", "MB");
    let seconds = Duration::from_secs(load.seconds.into());
    let over = AtomicBool::new(false);
    let sides =
        Sides { service: service.process.id(), broker: broker.process.id(), processors: Processors::two()? };
    if sides.processors.is_none() {
        println!("there is one processor, which the service, its clients and Chromium share");
    }
    thread::scope(|scope| -> Outcome<()> {
        let publisher = Publisher::connect(broker.port)?;
        let publishing = scope.spawn(|| {
            let moved = sides.processors.map_or(Ok(()), |processors| move_thread(&processors.others()));
            moved
                .and_then(|()| publish(publisher, size.devices, load, &over))
                .map_err(|error| error.to_string())
        });
        let measured = (1..=size.rounds).try_for_each(|round| {
            println!("round {round}");
            peer.push(first_drawn(&nginx.url, load.loads)?);
            ours.push(first_drawn(&format!("{}/#/", service.url), load.loads)?);
            sides.part()?;
            let lookups = Lookups { service: &service, devices: size.devices, load, lasts: seconds, sides };
            stream.push(lookups.beside_stream()?);
            let with_tab = lookups.beside_tab()?;
            sides.join()?;
            tab.push(with_tab.p99_us);
            memory.push(with_tab.peak_mb);
            Ok(())
        });
        over.store(true, Ordering::Relaxed);
        publishing.join().map_err(|_| "the publisher panicked")??;
        measured
    })?;
    println!("\nmemory of the tab after {seconds:?} each {:>8.1} MB, median of the peaks", memory.median());
    print_ratio("first view", &ours, &peer);
    print_ratio("lookups beside a tab", &tab, &stream);
    Ok(())
}

/// Milliseconds from the beginning of a navigation to the frame that shows a figure, nothing cached; the median.
fn first_drawn(url: &str, loads: u32) -> Outcome<f64> {
    let mut browser = Browser::start();
    browser.call("Network.enable", json!({}));
    browser.call("Network.setCacheDisabled", json!({"cacheDisabled": true}));
    browser.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": NOTE_DRAWN}));
    let mut times = Vec::new();
    for _ in 0..loads {
        browser.open("about:blank");
        browser.open(url);
        browser.wait_until("a figure is drawn", "typeof window.drawn === 'number'");
        times.push(browser.evaluate("window.drawn").as_f64().ok_or("no time")?);
    }
    Ok(crate::rounds::median(&times))
}

/// The processes that are moved while lookups are measured.
#[derive(Clone, Copy)]
struct Sides {
    service: u32,
    broker: u32,
    processors: Option<Processors>,
}

impl Sides {
    /// The service runs by itself; the broker, this thread and what it starts on the other side.
    fn part(self) -> Outcome<()> {
        let Some(processors) = self.processors else { return Ok(()) };
        move_process(self.service, &processors.measured())?;
        move_process(self.broker, &processors.others())?;
        move_thread(&processors.others())
    }

    /// Each runs where it finds room.
    fn join(self) -> Outcome<()> {
        let Some(processors) = self.processors else { return Ok(()) };
        move_process(self.service, &processors.both())?;
        move_process(self.broker, &processors.both())?;
        move_thread(&processors.both())
    }
}

/// How lookups are measured.
#[derive(Clone, Copy)]
struct Lookups<'a> {
    service: &'a Service,
    devices: u32,
    load: &'a Load,
    lasts: Duration,
    sides: Sides,
}

/// What was measured while a tab was open.
struct WithTab {
    p99_us: f64,
    peak_mb: f64,
}

impl Lookups<'_> {
    /// The latency of lookups while one client follows the changes.
    fn beside_stream(self) -> Outcome<f64> {
        let address = self.service.url.strip_prefix("http://").ok_or("the service listens without TLS")?;
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let following = scope.spawn(|| follow(address, &over).map_err(|error| error.to_string()));
            let looking = scope.spawn(|| self.look_up().map_err(|error| error.to_string()));
            let p99_us = looking.join().map_err(|_| "the reader panicked")?;
            over.store(true, Ordering::Relaxed);
            following.join().map_err(|_| "the stream panicked")??;
            Ok(p99_us?)
        })
    }

    /// The same while a tab is open.
    fn beside_tab(self) -> Outcome<WithTab> {
        let Self { service, lasts, .. } = self;
        let mut browser = Browser::start();
        browser.look("light", 1440);
        browser.open(&format!("{}/#/", service.url));
        browser.wait_until(
            "the page follows",
            "document.getElementById('connection')?.innerText.trim() === 'Live'",
        );
        thread::scope(|scope| {
            let looking = scope.spawn(|| self.look_up().map_err(|error| error.to_string()));
            let (started, mut peak, mut looks) = (Instant::now(), 0, 0_u32);
            while started.elapsed() < lasts {
                // Each view for a tenth of the time.
                let turn = (10.0 * started.elapsed().as_secs_f64() / lasts.as_secs_f64()) as usize;
                let view = VIEWS[turn % VIEWS.len()];
                browser.evaluate(&format!("if (location.hash !== '{view}') location.hash = '{view}'"));
                pause(LOOK_INTERVAL);
                peak = peak.max(tab_bytes(&mut browser)?);
                looks += 1;
            }
            println!("  the tab took {} MB at most, of {looks} looks", peak >> 20);
            let p99_us = looking.join().map_err(|_| "the reader panicked")??;
            Ok(WithTab { p99_us, peak_mb: peak as f64 / f64::from(1 << 20) })
        })
    }

    /// Looks random devices up at a steady rate; gives the latency, from when a lookup was due, that one in a hundred exceeds, in
    /// microseconds.
    fn look_up(self) -> Outcome<f64> {
        let Self { service, devices, load, lasts, sides } = self;
        if let Some(processors) = sides.processors {
            move_thread(&processors.measured())?;
        }
        let (started, mut device) = (Instant::now(), 0);
        let path = || {
            device = random_after(device);
            path(device % devices)
        };
        let lookups =
            lookups::at_rate(&service.url, load.lookups, started, path, || started.elapsed() >= lasts)?;
        let mut latencies: Vec<Duration> = lookups.iter().map(|lookup| lookup.took).collect();
        latencies.sort_unstable();
        let at = |of_thousand: usize| latencies[latencies.len() * of_thousand / 1_000].as_micros();
        println!("  {} lookups: median {} us, p99 {} us", latencies.len(), at(500), at(990));
        Ok(at(990) as f64)
    }
}

/// Memory of the largest process that shows pages: its own, without the program that all of them share.
fn tab_bytes(browser: &mut Browser) -> Outcome<u64> {
    let own = |pid: u32| -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib: u64 = line.ok_or("no line RssAnon")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    };
    // One that has ended in the meantime was not the tab's.
    browser.renderers().into_iter().filter_map(|pid| own(pid).ok()).max().ok_or("no process".into())
}

/// Reads the stream of all changes until all is over.
fn follow(address: &str, over: &AtomicBool) -> Outcome<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let mut buffer = vec![0; 64 << 10];
    while !over.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return Err("the stream has ended".into()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Publishes changes of one device after the other at a steady rate.
fn publish(mut publisher: Publisher, devices: u32, load: &Load, over: &AtomicBool) -> Outcome<()> {
    let at_once = (f64::from(load.changes) * PUBLISH_INTERVAL.as_secs_f64()).ceil() as u32;
    let (mut next, mut due) = (0_u32, Instant::now());
    while !over.load(Ordering::Relaxed) {
        for _ in 0..at_once {
            publisher.retain(&change(next % devices, next / devices))?;
            next = next.wrapping_add(1);
        }
        publisher.write()?;
        due += PUBLISH_INTERVAL;
        pause(due.saturating_duration_since(Instant::now()));
    }
    publisher.flush()
}
