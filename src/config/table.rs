//! The list of all settings: the only place where a flag, variable or key is spelled. `docs/settings.md` is held equal
//! to it by a test.

mod client;
mod http;
mod store;

use super::setting::Verb::{Export, Import, KeysCreate, KeysList, KeysRevoke, Serve, Simulate};
use super::setting::{Setting, Spec, Verb};

const SERVE: &[Verb] = &[Verb::Serve];
const CONNECT: &[Verb] = &[Verb::Serve, Verb::Simulate];
const ORGANIZED: &[Verb] = &[Serve, Simulate, Export, Import, KeysCreate, KeysList, KeysRevoke];
const FLEET: &[Verb] = &[Verb::Demo, Verb::Simulate];
/// Those that log: all but those that only ask.
const LOGGED: &[Verb] = &[Serve, Verb::Demo, Simulate, Export, Import, KeysCreate, KeysList, KeysRevoke];

const NONE: Spec = Spec {
    setting: Setting::Organization,
    long: None,
    short: None,
    alias: None,
    value: None,
    value_optional: false,
    repeatable: false,
    platform: &[],
    ini: None,
    yaml: None,
    default: None,
    verbs: CONNECT,
    help: "",
};

/// In the order of the variants of [`Setting`], which is also the order of the help and the documentation.
pub(super) const SPECS: &[Spec] = &[
    Spec {
        setting: Setting::Organization,
        long: Some("organization"),
        short: Some('o'),
        alias: Some("org"),
        value: Some("ORG"),
        ini: Some("org"),
        help: "Organization id; by default the second part of the API key",
        verbs: ORGANIZED,
        ..NONE
    },
    Spec {
        setting: Setting::Id,
        long: Some("id"),
        short: Some('i'),
        value: Some("ID"),
        platform: &["WIOTP_IDENTITY_APPID"],
        ini: Some("id"),
        yaml: Some("identity.appId"),
        help: "Application id, unique in the organization; with --broker it defaults to devstatus (simulate: devstatus-simulate)",
        ..NONE
    },
    Spec {
        setting: Setting::Key,
        long: Some("key"),
        short: Some('k'),
        value: Some("KEY"),
        platform: &["WIOTP_AUTH_KEY", "WIOTP_API_KEY"],
        ini: Some("auth-key"),
        yaml: Some("auth.key"),
        help: "API key, a-{organization}-{random}; with --broker any MQTT user name, or none",
        verbs: ORGANIZED,
        ..NONE
    },
    Spec {
        setting: Setting::Token,
        long: Some("token"),
        short: Some('t'),
        value: Some("TOKEN"),
        platform: &["WIOTP_AUTH_TOKEN", "WIOTP_API_TOKEN"],
        ini: Some("auth-token"),
        yaml: Some("auth.token"),
        help: "Token of the API key; other users of the machine may see an argument, so --token-file is the safer way",
        ..NONE
    },
    Spec {
        setting: Setting::TokenFile,
        long: Some("token-file"),
        value: Some("FILE"),
        help: "File with the token of the API key on its only line",
        ..NONE
    },
    Spec {
        setting: Setting::Config,
        long: Some("config"),
        short: Some('c'),
        value: Some("FILE"),
        help: "An application.cfg (INI) or a YAML file (.yaml, .yml, or by content)",
        verbs: client::CONFIGURED,
        ..NONE
    },
    http::LISTEN,
    http::PORT,
    http::KEYS_FILE,
    http::ALLOW_ANONYMOUS,
    http::TLS_CERT,
    http::TLS_KEY,
    http::TLS_CLIENT_CA,
    http::CORS_ORIGIN,
    http::ALLOWED_HOST,
    http::TRUSTED_PROXY,
    http::FORWARDED_HEADER,
    http::PROXY_PROTOCOL,
    http::REQUESTS_PER_SECOND,
    http::CONNECTIONS_MAX,
    http::CONNECTIONS_PER_ADDRESS,
    Spec {
        setting: Setting::Broker,
        long: Some("broker"),
        value: Some("URL"),
        help: "Any MQTT broker: mqtt://, mqtts://, ws:// or wss:// with host and port; by default the platform's, mqtts://{organization}.messaging.{domain}:8883",
        ..NONE
    },
    Spec {
        setting: Setting::CaFile,
        long: Some("ca-file"),
        value: Some("FILE"),
        platform: &["WIOTP_OPTIONS_MQTT_CAFILE"],
        yaml: Some("options.mqtt.caFile"),
        default: Some("_os_"),
        help: "PEM file with the certificates to trust; _os_: the system's trust store",
        verbs: client::CERTIFIED,
        ..NONE
    },
    Spec {
        setting: Setting::MqttVersion,
        long: Some("mqtt-version"),
        value: Some("VERSION"),
        default: Some("3.1.1"),
        help: "MQTT version: 3.1.1 (or 3), or 5",
        ..NONE
    },
    Spec {
        setting: Setting::KeepAlive,
        long: Some("keep-alive"),
        value: Some("SECONDS"),
        platform: &["WIOTP_OPTIONS_MQTT_KEEPALIVE"],
        yaml: Some("options.mqtt.keepAlive"),
        default: Some("60"),
        help: "MQTT keep-alive, 1 to 65535 seconds",
        ..NONE
    },
    Spec {
        setting: Setting::CleanSession,
        long: Some("clean-session"),
        value: Some("BOOL"),
        platform: &["WIOTP_OPTIONS_MQTT_CLEANSTART"],
        ini: Some("clean-session"),
        yaml: Some("options.mqtt.cleanStart"),
        default: Some("true"),
        help: "Begin a new MQTT session with each connection: true or false",
        ..NONE
    },
    Spec {
        setting: Setting::SessionExpiry,
        long: Some("session-expiry"),
        value: Some("SECONDS"),
        platform: &["WIOTP_OPTIONS_MQTT_SESSIONEXPIRY"],
        yaml: Some("options.mqtt.sessionExpiry"),
        default: Some("0"),
        help: "MQTT 5: how long the broker keeps the session after the connection ends",
        ..NONE
    },
    Spec {
        setting: Setting::QuietInterval,
        long: Some("quiet-interval-ms"),
        value: Some("MS"),
        default: Some("2000"),
        help: "Silence after which the replay of retained messages counts as over, 1 to 3600000 ms",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::BacklogMax,
        long: Some("backlog-max-bytes"),
        value: Some("BYTES"),
        default: Some("1073741824"),
        help: "Most bytes that wait for decoding, at least 65536; what arrives beyond is dropped and counted",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::Types,
        long: Some("types"),
        value: Some("LIST"),
        help: "Device types, separated by commas, to read one by one; with those of --types-file they are taken to be all",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::TypesFile,
        long: Some("types-file"),
        value: Some("FILE"),
        help: "File with a device type on each line; # begins a comment",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::DevicesFile,
        long: Some("devices-file"),
        value: Some("FILE"),
        help: "File with a device on each line, type/id or type,id, to ask for by name where its type does not fit; of a type named here they are taken to be all",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::ReplayLimits,
        long: Some("replay-limits"),
        value: Some("LIST"),
        default: Some("1000,5000,50000"),
        help: "How many retained messages brokers are known to send to one subscription, ascending; fewer than the first are taken to be all; without --broker the default is 5000,50000",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::ReadyOn,
        long: Some("ready-on"),
        value: Some("EVIDENCE"),
        default: Some("unproven"),
        help: "When the service counts as ready: complete (proof that no retained status is missing) or unproven (nothing speaks against it)",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::ReconcileInterval,
        long: Some("reconcile-interval"),
        value: Some("SECONDS"),
        default: Some("3600"),
        help: "Time between two readings of every retained status in the background, 1 to 31536000 seconds, varied by a tenth",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::PopulationConnections,
        long: Some("population-connections"),
        value: Some("N"),
        default: Some("4"),
        help: "Connections that read retained statuses side by side, 1 to 64",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::Scalable,
        long: Some("scalable"),
        value: Some("INSTANCE"),
        value_optional: true,
        help: "Connect as a scalable application, client id A:…, or A:…:{instance}; retained statuses are read as a:…",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::Partition,
        long: Some("partition"),
        value: Some("K/N"),
        help: "Take only the messages about part K of N of the device types; other instances with the same --store take the rest",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::Share,
        long: Some("share"),
        value: Some("GROUP"),
        help: "Share the messages with other instances of the same --store by a shared subscription, $share/GROUP/…; one of them reads what is retained",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::BrokerCounters,
        long: Some("broker-counters"),
        value: Some("BOOL"),
        default: Some("true"),
        help: "Read the broker's own counters under $SYS as evidence: true or false; without --broker the default is false",
        verbs: SERVE,
        ..NONE
    },
    store::STORE,
    store::STORE_SCHEMA,
    store::STORE_PASSWORD_FILE,
    store::STORE_CA_FILE,
    store::FLUSH_INTERVAL,
    store::FORGET_AFTER,
    store::HISTORY_DAYS,
    store::HISTORY_PER_DEVICE,
    store::MAP_LIMIT,
    Spec {
        setting: Setting::StreamsMax,
        long: Some("streams-max"),
        value: Some("N"),
        default: Some("2000"),
        help: "Streams of changes that may be open at once, 1 to 1000000",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::StreamLagMax,
        long: Some("stream-lag-max"),
        value: Some("CHANGES"),
        default: Some("65536"),
        help: "How many changes a stream may be behind before it is ended, 100 to 1000000; that many are held in memory",
        verbs: SERVE,
        ..NONE
    },
    Spec {
        setting: Setting::Domain,
        platform: &["WIOTP_OPTIONS_DOMAIN"],
        ini: Some("domain"),
        yaml: Some("options.domain"),
        default: Some("internetofthings.ibmcloud.com"),
        help: "Domain of the platform; unused with --broker",
        ..NONE
    },
    Spec {
        setting: Setting::BrokerPort,
        platform: &["WIOTP_OPTIONS_MQTT_PORT"],
        ini: Some("port"),
        yaml: Some("options.mqtt.port"),
        default: Some("8883"),
        help: "Port of the platform: 8883 or 443 with TLS, 1883 or 80 without; unused with --broker",
        ..NONE
    },
    Spec {
        setting: Setting::BrokerTransport,
        platform: &["WIOTP_OPTIONS_MQTT_TRANSPORT"],
        yaml: Some("options.mqtt.transport"),
        default: Some("tcp"),
        help: "tcp or websockets; unused with --broker",
        ..NONE
    },
    Spec {
        setting: Setting::ApplicationType,
        ini: Some("type"),
        default: Some("standalone"),
        help: "standalone or shared (a scalable application, client id A:…)",
        ..NONE
    },
    Spec {
        setting: Setting::Instance,
        platform: &["WIOTP_OPTIONS_MQTT_INSTANCEID"],
        yaml: Some("options.mqtt.instanceId"),
        help: "Instance of a scalable application, client id A:…:{instance}",
        ..NONE
    },
    Spec {
        setting: Setting::AuthMethod,
        ini: Some("auth-method"),
        default: Some("apikey"),
        help: "apikey, the only method an application has",
        ..NONE
    },
    Spec {
        setting: Setting::HttpVerify,
        platform: &["WIOTP_OPTIONS_HTTP_VERIFY"],
        yaml: Some("options.http.verify"),
        help: "true or false; checked but unused, as no HTTP API of the platform is called",
        ..NONE
    },
    http::SCOPES,
    http::EXPIRES_DAYS,
    Spec {
        setting: Setting::Devices,
        long: Some("devices"),
        value: Some("N"),
        default: Some("1000"),
        verbs: FLEET,
        help: "Number of simulated devices",
        ..NONE
    },
    Spec {
        setting: Setting::DeviceTypes,
        long: Some("device-types"),
        value: Some("N"),
        default: Some("5"),
        verbs: FLEET,
        help: "Number of device types, at most one per device",
        ..NONE
    },
    Spec {
        setting: Setting::EventsPerSecond,
        long: Some("events-per-second"),
        value: Some("F"),
        default: Some("20"),
        verbs: FLEET,
        help: "Sessions that begin or end each second, over the whole fleet",
        ..NONE
    },
    Spec {
        setting: Setting::Clean,
        long: Some("clean"),
        value: Some("WEIGHT"),
        default: Some("5"),
        verbs: FLEET,
        help: "Weight of sessions that end with a DISCONNECT",
        ..NONE
    },
    Spec {
        setting: Setting::Dropped,
        long: Some("dropped"),
        value: Some("WEIGHT"),
        default: Some("2"),
        verbs: FLEET,
        help: "Weight of sessions that end with a lost connection",
        ..NONE
    },
    Spec {
        setting: Setting::TimedOut,
        long: Some("timed-out"),
        value: Some("WEIGHT"),
        default: Some("2"),
        verbs: FLEET,
        help: "Weight of sessions that end by their keep-alive",
        ..NONE
    },
    Spec {
        setting: Setting::Takeover,
        long: Some("takeover"),
        value: Some("WEIGHT"),
        default: Some("1"),
        verbs: FLEET,
        help: "Weight of sessions that end by a takeover",
        ..NONE
    },
    Spec {
        setting: Setting::Refused,
        long: Some("refused"),
        value: Some("WEIGHT"),
        default: Some("1"),
        verbs: FLEET,
        help: "Weight of second logins that are refused",
        ..NONE
    },
    Spec {
        setting: Setting::Seed,
        long: Some("seed"),
        value: Some("N"),
        default: Some("1"),
        verbs: FLEET,
        help: "The same seed gives the same fleet and the same history",
        ..NONE
    },
    Spec {
        setting: Setting::Duration,
        long: Some("duration"),
        value: Some("S"),
        verbs: &[Verb::Simulate],
        help: "Seconds to publish, counted from when every device is published; without it until Ctrl-C",
        ..NONE
    },
    store::FILE,
    store::FORMAT,
    client::URL,
    client::API_KEY,
    client::API_KEY_FILE,
    client::TLS_CLIENT_CERT,
    client::TLS_CLIENT_KEY,
    client::JSON,
    client::TYPE,
    client::ID_PREFIX,
    client::STATUS,
    client::CLOSE_CODE,
    client::ADDRESS,
    client::SINCE,
    client::UNTIL,
    client::SORT,
    client::SNAPSHOT,
    client::LIMIT,
    Spec {
        setting: Setting::LogFormat,
        long: Some("log-format"),
        value: Some("FORMAT"),
        default: Some("text"),
        verbs: LOGGED,
        help: "Form of the log: text or json",
        ..NONE
    },
    Spec {
        setting: Setting::Verbose,
        long: Some("verbose"),
        short: Some('v'),
        default: Some("0"),
        verbs: LOGGED,
        help: "Log more: once debug, twice trace; the variable takes the number",
        ..NONE
    },
    Spec {
        setting: Setting::LogLevel,
        platform: &["WIOTP_OPTIONS_LOGLEVEL"],
        yaml: Some("options.logLevel"),
        default: Some("info"),
        help: "error, warning, info or debug",
        ..NONE
    },
];
