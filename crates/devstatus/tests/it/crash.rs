//! `kill -9` at random moments under load, with a broker that has forgotten everything when the service comes back: what
//! was answered longer ago than the flush interval is still answered, and nothing is answered that never was.
//!
//! `TEST_LONG=1` makes 200 rounds of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use testkit::http::{self, Connection};
use testkit::mosquitto::Mosquitto;
use testkit::publisher::Publisher;
use testkit::service::{Launch, Service, Signal};
use testkit::status::Device;
use testkit::{PATIENCE, poll};

const DEVICES: usize = 150;
const FLUSH_INTERVAL_MS: u64 = 50;
/// Beside the flush interval: this machine may be busy with other tests, and the writing then waits for the processor.
const SLACK: Duration = Duration::from_millis(1_000);
/// A step is a second of one day; the rounds share it.
const STEPS_MAX: u32 = 24 * 3_600 - 2;

/// What one device was seen to say, and when.
#[derive(Clone, Default)]
struct Seen {
    /// Newest last; the number of the step and when it was answered.
    answers: Vec<(u32, Instant)>,
}

/// The message of one step: even ones begin a session, odd ones end it.
fn message(device: Device<'_>, step: u32) -> String {
    let (hour, second) = (step / 3_600, step % 3_600);
    let message =
        if step.is_multiple_of(2) { device.connect(second) } else { device.disconnect(second - 1, second) };
    // All other tests take place in one hour.
    message.replace("T17:", &format!("T{hour:02}:"))
}

fn rounds() -> u32 {
    if std::env::var_os("TEST_LONG").is_some_and(|value| value == "1") { 200 } else { 6 }
}

#[test]
fn answered_statuses_survive_a_kill_at_any_moment() {
    let seed = std::env::var("CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let directory = tempfile::tempdir().expect("a directory can be made");
    let flag = format!("sqlite:{}/store.db", directory.path().display());
    let ids: Vec<String> = (0..DEVICES).map(|id| id.to_string()).collect();
    // Steps go on over all rounds, so that an old answer is told from a new one.
    let steps = Arc::new(AtomicU32::new(1));
    let mut kept: Vec<u32> = vec![0; DEVICES];
    let rounds = rounds();
    for round in 1..=rounds {
        let mut broker = Mosquitto::start();
        let interval = FLUSH_INTERVAL_MS.to_string();
        let flags = ["--store", &flag, "--flush-interval-ms", &interval, "--quiet-interval-ms", "100"];
        let service = Launch::to(&broker.url()).arguments(&flags).start();
        let restored = answers(&service, &ids);
        for (id, (restored, kept)) in restored.iter().zip(&kept).enumerate() {
            let published = steps.load(Ordering::Relaxed);
            assert!(
                restored >= kept && *restored <= published,
                "seed {seed} round {round}: device {id} was answered with step {kept}, now with {restored}, published are {published}"
            );
        }
        service.wait_until("it has subscribed", || !service.log_lines(&["subscribed"]).is_empty());
        let lasts = Duration::from_millis(random.random_range(0..1_500));
        let last = (STEPS_MAX / rounds) * round;
        kept = load_and_kill(&ids, &steps, last, broker.publisher(), service, lasts)
            .into_iter()
            .zip(restored)
            .map(|(seen, restored)| seen.max(restored))
            .collect();
        broker.kill();
    }
    let published = steps.load(Ordering::Relaxed);
    assert!(published > 20, "there was load: {published} steps");
}

/// Publishes steps and reads answers until the time is over, then kills the service; gives what must be kept.
fn load_and_kill(
    ids: &[String],
    steps: &Arc<AtomicU32>,
    last: u32,
    mut publisher: Publisher,
    service: Service,
    lasts: Duration,
) -> Vec<u32> {
    let over = AtomicBool::new(false);
    let mut seen = vec![Seen::default(); DEVICES];
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) && steps.load(Ordering::Relaxed) < last {
                let step = steps.fetch_add(1, Ordering::Relaxed) + 1;
                for id in ids {
                    let device = Device { kind: "pump", id };
                    publisher.publish(&device.topic(), message(device, step));
                }
                publisher.flush();
            }
        });
        let mut connection = Connection::open(service.address());
        let started = Instant::now();
        while started.elapsed() < lasts {
            for (id, seen) in ids.iter().zip(&mut seen) {
                if let Some(step) = answer(&mut connection, id) {
                    seen.answers.push((step, Instant::now()));
                }
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    // Not before: from here on nothing more is kept.
    let killed = Instant::now();
    service.signal(Signal::KILL);
    let bound = Duration::from_millis(FLUSH_INTERVAL_MS) + SLACK;
    let must = |seen: &Seen| {
        let old = seen.answers.iter().rev().find(|(_, at)| killed.duration_since(*at) > bound);
        old.map_or(0, |(step, _)| *step)
    };
    seen.iter().map(must).collect()
}

/// The step that each device is at; 0: not known.
fn answers(service: &Service, ids: &[String]) -> Vec<u32> {
    let mut connection = Connection::open(service.address());
    ids.iter().map(|id| answer(&mut connection, id).unwrap_or(0)).collect()
}

fn answer(connection: &mut Connection, id: &str) -> Option<u32> {
    let device = Device { kind: "pump", id };
    connection.send(&http::request("GET", &device.path()));
    let answer = poll(PATIENCE, || connection.receive("GET").ok()).expect("the service answers");
    if answer.status != 200 {
        return None;
    }
    let text = answer.text();
    let step = step(answer.json()["Time"].as_str()?)?;
    assert_eq!(text, message(device, step), "an answer is a message that was published, whole");
    Some(step)
}

/// The step whose message has this time.
fn step(time: &str) -> Option<u32> {
    let two = |at: usize| time.get(at..at + 2)?.parse::<u32>().ok();
    Some(two(11)? * 3_600 + two(14)? * 60 + two(17)?)
}
