//! From the settings of a subcommand to the types of the modules that use them: combines values, applies the defaults that
//! depend on others, refuses contradictions, and reads the secrets that are in files.

mod client;
mod secrets;
mod source;
pub(super) mod sources;
mod store;

use std::path::{Path, PathBuf};

use super::arguments::{
    Cli, ConfigVerb, DemoArgs, ExchangeArgs, FleetArgs, HttpArgs, KeysFileArgs, KeysVerb, LogArgs,
    OrganizationArgs, PlatformArgs, RulesTestArgs, RulesVerb, ServeArgs, SimulateArgs, SourcesVerb, Verb,
};
use super::file::SettingsFile;
use super::file_tables::Tables;
use super::grammar::{Origins, grammar};
use super::toml::{REPUBLISH, WEBHOOKS};
use super::{
    Command, ConfigError, DemoSettings, DryRunSettings, ExchangeSettings, KeysAction, KeysSettings, LogLevel,
    LogSettings, RulesTestSettings, Settings, SimulateSettings, Stop, profiles, republish_table, rule_tables,
    show, webhook_tables,
};
use alerts::{Kind, Rule, RuleSet};
use server::feed::settings::FeedSettings;
use server::http_settings::{HttpSettings, TlsSettings};
use simulator::settings::{Endings, FleetSettings};

const DEMO_ORGANIZATION: &str = "demo";
/// Device types of a simulated fleet that is large enough for them.
const DEVICE_TYPES: u32 = 5;

/// What the settings themselves do not say.
pub(super) struct BuildContext {
    pub origins: Origins,
    /// Where a program of this machine keeps its state.
    pub state: PathBuf,
    pub file: Option<SettingsFile>,
}

/// What the program was asked to do.
pub(super) fn command(cli: Cli, context: &BuildContext) -> Result<Command, Stop> {
    let verb = cli.verb.unwrap_or(Verb::Serve(cli.serve));
    Ok(match verb {
        Verb::Serve(args) => Command::Serve(context.serve(args)?),
        Verb::Demo(args) => Command::Demo(context.demo(&args)?),
        Verb::Simulate(args) => Command::Simulate(context.simulate(args)?),
        Verb::Export { exchange, format } => Command::Export(context.exchange(exchange)?, format),
        Verb::Import(args) => Command::Import(context.exchange(args)?),
        Verb::Keys(verb) => Command::Keys(context.keys(verb)?),
        Verb::Ask(question) => Command::Client(context.ask(question)?),
        Verb::Sources { verb } => context.about_sources(verb)?,
        Verb::Rules(RulesVerb::Check { .. }) => Command::CheckRules(context.rules()?),
        Verb::Rules(RulesVerb::Test(args)) => Command::TestRules(context.rules_test(*args)?),
        Verb::Config(ConfigVerb::Check(args)) => {
            context.serve(args)?;
            return Err(Stop::Answer("the settings are good\n".to_owned()));
        }
        Verb::Config(ConfigVerb::Show(args)) => {
            context.serve(args)?;
            return Err(Stop::Answer(show::settings(grammar(), &context.origins, &context.tables())));
        }
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut grammar().clone(), "devstatus", &mut script);
            return Err(Stop::Answer(String::from_utf8_lossy(&script).into_owned()));
        }
    })
}

