//! The database: Debian's PostgreSQL on this machine, against a table of names and messages with a primary key.

use std::thread;
use std::time::Instant;

use devstatus::store::settings::{Address, Location, Server, StoreSettings, Tls};
use tokio_postgres::{Client, NoTls};

use super::{BATCH, INSTANCES, Load, batch_part, change_all, share, write};
use crate::messages::{self, Message};
use crate::rounds::{Figures, print_ratio};
use crate::shared_store::SharedStore;
use crate::{Outcome, Size};

const EMPTY: &str = "DROP SCHEMA IF EXISTS devstatus CASCADE; DROP TABLE IF EXISTS plain; \
                     CREATE TABLE plain (device text PRIMARY KEY, message text NOT NULL)";
const SET: &str = "INSERT INTO plain SELECT * FROM unnest($1::text[], $2::text[]) \
                   ON CONFLICT (device) DO UPDATE SET message = excluded.message";
/// Of all tables and indexes that are not the server's own.
const BYTES: &str = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c \
                     JOIN pg_namespace n ON n.oid = c.relnamespace \
                     WHERE c.relkind = 'r' AND n.nspname IN ('public', 'devstatus')";

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    let server = SharedStore::postgres()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let plain = Plain { runtime, port: server.port };
    let client = plain.connect()?;
    let settings = settings(server.port);
    let mut ours = Figures::new("devstatus", "changes/s");
    let mut delay = Figures::new("until all have followed", "ms after the last write");
    let mut peer = Figures::new("INSERT ... ON CONFLICT", "changes/s");
    let mut our_bytes = Figures::new("devstatus", "bytes/device");
    let mut peer_bytes = Figures::new("name and message", "bytes/device");
    let devices = f64::from(size.devices);
    for round in 1..=size.rounds {
        println!("round {round}");
        let empty = plain.emptied(&client)?;
        plain.set(size.devices, messages::message)?;
        peer_bytes.push((plain.bytes(&client)? - empty) as f64 / devices);
        let mut seconds = 0.0;
        for change in 0..load.changes {
            seconds += plain.set(size.devices, |device| messages::change(device, change))?;
        }
        peer.push(devices * f64::from(load.changes) / seconds);

        let empty = plain.emptied(&client)?;
        write(&settings, size.devices, |device| batch_part(device, &messages::message(device), false))?;
        our_bytes.push((plain.bytes(&client)? - empty) as f64 / devices);
        let (changes, late) = change_all(&settings, size, load)?;
        ours.push(changes);
        delay.push(late);
    }
    print_ratio("size", &our_bytes, &peer_bytes);
    print_ratio("changes", &ours, &peer);
    Ok(())
}

fn settings(port: u16) -> StoreSettings {
    StoreSettings::at(Location::Postgres(Server {
        addresses: vec![Address { host: "127.0.0.1".to_owned(), port }],
        user: Some("devstatus".to_owned()),
        password: None,
        database: Some("postgres".to_owned()),
        tls: Tls::Off,
    }))
}

/// A table of names and messages.
struct Plain {
    runtime: tokio::runtime::Runtime,
    port: u16,
}

impl Plain {
    fn connect(&self) -> Outcome<Client> {
        let address = format!("host=127.0.0.1 port={} user=devstatus dbname=postgres", self.port);
        let (client, connection) = self.runtime.block_on(tokio_postgres::connect(&address, NoTls))?;
        self.runtime.spawn(connection);
        Ok(client)
    }

    /// Bytes of all tables, once nothing is in them.
    fn emptied(&self, client: &Client) -> Outcome<u64> {
        self.runtime.block_on(client.batch_execute(EMPTY))?;
        self.bytes(client)
    }

    fn bytes(&self, client: &Client) -> Outcome<u64> {
        let bytes: i64 = self.runtime.block_on(client.query_one(BYTES, &[]))?.get(0);
        Ok(u64::try_from(bytes)?)
    }

    /// Seconds that as many connections as there are instances take to set the devices' messages.
    fn set(&self, devices: u32, message: impl Fn(u32) -> Message + Sync) -> Outcome<f64> {
        let clients = (0..INSTANCES).map(|_| self.connect()).collect::<Outcome<Vec<_>>>()?;
        let started = Instant::now();
        thread::scope(|scope| {
            let message = &message;
            let running: Vec<_> = clients
                .iter()
                .zip(0..)
                .map(|(client, instance)| {
                    scope.spawn(move || {
                        let devices: Vec<u32> = share(devices, instance).collect();
                        devices.chunks(BATCH).try_for_each(|some| {
                            let rows = some.iter().map(|device| message(*device));
                            let (names, messages): (Vec<_>, Vec<_>) =
                                rows.map(|Message { topic, payload }| (topic, payload)).unzip();
                            self.runtime.block_on(client.execute(SET, &[&names, &messages])).map(|_rows| ())
                        })
                    })
                })
                .collect();
            running.into_iter().try_for_each(|one| one.join().expect("a thread that sets does not panic"))
        })?;
        Ok(started.elapsed().as_secs_f64())
    }
}
