//! The command line: each subcommand with the settings it takes, by topic. A setting has one name, its long flag, in the
//! arguments, in `devstatus.toml`, and with `DEVSTATUS_` before it in the environment.

mod client;
mod serve;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, Args, Command, Parser, Subcommand};
use clap_complete::Shell;

use super::{LogFormat, LogLevel, broker_url, value};
use crate::exchange::settings::ExportFormat;
use mqtt::settings::{Endpoint, MqttVersion};
use server::access::settings::{KEY_NAME_EXPECTED, Scopes, is_key_name};
use system::secret::Secret;

pub use client::{
    Acknowledgement, AlertGroup, AlertQuestion, AlertSelection, DeviceFilter, EndpointName, ListSelection,
    NamedDevice, NewSilence, Question, Redelivery, Rotation, SilenceQuestion, SummarySelection,
    WatchSelection, WebhookQuestion,
};
pub(super) use client::{ClientArgs, SOURCE_FILTER, ServiceArgs, with_client_args};
pub(super) use serve::{
    HttpArgs, LinkArgs, PopulationArgs, ReadingArgs, RetentionArgs, ServeArgs, SourceArgs, SourceTableArgs,
    StoreArgs,
};

/// What the help of every subcommand with settings ends with.
const ORDER: &str = "A flag beats its DEVSTATUS_ variable, which beats the platform's WIOTP_ variable, which beats the \
                     file, which beats the default.";
const LOGIN: &str = "The token of the API key belongs in a file for --token-file: an argument can be seen by other \
                     users of the machine, and stays in the shell's history.";

/// Ends the help of a subcommand with settings, unless it has an end of its own.
pub(super) fn with_after_help(command: Command) -> Command {
    let flags: Vec<&str> = command.get_arguments().filter_map(Arg::get_long).collect();
    if flags.is_empty() || command.get_after_help().is_some() {
        return command;
    }
    let login = if flags.contains(&"token") { format!("\n\n{LOGIN}") } else { String::new() };
    command.after_help(format!("{ORDER}{login}"))
}

/// More devices than any simulation needs; the memory is the limit before.
const FLEET_MAX: u32 = 100_000_000;

