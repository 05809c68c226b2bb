//! One value per setting and what is known of it. The list itself is in `table`.

use super::table::SPECS;

/// Everything that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    Organization,
    Id,
    Key,
    Token,
    TokenFile,
    Config,
    Listen,
    Port,
    KeysFile,
    AllowAnonymous,
    TlsCert,
    TlsKey,
    TlsClientCa,
    CorsOrigin,
    AllowedHost,
    TrustedProxy,
    ForwardedHeader,
    ProxyProtocol,
    RequestsPerSecond,
    ConnectionsMax,
    ConnectionsPerAddress,
    Broker,
    CaFile,
    MqttVersion,
    KeepAlive,
    CleanSession,
    SessionExpiry,
    QuietInterval,
    BacklogMax,
    Types,
    TypesFile,
    DevicesFile,
    ReplayLimits,
    ReadyOn,
    ReconcileInterval,
    PopulationConnections,
    Scalable,
    Partition,
    Share,
    BrokerCounters,
    Store,
    StoreSchema,
    StorePasswordFile,
    StoreCaFile,
    FlushInterval,
    ForgetAfter,
    HistoryDays,
    HistoryPerDevice,
    MapLimit,
    StreamsMax,
    StreamLagMax,
    Domain,
    BrokerPort,
    BrokerTransport,
    ApplicationType,
    Instance,
    AuthMethod,
    HttpVerify,
    Scopes,
    ExpiresDays,
    Devices,
    DeviceTypes,
    EventsPerSecond,
    Clean,
    Dropped,
    TimedOut,
    Takeover,
    Refused,
    Seed,
    Duration,
    File,
    Format,
    Url,
    ApiKey,
    ApiKeyFile,
    TlsClientCert,
    TlsClientKey,
    Json,
    Type,
    IdPrefix,
    Status,
    CloseCode,
    Address,
    Since,
    Until,
    Sort,
    Snapshot,
    Limit,
    LogFormat,
    Verbose,
    LogLevel,
}

/// The subcommands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Serve,
    Demo,
    Simulate,
    Export,
    Import,
    KeysCreate,
    KeysList,
    KeysRevoke,
    Get,
    /// Makes a running service forget a device.
    Forget,
    List,
    Watch,
    Summary,
    Completions,
}

impl Verb {
    pub const ALL: [Verb; 14] = [
        Verb::Serve,
        Verb::Demo,
        Verb::Simulate,
        Verb::Export,
        Verb::Import,
        Verb::KeysCreate,
        Verb::KeysList,
        Verb::KeysRevoke,
        Verb::Get,
        Verb::Forget,
        Verb::List,
        Verb::Watch,
        Verb::Summary,
        Verb::Completions,
    ];

