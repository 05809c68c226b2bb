//! Three instances of the real binary on one PostgreSQL and one broker, in any way of sharing the messages, and devices that
//! come and go.

use std::collections::BTreeMap;

use testkit::link::Link;
use testkit::mosquitto::Mosquitto;
use testkit::postgres::{self, PostgresServer};
use testkit::service::{Launch, Service, Signal};
use testkit::status::Device;

pub const INSTANCES: usize = 3;

/// What the one says that reads what is retained.
const READS: &str = "reads the retained statuses for all instances";

/// A device of the test, by its names, and what it was last heard to say.
pub type Truth = BTreeMap<(String, String), String>;

/// Broker, database and three instances; each reaches both by links of its own, which can be cut.
pub struct Site {
    pub services: Vec<Option<Service>>,
    pub brokers: Vec<Link>,
    pub stores: Vec<Link>,
    /// Flags of each instance beside those that all have.
    flags: Vec<Vec<String>>,
    pub broker: Mosquitto,
    pub database: PostgresServer,
    pub truth: Truth,
    /// The second at which something happens next.
    clock: u32,
}

impl Site {
    /// All instances with the flags that `flags` gives to the one of that number.
    pub fn start(flags: impl Fn(usize) -> Vec<String>) -> Self {
        let (broker, database) = (Mosquitto::start(), PostgresServer::start());
        let brokers = (0..INSTANCES).map(|_| Link::to(broker.port())).collect();
        let stores = (0..INSTANCES).map(|_| Link::to(database.port())).collect();
        let flags = (0..INSTANCES).map(flags).collect();
        let services = (0..INSTANCES).map(|_| None).collect();
        Self { services, brokers, stores, flags, broker, database, truth: Truth::new(), clock: 0 }
    }

    pub fn launch(&mut self, number: usize) {
        let store = postgres::url(self.stores[number].port());
        let flags: Vec<&str> = self.flags[number].iter().map(String::as_str).collect();
        let launch = Launch::as_application(&format!("app{number}"), &self.brokers[number].url())
            .on_store(&store)
            .arguments(&flags);
        self.services[number] = Some(launch.start());
    }

    pub fn launch_all(&mut self) {
        (0..INSTANCES).for_each(|number| self.launch(number));
        self.running().for_each(Service::wait_until_ready);
    }

    pub fn running(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().flatten()
    }

    pub fn service(&self, number: usize) -> &Service {
        self.services[number].as_ref().expect("it runs")
    }

    /// Those that have said that they read the retained statuses for all.
    pub fn readers(&self) -> Vec<usize> {
        let reading = |number: &usize| {
            let service = self.services[*number].as_ref();
            service.is_some_and(|service| !service.log_lines(&[READS]).is_empty())
        };
        (0..INSTANCES).filter(reading).collect()
    }

    pub fn kill(&mut self, number: usize) {
        if let Some(service) = self.services[number].take() {
            service.signal(Signal::KILL);
        }
    }

    /// One thing that should not happen to the instance of that number or to the database, and what it is.
    pub fn fault(&mut self, number: usize, which: usize) -> String {
        match which {
            0..=2 => {
                self.kill(number);
                format!("instance {number} killed")
            }
            3 | 4 => {
                self.brokers[number].down();
                format!("instance {number} cut off from the broker")
            }
            5 | 6 => {
                self.stores[number].down();
                format!("instance {number} cut off from the database")
            }
            _ => {
                self.database.kill();
                "database killed".to_owned()
            }
        }
    }

    /// Devices connect, or end the session that they have, as the broker retains it.
    pub fn happen<'a>(&mut self, devices: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut publisher = self.broker.publisher();
        for (kind, id) in devices {
            self.clock += 1;
            let device = Device { kind, id };
            let key = (kind.to_owned(), id.to_owned());
            let before = self.truth.get(&key).filter(|before| before.contains(r#""Action":"Connect""#));
            // Every session begins a second before it ends, so its beginning need not be remembered.
            let said = match before {
                Some(_) => device.disconnect(self.clock - 1, self.clock),
                None => device.connect(self.clock),
            };
            self.clock += 1;
            publisher.retain(&device.topic(), &said);
            self.truth.insert(key, said);
        }
        publisher.flush();
    }

    /// Waits until every instance that runs gives the one right answer for every device.
    pub fn wait_until_all_know_the_truth(&self) {
        for service in self.running() {
            for ((kind, id), said) in &self.truth {
                service.wait_for_answer(&Device { kind, id }.path(), said);
            }
            let summary = service.get("/api/v1/summary").json();
            assert_eq!(summary["total"], self.truth.len(), "{summary}");
        }
    }

    /// Waits until the database says the same, by type, as the devices did.
    pub fn wait_until_the_database_says_so(&self) {
        let mut connected: BTreeMap<&str, u64> = BTreeMap::new();
        for ((kind, _), said) in &self.truth {
            if said.contains(r#""Action":"Connect""#) {
                *connected.entry(kind).or_default() += 1;
            }
        }
        let expected: Vec<String> =
            connected.iter().map(|(kind, number)| format!("{kind}|{number}")).collect();
        let sql =
            "SELECT type, count(*) FROM devstatus_org.device WHERE connected GROUP BY type ORDER BY type";
        self.service(0).wait_until("the database has every change", || {
            self.database.psql(sql).lines().eq(expected.iter())
        });
    }
}

/// A few types and ids.
pub fn devices(kinds: usize, of_each: usize) -> Vec<(String, String)> {
    (0..kinds).flat_map(|kind| (0..of_each).map(move |id| (format!("kind{kind}"), id.to_string()))).collect()
}

pub fn names(devices: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    devices.iter().map(|(kind, id)| (kind.as_str(), id.as_str()))
}
