//! The way to the server that has a slot: found out at the start, and again whenever it turns out to be another one, as after
//! a failover. What is asked for is not known here.
//!
//! Not by the client library's own connection to a cluster: with some hundred requests under way it stops for ever when a
//! master dies, because it looks for the new one under a lock that is held by requests it does not poll meanwhile.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use redis::{Cmd, ErrorKind, FromRedisValue, PushInfo, PushKind, RedisError, RedisResult, Script};
use redis::{ServerErrorKind, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::buckets::HashSlot;
use super::node::{Access, PushListener, ValkeyNode};
use super::topology::Topology;
use crate::StoreError;
use crate::settings::{Address, StoreServer};
use system::tls;

/// How long what fails for want of a server is tried again. Then the store has failed for now, which its users see, and they
/// ask again themselves.
const PERSISTENCE: Duration = Duration::from_secs(2);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two attempts to hear of changes.
const LISTEN_PAUSE: Duration = Duration::from_millis(500);
/// How often it is asked whether changes can still be heard of.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Any number of users at once.
pub struct ClusterConnection {
    access: Access,
    /// What the settings name: asked when nobody else answers.
    seeds: Vec<Address>,
    is_cluster: bool,
    topology: RwLock<Known>,
    nodes: Mutex<HashMap<Address, Arc<ValkeyNode>>>,
    /// Held while the topology is asked for, so that it is asked for once.
    refreshing: tokio::sync::Mutex<()>,
    /// Whom to ask first next time: not always the same, which may know less than the others.
    next: AtomicUsize,
}

/// A topology and how many there were before it.
#[derive(Clone)]
struct Known {
    topology: Arc<Topology>,
    number: u64,
}

impl ClusterConnection {
    /// Connects to the first of the addresses that answers, and to the whole cluster if it belongs to one.
    pub async fn open(server: &StoreServer, ca_file: Option<&Path>) -> Result<Self, StoreError> {
        let access = Access::new(server, ca_file)?;
        let mut why = String::new();
        for address in &server.addresses {
            let node = ValkeyNode::new(address.clone());
            match node.ask(&access, redis::cmd("INFO").arg("cluster")).await.and_then(is_cluster) {
                Ok(is_cluster) => {
                    let connection = Self {
                        access,
                        seeds: server.addresses.clone(),
                        is_cluster,
                        topology: RwLock::new(Known {
                            topology: Arc::new(Topology::single(address.clone())),
                            number: 0,
                        }),
                        nodes: Mutex::new(HashMap::from([(address.clone(), Arc::new(node))])),
                        refreshing: tokio::sync::Mutex::default(),
                        next: AtomicUsize::new(0),
                    };
                    connection
                        .refresh(0)
                        .await
                        .map_err(|error| unreachable(server, &why_unreachable(&error)))?;
                    return Ok(connection);
                }
                Err(error) => {
                    tracing::debug!(host = address.host, port = address.port, %error, "no answer");
                    why = why_unreachable(&error);
                }
            }
        }
        Err(unreachable(server, &why))
    }

    pub fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// What each server that can be reached says of itself.
    pub async fn infos(&self) -> Vec<(Address, String)> {
        let known = self.topology.read().clone();
        let addresses: HashSet<&Address> = known.topology.addresses().collect();
        let mut infos = Vec::new();
        for address in addresses {
            let answer = self.node(address).ask(&self.access, &redis::cmd("INFO")).await;
            if let Ok(Ok(info)) = answer.map(redis::from_redis_value::<String>) {
                infos.push((address.clone(), info));
            }
        }
        infos
    }

    pub async fn ask<T: FromRedisValue>(&self, slot: HashSlot, command: &Cmd) -> RedisResult<T> {
        let deadline = Instant::now() + PERSISTENCE;
        loop {
            let known = self.topology.read().clone();
            let answer = self.ask_once(&known, slot, command).await;
            match answer {
                Err(error) if is_about_the_server(&error) && Instant::now() < deadline => {
                    tracing::debug!(%error, slot = slot.0, "asking again");
                    if error.kind() != ErrorKind::Server(ServerErrorKind::Moved) {
                        sleep(PAUSE).await;
                    }
                    // If nobody knows better, the same server is asked again.
                    let _ = self.refresh(known.number).await;
                }
                answer => return Ok(redis::from_redis_value(answer?)?),
            }
        }
    }

    /// Runs a script. A server that does not have it, because it was started or promoted since, gets it.
    pub async fn run<T: FromRedisValue>(
        &self,
        slot: HashSlot,
        script: &ScriptSource,
        call: &Call,
    ) -> RedisResult<T> {
        match self.ask(slot, &call.command("EVALSHA", script.script.get_hash())).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.ask(slot, &call.command("EVAL", script.text)).await
            }
            done => done,
        }
    }

    /// In a cluster only the nodes of the slot carry the channel.
    pub async fn publish(&self, slot: HashSlot, channel: &str, message: &[u8]) -> RedisResult<()> {
        let command = if self.is_cluster { "SPUBLISH" } else { "PUBLISH" };
        self.ask(slot, redis::cmd(command).arg(channel).arg(message)).await
    }

    /// Subscribes to a channel for ever, by a connection of its own to the server of the slot. The listener is told when it has
    /// begun, too, because it may have missed something before.
    pub async fn listen(&self, slot: HashSlot, channel: &str, listener: PushListener) {
        let mut said = false;
        loop {
            let known = self.topology.read().clone();
            if let Err(error) = self.listen_once(&known, slot, channel, &listener).await {
                // A server that is away is told of elsewhere; one that refuses may be a proxy, or want a right.
                if error.is_io_error() || std::mem::replace(&mut said, true) {
                    tracing::debug!(%error, "cannot subscribe to change notifications at present");
                } else {
                    tracing::warn!(%error, "the store allows no subscription; changes of other instances are found by polling");
                }
            }
            sleep(LISTEN_PAUSE).await;
            let number = self.topology.read().number;
            let _ = self.refresh(number).await;
        }
    }

    /// Until the connection is lost or the slot is elsewhere.
    async fn listen_once(
        &self,
        known: &Known,
        slot: HashSlot,
        channel: &str,
        listener: &PushListener,
    ) -> RedisResult<()> {
        let master = known.topology.master_of(slot).ok_or_else(no_server)?;
        let ended = Arc::new(Notify::new());
        let notified = {
            let (listener, ended) = (Arc::clone(listener), Arc::clone(&ended));
            Arc::new(move |push: PushInfo| {
                if matches!(
                    push.kind,
                    PushKind::Disconnection | PushKind::Unsubscribe | PushKind::SUnsubscribe
                ) {
                    ended.notify_one();
                }
                listener(push);
            })
        };
        let mut connection = self.access.connect(master, Some(notified)).await?;
        let command = if self.is_cluster { "SSUBSCRIBE" } else { "SUBSCRIBE" };
        redis::cmd(command).arg(channel).query_async::<Value>(&mut connection).await?;
        while timeout(PING_INTERVAL, ended.notified()).await.is_err() {
            redis::cmd("PING").query_async::<Value>(&mut connection).await?;
        }
        Ok(())
    }

    async fn ask_once(&self, known: &Known, slot: HashSlot, command: &Cmd) -> RedisResult<Value> {
        let master = known.topology.master_of(slot).ok_or_else(no_server)?;
        let answer = self.node(master).ask(&self.access, command).await;
        match answer {
            // The slot is being moved, and this key is there already; the next one may still be here.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::Ask) => {
                let Some((host, port)) = error.redirect_node() else { return Err(error) };
                let host = if host.is_empty() { master.host.clone() } else { host.to_owned() };
                self.node(&Address { host, port }).ask_ahead(&self.access, command).await
            }
            answer => answer,
        }
    }

    fn node(&self, address: &Address) -> Arc<ValkeyNode> {
        let mut nodes = self.nodes.lock();
        let node = nodes.entry(address.clone()).or_insert_with(|| Arc::new(ValkeyNode::new(address.clone())));
        Arc::clone(node)
    }

    /// Asks for the topology, unless somebody has since that one.
    async fn refresh(&self, number: u64) -> RedisResult<()> {
        if !self.is_cluster {
            return Ok(());
        }
        let _refreshing = self.refreshing.lock().await;
        let known = self.topology.read().clone();
        if known.number != number {
            return Ok(());
        }
        let mut addresses: Vec<_> = known.topology.addresses().chain(&self.seeds).cloned().collect();
        addresses.dedup();
        let from = self.next.fetch_add(1, Ordering::Relaxed) % addresses.len();
        addresses.rotate_left(from);
        let mut why = no_server();
        for address in addresses {
            let answer = self.node(&address).ask(&self.access, redis::cmd("CLUSTER").arg("SLOTS")).await;
            match answer.map(|answer| Topology::parse(answer, &address)) {
                Ok(Some(topology)) => {
                    self.nodes.lock().retain(|known, _| topology.addresses().any(|address| address == known));
                    let topology = Arc::new(topology);
                    *self.topology.write() = Known { topology, number: number + 1 };
                    return Ok(());
                }
                Ok(None) => {}
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

fn is_cluster(info: Value) -> RedisResult<bool> {
    let info: String = redis::from_redis_value(info)?;
    Ok(info.lines().any(|line| line.trim() == "cluster_enabled:1"))
}

/// Whether another server, or the same one later, may answer.
fn is_about_the_server(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io => true,
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::BusyLoading
        ),
        _ => false,
    }
}

fn no_server() -> RedisError {
    RedisError::from((ErrorKind::Io, "no server of the cluster has the slot"))
}

fn why_unreachable(error: &RedisError) -> String {
    tls::explain(error).unwrap_or_else(|| error.to_string())
}

fn unreachable(server: &StoreServer, why: &str) -> StoreError {
    let hosts: Vec<_> =
        server.addresses.iter().map(|address| format!("{}:{}", address.host, address.port)).collect();
    StoreError::Read(format!("cannot use the store at {}: {why}", hosts.join(", ")))
}

/// A script in a file of its own.
pub struct ScriptSource {
    text: &'static str,
    script: Script,
}

impl ScriptSource {
    pub fn new(text: &'static str) -> Self {
        Self { text, script: Script::new(text) }
    }
}

/// What a script is called with. All keys are in one slot.
#[derive(Default)]
pub struct Call {
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl Call {
    pub fn key(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.keys.push(key.into());
        self
    }

    pub fn argument(&mut self, argument: impl Into<Vec<u8>>) -> &mut Self {
        self.arguments.push(argument.into());
        self
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.arguments);
        command
    }
}
