//! The grid: a cluster of six redis-servers on this machine.

use std::thread;
use std::time::Instant;

use store::settings::{Address, Location, StoreServer, StoreSettings, StoreTls};

use super::{BATCH, INSTANCES, Load, Names, Plain, measure, share};
use crate::messages::Message;
use crate::{Outcome, Size};
use testkit::redis::RedisCluster;

/// The first nodes of the cluster.
const MASTERS: usize = 3;

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    let names = Names { room: "memory", value: "SET key payload", set: "SET key payload" };
    measure(&RedisCluster::start(), &names, size, load)
}

impl Plain for RedisCluster {
    fn settings(&self) -> StoreSettings {
        settings(self)
    }

    fn emptied(&self) -> Outcome<u64> {
        emptied(self)
    }

    fn used(&self) -> Outcome<u64> {
        used(self)
    }

    fn set(&self, devices: u32, message: impl Fn(u32) -> Message + Sync) -> Outcome<f64> {
        set(self, devices, message)
    }
}

fn settings(cluster: &RedisCluster) -> StoreSettings {
    let addresses =
        cluster.nodes.iter().map(|node| Address { host: "127.0.0.1".to_owned(), port: node.port() });
    let addresses = addresses.collect();
    StoreSettings::at(Location::Valkey(StoreServer {
        addresses,
        user: None,
        password: None,
        database: None,
        tls: StoreTls::Off,
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

/// Seconds that all instances together take to set the devices' messages. Each sends one pipeline to every master and then reads
/// the answers, as a client library for clusters does.
fn set(cluster: &RedisCluster, devices: u32, message: impl Fn(u32) -> Message + Sync) -> Outcome<f64> {
    let masters = &cluster.nodes[..MASTERS];
    let started = Instant::now();
    let set = |instance: u32| -> redis::RedisResult<()> {
        let urls = masters.iter().map(|node| format!("redis://127.0.0.1:{}/", node.port()));
        let connections = urls.map(|url| redis::Client::open(url)?.get_connection());
        let mut connections = connections.collect::<redis::RedisResult<Vec<_>>>()?;
        let devices: Vec<u32> = share(devices, instance).collect();
        for some in devices.chunks(BATCH) {
            let mut pipes = vec![redis::pipe(); MASTERS];
            for device in some {
                let Message { topic, payload } = message(*device);
                let key = topic.trim_start_matches("iot-2/type/").trim_end_matches("/mon");
                pipes[RedisCluster::master_of(key)].set(key, payload);
            }
            for (connection, pipe) in connections.iter_mut().zip(&pipes) {
                connection.send_packed_command(&pipe.get_packed_pipeline())?;
            }
            for (connection, pipe) in connections.iter_mut().zip(&pipes) {
                for _ in 0..pipe.len() {
                    connection.recv_response()?.extract_error()?;
                }
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..INSTANCES).map(|instance| scope.spawn(move || set(instance))).collect();
        running.into_iter().try_for_each(|one| one.join().expect("a thread that sets does not panic"))
    })?;
    Ok(started.elapsed().as_secs_f64())
}
