//! The settings of `devstatus serve`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser};

use super::super::{store_url, value};
use super::{BrokerArgs, KeysFileArgs, LogArgs, OrganizationArgs, ProfilesArgs, SYSTEM_TRUST_STORE};
use presence::query::Network;
use server::health::ReadyOn;
use server::http_settings::{AllowedHost, ForwardedHeader};
use server::sync::settings::Partition;
use store::settings::Location;

/// A year.
const RECONCILE_INTERVAL_MAX_SECONDS: u32 = 31_536_000;
/// Beyond an hour the population would be unknown for longer than anybody waits.
const INTERVAL_MAX_MS: u32 = 3_600_000;
/// Each connection takes one of the broker's; beyond this many, none reads faster.
const POPULATION_CONNECTIONS_MAX: usize = 64;
/// More than one machine answers.
const REQUESTS_PER_SECOND_MAX: u32 = 10_000_000;
/// More descriptors than a process is ever given.
const CONNECTIONS_MAX: usize = 1_000_000;
/// One answer may have to read each of them.
const HISTORY_PER_DEVICE_MAX: u32 = 100_000;
/// As many as the map has places for.
const MAP_LIMIT_MAX: usize = 4_000_000_000;
/// More streams, or changes held, than one machine serves.
const STREAMS_MAX: u32 = 1_000_000;
/// The feed wakes its readers fifty times a second: fewer changes may come between two of their turns.
const STREAM_LAG_MIN: u32 = 100;

