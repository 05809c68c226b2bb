//! Debian's RabbitMQ with its MQTT plugin, on loopback ports and in a directory of its own. Everybody is let in.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use tempfile::TempDir;

use super::child::ChildProcess;
use super::port::Port;

/// The script itself: what is on the path insists on being root or the package's user.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// What it writes there, and what of that says that it takes clients: it listens before it has elected the leader that registers
/// them, on a slow disk by seconds.
const LOG: &str = "broker.log";
const STARTED: [&str; 2] = ["Server startup complete", "mqtt_node: candidate -> leader"];

/// How often a start is tried again with new ports because someone outside the tests has taken one.
const START_TRIES: usize = 5;

pub struct RabbitMq {
    // The broker ends before the port mapper that it is registered with.
    _broker: ChildProcess,
    _port_mapper: ChildProcess,
    mqtt: Port,
    _further_ports: [Port; 2],
    directory: TempDir,
}

impl RabbitMq {
    /// Takes some fifteen seconds.
    pub fn start() -> Self {
        (0..START_TRIES).find_map(|_| Self::try_start()).expect("RabbitMQ starts")
    }

    fn try_start() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let [mqtt, node, mapper] = [Port::take(), Port::take(), Port::take()];
        write_settings(directory.path(), mqtt.number);
        // One of its own, which ends with the test: otherwise the node would start one that stays.
        let mut command = Command::new("epmd");
        command.args(["-address", "127.0.0.1", "-port", &mapper.number.to_string()]);
        let mut port_mapper = start(command);
        if !port_mapper.listens(&[mapper.number]) {
            return None;
        }
        let mut broker = start(broker_command(directory.path(), &node, &mapper));
        let log = directory.path().join(LOG);
        let has_started =
            || fs::read_to_string(&log).is_ok_and(|log| STARTED.iter().all(|line| log.contains(line)));
        broker.wait_until(has_started).then_some(Self {
            _broker: broker,
            _port_mapper: port_mapper,
            mqtt,
            _further_ports: [node, mapper],
            directory,
        })
    }

    pub fn port(&self) -> u16 {
        self.mqtt.number
    }

    /// The URL for `--broker`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.mqtt.number)
    }
}

impl Drop for RabbitMq {
    /// Of a test that fails, the broker's side is shown, too.
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default();
            eprintln!("RabbitMQ:\n{log}");
        }
    }
}

fn start(mut command: Command) -> ChildProcess {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    ChildProcess::start(&mut command)
}

fn write_settings(directory: &Path, port: u16) {
    let settings = format!(
        "listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:{port}\nmqtt.allow_anonymous = true\n"
    );
    fs::write(directory.join("rabbitmq.conf"), settings).expect("the settings can be written");
    fs::write(directory.join("enabled_plugins"), "[rabbitmq_mqtt].").expect("the plugins can be written");
}

fn broker_command(directory: &Path, node: &Port, mapper: &Port) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .env("HOME", directory)
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", mapper.number.to_string())
        .env("RABBITMQ_NODENAME", format!("test-{}@localhost", node.number))
        .env("RABBITMQ_DIST_PORT", node.number.to_string())
        .env("RABBITMQ_MNESIA_BASE", directory.join("data"))
        .env("RABBITMQ_LOG_BASE", directory.join("log"))
        .env("RABBITMQ_LOGS", directory.join(LOG))
        .env("RABBITMQ_CONFIG_FILE", directory.join("rabbitmq.conf"))
        .env("RABBITMQ_CONF_ENV_FILE", directory.join("none"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", directory.join("enabled_plugins"))
        // The script becomes the broker then, so that it has the id of the child.
        .env("RABBITMQ_ALLOW_INPUT", "1")
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-noinput -kernel inet_dist_use_interface {127,0,0,1}");
    command
}
