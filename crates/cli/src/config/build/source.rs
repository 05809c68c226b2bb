//! Whom the source connects to, as whom, and which messages it reads.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::arguments::{
    BrokerArgs, LinkArgs, OrganizationArgs, PlatformArgs, PopulationArgs, ReadingArgs, SYSTEM_TRUST_STORE,
    SourceArgs,
};
use super::super::grammar::Origins;
use super::super::value::{LOGIN, Scalable, organization_of, password};
use super::super::{ConfigError, broker_url, names_file, profiles};
use super::secrets::SecretSetting;
use super::sources::OF_ONLY_SOURCE;
use super::{BuildContext, service_name};
use formats::catalog::{Formats, IOT_PLATFORM};
use mqtt::settings::{Endpoint, Login};
use server::sync::settings::{ApplicationKind, BrokerIdentity, PopulationSettings, Share, SourceSettings};
use system::tls::{ClientCertificate, ClientCertificateError, ClientTls};

/// What the platform's brokers are known to keep for one subscription.
const PLATFORM_REPLAY_LIMITS: [u64; 2] = [5_000, 50_000];

/// The name of a service that needs no organization, and the application's id, if none is given.
pub(super) const DEFAULT_NAME: &str = "devstatus";

impl BuildContext {
    /// The source that flags describe.
    pub(super) fn only_source(
        &self,
        organization: OrganizationArgs,
        LinkArgs { broker, reading }: LinkArgs,
        sources: &SourceArgs,
        args: PopulationArgs,
        platform: &PlatformArgs,
    ) -> Result<SourceSettings, ConfigError> {
        let share = self.origins.share(&args)?;
        let explicit_broker = broker.broker.is_some();
        let file = sources.profiles.profiles_file.as_deref();
        let formats = profiles::formats(&sources.source, &self.tables(), file, &self.origins)?;
        if !explicit_broker && !formats.are_platform_only() {
            // The platform's brokers have no other messages.
            return Err(self.origins.missing(vec!["broker"]));
        }
        let source = if formats.has(IOT_PLATFORM) {
            self.origins.source(organization, broker, platform, args.scalable.clone())?
        } else {
            self.origins.other_source(service_name(&organization), organization.key, broker)?
        };
        let mut types: BTreeSet<String> = args.types.into_iter().collect();
        if let Some(path) = &args.types_file {
            types.extend(names_file::types(path, &self.origins)?);
        }
        let devices = args.devices_file.as_deref().map(|path| names_file::devices(path, &self.origins));
        let population = PopulationSettings {
            types: types.into_iter().collect(),
            devices: devices.transpose()?.unwrap_or_default(),
            ..population(&reading, explicit_broker)
        };
        Ok(SourceSettings { formats, population, share, quiet_interval: reading.quiet_interval_ms, ..source })
    }

    /// The profile or the rules of a source, as text.
    pub(super) fn source_description(
        &self,
        name: &str,
        profiles_file: Option<&Path>,
    ) -> Result<String, ConfigError> {
        let tables = self.tables();
        if let Some(text) = formats::catalog::description(name) {
            return Ok(text.to_owned());
        }
        let of_file = profiles_file.map(|path| profiles::read(path, &self.origins)).transpose()?;
        let described = [Some(tables.text), of_file.as_deref()]
            .into_iter()
            .flatten()
            .find_map(|text| profiles::table_of(text, name));
        Ok(described
            .map_or_else(|| format!("`{name}` is a profile of a file\n"), |table| table.to_owned() + "\n"))
    }
}