/// Everything that the service can be told.
#[derive(Args, Debug)]
pub(in crate::config) struct ServeArgs {
    #[command(flatten)]
    pub organization: OrganizationArgs,
    #[command(flatten)]
    pub link: LinkArgs,
    #[command(flatten)]
    pub sources: SourceArgs,
    #[command(flatten)]
    pub http: HttpArgs,
    #[command(flatten)]
    pub population: PopulationArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub retention: RetentionArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

/// How the messages of the broker are read.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sources")]
pub(in crate::config) struct SourceArgs {
    /// Format of the broker's messages; `devstatus sources` lists the built-in ones. May be given more than once, or as a list separated by commas
    #[arg(long, value_name = "NAME", value_parser = value::source, value_delimiter = ',', default_value = "iot-platform")]
    pub source: Vec<String>,
    #[command(flatten)]
    pub profiles: ProfilesArgs,
    /// Connect and subscribe, print what each message is, and store and answer nothing; until Ctrl-C, or for --dry-run-seconds
    #[arg(long)]
    pub dry_run: bool,
    /// How long a dry run lasts, 1 to 31536000 seconds; by default until Ctrl-C
    #[arg(long, value_name = "SECONDS", value_parser = value::seconds(1..=RECONCILE_INTERVAL_MAX_SECONDS))]
    pub dry_run_seconds: Option<Duration>,
}

/// One `[[source]]` table.
#[derive(Debug, Parser)]
pub(in crate::config) struct SourceTableArgs {
    /// Name of the source, which its devices show
    #[arg(id = "source_name", long = "name", value_parser = value::source)]
    pub name: Option<String>,
    /// Formats of the broker's messages
    #[arg(long, value_parser = value::source, value_delimiter = ',')]
    pub format: Vec<String>,
    /// User name at the broker
    #[arg(long, value_parser = value::user_name)]
    pub key: Option<String>,
    #[command(flatten)]
    pub link: LinkArgs,
}

/// How one broker is connected to and read: by flags, or by the keys of a table.
#[derive(Args, Debug)]
pub(in crate::config) struct LinkArgs {
    #[command(flatten)]
    pub broker: BrokerArgs,
    #[command(flatten)]
    pub reading: ReadingArgs,
}

/// Where HTTP is answered, for whom and how much.
#[derive(Args, Debug)]
#[command(next_help_heading = "HTTP")]
pub(in crate::config) struct HttpArgs {
    /// IP address to answer HTTP on
    #[arg(long, value_name = "ADDR", value_parser = value::parsed::<IpAddr>("an IP address"), default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Port to answer HTTP on; 0: any free port
    #[arg(short, long, value_name = "PORT", value_parser = value::whole(0..=u16::MAX, ""), default_value = "5000")]
    pub port: u16,
    #[command(flatten)]
    pub keys_file: KeysFileArgs,
    /// Answer requests without a key, too; needed to listen on other addresses than loopback while there is no key
    #[arg(long)]
    pub allow_anonymous: bool,
    /// PEM file with the certificate for HTTPS and its intermediate certificates, read again when it changes
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub tls_key: Option<PathBuf>,
    /// PEM file with authorities: every client must show a certificate of one of them
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub tls_client_ca: Option<PathBuf>,
    /// A web page that may read the answers, as https://host:port; may be given more than once, or as a list separated by commas
    #[arg(long, value_name = "ORIGIN", value_parser = value::cors_origin, value_delimiter = ',')]
    pub cors_origin: Vec<String>,
    /// While loopback is open without keys: a host that requests may name, besides localhost and loopback addresses, for example the public name that a proxy on this machine passes on; may be given more than once, or as a list separated by commas
    #[arg(long, value_name = "HOST", value_parser = value::parsed::<AllowedHost>("host names or IP addresses separated by commas, each without a scheme and a port"), value_delimiter = ',')]
    pub allowed_host: Vec<AllowedHost>,
    /// Address or block of addresses (CIDR) of proxies: the client that they name in a header is believed; may be given more than once, or as a list separated by commas
    #[arg(long, value_name = "NETWORK", value_parser = value::parsed::<Network>("IP addresses or blocks of them separated by commas, as in 192.0.2.0/24"), value_delimiter = ',')]
    pub trusted_proxy: Vec<Network>,
    /// Header in which trusted proxies name the client: X-Forwarded-For or Forwarded; the other one is ignored
    #[arg(long, value_name = "HEADER", value_parser = value::read_by(ForwardedHeader::named, "X-Forwarded-For or Forwarded"), default_value = "X-Forwarded-For")]
    pub forwarded_header: ForwardedHeader,
    /// Every connection of a trusted proxy begins with a header of the PROXY protocol, version 1 or 2
    #[arg(long)]
    pub proxy_protocol: bool,
    /// How often one API key may ask, or one address without a key (loopback: as often as it likes), 1 to 10000000
    #[arg(long, value_name = "N", value_parser = value::whole(1..=REQUESTS_PER_SECOND_MAX, ""), default_value = "10000")]
    pub requests_per_second: u32,
    /// Open connections of all clients, 1 to 1000000; when all are in use, idle ones are closed for new ones
    #[arg(long, value_name = "N", value_parser = value::whole(1..=CONNECTIONS_MAX, ""), default_value = "10000")]
    pub connections_max: usize,
    /// Open connections of one address (loopback: as many as it likes), 1 to 1000000; further ones are closed
    #[arg(long, value_name = "N", value_parser = value::whole(1..=CONNECTIONS_MAX, ""), default_value = "256")]
    pub connections_per_address: usize,
    /// Streams of changes that may be open at once, 1 to 1000000
    #[arg(long, value_name = "N", value_parser = value::whole(1..=STREAMS_MAX, ""), default_value = "2000")]
    pub streams_max: u32,
    /// How many changes a stream may be behind before it is ended, 100 to 1000000; that many are held in memory
    #[arg(long, value_name = "CHANGES", value_parser = value::whole(STREAM_LAG_MIN..=STREAMS_MAX, ""), default_value = "65536")]
    pub stream_lag_max: u32,
}

/// How retained statuses are read from a broker.
#[derive(Args, Debug)]
#[command(next_help_heading = "Reading statuses")]
pub(in crate::config) struct ReadingArgs {
    /// Longest silence after which the replay of retained messages counts as over, 1 to 3600000 ms
    #[arg(long, value_name = "MS", value_parser = value::milliseconds(1..=INTERVAL_MAX_MS), default_value = "2000")]
    pub quiet_interval_ms: Duration,
    /// How many retained messages brokers are known to send to one subscription, ascending; if fewer than the first arrive, nothing was dropped; by default 1000,5000,50000, without --broker 5000,50000
    #[arg(long, value_name = "LIST", value_parser = value::replay_limits)]
    pub replay_limits: Option<value::ReplayLimits>,
    /// Time between two readings of every retained status in the background, 1 to 31536000 seconds, varied by a tenth
    #[arg(long, value_name = "SECONDS", value_parser = value::seconds(1..=RECONCILE_INTERVAL_MAX_SECONDS), default_value = "3600")]
    pub reconcile_interval: Duration,
    /// Connections that read retained statuses side by side, 1 to 64
    #[arg(long, value_name = "N", value_parser = value::whole(1..=POPULATION_CONNECTIONS_MAX, ""), default_value = "4")]
    pub population_connections: usize,
    /// Read the broker's own counters under $SYS as evidence: true or false; by default true, without --broker false
    #[arg(long, value_name = "BOOL", value_parser = value::boolean, action = ArgAction::Set)]
    pub broker_counters: Option<bool>,
}

/// Which messages this instance takes, and what is known of the devices.
#[derive(Args, Debug)]
#[command(next_help_heading = "Reading statuses")]
pub(in crate::config) struct PopulationArgs {
    /// Most bytes that wait for decoding, at least 65536; what arrives beyond is dropped and counted
    #[arg(long, value_name = "BYTES", value_parser = value::backlog_bytes, default_value = "1073741824")]
    pub backlog_max_bytes: usize,
    /// Device types, separated by commas, to read one by one; together with those of --types-file the list is taken to be complete
    #[arg(long, value_name = "LIST", value_parser = value::device_type, value_delimiter = ',')]
    pub types: Vec<String>,
    /// File with a device type on each line; # begins a comment
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub types_file: Option<PathBuf>,
    /// File with a device on each line, type/id or type,id: they are asked for by name if their type has more statuses than the broker sends at once. For each type in it, the list is taken to be complete
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub devices_file: Option<PathBuf>,
    /// When the service counts as ready: complete (proof that no retained status is missing) or unproven (nothing speaks against it)
    #[arg(long, value_name = "EVIDENCE", value_parser = value::word([("complete", ReadyOn::Complete), ("unproven", ReadyOn::Unproven)]), default_value = "unproven")]
    pub ready_on: ReadyOn,
    /// Connect as a scalable application, client id A:…, or A:…:{instance}; retained statuses are read as a:…
    #[arg(long, value_name = "INSTANCE", value_parser = value::scalable, num_args = 0..=1, default_missing_value = "")]
    pub scalable: Option<value::Scalable>,
    /// Take only the messages about part K of N of the device types; other instances with the same --store take the rest
    #[arg(long, value_name = "K/N", value_parser = value::partition)]
    pub partition: Option<Partition>,
    /// Share the messages with other instances of the same --store by a shared subscription, $share/GROUP/…; one of them reads what is retained
    #[arg(long, value_name = "GROUP", value_parser = value::name(value::ID_MAX_CHARS))]
    pub share: Option<String>,
}

/// Which store, and how it is reached.
#[derive(Args, Debug)]
#[command(next_help_heading = "Store")]
pub(in crate::config) struct StoreArgs {
    /// Where statuses are stored: sqlite:PATH; postgres:// or valkey:// with login and hosts, which several instances can share; or memory:, which keeps nothing after the process; by default sqlite:{state directory}/{organization}.db
    #[arg(long, value_name = "URL", value_parser = store_url::location)]
    pub store: Option<Location>,
    /// Schema of the database, or prefix of the keys in Valkey; by default devstatus_{organization}
    #[arg(long, value_name = "NAME", value_parser = value::schema)]
    pub store_schema: Option<String>,
    /// File with the password of the store's login on its only line, instead of one in the URL
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub store_password_file: Option<PathBuf>,
    /// PEM file with the certificates to trust when the store is reached over TLS; _os_: the system's trust store
    #[arg(long, value_name = "FILE", value_parser = value::path, default_value = SYSTEM_TRUST_STORE)]
    pub store_ca_file: PathBuf,
}

/// What is kept and for how long.
#[derive(Args, Debug)]
#[command(next_help_heading = "Store")]
pub(in crate::config) struct RetentionArgs {
    /// Longest time from a change until the store has it, 1 to 3600000 ms
    #[arg(long, value_name = "MS", value_parser = value::milliseconds(1..=INTERVAL_MAX_MS), default_value = "200")]
    pub flush_interval_ms: Duration,
    /// Days after which a device that stays disconnected is dropped, 1 to 36500; by default never
    #[arg(long, value_name = "DAYS", value_parser = value::days)]
    pub forget_after: Option<Duration>,
    /// Days for which an event of a device is kept, 1 to 36500
    #[arg(long, value_name = "DAYS", value_parser = value::days, default_value = "45")]
    pub history_days: Duration,
    /// Events that are kept of one device, 1 to 100000
    #[arg(long, value_name = "N", value_parser = value::whole(1..=HISTORY_PER_DEVICE_MAX, ""), default_value = "1000")]
    pub history_per_device: u32,
    /// Devices held in memory beside those that wait to be written, 1 to 4000000000; the others are read from the store when they are asked for. By default all are held
    #[arg(long, value_name = "DEVICES", value_parser = value::whole(1..=MAP_LIMIT_MAX, " of devices"))]
    pub map_limit: Option<usize>,
}