impl BuildContext {
    /// The tables of the settings file.
    fn tables(&self) -> Tables<'_> {
        Tables::of(self.file.as_ref())
    }

    fn about_sources(&self, verb: Option<SourcesVerb>) -> Result<Command, Stop> {
        let Some(SourcesVerb::Show(named) | SourcesVerb::Test(named)) = &verb else {
            return Ok(Command::ListSources);
        };
        let (name, file) = (&named.source_name, named.profiles.profiles_file.as_deref());
        // Refuses a name that no source has, and a file that cannot be used.
        let formats = profiles::formats(std::slice::from_ref(name), &self.tables(), file, &self.origins)?;
        match &verb {
            Some(SourcesVerb::Test(_)) => Ok(Command::TestSource(formats)),
            Some(SourcesVerb::Show(_)) | None => Err(Stop::Answer(self.source_description(name, file)?)),
        }
    }

    fn serve(&self, args: ServeArgs) -> Result<Settings, Stop> {
        let ServeArgs { organization, link, sources, http, population, store, retention, log } = args;
        let platform: PlatformArgs = self.origins.parse()?;
        let log = self.platform_log(&log, &platform);
        let dry_run = sources.dry_run.then_some(DryRunSettings { duration: sources.dry_run_seconds });
        let (ready_on, backlog_max_bytes) = (population.ready_on, population.backlog_max_bytes);
        let mut service = service_name(&organization);
        let mut links = self.table_sources(&service, sources.profiles.profiles_file.as_deref())?;
        if links.is_empty() {
            let source = self.only_source(organization, link, &sources, population, &platform)?;
            service.clone_from(&source.identity.organization);
            links.push(source);
        }
        for source in &mut links {
            source.population.ready_on = ready_on;
            source.backlog_max_bytes = backlog_max_bytes;
        }
        let source = links.remove(0);
        self.origins.refuse_platform_only(&source.formats)?;
        let http = self.http(http, &service)?;
        let store = self.retention(self.store(store, &service)?, &retention)?;
        if !store.location.is_shared() {
            for setting in ["partition", "share"] {
                if self.origins.of(setting).is_some() {
                    let expected = "a --store that several instances share besides, postgres:// or valkey://";
                    return Err(self.origins.expected(setting, expected).into());
                }
            }
        }
        let tables = self.tables();
        if store.map_limit.is_some() {
            self.refuse_beside_map_limit(&tables)?;
        }
        let webhooks = webhook_tables::read(&tables)?;
        let republish = republish_table::read(&tables, &service, &source, &links)?;
        let rules = rule_tables::read(&tables)?;
        Ok(Settings { source, further: links, http, store, log, webhooks, republish, rules, dry_run })
    }

    /// Refuses what follows all devices, where only some are known.
    fn refuse_beside_map_limit(&self, tables: &Tables<'_>) -> Result<(), ConfigError> {
        let reasons = [
            (WEBHOOKS, "webhooks need all devices in memory"),
            (REPUBLISH, "to republish needs all devices in memory"),
        ];
        match reasons.into_iter().find_map(|(name, why)| Some((tables.place(name)?, why))) {
            Some((one, why)) => {
                Err(ConfigError::Contradiction { one, other: self.origins.origin("map-limit"), why })
            }
            None => Ok(()),
        }
    }

    fn demo(&self, args: &DemoArgs) -> Result<DemoSettings, ConfigError> {
        let fleet = fleet(&args.fleet, DEMO_ORGANIZATION.to_owned());
        let source = args.source.clone();
        let formats = profiles::formats(std::slice::from_ref(&source), &self.tables(), None, &self.origins)?;
        Ok(DemoSettings { port: args.port, source, formats, fleet, log: log(&args.log) })
    }

    fn simulate(&self, mut args: SimulateArgs) -> Result<SimulateSettings, Stop> {
        let platform: PlatformArgs = self.origins.parse()?;
        if args.broker.broker.is_none() {
            // The platform makes its status messages itself: a simulated fleet has nothing to say there.
            return Err(ConfigError::Missing(vec!["broker"]).into());
        }
        let log = self.platform_log(&args.log, &platform);
        // Another default than the service's, whose client id it must not take over.
        args.broker.id.get_or_insert_with(|| "devstatus-simulate".to_owned());
        let source = self.origins.source(args.organization, args.broker, &platform, None)?;
        let fleet = fleet(&args.fleet, source.identity.organization.clone());
        Ok(SimulateSettings { source, fleet, duration: args.duration, log })
    }

    fn rules_test(&self, args: RulesTestArgs) -> Result<RulesTestSettings, ConfigError> {
        let mut rules = self.rules()?;
        if let Some(name) = args.rule {
            // Drops and flapping hold others back, so they are tried with it.
            let is_needed = |rule: &Rule| matches!(rule.kind, Kind::FleetDrop(_) | Kind::Flapping(_));
            if !rules.rules.iter().any(|rule| *rule.name == *name) {
                return Err(self.origins.expected("rule", "the name of a rule of the settings file"));
            }
            rules.rules.retain(|rule| *rule.name == *name || is_needed(rule));
        }
        let store = self.kept_store(args.organization, args.store)?;
        Ok(RulesTestSettings { rules, store, since: args.since, json: args.json, log: log(&args.log) })
    }

    /// The rules of the settings file.
    fn rules(&self) -> Result<RuleSet, ConfigError> {
        let rules = rule_tables::read(&self.tables())?;
        if rules.rules.is_empty() {
            return Err(self.origins.expected("config", "a devstatus.toml with [[rule]] tables"));
        }
        Ok(rules)
    }

    fn exchange(&self, args: ExchangeArgs) -> Result<ExchangeSettings, ConfigError> {
        let store = self.kept_store(args.organization, args.store)?;
        // `-` is the standard stream, as elsewhere.
        let file = args.file.filter(|path| path != Path::new("-"));
        Ok(ExchangeSettings { store, file, log: log(&args.log) })
    }

    fn keys(&self, verb: KeysVerb) -> Result<KeysSettings, ConfigError> {
        let (KeysVerb::List(list) | KeysVerb::Create { list, .. } | KeysVerb::Revoke { list, .. }) = &verb;
        let log = log(&list.log);
        // A service that needs no organization has files of its name.
        let OrganizationArgs { organization, service_name, .. } = &list.organization;
        let organization = organization.clone().or_else(|| service_name.clone());
        let file = match (&list.keys_file.keys_file, &organization) {
            (Some(file), _) => file.clone(),
            (None, Some(organization)) => self.default_keys_file(organization),
            (None, None) => return Err(missing_name()),
        };
        let action = match verb {
            KeysVerb::List(_) => KeysAction::List,
            KeysVerb::Revoke { id, service, .. } => {
                let is_required = self.origins.of("url").is_some();
                KeysAction::Revoke { id, service: self.service(service)?, is_required }
            }
            KeysVerb::Create { name, scopes, expires_days: lifetime, .. } => {
                let organization = organization.ok_or_else(missing_name)?;
                KeysAction::Create { organization, name, scopes, lifetime }
            }
        };
        Ok(KeysSettings { file, action, log })
    }

    fn http(&self, args: HttpArgs, organization: &str) -> Result<HttpSettings, ConfigError> {
        let KeysFileArgs { keys_file } = args.keys_file;
        let readable = |setting, path: Option<PathBuf>| {
            path.map(|path| self.origins.readable(setting, path)).transpose()
        };
        let certificate = readable("tls-cert", args.tls_cert)?;
        let key = readable("tls-key", args.tls_key)?;
        let client_ca = readable("tls-client-ca", args.tls_client_ca)?;
        let tls = self.origins.together(("tls-cert", certificate), ("tls-key", key))?;
        if tls.is_none() && client_ca.is_some() {
            return Err(ConfigError::Missing(vec!["tls-cert", "tls-key"]));
        }
        let tls = tls.map(|(certificate, key)| TlsSettings { certificate, key, client_ca });
        if args.proxy_protocol && args.trusted_proxy.is_empty() {
            // Nobody's header would be believed.
            return Err(ConfigError::Missing(vec!["trusted-proxy"]));
        }
        Ok(HttpSettings {
            listen: args.listen,
            port: args.port,
            keys_file_is_named: keys_file.is_some(),
            keys_file: Some(keys_file.unwrap_or_else(|| self.default_keys_file(organization))),
            allow_anonymous: args.allow_anonymous,
            tls,
            cors_origins: args.cors_origin,
            allowed_hosts: args.allowed_host,
            trusted_proxies: args.trusted_proxy,
            forwarded_header: args.forwarded_header,
            proxy_protocol: args.proxy_protocol,
            streams: FeedSettings { streams_max: args.streams_max, stream_lag_max: args.stream_lag_max },
            requests_per_second: args.requests_per_second,
            connections_max: args.connections_max,
            connections_per_address: args.connections_per_address,
        })
    }

    /// Beside the store, one for each organization.
    fn default_keys_file(&self, organization: &str) -> PathBuf {
        self.state.join(format!("{organization}.keys"))
    }

    /// A number of `-v` is stronger than the platform's level, which also asks for less than the default.
    fn platform_log(&self, args: &LogArgs, platform: &PlatformArgs) -> LogSettings {
        let log = log(args);
        if self.origins.of("verbose").is_some() {
            log
        } else {
            LogSettings { level: platform.log_level, ..log }
        }
    }
}

fn fleet(args: &FleetArgs, organization: String) -> FleetSettings {
    let &FleetArgs { devices, events_per_second, seed } = args;
    let types = DEVICE_TYPES.min(devices);
    FleetSettings { organization, devices, types, events_per_second, endings: Endings::default(), seed }
}

/// The name of a service that needs no organization.
fn service_name(organization: &OrganizationArgs) -> String {
    let OrganizationArgs { service_name, organization, .. } = organization;
    service_name.clone().or_else(|| organization.clone()).unwrap_or_else(|| source::DEFAULT_NAME.to_owned())
}

/// Of a service: its files have its name.
fn missing_name() -> ConfigError {
    ConfigError::MissingOrganization {
        or: "--name for a service without an organization, whose name is devstatus by default",
    }
}

fn log(args: &LogArgs) -> LogSettings {
    let level = match args.verbose {
        0 => LogLevel::Info,
        1 => LogLevel::Debug,
        2.. => LogLevel::Trace,
    };
    LogSettings { format: args.log_format, level }
}