impl Origins {
    /// Whom the source connects to, and as whom. What only the service needs is filled in by the caller.
    pub(super) fn source(
        &self,
        organization: OrganizationArgs,
        broker: BrokerArgs,
        platform: &PlatformArgs,
        scalable: Option<Scalable>,
    ) -> Result<SourceSettings, ConfigError> {
        self.require(&organization, &broker)?;
        let OrganizationArgs { organization, key, .. } = organization;
        let organization = self.organization(organization, key.as_deref(), broker.broker.is_some())?;
        let endpoint = broker.broker.clone();
        let endpoint = endpoint.unwrap_or_else(|| broker_url::platform(platform, &organization));
        let identity = BrokerIdentity {
            organization,
            application: broker.id.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned()),
            kind: application_kind(platform, scalable),
        };
        self.connection(key, broker, endpoint, identity)
    }

    /// A broker without the IoT platform: no organization is needed.
    pub(super) fn other_source(
        &self,
        name: String,
        key: Option<String>,
        broker: BrokerArgs,
    ) -> Result<SourceSettings, ConfigError> {
        let endpoint = broker.broker.clone().ok_or_else(|| self.missing(vec!["broker"]))?;
        let application = broker.id.clone().unwrap_or_else(|| name.clone());
        let identity = BrokerIdentity { organization: name, application, kind: ApplicationKind::Client };
        self.connection(key, broker, endpoint, identity)
    }

    /// How the broker is connected to, whichever it is.
    fn connection(
        &self,
        key: Option<String>,
        broker: BrokerArgs,
        endpoint: Endpoint,
        identity: BrokerIdentity,
    ) -> Result<SourceSettings, ConfigError> {
        Ok(SourceSettings {
            login: self.login(key, &broker)?,
            tls: self.broker_tls(&broker, &endpoint)?,
            mqtt_version: broker.mqtt_version,
            keep_alive: broker.keep_alive,
            clean_session: broker.clean_session,
            session_expiry: broker.session_expiry,
            ..SourceSettings::new(endpoint, identity)
        })
    }

    /// Refuses settings that need the IoT platform's topics or its order of sessions.
    pub(super) fn refuse_platform_only(&self, formats: &Formats) -> Result<(), ConfigError> {
        let mut settings = ["map-limit"].into_iter().chain(OF_ONLY_SOURCE);
        match settings.find_map(|setting| self.of(setting)).filter(|_| !formats.are_platform_only()) {
            Some(origin) => {
                let why = "it can be used with the source iot-platform alone".to_owned();
                Err(ConfigError::Unusable { origin, why })
            }
            None => Ok(()),
        }
    }

    /// Names at once everything that has no default and is given nowhere.
    fn require(&self, organization: &OrganizationArgs, broker: &BrokerArgs) -> Result<(), ConfigError> {
        let explicit_broker = broker.broker.is_some();
        let key = organization.key.is_some();
        let token = broker.token.is_some() || broker.token_file.is_some();
        // The API key holds the organization, but a user name of some broker need not.
        let in_key = organization.key.as_deref().is_some_and(|key| organization_of(key).is_some());
        let missing = [
            ("organization", explicit_broker && organization.organization.is_none() && !in_key),
            ("id", !explicit_broker && broker.id.is_none()),
            ("key", !key && (token || !explicit_broker)),
            ("token", !token && (key || !explicit_broker)),
        ];
        let missing = missing_of(missing);
        match &missing[..] {
            [] => Ok(()),
            ["organization"] => Err(missing_organization()),
            _ => Err(self.missing(missing)),
        }
    }

    fn login(&self, key: Option<String>, broker: &BrokerArgs) -> Result<Option<Login>, ConfigError> {
        let setting = SecretSetting {
            text: "token",
            file: "token-file",
            what: format!("the token, {LOGIN}"),
            parse: password,
            why: "give the token or the file it is in, not both",
        };
        let token = self.secret(&setting, broker.token.clone(), broker.token_file.as_deref())?;
        let login = self.together(("key", key), ("token", token))?;
        Ok(login.map(|(key, token)| Login { key, token }))
    }

    /// The organization that is given, or else the one in the key; they must be one.
    fn organization(
        &self,
        named: Option<String>,
        key: Option<&str>,
        explicit_broker: bool,
    ) -> Result<String, ConfigError> {
        let in_key = key.and_then(organization_of);
        if in_key.is_none() && key.is_some() && !explicit_broker {
            return Err(self.expected("key", "an API key of the form a-{organization}-{random}"));
        }
        if let (Some(named), Some(in_key)) = (&named, in_key)
            && named != in_key
        {
            let why = "the second part of the API key is another organization";
            self.refuse_both("organization", "key", why)?;
        }
        named.or_else(|| in_key.map(str::to_owned)).ok_or_else(missing_organization)
    }

    /// Which part of the messages is taken.
    fn share(&self, args: &PopulationArgs) -> Result<Share, ConfigError> {
        self.refuse_both("partition", "share", "messages are shared in one way or the other")?;
        if matches!(args.scalable, Some(Scalable::Yes(_))) {
            self.refuse_both("share", "scalable", "a scalable application shares its messages anyway")?;
        }
        Ok(match (args.partition, &args.share) {
            (Some(partition), _) => Share::Types(partition),
            (None, Some(group)) => Share::Group(group.clone()),
            (None, None) => Share::Everything,
        })
    }

    /// Whom the broker must be vouched for by, and as whom the source shows itself.
    fn broker_tls(&self, broker: &BrokerArgs, endpoint: &Endpoint) -> Result<ClientTls, ConfigError> {
        if !endpoint.transport.is_encrypted() {
            // One in a weaker layer than the URL may be meant for another broker.
            let why = "mqtt:// and ws:// use no certificates";
            if broker.ca.ca_file != Path::new(SYSTEM_TRUST_STORE) {
                self.refuse_equal_rank("ca-file", "broker", why)?;
            }
            for setting in ["broker-cert", "broker-key", "broker-alpn"] {
                self.refuse_equal_rank(setting, "broker", why)?;
            }
            return Ok(ClientTls::default());
        }
        Ok(ClientTls {
            ca_file: self.certificates("ca-file", broker.ca.ca_file.clone())?,
            certificate: self.broker_certificate(broker)?,
            alpn: broker.broker_alpn.clone().map(|alpn| alpn.0).unwrap_or_default(),
        })
    }

    /// What is shown to the broker: both files, readable and of one pair.
    fn broker_certificate(&self, broker: &BrokerArgs) -> Result<Option<ClientCertificate>, ConfigError> {
        let (certificate, key) =
            (("broker-cert", broker.broker_cert.clone()), ("broker-key", broker.broker_key.clone()));
        let Some((certificate, key)) = self.together(certificate, key)? else { return Ok(None) };
        let files = ClientCertificate { certificate, key };
        files.check().map_err(|error| match error {
            ClientCertificateError::ReadCertificate(error) => self.unreadable("broker-cert", &error),
            ClientCertificateError::ReadKey(error) => self.unreadable("broker-key", &error),
            ClientCertificateError::NoCertificate => {
                self.expected("broker-cert", "a PEM file with a certificate")
            }
            ClientCertificateError::NoKey => {
                self.expected("broker-key", "a PEM file with a private key that is not encrypted")
            }
            ClientCertificateError::AnotherKey => {
                self.expected("broker-key", "the private key of the certificate of broker-cert")
            }
        })?;
        Ok(Some(files))
    }
}

