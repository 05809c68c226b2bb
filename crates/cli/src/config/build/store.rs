//! Which store, how it is reached, and what it keeps.

use std::path::Path;

use super::super::ConfigError;
use super::super::arguments::{OrganizationArgs, RetentionArgs, StoreArgs};
use super::super::value::{LOGIN, organization_of, password};
use super::secrets::SecretSetting;
use super::{BuildContext, missing_name};
use store::settings::{Location, StoreSettings, default_schema};

impl BuildContext {
    /// Which store, and how it is reached.
    pub(super) fn store(&self, args: StoreArgs, organization: &str) -> Result<StoreSettings, ConfigError> {
        let default = || Location::Sqlite(self.state.join(format!("{organization}.db")));
        let mut location = args.store.unwrap_or_else(default);
        self.add_store_password(args.store_password_file.as_deref(), &mut location)?;
        Ok(StoreSettings {
            schema: args.store_schema.unwrap_or_else(|| default_schema(organization)),
            ca_file: self.origins.certificates("store-ca-file", args.store_ca_file)?,
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
        let is_file = matches!(args.store, Some(Location::Sqlite(_)));
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
        if store.location == Location::Memory {
            let why = "devices beyond the limit need a store that outlives the process";
            self.origins.refuse_both("map-limit", "store", why)?;
        } else {
            let why = "only devices that are held can be found to be too old";
            self.origins.refuse_both("map-limit", "forget-after", why)?;
        }
        Ok(StoreSettings {
            flush_interval: args.flush_interval_ms,
            forget_after: args.forget_after,
            history: args.history_days,
            history_per_device: args.history_per_device,
            map_limit: args.map_limit,
            ..store
        })
    }

    /// Takes the password of the store from its file, unless a stronger URL has one.
    fn add_store_password(&self, file: Option<&Path>, location: &mut Location) -> Result<(), ConfigError> {
        let setting = SecretSetting {
            text: "store",
            file: "store-password-file",
            what: format!("the password, {LOGIN}"),
            parse: password,
            why: "give the password in the URL or the file it is in, not both",
        };
        match location {
            Location::Postgres(server) | Location::Valkey(server) => {
                server.password = self.origins.secret(&setting, server.password.take(), file)?;
                Ok(())
            }
            Location::Memory | Location::Sqlite(_) => {
                self.origins.refuse_equal_rank(setting.file, setting.text, "this store asks for no password")
            }
        }
    }
}
