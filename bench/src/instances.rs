//! Merged changes a second that three instances write into the store they share, each following the changes of the other two,
//! against the same instances setting plain values; and what a device takes in the store's memory, against its message as a
//! plain value under a key of its own. The instances are the stores of three instances, not whole ones: what the messages
//! cost before they come to the store is measured elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use devstatus::clock::UnixSeconds;
use devstatus::decode::iot_platform::decode;
use devstatus::decode::{Decoded, Device};
use devstatus::history::Event;
use devstatus::presence::{Belief, Statement};
use devstatus::store::settings::{Address, Location, Server, StoreSettings, Tls};
use devstatus::store::{self, Batch, DeviceName, Store, StoredDevice};
use redis::cluster::{ClusterClient, cluster_pipe};

use crate::messages::{self, Message};
use crate::process::until;
use crate::rig::redis::RedisCluster;
use crate::rounds::{Figures, print_ratio};
use crate::{Outcome, Size};

const INSTANCES: u32 = 3;
/// The first nodes of the cluster.
const MASTERS: usize = 3;
/// As the service writes them at most.
const BATCH: usize = 4_096;
/// How long the last change may take to be everywhere.
const FOLLOW_BOUND: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct Load {
    /// Which store: a cluster of six redis-servers, started for it.
    #[arg(long, value_enum, default_value_t = Kind::Valkey)]
    store: Kind,
    /// Changes of each device in each round.
    #[arg(long, default_value_t = 1)]
    changes: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Valkey,
}

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    match load.store {
        Kind::Valkey => grid(size, load),
    }
}

fn grid(size: &Size, load: &Load) -> Outcome<()> {
    let cluster = RedisCluster::start();
    let mut ours = Figures::new("devstatus", "changes/s");
    let mut delay = Figures::new("until all have followed", "ms after the last write");
    let mut peer = Figures::new("SET key payload", "changes/s");
    let mut our_bytes = Figures::new("devstatus", "bytes/device");
    let mut peer_bytes = Figures::new("SET key payload", "bytes/device");
    let devices = f64::from(size.devices);
    for round in 1..=size.rounds {
        println!("round {round}");
        let empty = emptied(&cluster)?;
        set(&cluster, size.devices, messages::message)?;
        peer_bytes.push((used(&cluster)? - empty) as f64 / devices);
        let mut seconds = 0.0;
        for change in 0..load.changes {
            seconds += set(&cluster, size.devices, |device| messages::change(device, change))?;
        }
        peer.push(devices * f64::from(load.changes) / seconds);

        let empty = emptied(&cluster)?;
        let settings = settings(&cluster);
        write(&settings, size.devices, |device| batch_part(device, &messages::message(device), false))?;
        our_bytes.push((used(&cluster)? - empty) as f64 / devices);
        let (mut seconds, mut late) = (0.0, 0.0);
        for change in 0..load.changes {
            let (written, followed) = write(&settings, size.devices, |device| {
                batch_part(device, &messages::change(device, change), true)
            })?;
            seconds += written;
            late = f64::max(late, followed * 1000.0);
        }
        ours.push(devices * f64::from(load.changes) / seconds);
        delay.push(late);
    }
    print_ratio("memory", &our_bytes, &peer_bytes);
    print_ratio("changes", &ours, &peer);
    Ok(())
}

fn settings(cluster: &RedisCluster) -> StoreSettings {
    let addresses =
        cluster.nodes.iter().map(|node| Address { host: "127.0.0.1".to_owned(), port: node.port() });
    let addresses = addresses.collect();
    StoreSettings::at(Location::Valkey(Server {
        addresses,
        user: None,
        password: None,
        database: None,
        tls: Tls::Off,
    }))
}

/// Bytes in use by all masters, once nothing is in them.
fn emptied(cluster: &RedisCluster) -> Outcome<u64> {
    for node in &cluster.nodes[..MASTERS] {
        node.ask::<String>(&["FLUSHALL"])?;
    }
    used(cluster)
}

/// All but what goes with connections, replicas and other nodes.
fn used(cluster: &RedisCluster) -> Outcome<u64> {
    const OTHERS: [&str; 3] = ["mem_clients_normal:", "mem_total_replication_buffers:", "mem_cluster_links:"];
    let mut used = 0;
    for node in &cluster.nodes[..MASTERS] {
        let info: String = node.ask(&["INFO", "memory"])?;
        let figure = |name: &str| -> Outcome<u64> {
            let bytes = info.lines().find_map(|line| line.strip_prefix(name));
            Ok(bytes.ok_or("no memory figures")?.trim().parse()?)
        };
        let others = OTHERS.iter().map(|name| figure(name)).sum::<Outcome<u64>>()?;
        used += figure("used_memory:")?.saturating_sub(others);
    }
    Ok(used)
}