    /// The words that ask for it.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Verb::Serve => &["serve"],
            Verb::Demo => &["demo"],
            Verb::Simulate => &["simulate"],
            Verb::Export => &["export"],
            Verb::Import => &["import"],
            Verb::KeysCreate => &["keys", "create"],
            Verb::KeysList => &["keys", "list"],
            Verb::KeysRevoke => &["keys", "revoke"],
            Verb::Get => &["get"],
            Verb::Forget => &["forget"],
            Verb::List => &["list"],
            Verb::Watch => &["watch"],
            Verb::Summary => &["summary"],
            Verb::Completions => &["completions"],
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Verb::Serve => "Runs the service (the default)",
            Verb::Demo => "Runs the service on a simulated fleet and a broker of its own",
            Verb::Simulate => "Runs a simulated fleet against a broker",
            Verb::Export => "Writes what a store keeps of every device, as JSON Lines or CSV",
            Verb::Import => "Merges an export into a store that no service uses meanwhile",
            Verb::KeysCreate => "Makes an API key and shows its secret, once",
            Verb::KeysList => "Lists the API keys",
            Verb::KeysRevoke => "Takes an API key out of force; a running service knows within a second",
            Verb::Get => "Asks a running service for one device",
            Verb::Forget => {
                "Makes a running service forget a device, as if nothing had been heard of it; needs a key with the scope admin"
            }
            Verb::List => "Asks a running service for its devices",
            Verb::Watch => "Shows what changes at a running service, until Ctrl-C",
            Verb::Summary => "Asks a running service for its totals",
            Verb::Completions => "Writes completions for a shell: bash, zsh or fish",
        }
    }

    /// What stands behind the words, each in its place.
    pub fn operands(self) -> &'static [&'static str] {
        match self {
            Verb::KeysCreate => &["NAME"],
            Verb::KeysRevoke => &["ID"],
            Verb::Get | Verb::Forget => &["TYPE", "ID"],
            Verb::Completions => &["SHELL"],
            Verb::Serve
            | Verb::Demo
            | Verb::Simulate
            | Verb::Export
            | Verb::Import
            | Verb::KeysList
            | Verb::List
            | Verb::Watch
            | Verb::Summary => &[],
        }
    }

    /// Whether it connects to a broker, and so needs a login.
    pub fn connects(self) -> bool {
        match self {
            Verb::Serve | Verb::Simulate => true,
            Verb::Demo
            | Verb::Export
            | Verb::Import
            | Verb::KeysCreate
            | Verb::KeysList
            | Verb::KeysRevoke
            | Verb::Get
            | Verb::Forget
            | Verb::List
            | Verb::Watch
            | Verb::Summary
            | Verb::Completions => false,
        }
    }

    /// What its exit codes say, beyond success and failure.
    pub fn exit_codes(self) -> Option<&'static str> {
        match self {
            Verb::Get => Some(
                "Exit code: 0 connected, 3 disconnected, 4 never connected, 5 unknown; 1 if the service cannot be \
                 asked or refuses, 2 if the arguments or settings are bad.",
            ),
            Verb::Forget | Verb::List | Verb::Watch | Verb::Summary => Some(
                "Exit code: 0 when done, 1 if the service cannot be asked or refuses, 2 if the arguments or settings \
                 are bad.",
            ),
            Verb::Serve
            | Verb::Demo
            | Verb::Simulate
            | Verb::Export
            | Verb::Import
            | Verb::KeysCreate
            | Verb::KeysList
            | Verb::KeysRevoke
            | Verb::Completions => None,
        }
    }
}

/// All names of a setting and what it means.
pub(super) struct Spec {
    pub setting: Setting,
    /// Long flag without the dashes; the variable follows from it. `None`: only the platform's own places have it.
    pub long: Option<&'static str>,
    pub short: Option<char>,
    pub alias: Option<&'static str>,
    /// Name of the value in the help. `None`: the flag takes none and counts its repetitions.
    pub value: Option<&'static str>,
    /// Whether the flag may stand without its value, which is the same as an empty one.
    pub value_optional: bool,
    /// Whether the flag may stand more than once; its values are then one list, separated by commas.
    pub repeatable: bool,
    /// The platform's variables, the stronger first.
    pub platform: &'static [&'static str],
    /// Key in the section `[application]` of an `application.cfg`.
    pub ini: Option<&'static str>,
    /// Dotted path in the YAML file.
    pub yaml: Option<&'static str>,
    pub default: Option<&'static str>,
    pub verbs: &'static [Verb],
    pub help: &'static str,
}

impl Spec {
    /// Our own variable: `DEVSTATUS_` and the long flag in capitals.
    pub fn variable(&self) -> Option<String> {
        self.long.map(|long| format!("DEVSTATUS_{}", long.replace('-', "_").to_uppercase()))
    }

    /// Every place where the setting can stand, the strongest first.
    pub fn places(&self) -> Vec<String> {
        let mut places: Vec<String> = self.long.map(|long| format!("--{long}")).into_iter().collect();
        places.extend(self.variable());
        places.extend(self.platform.iter().map(|name| (*name).to_owned()));
        places.extend(self.ini.map(|key| format!("{key} in an application.cfg")));
        places.extend(self.yaml.map(|key| format!("{key} in a YAML file")));
        if self.setting == Setting::Token {
            places.extend(Setting::TokenFile.spec().places());
        }
        places
    }
}

impl Setting {
    pub(super) fn spec(self) -> &'static Spec {
        // The order of the table is the order of the variants; a test holds that.
        &SPECS[self as usize]
    }
}
