//! Where the statuses are kept and for how long. Built and checked by `config`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use system::is_loopback;
use system::secret::Secret;

/// Which store, and what stays in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    pub location: Location,
    /// Where on a server: the schema of a database, the prefix of the keys of a grid.
    pub schema: String,
    /// PEM file with the certificates that a server may have; `None`: the system's trust store.
    pub ca_file: Option<PathBuf>,
    /// The longest time between a change and its being kept, while the store is well.
    pub flush_interval: Duration,
    /// How long a device may be disconnected before it is dropped; `None`: for ever.
    pub forget_after: Option<Duration>,
    /// How long an event is kept.
    pub history: Duration,
    /// How many events of one device are kept.
    pub history_per_device: u32,
    /// How many devices are held in memory beside those that wait to be written; `None`: all.
    pub map_limit: Option<usize>,
}

/// The store of `--store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Nothing outlives the process.
    Memory,
    /// One file.
    Sqlite(PathBuf),
    /// PostgreSQL, or what speaks its protocol.
    Postgres(StoreServer),
    /// Valkey or Redis, one server or a cluster.
    Valkey(StoreServer),
}

impl Location {
    /// Whether several instances can use it at once.
    pub fn is_shared(&self) -> bool {
        match self {
            Location::Memory | Location::Sqlite(_) => false,
            Location::Postgres(_) | Location::Valkey(_) => true,
        }
    }
}

/// A store that several instances share, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreServer {
    /// At least one: the servers among which the right one is found, or some members of a cluster.
    pub addresses: Vec<Address>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// The name of the database, or its number; `None`: the server's default.
    pub database: Option<String>,
    pub tls: StoreTls,
}

impl StoreServer {
    /// Whether nothing that goes there leaves this machine.
    pub fn is_on_this_machine(&self) -> bool {
        self.addresses.iter().all(|address| address.host.starts_with('/') || is_loopback(&address.host))
    }

    /// Whether others may read the password on its way: TLS is not required, and it leaves this machine.
    pub fn shows_password(&self) -> bool {
        self.password.is_some() && self.tls != StoreTls::Required && !self.is_on_this_machine()
    }
}

impl fmt::Display for StoreServer {
    /// The addresses alone, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Address { host, port }) in self.addresses.iter().enumerate() {
            let separator = if n > 0 { "," } else { "" };
            write!(f, "{separator}{host}:{port}")?;
        }
        Ok(())
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name, an IP address without brackets, or the directory of a Unix socket, which begins with `/`.
    pub host: String,
    pub port: u16,
}

/// Whether what goes to a server is encrypted. Where it is, the certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreTls {
    Off,
    /// If the server offers it: somebody on the way can see to it that it does not.
    Offered,
    Required,
}

/// The schema of a service that was told no other: one for each organization, as statuses carry no organization.
pub fn default_schema(organization: &str) -> String {
    format!("devstatus_{organization}")
}

impl StoreSettings {
    const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
    const HISTORY_DAYS: u32 = 45;
    const HISTORY_PER_DEVICE: u32 = 1_000;

    /// Nothing outlives the process; the rest is as by default.
    pub fn memory() -> Self {
        Self::at(Location::Memory)
    }

    /// The defaults, kept there.
    pub fn at(location: Location) -> Self {
        Self {
            location,
            schema: "devstatus".to_owned(),
            ca_file: None,
            flush_interval: Self::FLUSH_INTERVAL,
            forget_after: None,
            history: days(Self::HISTORY_DAYS),
            history_per_device: Self::HISTORY_PER_DEVICE,
            map_limit: None,
        }
    }
}

pub const fn days(days: u32) -> Duration {
    Duration::from_secs(days as u64 * 86_400)
}
