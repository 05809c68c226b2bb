//! Debian's redis-server on loopback ports, with directories of its own: one server, or a cluster of three masters with a
//! replica each. This Debian has no package of Valkey: `TEST_REDIS_SERVER` names another server to start, and
//! `make test-valkey` uses it.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use redis::{Connection, FromRedisValue, RedisResult};
use rustix::process::Signal;
use tempfile::TempDir;

use super::child::ChildProcess;
use super::port::Port;
use super::private_ca::PrivateCa;
use super::{PATIENCE, poll};

/// How often a start is tried again with new ports because someone outside the tests has taken one.
const START_TRIES: usize = 5;
const MASTERS: usize = 3;
const SLOTS: usize = 16_384;
/// A node that is silent for so long is taken for dead, in milliseconds: longer than a busy machine lets one wait.
const NODE_TIMEOUT_MS: u32 = 3_000;

/// How a server is to be started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The password of the default user.
    pub password: Option<&'static str>,
    /// A line of the kind `user …`, as the configuration has it.
    pub user: Option<&'static str>,
    /// Over TLS only, with a certificate of an authority of the rig's own.
    pub tls: bool,
    /// Whether what was written survives the process.
    pub persistence: bool,
}

pub struct RedisServer {
    directory: TempDir,
    setup: Setup,
    ca: Arc<PrivateCa>,
    port: Port,
    /// Of the cluster's own traffic; `None` for a server alone.
    bus: Option<Port>,
    child: Option<ChildProcess>,
}

impl RedisServer {
    pub fn start(setup: Setup) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let ca = issue(&directory);
        Self::start_node(directory, setup, ca, false)
    }

    fn start_node(directory: TempDir, setup: Setup, ca: Arc<PrivateCa>, of_cluster: bool) -> Self {
        let bus = || of_cluster.then(Port::take);
        let mut server = Self { directory, setup, ca, port: Port::take(), bus: bus(), child: None };
        for _ in 0..START_TRIES {
            if server.try_start() {
                return server;
            }
            (server.port, server.bus) = (Port::take(), bus());
        }
        panic!("redis-server did not start {START_TRIES} times; its log:\n{}", server.log());
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    pub fn ca_file(&self) -> &Path {
        &self.ca.ca_file
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default()
    }

    /// The server's answer to a command.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query(&mut self.connect()?)
    }

    /// Waits for an answer as it is wanted.
    pub fn wait_until(&self, what: &str, words: &[&str], wanted: impl Fn(&str) -> bool) {
        let held = poll(PATIENCE * 2, || self.ask::<String>(words).ok().filter(|text| wanted(text)));
        assert!(held.is_some(), "waited in vain until {what}; the log of the server:\n{}", self.log());
    }

    fn is_master(&self) -> bool {
        self.ask::<String>(&["INFO", "replication"]).is_ok_and(|info| info.contains("role:master"))
    }

    fn wait_until_serving(&self) {
        self.wait_until("the cluster serves", &["CLUSTER", "INFO"], |info| info.contains("cluster_state:ok"));
    }

    fn connect(&self) -> RedisResult<Connection> {
        let scheme = if self.setup.tls { "rediss" } else { "redis" };
        let login = self.setup.password.map(|password| format!(":{password}@")).unwrap_or_default();
        let url = format!("{scheme}://{login}127.0.0.1:{}/", self.port.number);
        let client = if self.setup.tls {
            let root_cert = std::fs::read(self.ca_file()).expect("the rig has written it");
            let certificates = redis::TlsCertificates { client_tls: None, root_cert: Some(root_cert) };
            redis::Client::build_with_tls(url, certificates)?
        } else {
            redis::Client::open(url)?
        };
        let connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(connection)
    }

    /// Ends the server as a power cut does.
    pub fn kill(&mut self) {
        if let Some(child) = self.child.take() {
            child.end(Signal::KILL);
        }
    }

    /// Keeps the server from answering, without ending it, or lets it go on.
    fn freeze(&self, frozen: bool) {
        self.child.as_ref().expect("the server runs").freeze(frozen);
    }

    /// Starts the server again on the same ports.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the server is stopped before it is started again");
        assert!(self.try_start(), "redis-server did not start again; its log:\n{}", self.log());
    }

    /// Whether the server answers; `false` when it ended instead, which a port taken by somebody else explains.
    fn try_start(&mut self) -> bool {
        let config = self.directory.path().join("redis.conf");
        std::fs::write(&config, self.config()).expect("a file can be written into the test's directory");
        let log = self.directory.path().join("redis.log");
        let log = File::options().create(true).append(true).open(log).expect("a log file can be made");
        let errors = log.try_clone().expect("a file can be shared");
        let program = std::env::var_os("TEST_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let mut command = Command::new(program);
        command.arg(&config).stdin(Stdio::null()).stdout(log).stderr(errors);
        let mut child = ChildProcess::start(&mut command);
        let answers = child.wait_until(|| self.ask::<String>(&["PING"]).is_ok());
        self.child = answers.then_some(child);
        answers
    }

    fn config(&self) -> String {
        let Setup { password, user, tls, persistence } = &self.setup;
        let directory = self.directory.path().display();
        let mut text = format!(
            "bind 127.0.0.1\ndir {directory}\ndaemonize no\nsave \"\"\nappendonly {}\nappendfsync always\n\
             repl-diskless-sync-delay 0\n",
            if *persistence { "yes" } else { "no" }
        );
        let port = self.port.number;
        if *tls {
            let (certificate, key, ca) =
                (self.ca.certificate_file.display(), self.ca.key_file.display(), self.ca.ca_file.display());
            write!(
                text,
                "port 0\ntls-port {port}\ntls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {ca}\n\
                 tls-auth-clients no\ntls-cluster yes\ntls-replication yes\n"
            )
            .expect("text grows");
        } else {
            writeln!(text, "port {port}").expect("text grows");
        }
        if let Some(password) = password {
            write!(text, "requirepass {password}\nmasterauth {password}\n").expect("text grows");
        }
        if let Some(user) = user {
            writeln!(text, "{user}").expect("text grows");
        }
        if let Some(bus) = &self.bus {
            write!(
                text,
                "cluster-enabled yes\ncluster-port {}\ncluster-config-file nodes.conf\n\
                 cluster-node-timeout {NODE_TIMEOUT_MS}\ncluster-replica-validity-factor 0\n",
                bus.number
            )
            .expect("text grows");
        }
        text
    }
}

