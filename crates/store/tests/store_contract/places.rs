//! Where stores are: each place makes any number of them, apart from each other by name.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use store::memory::MemoryStore;
use store::postgres::PostgresStore;
use store::settings::{Address, StoreServer, StoreSettings, StoreTls};
use store::sqlite::SqliteStore;
use store::valkey::ValkeyStore;
use store::{Retention, Store, StoreError};
use tempfile::TempDir;

use crate::fixture::wait;
use testkit::postgres::PostgresServer;
use testkit::redis::{RedisCluster, RedisServer, Setup};

/// Events that each store keeps of a device.
pub const RETENTION: Retention = Retention { per_device: 5 };

pub trait Place: fmt::Debug {
    /// Opens the store of that name, empty the first time.
    fn open(&self, name: &str) -> Arc<dyn Store>;

    /// Whether a store can be closed and opened again.
    fn outlives(&self) -> bool {
        true
    }

    /// How many cases a property is tried with: fewer where each step is a journey.
    fn cases(&self) -> u32 {
        60
    }
}

/// This process.
#[derive(Debug)]
pub struct Memory;

impl Place for Memory {
    fn open(&self, _name: &str) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new(RETENTION))
    }

    fn outlives(&self) -> bool {
        false
    }
}

/// A directory.
#[derive(Debug)]
pub struct Sqlite(TempDir);

impl Sqlite {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("state/{name}.db"))
    }
}

impl Place for Sqlite {
    fn open(&self, name: &str) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&self.path(name), RETENTION).unwrap())
    }
}

/// A PostgreSQL server; each store is a schema.
pub struct Postgres(pub PostgresServer);

impl Postgres {
    pub fn start() -> Self {
        Self(PostgresServer::start())
    }

    pub async fn try_open(&self, schema: &str) -> Result<PostgresStore, StoreError> {
        let server = StoreServer {
            addresses: vec![Address { host: "127.0.0.1".to_owned(), port: self.0.port() }],
            user: Some("devstatus".to_owned()),
            password: None,
            database: Some("postgres".to_owned()),
            tls: StoreTls::Off,
        };
        let settings = StoreSettings { schema: schema.to_owned(), ..StoreSettings::memory() };
        PostgresStore::open(&server, &settings, RETENTION).await
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a PostgreSQL server")
    }
}

impl Place for Postgres {
    fn open(&self, name: &str) -> Arc<dyn Store> {
        Arc::new(wait(self.try_open(name)).unwrap())
    }

    fn cases(&self) -> u32 {
        20
    }
}

/// One redis-server.
pub struct Redis(pub RedisServer);

impl Redis {
    pub fn start() -> Self {
        Self(RedisServer::start(Setup::default()))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one redis-server")
    }
}

impl Place for Redis {
    fn open(&self, name: &str) -> Arc<dyn Store> {
        open_grid(&[self.0.port()], name)
    }

    fn cases(&self) -> u32 {
        20
    }
}

/// Six of them.
pub struct Cluster(pub RedisCluster);

impl Cluster {
    pub fn start() -> Self {
        Self(RedisCluster::start())
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cluster of six redis-servers")
    }
}

impl Place for Cluster {
    fn open(&self, name: &str) -> Arc<dyn Store> {
        // Two are enough to find the others.
        let ports: Vec<_> = self.0.nodes.iter().rev().take(2).map(RedisServer::port).collect();
        open_grid(&ports, name)
    }

    fn cases(&self) -> u32 {
        20
    }
}

fn open_grid(ports: &[u16], name: &str) -> Arc<dyn Store> {
    let addresses = ports.iter().map(|port| Address { host: "127.0.0.1".to_owned(), port: *port }).collect();
    let server = StoreServer { addresses, user: None, password: None, database: None, tls: StoreTls::Off };
    Arc::new(wait(ValkeyStore::open(&server, None, name, RETENTION)).unwrap())
}