/// The devices of one instance.
fn share(devices: u32, instance: u32) -> impl Iterator<Item = u32> {
    (0..devices).filter(move |device| device % INSTANCES == instance)
}

/// Seconds that all instances together take to set the devices' messages.
fn set(cluster: &RedisCluster, devices: u32, message: impl Fn(u32) -> Message + Sync) -> Outcome<f64> {
    let nodes: Vec<_> =
        cluster.nodes.iter().map(|node| format!("redis://127.0.0.1:{}/", node.port())).collect();
    let started = Instant::now();
    let set = |instance: u32| -> redis::RedisResult<()> {
        let mut connection = ClusterClient::new(nodes.clone())?.get_connection()?;
        let devices: Vec<u32> = share(devices, instance).collect();
        for some in devices.chunks(BATCH) {
            let mut pipe = cluster_pipe();
            for device in some {
                let Message { topic, payload } = message(*device);
                pipe.set(topic.trim_start_matches("iot-2/type/").trim_end_matches("/mon"), payload).ignore();
            }
            pipe.query::<()>(&mut connection)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..INSTANCES).map(|instance| scope.spawn(move || set(instance))).collect();
        running.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| Ok(())))
    })?;
    Ok(started.elapsed().as_secs_f64())
}

/// What one message comes to, on its way to the store.
fn batch_part(device: u32, message: &Message, with_event: bool) -> (StoredDevice, Option<Event>) {
    let heard_at = UnixSeconds(1_800_000_000 + device % 1000);
    let (name, statement) = decoded(message);
    let event = with_event.then(|| Event {
        device_type: Arc::clone(&name.device_type),
        id: name.id.clone(),
        statement: statement.clone(),
        heard_at,
    });
    let mut belief = Belief::default();
    belief.apply(statement);
    (StoredDevice { name, belief, heard_at }, event)
}

fn decoded(message: &Message) -> (DeviceName, Statement) {
    match decode(message.topic.as_bytes(), message.payload.as_bytes()) {
        Decoded::Statement { device: Device { device_type, id }, statement, .. } => {
            (DeviceName { device_type: device_type.into(), id: id.into() }, statement)
        }
        _ => unreachable!("the messages are statements; a test says so"),
    }
}

/// Seconds until everything was written, and from then until every instance had seen all that the others wrote.
fn write(
    settings: &StoreSettings,
    devices: u32,
    part: impl Fn(u32) -> (StoredDevice, Option<Event>) + Sync,
) -> Outcome<(f64, f64)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    let followed: Vec<_> = (0..INSTANCES).map(|_| Arc::new(AtomicU64::new(0))).collect();
    for seen in &followed {
        let store = runtime.block_on(store::open(settings))?.store;
        runtime.spawn(follow(Arc::clone(&store), Arc::clone(seen)));
        stores.push(store);
    }
    // Whoever follows has begun before anything is written.
    until("the followers", FOLLOW_BOUND, || {
        Ok(followed.iter().all(|seen| seen.load(Ordering::Relaxed) & BEGUN != 0))
    })?;
    let started = Instant::now();
    thread::scope(|scope| {
        let (runtime, part) = (&runtime, &part);
        let running: Vec<_> = stores
            .iter()
            .zip(0..)
            .map(|(store, instance)| {
                scope.spawn(move || {
                    let devices: Vec<u32> = share(devices, instance).collect();
                    devices.chunks(BATCH).try_for_each(|some| {
                        let mut batch = Batch::default();
                        for (device, event) in some.iter().map(|device| part(*device)) {
                            batch.devices.push(device);
                            batch.events.extend(event);
                        }
                        runtime.block_on(store.upsert(Arc::new(batch)))
                    })
                })
            })
            .collect();
        running.into_iter().try_for_each(|one| one.join().unwrap_or(Err(store::StoreError::Ended)))
    })?;
    let written = started.elapsed().as_secs_f64();
    until("the followers", FOLLOW_BOUND, || {
        Ok(followed.iter().all(|seen| seen.load(Ordering::Relaxed) & !BEGUN >= u64::from(devices)))
    })?;
    Ok((written, started.elapsed().as_secs_f64() - written))
}

/// Says in the count of a follower that it has begun.
const BEGUN: u64 = 1 << 63;

/// Counts the changes that come, as an instance follows them; each device changes once.
async fn follow(store: Arc<dyn Store>, seen: Arc<AtomicU64>) -> Result<(), store::StoreError> {
    let mut mark = store.mark().await?;
    seen.fetch_or(BEGUN, Ordering::Relaxed);
    loop {
        let changes = store.changes(mark.clone(), 2_000).await?;
        seen.fetch_add(changes.devices.len() as u64, Ordering::Relaxed);
        if std::mem::replace(&mut mark, changes.mark) == mark {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = tokio::time::timeout(Duration::from_millis(500), store.bell()).await;
        }
    }
}
