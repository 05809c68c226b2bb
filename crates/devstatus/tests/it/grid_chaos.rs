//! Kills and cuts at random over three instances, the grid that they share and their ways to the broker, while devices come and
//! go. After the last fault, every instance gives the same answer, and it is the truth.
//!
//! `TEST_LONG=1` makes a thousand of them; `CHAOS_SEED` makes others.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use testkit::closing_broker::ClosingBroker;
use testkit::link::Link;
use testkit::mosquitto::Mosquitto;
use testkit::poll;
use testkit::publisher::Publisher;
use testkit::recovery::Recovery;
use testkit::redis::RedisCluster;
use testkit::service::{Launch, Service, Signal};
use testkit::status::Device;

const DEVICES: usize = 60;
const INSTANCES: usize = 3;
/// Faults before each recovery.
const FAULTS_AT_A_TIME: usize = 4;
/// How long the recovery may take until all answers are right. It is seconds; this machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);

fn times() -> usize {
    if std::env::var_os("TEST_LONG").is_some_and(|value| value == "1") { 250 } else { 2 }
}

/// What the devices last said.
struct Fleet {
    ids: Vec<String>,
    said: Vec<String>,
    /// The second at which somebody last said something.
    step: u32,
}

impl Fleet {
    fn new() -> Self {
        let ids: Vec<String> = (0..DEVICES).map(|id| id.to_string()).collect();
        Self { said: vec![String::new(); ids.len()], ids, step: 1 }
    }

    /// Some devices come or go, each after whatever was before.
    fn stir(&mut self, random: &mut ChaCha8Rng, publisher: &mut Publisher, changes: usize) {
        for _ in 0..changes {
            let at = random.random_range(0..DEVICES);
            let device = Device::new("fan", &self.ids[at]);
            self.step += 1;
            let message = if random.random() {
                device.connect(self.step)
            } else {
                device.disconnect(self.step - 1, self.step)
            };
            publisher.retain(&device.topic(), message.clone());
            self.said[at] = message;
        }
        publisher.flush();
    }

    /// Devices of which the instance does not answer the truth.
    fn wrong(&self, service: &Service) -> Vec<&str> {
        let said = self.ids.iter().zip(&self.said).filter(|(_, said)| !said.is_empty());
        said.filter(|(id, said)| {
            let answer = service.get(&Device::new("fan", id).path());
            answer.status != 200 || answer.text() != **said
        })
        .map(|(id, _)| id.as_str())
        .collect()
    }

    fn wait_for_the_truth(&self, service: &Service, what: &str) {
        let mut wrong = Vec::new();
        let right = poll(PATIENCE, || {
            wrong = self.wrong(service);
            wrong.is_empty().then_some(())
        });
        assert!(right.is_some(), "{what}: {wrong:?} are wrong; log:\n{}", service.log());
    }
}

struct World {
    cluster: RedisCluster,
    broker: Mosquitto,
    links: Vec<Link>,
    instances: Vec<Option<Service>>,
}

impl World {
    fn new() -> Self {
        let (cluster, broker) = (RedisCluster::start(), Mosquitto::start());
        let links = (0..INSTANCES).map(|_| Link::to(broker.port())).collect();
        let mut world = Self { cluster, broker, links, instances: Vec::new() };
        world.instances = (0..INSTANCES).map(|at| Some(world.start(at))).collect();
        world
    }

    fn start(&self, at: usize) -> Service {
        self.launch(&format!("app{at}"), &self.links[at].url()).start()
    }

    fn launch(&self, name: &str, broker_url: &str) -> Launch {
        let store = format!("valkey://{}", self.cluster.hosts());
        let flags = ["--store", &store, "--flush-interval-ms", "50", "--quiet-interval-ms", "100"];
        Launch::to(broker_url).application(name).arguments(&flags)
    }

    /// Does one thing that should not happen, and says which.
    fn fault(&mut self, random: &mut ChaCha8Rng, fleet: &mut Fleet, publisher: &mut Publisher) -> String {
        let at = random.random_range(0..INSTANCES);
        let node = random.random_range(0..self.cluster.nodes.len());
        match random.random_range(0..5) {
            0 => {
                self.instances[at].take().expect("it runs").signal(Signal::KILL);
                fleet.stir(random, publisher, 20);
                self.instances[at] = Some(self.start(at));
                format!("instance {at} killed")
            }
            1 => {
                self.links[at].cut();
                format!("instance {at} cut off from the broker for a moment")
            }
            2 => {
                self.links[at].pause();
                fleet.stir(random, publisher, 50);
                self.links[at].resume();
                format!("the way between broker and instance {at} blocked")
            }
            3 => {
                self.cluster.wait_until_whole();
                self.cluster.kill_and_wait(node);
                fleet.stir(random, publisher, 50);
                self.cluster.nodes[node].start_again();
                format!("node {node} of the grid killed, and back")
            }
            _ => {
                self.cluster.wait_until_whole();
                self.cluster.lose_contents(node);
                format!("what node {node} held is lost, if it was a master")
            }
        }
    }
}

#[test]
fn after_any_kills_and_cuts_every_instance_answers_the_truth() {
    let seed = std::env::var("CHAOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut world, mut fleet) = (World::new(), Fleet::new());
    let mut publisher = world.broker.publisher();
    let nobody = ClosingBroker::silent();
    let mut recovery = Recovery::default();
    for time in 1..=times() {
        let mut faults = Vec::new();
        for _ in 0..FAULTS_AT_A_TIME {
            fleet.stir(&mut random, &mut publisher, 30);
            faults.push(world.fault(&mut random, &mut fleet, &mut publisher));
        }
        let what = format!("seed {seed}, time {time}: after {}", faults.join("; "));
        println!("{what}");
        recovery.lasts(&what, || {
            for service in world.instances.iter().flatten() {
                fleet.wait_for_the_truth(service, &what);
            }
        });
        // The grid has it, too: somebody new who hears nothing learns all of it.
        let guest = world.launch("guest", &nobody.url()).start();
        fleet.wait_for_the_truth(&guest, &format!("{what}; a new instance"));
    }
    println!("{recovery}");
}
