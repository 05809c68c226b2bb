//! The settings of every subcommand: load, check, hide secrets.
//!
//! Each setting has one name and is looked for in this order: flag, `DEVSTATUS_*` variable, the platform's `WIOTP_*` variable,
//! file, default. `arguments` lists the settings of each subcommand; `layers` and `file` collect the texts that variables and
//! files hold; `grammar` hands them to clap as defaults, so that every text is read by the same parser in `value`; `build`
//! combines the values into the types of the modules that use them.
//!
//! No text that came in is ever repeated in an error, because a token may be in any place by mistake. An error names the
//! place and what was expected there; the name of an unknown key or flag is shown only when it cannot be a token.

mod arguments;
mod broker_url;
mod build;
mod file;
mod file_tables;
mod grammar;
mod ini;
mod layers;
mod log;
mod names_file;
mod platform;
mod profiles;
mod refusal;
mod republish_table;
mod rule_tables;
mod show;
mod store_url;
mod table_keys;
mod toml;
mod value;
mod webhook_tables;
mod yaml;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alerts::RuleSet;

use crate::exchange::settings::ExportFormat;
use formats::catalog::Formats;
use republish::settings::RepublishSettings;
use server::access::settings::Scopes;
use server::http_settings::HttpSettings;
use server::sync::settings::SourceSettings;
use simulator::settings::FleetSettings;
use store::settings::StoreSettings;
use system::secret::Secret;
use system::tls::ClientCertificate;
use webhooks::settings::EndpointSettings;

pub use arguments::{
    Acknowledgement, AlertGroup, AlertQuestion, AlertSelection, DeviceFilter, EndpointName, ListSelection,
    NamedDevice, NewSilence, Question, Redelivery, Rotation, SilenceQuestion, SummarySelection,
    WatchSelection, WebhookQuestion,
};
pub use log::{LogFormat, LogLevel, LogSettings};
pub use refusal::{ConfigError, Origin};

use file::SettingsFile;
use grammar::TypedArguments;
use layers::Layers;

/// What the service needs to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub source: SourceSettings,
    /// The other sources, where there are several; their backlog and the identity of the service are those of the first.
    pub further: Vec<SourceSettings>,
    pub http: HttpSettings,
    pub store: StoreSettings,
    pub log: LogSettings,
    /// The endpoints that are notified of changes.
    pub webhooks: Vec<EndpointSettings>,
    /// Where statuses are republished; `None`: nowhere.
    pub republish: Option<RepublishSettings>,
    /// The alert rules.
    pub rules: RuleSet,
    /// Show what messages are, and do nothing else.
    pub dry_run: Option<DryRunSettings>,
}

/// How a dry run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DryRunSettings {
    /// How long it lasts; `None`: until it is stopped.
    pub duration: Option<Duration>,
}

/// What the demo needs: it brings its own broker.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoSettings {
    /// HTTP port on loopback; 0: any free port.
    pub port: u16,
    /// The source whose messages the fleet sends.
    pub source: String,
    pub formats: Arc<Formats>,
    pub fleet: FleetSettings,
    pub log: LogSettings,
}

/// What the simulation needs.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulateSettings {
    /// The broker to publish to, and as whom.
    pub source: SourceSettings,
    pub fleet: FleetSettings,
    /// How long to publish once every device is published; `None`: until it is stopped.
    pub duration: Option<Duration>,
    pub log: LogSettings,
}

/// What an export or import needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeSettings {
    pub store: StoreSettings,
    /// `None`: standard output or input.
    pub file: Option<PathBuf>,
    pub log: LogSettings,
}

/// What `devstatus keys` needs.
#[derive(Clone, Debug, PartialEq)]
pub struct KeysSettings {
    pub file: PathBuf,
    pub action: KeysAction,
    pub log: LogSettings,
}

/// What `devstatus rules test` needs.
#[derive(Clone, Debug, PartialEq)]
pub struct RulesTestSettings {
    pub rules: RuleSet,
    pub store: StoreSettings,
    /// How far back it begins.
    pub since: Duration,
    pub json: bool,
    pub log: LogSettings,
}

/// What is to be done with the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysAction {
    Create {
        organization: String,
        name: String,
        scopes: Scopes,
        /// How long the key is good; `None`: until it is revoked.
        lifetime: Option<Duration>,
    },
    List,
    Revoke {
        /// The key's id.
        id: String,
        /// The service that is asked whether it has taken the key out of force.
        service: ServiceSettings,
        /// Whether it has to confirm that: it was named.
        is_required: bool,
    },
}

/// What the client needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    pub service: ServiceSettings,
    pub question: Question,
    /// JSON instead of text for a person.
    pub json: bool,
}

/// A running service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// `http://` or `https://`, without a slash at the end.
    pub url: String,
    /// Sent as Bearer.
    pub key: Option<Secret>,
    /// PEM file with the certificates to trust; `None`: the system's trust store.
    pub ca_file: Option<PathBuf>,
    /// What the client shows if the service asks who it is.
    pub certificate: Option<ClientCertificate>,
}

/// What the program was asked to do.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in the process, and it is moved twice")]
pub enum Command {
    Serve(Settings),
    Demo(DemoSettings),
    Simulate(SimulateSettings),
    Export(ExchangeSettings, ExportFormat),
    Import(ExchangeSettings),
    Keys(KeysSettings),
    Client(ClientSettings),
    /// Says what these rules were understood as.
    CheckRules(RuleSet),
    TestRules(RulesTestSettings),
    /// Lists the built-in sources.
    ListSources,
    /// Tries these formats on lines from standard input.
    TestSource(Arc<Formats>),
}

/// Why the program ends before it starts.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// Help, the version, completions or the settings themselves were asked for: the text for stdout, its last line break
    /// included.
    #[error("{0}")]
    Answer(String),
    /// The settings are bad: one line for stderr.
    #[error(transparent)]
    Refused(#[from] ConfigError),
}

impl Stop {
    /// The exit code of the process: 0 after an answer, 2 when the settings are bad.
    pub fn exit_code(&self) -> u8 {
        match self {
            Stop::Answer(_) => 0,
            Stop::Refused(_) => 2,
        }
    }
}

/// Reads arguments (the first is the program's name), environment and the files they name.
///
/// Nothing but those files is taken from the machine, so `main` passes `args_os()` and `vars_os()` and a test passes
/// lists.
pub fn load<K, V>(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (K, V)>,
) -> Result<Command, Stop>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let grammar = grammar::grammar();
    let names = grammar::setting_names(grammar);
    let typed = TypedArguments::read(args.into_iter().collect(), grammar)?;
    let variables = environment.into_iter().map(|(name, value)| (name.into(), value.into()));
    let environment = layers::environment(variables, &names)?;
    let mut layers = Layers::default();
    let mut file = None;
    layers.add(environment.own);
    if typed.verb != ["demo"] {
        layers.add(environment.platform);
        if let Some((path, origin)) = config_file(&typed, &layers) {
            let read = SettingsFile::read(path, origin)?;
            layers.add(read.settings(&names)?);
            file = Some(read);
        }
    }
    let (cli, origins) = typed.parse(grammar, layers)?;
    build::command(cli, &build::BuildContext { origins, state: environment.state, file })
}

/// The settings file, if one is named, and what named it.
fn config_file(typed: &TypedArguments, layers: &Layers) -> Option<(PathBuf, Origin)> {
    let flag = typed.flag("config").map(|path| (path.into(), Origin::Flag("config".to_owned())));
    let variable = || {
        let given = layers.get("config")?;
        Some((given.text.expose().into(), given.origin.clone()))
    };
    flag.or_else(variable)
}
