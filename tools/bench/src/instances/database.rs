//! The database: Debian's PostgreSQL on this machine, against a table of names and messages with a primary key.

use std::thread;
use std::time::Instant;

use store::settings::{Address, Location, StoreServer, StoreSettings, StoreTls};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use super::{BATCH, INSTANCES, Load, Names, Plain, measure, share};
use crate::messages::Message;
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
    let client = connect(&runtime, server.port)?;
    let names = Names { room: "size", value: "name and message", set: "INSERT ... ON CONFLICT" };
    measure(&Table { runtime, client, port: server.port }, &names, size, load)
}

fn connect(runtime: &Runtime, port: u16) -> Outcome<Client> {
    let address = format!("host=127.0.0.1 port={port} user=devstatus dbname=postgres");
    let (client, connection) = runtime.block_on(tokio_postgres::connect(&address, NoTls))?;
    runtime.spawn(connection);
    Ok(client)
}

fn settings(port: u16) -> StoreSettings {
    StoreSettings::at(Location::Postgres(StoreServer {
        addresses: vec![Address { host: "127.0.0.1".to_owned(), port }],
        user: Some("devstatus".to_owned()),
        password: None,
        database: Some("postgres".to_owned()),
        tls: StoreTls::Off,
    }))
}

/// A table of names and messages.
struct Table {
    runtime: Runtime,
    client: Client,
    port: u16,
}

impl Plain for Table {
    fn settings(&self) -> StoreSettings {
        settings(self.port)
    }

    fn emptied(&self) -> Outcome<u64> {
        self.runtime.block_on(self.client.batch_execute(EMPTY))?;
        self.used()
    }

    fn used(&self) -> Outcome<u64> {
        let bytes: i64 = self.runtime.block_on(self.client.query_one(BYTES, &[]))?.get(0);
        Ok(u64::try_from(bytes)?)
    }

    fn set(&self, devices: u32, message: impl Fn(u32) -> Message + Sync) -> Outcome<f64> {
        let clients =
            (0..INSTANCES).map(|_| connect(&self.runtime, self.port)).collect::<Outcome<Vec<_>>>()?;
        let started = Instant::now();
        thread::scope(|scope| {
            let (message, runtime) = (&message, &self.runtime);
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
                            runtime.block_on(client.execute(SET, &[&names, &messages])).map(|_rows| ())
                        })
                    })
                })
                .collect();
            running.into_iter().try_for_each(|one| one.join().expect("a thread that sets does not panic"))
        })?;
        Ok(started.elapsed().as_secs_f64())
    }
}
