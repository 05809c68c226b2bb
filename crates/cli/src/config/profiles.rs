//! The `[[profile]]` tables of `devstatus.toml` and of `--profiles-file`, and the formats that `--source` names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::file::{self, SETTINGS_MAX_BYTES};
use super::file_tables::Tables;
use super::grammar::Origins;
use super::refusal::{ConfigError, Origin};
use super::toml::PROFILES;
use formats::catalog::{FormatError, Formats};
use formats::profile::{self, Profile, ProfileError};

/// The formats of these names: of the profiles of the settings file, of `--profiles-file`, or built in.
pub(super) fn formats(
    names: &[String],
    tables: &Tables<'_>,
    profiles_file: Option<&Path>,
    origins: &Origins,
) -> Result<Arc<Formats>, ConfigError> {
    let mut profiles = profile::parse_among_others(tables.text)
        .map_err(|error| fault(tables.path.to_owned(), tables.text, &error))?;
    if let Some(path) = profiles_file {
        let origin = origins.origin("profiles-file");
        let text = read(path, origins)?;
        let read = profile::parse(&text).map_err(|error| fault(path.to_owned(), &text, &error))?;
        for profile in read {
            if profiles.iter().any(|known| known.name() == profile.name()) {
                let why = format!("the profile `{}` is described twice", profile.name());
                return Err(ConfigError::Unusable { origin, why });
            }
            profiles.push(profile);
        }
    }
    let refusal = |why: String| match origins.of("source").or_else(|| origins.of("format")) {
        Some(origin) => ConfigError::Unusable { origin, why },
        // The operand of `devstatus sources`.
        None => ConfigError::Arguments { what: why },
    };
    let formats = Formats::new(names, &profiles).map_err(|error| {
        refusal(match &error {
            FormatError::Unknown(name) => {
                let known = formats::catalog::infos().map(|info| info.name);
                let known = known.chain(profiles.iter().map(Profile::name));
                let near = super::refusal::nearest(name, known);
                let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                // Not what was typed, which may be the token.
                format!("there is no such source: `devstatus sources` lists the built-in ones{near}")
            }
            FormatError::Twice(_) | FormatError::Clash(..) | FormatError::Profile(_) => error.to_string(),
        })
    })?;
    match formats.beside_aedes() {
        Some((clients, other)) => Err(refusal(format!(
            "{clients} and {other} cannot share a connection, on which the broker aedes would drop retained last wills: give \
             {clients} a [[source]] table of its own, with the same broker (docs/sources/brokers.md)"
        ))),
        None => Ok(Arc::new(formats)),
    }
}

/// The text of the file of profiles.
pub(super) fn read(path: &Path, origins: &Origins) -> Result<String, ConfigError> {
    file::read_named(path, SETTINGS_MAX_BYTES, &origins.origin("profiles-file"))
}

/// The `[[profile]]` table of that name as it is written; `None`: there is none, or it is written inline.
pub(super) fn table_of<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let document = DeTable::parse(text).ok()?;
    let profiles = document.get_ref().get(PROFILES)?.get_ref().as_array()?;
    let is_named =
        |profile: &DeValue<'_>| profile.get("name").is_some_and(|own| own.get_ref().as_str() == Some(name));
    let profile = profiles.iter().find(|profile| is_named(profile.get_ref()))?;
    let table = text.get(profile.span().start..).filter(|table| table.starts_with("[["))?;
    // A line that begins with a bracket may also be part of an array: then what is before it is no TOML.
    let next_header = table.match_indices("\n[").map(|(at, _)| at).find(|at| {
        let header = table[at + 1..].trim_start_matches('[').trim_start();
        !header.starts_with("profile.") && DeTable::parse(&table[..*at]).is_ok()
    });
    Some(table[..next_header.unwrap_or(table.len())].trim_end())
}

fn fault(path: PathBuf, text: &str, error: &ProfileError) -> ConfigError {
    let origin = Origin::File { path, line: error.line(text).unwrap_or(1), key: None };
    ConfigError::Unusable { origin, why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_as_it_is_written() {
        let first = "[[profile]] # ours\nname = \"a\"\nvalues = [\n[\"x\"],\n]\n[profile.more]\nkey = 1";
        let second = "[[profile]]\nname = \"b\"";
        let text = format!("port = 1\n\n{first}\n\n{second}\n\n[[source]]\nname = \"c\"\n");
        assert_eq!(table_of(&text, "a"), Some(first));
        assert_eq!(table_of(&text, "b"), Some(second));
        assert_eq!(table_of(&text, "c"), None);
        assert_eq!(table_of("profile = [{name = \"a\"}]", "a"), None);
    }
}
