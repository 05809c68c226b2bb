//! Which store, how it is reached, and what it keeps.

use std::path::Path;

use super::super::ConfigError;
use super::super::arguments::{OrganizationArgs, RetentionArgs, StoreArgs};
use super::super::value::{LOGIN, organization_of};
use super::{BuildContext, missing_name};
use store::settings::{Location, StoreSettings, default_schema};

impl BuildContext {
    /// Which store, and how it is reached.
    pub(super) fn store(&self, args: StoreArgs, organization: &str) -> Result<StoreSettings, ConfigError> {
        let default = || Location::Sqlite(self.state.directory().join(format!("{organization}.db")));
        let mut location = args.store.map_or_else(default, |store| store.location);
        self.add_store_password(args.store_password_file.as_deref(), &mut location)?;
        Ok(StoreSettings {
            schema: args.store_schema.unwrap_or_else(|| default_schema(organization)),
            ca_file: self.certificates("store-ca-file", args.store_ca_file)?,
            ..StoreSettings::at(location)
        })
    }

    /// The store to export from or import into: one that outlives the process. The organization is needed only for the
    /// name of a store that is not named.
    pub(super) fn kept_store(
        &self,
        organization: OrganizationArgs,
        args: StoreArgs,
    ) -> Result<StoreSettings, ConfigError> {
        let in_key = || organization.key.as_deref().and_then(organization_of).map(str::to_owned);
        let is_file = args.store.as_ref().is_some_and(|store| store.is_file);
        let named = organization.organization.clone().or_else(|| organization.service_name.clone());
        let organization = match named.or_else(in_key) {
            Some(organization) => organization,
            None if is_file => String::new(),
            None => return Err(missing_name()),
        };
        let settings = self.store(args, &organization)?;
        if settings.location == Location::Memory {
            return Err(self.origins.expected("store", "a store that outlives the process, unlike memory:"));
        }
        Ok(settings)
    }

    pub(super) fn retention(
        &self,
        store: StoreSettings,
        args: &RetentionArgs,
    ) -> Result<StoreSettings, ConfigError> {
        let contradiction = if store.location == Location::Memory {
            let why = "devices beyond the limit need a store that outlives the process";
            self.origins.contradiction("map-limit", "store", why)
        } else {
            let why = "only devices that are held can be found to be too old";
            self.origins.contradiction("map-limit", "forget-after", why)
        };
        match contradiction {
            Some(refusal) => Err(refusal),
            None => Ok(StoreSettings {
                flush_interval: args.flush_interval_ms,
                forget_after: args.forget_after,
                history: args.history_days,
                history_per_device: args.history_per_device,
                map_limit: args.map_limit,
                ..store
            }),
        }
    }

    /// Takes the password of the store from its file, unless a stronger URL has one.
    pub(super) fn add_store_password(
        &self,
        file: Option<&Path>,
        location: &mut Location,
    ) -> Result<(), ConfigError> {
        let Some(file) = file else { return Ok(()) };
        let (origins, name) = (&self.origins, "store-password-file");
        let (of_file, of_url) = (origins.of(name), origins.of("store"));
        let same_layer = of_file.iter().zip(&of_url).any(|(file, url)| file.same_layer(url));
        let contradiction =
            |why| same_layer.then(|| origins.contradiction(name, "store", why)).flatten().map_or(Ok(()), Err);
        let server = match location {
            Location::Postgres(server) | Location::Valkey(server) => server,
            Location::Memory | Location::Sqlite(_) => {
                return contradiction("this store asks for no password");
            }
        };
        if server.password.is_some() {
            contradiction("give the password in the URL or the file it is in, not both")?;
            if of_file.iter().zip(&of_url).any(|(file, url)| url.stronger_than(file)) {
                return Ok(());
            }
        }
        let expected = || origins.expected(name, format!("a file that holds the password, {LOGIN}"));
        server.password = Some(self.secret_line(name, file)?.ok_or_else(expected)?);
        Ok(())
    }
}