fn issue(directory: &TempDir) -> Arc<PrivateCa> {
    Arc::new(PrivateCa::issue(directory.path(), &["localhost", "127.0.0.1"]))
}

/// Six nodes: the first three have begun as masters, each of the others as the replica of one of them.
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
    /// Holds the certificates of all.
    _directory: TempDir,
}

impl RedisCluster {
    pub fn start() -> Self {
        Self::start_with(&Setup::default())
    }

    pub fn start_with(setup: &Setup) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let ca = issue(&directory);
        let nodes = (0..2 * MASTERS).map(|_| {
            let own = tempfile::tempdir().expect("a directory can be made");
            RedisServer::start_node(own, setup.clone(), Arc::clone(&ca), true)
        });
        let cluster = Self { nodes: nodes.collect(), _directory: directory };
        let ask = |at: usize, words: &[&str]| -> String {
            cluster.nodes[at].ask(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
        };
        for at in 0..MASTERS {
            let (from, to) = (at * SLOTS / MASTERS, (at + 1) * SLOTS / MASTERS - 1);
            ask(at, &["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]);
            ask(at, &["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
        }
        for node in &cluster.nodes[1..] {
            let bus = node.bus.as_ref().expect("each node has a bus");
            ask(0, &["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), &bus.number.to_string()]);
        }
        let all = format!("cluster_known_nodes:{}", 2 * MASTERS);
        for node in &cluster.nodes {
            node.wait_until("all nodes know each other", &["CLUSTER", "INFO"], |info| {
                info.contains(&all) && info.contains("cluster_state:ok")
            });
        }
        for at in 0..MASTERS {
            let master = ask(at, &["CLUSTER", "MYID"]);
            ask(MASTERS + at, &["CLUSTER", "REPLICATE", &master]);
        }
        cluster.wait_until_whole();
        cluster
    }

    /// Which node is the master of a key, until one has failed.
    pub fn master_of(key: &str) -> usize {
        // CRC-16/XMODEM, as the cluster specification says. Keys in braces are not used here.
        let crc = key.bytes().fold(0u16, |crc, byte| {
            (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
                (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
            })
        });
        let slot = usize::from(crc) % SLOTS;
        (0..MASTERS).rfind(|master| slot >= master * SLOTS / MASTERS).unwrap_or(0)
    }

    /// Host and port of every node, for a URL.
    pub fn hosts(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        hosts.join(",")
    }

    /// Waits until every node is there, every replica has its master's contents and all agree.
    pub fn wait_until_whole(&self) {
        for node in &self.nodes {
            node.wait_until("the cluster is whole", &["CLUSTER", "INFO"], |info| {
                info.contains("cluster_state:ok")
                    && info.contains("cluster_slots_pfail:0")
                    && info.contains("cluster_slots_fail:0")
            });
            node.wait_until("each replica has its master", &["INFO", "replication"], |info| {
                (info.contains("role:master") && info.contains("connected_slaves:1"))
                    || info.contains("master_link_status:up")
            });
        }
    }

    /// Lets nothing more that this master takes reach its replica, until the master is killed. What it has taken so far is
    /// there.
    pub fn cut_replica(&self, master: usize) {
        let offset = |info: &str, name: &str| -> Option<u64> {
            info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        };
        let info = self.nodes[master].ask::<String>(&["INFO", "replication"]).expect("the master answers");
        let taken = offset(&info, "master_repl_offset:");
        let replica = self.replica_of(master);
        replica.wait_until("the replica has everything", &["INFO", "replication"], |info| {
            taken.is_some() && offset(info, "slave_repl_offset:") >= taken
        });
        self.replica_of(master).freeze(true);
        // Without this the kernel would take it for the one that sleeps.
        let cut = self.nodes[master].ask::<i64>(&["CLIENT", "KILL", "TYPE", "replica"]);
        assert_eq!(cut.expect("the master answers"), 1);
    }

    /// Kills a master as a power cut does; its replica goes on with what it has.
    pub fn kill_master(&mut self, master: usize) {
        self.nodes[master].kill();
        self.replica_of(master).freeze(false);
        self.wait_until_replaced(master);
    }

    /// Kills any node as a power cut does, and waits until a cluster is left that serves all slots without it.
    pub fn kill_and_wait(&mut self, node: usize) {
        let was_master = self.nodes[node].is_master();
        self.nodes[node].kill();
        let left = || self.nodes.iter().filter(|node| node.child.is_some());
        if was_master {
            let replaced = poll(PATIENCE * 2, || {
                (left().filter(|node| node.is_master()).count() == MASTERS).then_some(())
            });
            assert!(replaced.is_some(), "node {node} is replaced");
        }
        left().for_each(RedisServer::wait_until_serving);
    }

    /// Takes everything from a node if it is a master, as a start with an empty disk does.
    pub fn lose_contents(&self, node: usize) {
        if self.nodes[node].is_master() {
            // By the time it comes there it may be none any more; then it is refused, and nothing is lost.
            self.nodes[node].ask::<String>(&["FLUSHALL"]).ok();
        }
    }

    fn replica_of(&self, master: usize) -> &RedisServer {
        &self.nodes[master + MASTERS]
    }

    fn wait_until_replaced(&self, master: usize) {
        self.nodes[master + MASTERS].wait_until(
            "the replica is promoted",
            &["INFO", "replication"],
            |info| info.contains("role:master"),
        );
        self.nodes.iter().filter(|node| node.child.is_some()).for_each(RedisServer::wait_until_serving);
    }
}