/// How retained statuses are read. The defaults depend on whose broker it is.
pub(super) fn population(args: &ReadingArgs, explicit_broker: bool) -> PopulationSettings {
    let default = PopulationSettings::default();
    let limits = if explicit_broker { default.replay_limits } else { PLATFORM_REPLAY_LIMITS.to_vec() };
    PopulationSettings {
        replay_limits: args.replay_limits.clone().map_or(limits, |limits| limits.0),
        reconcile_interval: args.reconcile_interval,
        connections: args.population_connections,
        // The platform ends a connection that asks for them.
        broker_counters: args.broker_counters.unwrap_or(explicit_broker),
        ..PopulationSettings::default()
    }
}

fn missing_organization() -> ConfigError {
    let or = "--source for messages other than the IoT platform's, as `devstatus sources` lists them";
    ConfigError::MissingOrganization { or }
}

/// What the platform's places say; our own setting is stronger than all of them.
fn application_kind(platform: &PlatformArgs, scalable: Option<Scalable>) -> ApplicationKind {
    let own = match scalable {
        Some(Scalable::Yes(instance)) => Some(instance),
        Some(Scalable::No) | None => None,
    };
    let is_scalable = own.is_some() || platform.is_shared || platform.instance.is_some();
    let instance = own.flatten().or_else(|| platform.instance.clone());
    if is_scalable { ApplicationKind::Scalable { instance } } else { ApplicationKind::Standalone }
}

/// The settings that are missing, of these.
pub(super) fn missing_of<const N: usize>(settings: [(&'static str, bool); N]) -> Vec<&'static str> {
    settings.into_iter().filter_map(|(setting, is_missing)| is_missing.then_some(setting)).collect()
}
