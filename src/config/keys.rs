//! `devstatus keys`: which file, and what is to be done with it.

use std::path::PathBuf;
use std::time::Duration;

use super::environment::StateDirectories;
use super::refusal::Refusal;
use super::setting::{Setting, Verb};
use super::values::Values;
use super::{LogSettings, client, http};
use crate::access::settings::Scopes;
use crate::access::settings::{KEY_NAME_EXPECTED, is_key_name};
use crate::client::settings::ServiceSettings;

/// A century.
const DAYS_MAX: u32 = 36_500;

/// What `devstatus keys` needs.
#[derive(Clone, Debug, PartialEq)]
pub struct KeysSettings {
    pub file: PathBuf,
    pub action: KeysAction,
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

pub(super) fn settings(
    values: &Values,
    state: &StateDirectories,
    operands: &[String],
    log: LogSettings,
) -> Result<KeysSettings, Refusal> {
    let organization = values.name(Setting::Organization)?;
    let file = match (http::keys_file(values)?, &organization) {
        (Some(file), _) => file,
        (None, Some(organization)) => http::default_keys_file(state, organization),
        (None, None) => return Err(Refusal::Missing(vec![Setting::Organization])),
    };
    let operand = || operands.first().cloned().unwrap_or_default();
    let action = match values.verb {
        Verb::KeysCreate => KeysAction::Create {
            organization: organization.ok_or_else(|| Refusal::Missing(vec![Setting::Organization]))?,
            name: Some(operand())
                .filter(|name| is_key_name(name))
                .ok_or_else(|| Refusal::Arguments { what: format!("NAME: expected {KEY_NAME_EXPECTED}") })?,
            scopes: scopes(values)?,
            lifetime: lifetime(values)?,
        },
        Verb::KeysRevoke => KeysAction::Revoke {
            id: operand(),
            service: client::service(values)?,
            is_required: values.find(Setting::Url).is_some(),
        },
        Verb::KeysList
        | Verb::Serve
        | Verb::Demo
        | Verb::Simulate
        | Verb::Export
        | Verb::Import
        | Verb::Get
        | Verb::Forget
        | Verb::List
        | Verb::Watch
        | Verb::Summary
        | Verb::Completions => KeysAction::List,
    };
    Ok(KeysSettings { file, action, log })
}

fn scopes(values: &Values) -> Result<Scopes, Refusal> {
    let scopes = values.parse(
        Setting::Scopes,
        "read, events, admin, or several separated by commas",
        Scopes::parse,
    )?;
    Ok(scopes.unwrap_or_else(Scopes::read_only))
}

fn lifetime(values: &Values) -> Result<Option<Duration>, Refusal> {
    let expected = format!("a whole number of days from 1 to {DAYS_MAX}");
    values.parse(Setting::ExpiresDays, &expected, |text| {
        let days = text.parse::<u32>().ok().filter(|days| (1..=DAYS_MAX).contains(days))?;
        Some(Duration::from_secs(u64::from(days) * 86_400))
    })
}
