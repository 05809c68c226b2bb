//! What is modelled: a fleet, the instances, how they share the work, what a store costs. The numbers that come from
//! measurements stand here, each with the command that printed it.

use clap::ValueEnum;
use presence::StableHash;

/// How the instances share the messages of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sharing {
    /// Every instance subscribes to every device.
    All,
    /// Each message goes to one instance: `$share` or a scalable application.
    Shared,
    /// Each instance subscribes to the device types that fall to it.
    Partition,
}

/// Where what is learned is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    Postgres,
    Valkey,
}

impl Sharing {
    pub const ALL: [Sharing; 3] = [Sharing::All, Sharing::Shared, Sharing::Partition];

    pub fn word(self) -> &'static str {
        match self {
            Sharing::All => "all",
            Sharing::Shared => "shared",
            Sharing::Partition => "partition",
        }
    }
}

impl Engine {
    pub const ALL: [Engine; 2] = [Engine::Postgres, Engine::Valkey];

    pub fn word(self) -> &'static str {
        match self {
            Engine::Postgres => "postgres",
            Engine::Valkey => "valkey",
        }
    }
}

/// Devices that are alike.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    pub devices: f64,
    /// Messages a second of all of them.
    pub messages: f64,
}

/// A device type and its share of the devices.
#[derive(Clone, Debug)]
pub struct DeviceType {
    pub name: String,
    pub share: f64,
}

/// What a store costs, in seconds of one of its cores.
#[derive(Clone, Copy, Debug)]
pub struct StoreCosts {
    pub batch: f64,
    /// One device and one event.
    pub row: f64,
    /// The same where the store holds it already.
    pub known_row: f64,
    /// A look for changes that finds none.
    pub poll: f64,
    pub read_row: f64,
    pub cores: usize,
    /// Whether a batch is spread over all cores.
    pub spreads: bool,
    pub bytes_per_device: f64,
}

/// What an instance costs.
#[derive(Clone, Copy, Debug)]
pub struct InstanceCosts {
    /// Seconds of the ingest thread for a message.
    pub message: f64,
    /// The same for a device told by the store.
    pub peer_updates: f64,
    /// Bytes with an empty map.
    pub base_bytes: f64,
    /// Bytes more once it works: what was heard lately, buffers, what the allocator keeps.
    pub working_bytes: f64,
    /// Bytes of one place in the map's tables, taken or not.
    pub slot_bytes: f64,
    /// Bytes outside the tables for each device.
    pub device_bytes: f64,
    /// Devices read from the store a second at the start.
    pub load_rate: f64,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    pub at: f64,
    /// How long the instance is away.
    pub down: f64,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub classes: Vec<Class>,
    pub types: Vec<DeviceType>,
    pub instances: usize,
    pub sharing: Sharing,
    pub store: StoreCosts,
    pub instance: InstanceCosts,
    /// The pause between two flushes: half of `--flush-interval-ms`.
    pub flush_pause: f64,
    pub seconds: f64,
    pub death: Option<Death>,
    pub seed: u64,
}

impl StoreCosts {
    /// What `bench model --check` prints for a row, everything included, divided among batch, row and look by estimate; how many
    /// cores is for requests.
    pub fn of(engine: Engine) -> Self {
        match engine {
            Engine::Postgres => Self {
                batch: 1.0e-3,
                row: 120e-6,
                known_row: 60e-6,
                poll: 0.4e-3,
                read_row: 6e-6,
                cores: 1,
                spreads: false,
                bytes_per_device: 700.0,
            },
            Engine::Valkey => Self {
                batch: 0.2e-3,
                row: 40e-6,
                known_row: 20e-6,
                poll: 0.2e-3,
                read_row: 4e-6,
                cores: 1,
                spreads: true,
                bytes_per_device: 500.0,
            },
        }
    }
}

impl InstanceCosts {
    /// `bench ingest` and `bench memory`; what a told device costs and how fast the store is loaded are estimates.
    pub const MEASURED: Self = Self {
        message: 9e-6,
        peer_updates: 5e-6,
        base_bytes: 20e6,
        working_bytes: 18e6,
        slot_bytes: 9.0,
        device_bytes: 275.0,
        load_rate: 500_000.0,
    };
}

/// Devices of one batch, and of one page of changes; as the service has it.
pub const BATCH_MAX: f64 = 4_096.0;
pub const PAGE: f64 = 2_000.0;
/// Between two looks for changes, and the longest wait for the notification.
pub const POLL_PAUSE: f64 = 0.020;
pub const POLL_INTERVAL: f64 = 0.500;
/// Until the others know that the instance which reads what is retained is gone.
pub const LEASE: f64 = 6.0;
/// Shards of the map, each a table whose size is a power of two, at most seven eighths full.
const SHARDS: f64 = 256.0;
const MARK_BYTES: f64 = 8.0;

impl Scenario {
    pub fn devices(&self) -> f64 {
        self.classes.iter().map(|class| class.devices).sum()
    }

    /// The share of the devices that falls to each instance, all being up.
    pub fn shares(&self) -> Vec<f64> {
        let count = self.instances;
        match self.sharing {
            Sharing::All => vec![1.0; count],
            Sharing::Shared => vec![1.0 / count as f64; count],
            Sharing::Partition => self.partition(),
        }
    }

    /// Each type falls wholly to one instance, by the hash that `--partition` uses.
    fn partition(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.instances];
        for DeviceType { name, share } in &self.types {
            shares[(StableHash::of(name.as_bytes()) % self.instances as u64) as usize] += share;
        }
        shares
    }

    /// The instance that dies: the one to which the most devices fall.
    pub fn victim(&self) -> usize {
        let shares = self.shares();
        (0..shares.len()).max_by(|one, other| shares[*one].total_cmp(&shares[*other])).unwrap_or(0)
    }

    /// Seconds from the death of that instance until everything that was not heard or not written because of it is known
    /// again: it is in the broker's retained messages, which must be read for that.
    pub fn repaired_after(&self) -> f64 {
        let read = |devices: f64| devices * self.instance.message;
        let load = self.devices() / self.instance.load_rate;
        match (self.sharing, self.death) {
            (Sharing::All, _) | (_, None) => 0.0,
            (Sharing::Shared, Some(_)) => LEASE + read(self.devices()),
            (Sharing::Partition, Some(death)) => {
                death.down + load + read(self.devices() * self.shares()[self.victim()])
            }
        }
    }

    /// Bytes of an instance that holds so many devices, of which so many wait to be written.
    pub fn memory(&self, devices: f64, waiting: f64) -> f64 {
        let costs = &self.instance;
        costs.base_bytes
            + costs.working_bytes
            + slots(devices) * costs.slot_bytes
            + devices * costs.device_bytes
            + waiting * MARK_BYTES
    }
}

/// Types of falling size, the first with the most devices, the second half as many, the third a third: as the simulated fleet
/// has them, and real ones alike.
pub fn falling_types(number: u32) -> Vec<DeviceType> {
    let total: f64 = (1..=number).map(|rank| 1.0 / f64::from(rank)).sum();
    let of = |rank| DeviceType { name: format!("type-{rank}"), share: 1.0 / f64::from(rank) / total };
    (1..=number).map(of).collect()
}

/// Places in the tables of all shards, each grown to twice its size whenever it was full.
pub fn slots(devices: f64) -> f64 {
    let in_shard = devices / SHARDS;
    if in_shard < 1.0 { devices * 4.0 } else { SHARDS * (in_shard * 8.0 / 7.0).log2().ceil().exp2() }
}