/// Answers over HTTP which devices of an IoT fleet are connected
#[derive(Debug, Parser)]
#[command(name = "devstatus", bin_name = "devstatus", version, args_conflicts_with_subcommands = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// The settings of `serve`, which is meant if no subcommand is named.
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Runs the service (the default)
    Serve(ServeArgs),
    /// Runs the service on a simulated fleet and a broker of its own
    Demo(DemoArgs),
    /// Runs a simulated fleet against a broker
    Simulate(SimulateArgs),
    /// Writes what a store keeps of every device, as JSON Lines or CSV
    Export {
        #[command(flatten)]
        exchange: ExchangeArgs,
        /// Form of an export: jsonl (JSON Lines, which an import reads), csv, or csv-spreadsheet, in which cells that a spreadsheet would run as a formula are escaped
        #[arg(long, value_name = "FORMAT", default_value = "jsonl", value_parser = value::word([
            ("jsonl", ExportFormat::JsonLines),
            ("csv", ExportFormat::Csv),
            ("csv-spreadsheet", ExportFormat::CsvForSpreadsheet),
        ]))]
        format: ExportFormat,
    },
    /// Merges an export into a store that no service uses meanwhile
    Import(ExchangeArgs),
    /// Makes, lists and revokes API keys
    #[command(subcommand)]
    Keys(KeysVerb),
    #[command(flatten)]
    Ask(Question),
    /// Lists the formats of messages that can be read, shows one, or tries it on messages
    Sources {
        #[command(subcommand)]
        verb: Option<SourcesVerb>,
    },
    /// Checks alert rules, or tries them on the history
    #[command(subcommand)]
    Rules(RulesVerb),
    /// Checks the settings of the service, or shows them
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Writes completions for a shell
    Completions {
        /// bash, zsh or fish
        #[arg(value_name = "SHELL", value_parser = value::word([("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)]))]
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysVerb {
    /// Makes an API key and shows its secret, once
    Create {
        /// What the key is for, as the list of keys shows it
        #[arg(value_name = "NAME", value_parser = value::text_that(is_key_name, KEY_NAME_EXPECTED))]
        name: String,
        #[command(flatten)]
        list: KeysListArgs,
        /// What the key allows, separated by commas: read (ask), events (follow the changes), admin (everything)
        #[arg(long, value_name = "LIST", value_parser = value::read_by(Scopes::parse, "read, events, admin, or several separated by commas"), default_value = "read")]
        scopes: Scopes,
        /// Days until the key expires, 1 to 36500; by default it does not expire
        #[arg(long, value_name = "DAYS", value_parser = value::days)]
        expires_days: Option<Duration>,
    },
    /// Lists the API keys
    List(KeysListArgs),
    /// Revokes an API key; a running service refuses it within a second
    Revoke {
        /// The id of the key
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        list: KeysListArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum SourcesVerb {
    /// Prints the profile of a source, or the rules of a built-in one
    Show(NamedSourceArgs),
    /// Reads lines of topic and payload, as mosquitto_sub -v prints them, and says what each means
    Test(NamedSourceArgs),
}

#[derive(Args, Debug)]
pub(super) struct NamedSourceArgs {
    /// The name of the source
    #[arg(value_name = "NAME", value_parser = value::source)]
    pub source_name: String,
    #[command(flatten)]
    pub profiles: ProfilesArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum RulesVerb {
    /// Checks the alert rules of the settings file: lists them, or says in one line what is wrong and ends with exit code 2
    Check {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Says what the alert rules would have announced on the history that a store keeps
    Test(Box<RulesTestArgs>),
}

/// The id of `--since` of `rules test`, which is another setting than that of `list`.
pub(super) const RULES_SINCE: &str = "rules_since";

#[derive(Args, Debug)]
pub(super) struct RulesTestArgs {
    /// How far back to begin: a number and s, m, h or d, 730d at most; the history is kept for --history-days
    // No variable and no file gives it.
    #[arg(long = "since", id = RULES_SINCE, value_name = "TIME", value_parser = value::period, default_value = "30d")]
    pub since: Duration,
    /// Only this rule
    #[arg(long, value_name = "NAME", value_parser = value::not_empty)]
    pub rule: Option<String>,
    #[command(flatten)]
    pub organization: OrganizationArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print JSON instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    #[command(flatten)]
    pub log: LogArgs,
}

/// Where formats are described beside the built-in ones.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sources")]
pub(super) struct ProfilesArgs {
    /// File with `[[profile]]` tables, which may also be in devstatus.toml; each profile is a source with its name
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub profiles_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Checks the settings as a start would; if one is bad, says why in one line and ends with exit code 2
    Check(ServeArgs),
    /// Shows the value of each setting and where it comes from; secrets are hidden
    Show(ServeArgs),
}

/// Which organization is meant.
#[derive(Args, Debug)]
#[command(next_help_heading = "IoT platform")]
pub(super) struct OrganizationArgs {
    /// Organization id; by default the second part of the API key
    #[arg(short, long, visible_alias = "org", value_name = "ORG", value_parser = value::name(value::ORGANIZATION_MAX_CHARS))]
    pub organization: Option<String>,
    /// API key, a-{organization}-{random}; with --broker any MQTT user name, or none
    #[arg(short, long, value_name = "KEY", value_parser = value::user_name)]
    pub key: Option<String>,
    /// Without the IoT platform: name of this service, in the names of its files; by default devstatus
    #[arg(id = "service_name", long = "name", value_name = "NAME", value_parser = value::name(value::ORGANIZATION_MAX_CHARS))]
    pub service_name: Option<String>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Settings file")]
pub(super) struct ConfigArgs {
    /// devstatus.toml, or the platform's application.cfg (INI) or YAML file (.yaml, .yml, or by content)
    #[arg(short, long, value_name = "FILE", value_parser = value::path)]
    pub config: Option<PathBuf>,
}

/// How to connect to the broker, and as whom.
#[derive(Args, Debug)]
#[command(next_help_heading = "Broker")]
pub(super) struct BrokerArgs {
    /// Application id, unique in the organization; with --broker it defaults to devstatus (simulate: devstatus-simulate)
    #[arg(short, long, value_name = "ID", value_parser = value::name(value::ID_MAX_CHARS))]
    pub id: Option<String>,
    /// Token of the API key; other users of the machine may see an argument, so --token-file is the safer way
    #[arg(short, long, value_name = "TOKEN", value_parser = value::password, allow_hyphen_values = true)]
    pub token: Option<Secret>,
    /// File with the token of the API key on its only line
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub token_file: Option<PathBuf>,
    /// Any MQTT broker: mqtt://, mqtts://, ws:// or wss:// with host and port; by default the platform's, mqtts://{organization}.messaging.{domain}:8883
    #[arg(long, value_name = "URL", value_parser = broker_url::endpoint)]
    pub broker: Option<Endpoint>,
    #[command(flatten)]
    pub ca: CaArgs,
    /// PEM file with the client certificate for the broker and its intermediate certificates; needs --broker-key
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub broker_cert: Option<PathBuf>,
    /// PEM file with the private key of --broker-cert, not encrypted
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub broker_key: Option<PathBuf>,
    /// Application protocols to offer in the TLS handshake (ALPN), separated by commas; AWS IoT on port 443 wants x-amzn-mqtt-ca
    #[arg(long, value_name = "LIST", value_parser = value::alpn)]
    pub broker_alpn: Option<value::Alpn>,
    /// MQTT version: 3.1.1 (or 3), or 5
    #[arg(long, value_name = "VERSION", value_parser = value::mqtt_version, default_value = "3.1.1")]
    pub mqtt_version: MqttVersion,
    /// MQTT keep-alive, 1 to 65535 seconds
    // 0 would switch it off, and a dead connection would never be noticed.
    #[arg(long, value_name = "SECONDS", value_parser = value::seconds(1..=65_535), default_value = "60")]
    pub keep_alive: Duration,
    /// Begin a new MQTT session with each connection: true or false
    #[arg(long, value_name = "BOOL", value_parser = value::boolean, action = ArgAction::Set, default_value = "true")]
    pub clean_session: bool,
    /// MQTT 5: how long the broker keeps the session after the connection ends
    #[arg(long, value_name = "SECONDS", value_parser = value::seconds(0..=u32::MAX), default_value = "0")]
    pub session_expiry: Duration,
}

#[derive(Args, Debug)]
pub(super) struct CaArgs {
    /// PEM file with the certificates to trust; _os_: the system's trust store
    #[arg(long, value_name = "FILE", value_parser = value::path, default_value = SYSTEM_TRUST_STORE)]
    pub ca_file: PathBuf,
}

/// Names the system's trust store, as in the platform's YAML.
pub(super) const SYSTEM_TRUST_STORE: &str = "_os_";

#[derive(Args, Debug)]
#[command(next_help_heading = "Log")]
pub(super) struct LogArgs {
    /// Form of the log: text or json
    #[arg(long, value_name = "FORMAT", value_parser = value::word([("text", LogFormat::Text), ("json", LogFormat::Json)]), default_value = "text")]
    pub log_format: LogFormat,
    /// Log more: once debug, twice trace; the variable takes the number
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Args, Debug)]
pub(super) struct KeysFileArgs {
    /// File with the API keys, read again when it changes. While it exists, every request needs a key; a file that is named here must exist. By default {state directory}/{organization}.keys
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub keys_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// Port to answer HTTP on; 0: any free port
    #[arg(short, long, help_heading = "HTTP", value_name = "PORT", value_parser = value::whole(0..=u16::MAX, ""), default_value = "5000")]
    pub port: u16,
    /// Built-in source whose messages the simulated devices send; `devstatus sources` lists them
    #[arg(long, value_name = "NAME", value_parser = value::source, default_value = "iot-platform")]
    pub source: String,
    #[command(flatten)]
    pub fleet: FleetArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Args, Debug)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    pub organization: OrganizationArgs,
    #[command(flatten)]
    pub broker: BrokerArgs,
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// Seconds to publish after every device has been published once; by default until Ctrl-C
    #[arg(long, value_name = "S", value_parser = value::seconds(1..=u32::MAX))]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub log: LogArgs,
}

/// How large a simulated fleet is and how its devices behave.
#[derive(Args, Debug)]
#[command(next_help_heading = "Simulated fleet")]
pub(super) struct FleetArgs {
    /// Number of simulated devices
    #[arg(long, value_name = "N", value_parser = value::whole(1..=FLEET_MAX, ""), default_value = "1000")]
    pub devices: u32,
    /// Sessions that begin or end each second, over the whole fleet
    #[arg(long, value_name = "F", value_parser = value::events_per_second, default_value = "20")]
    pub events_per_second: f64,
    /// The same seed gives the same fleet and the same history
    #[arg(long, value_name = "N", value_parser = value::whole(0..=u64::MAX, ""), default_value = "1")]
    pub seed: u64,
}

#[derive(Args, Debug)]
pub(super) struct ExchangeArgs {
    #[command(flatten)]
    pub organization: OrganizationArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    /// File to export to or import from; by default standard output or input
    #[arg(long, help_heading = "Export and import", value_name = "FILE", value_parser = value::path_or_stream)]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Args, Debug)]
pub(super) struct KeysListArgs {
    #[command(flatten)]
    pub organization: OrganizationArgs,
    #[command(flatten)]
    pub keys_file: KeysFileArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

/// Settings that only the platform's own files and variables have.
#[derive(Debug, Parser)]
pub(super) struct PlatformArgs {
    /// Domain of the platform; unused with --broker
    #[arg(long = "platform-domain", value_parser = value::text_that(value::is_host_name, "a host name"), default_value = "internetofthings.ibmcloud.com")]
    pub domain: String,
    /// Port of the platform: 8883 or 443 with TLS, 1883 or 80 without; unused with --broker
    #[arg(long = "platform-port", value_parser = value::platform_port, default_value = "8883")]
    pub port: u16,
    /// tcp or websockets; unused with --broker
    #[arg(long = "platform-transport", value_parser = value::word([("tcp", false), ("websockets", true)]), default_value = "tcp", action = ArgAction::Set)]
    pub has_websockets: bool,
    /// standalone or shared (a scalable application, client id A:…)
    #[arg(long = "platform-type", value_parser = value::word([("standalone", false), ("shared", true)]), default_value = "standalone", action = ArgAction::Set)]
    pub is_shared: bool,
    /// Instance of a scalable application, client id A:…:{instance}
    #[arg(long = "platform-instance", value_parser = value::name(value::ID_MAX_CHARS))]
    pub instance: Option<String>,
    /// apikey, the only method an application has
    #[arg(long = "platform-auth-method", value_parser = value::text_that(|text| text == "apikey", "apikey, the only method an application has"), default_value = "apikey")]
    pub auth_method: String,
    /// true or false; checked but unused, as no HTTP API of the platform is called
    #[arg(long = "platform-http-verify", value_parser = value::boolean, action = ArgAction::Set)]
    pub http_verify: Option<bool>,
    /// error, warning, info or debug
    #[arg(long = "platform-log-level", default_value = "info", value_parser = value::word([
        ("error", LogLevel::Error),
        ("warning", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
    ]))]
    pub log_level: LogLevel,
}
