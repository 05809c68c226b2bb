//! What variables and files say, before its meaning is known: for each setting the strongest text, with its origin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::platform::{self, PlatformNames};
use super::refusal::{ConfigError, Origin, nearest, showable};
use system::secret::Secret;

/// All of our own variables begin so.
const PREFIX: &str = "DEVSTATUS_";

/// One text as it was given. Every text is a secret until its meaning is known.
#[derive(Clone, Debug)]
pub(super) struct SettingText {
    pub text: Secret,
    pub origin: Origin,
}

/// The texts that are weaker than a flag, by the setting's name.
#[derive(Clone, Debug, Default)]
pub(super) struct Layers(BTreeMap<String, SettingText>);

impl Layers {
    /// Adds the texts of one layer; what stronger layers gave stays.
    pub fn add(&mut self, layer: impl IntoIterator<Item = (String, SettingText)>) {
        for (setting, given) in layer {
            self.0.entry(setting).or_insert(given);
        }
    }

    pub fn get(&self, setting: &str) -> Option<&SettingText> {
        self.0.get(setting)
    }
}

/// What the environment holds for us.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub own: Vec<(String, SettingText)>,
    pub platform: Vec<(String, SettingText)>,
    /// Where a program of this machine keeps its state. No setting, so never refused.
    pub state: PathBuf,
}

/// The variables that say where state belongs, the strongest first, each with the place below its directory.
const STATE_DIRECTORIES: [(&str, &str); 3] = [
    // What systemd made for this service.
    ("STATE_DIRECTORY", ""),
    ("XDG_STATE_HOME", "devstatus"),
    ("HOME", ".local/state/devstatus"),
];
/// Without a home there is no user, so this is a service's.
const STATE_WITHOUT_HOME: &str = "/var/lib/devstatus";

/// The directory for state by this variable, with its rank.
fn state_directory(name: &str, value: &OsString) -> Option<(usize, PathBuf)> {
    let rank = STATE_DIRECTORIES.iter().position(|(variable, _)| *variable == name)?;
    // The specification of `XDG_STATE_HOME` says to ignore a relative one; the others are never relative.
    let directory = Path::new(value);
    directory.is_absolute().then(|| (rank, directory.join(STATE_DIRECTORIES[rank].1)))
}

/// Sorts the variables. An empty one counts as unset, as `${NAME:-}` in a Compose file means it. One that begins like ours
/// and is not a known setting is refused, because it would have no effect; others belong to other programs.
pub(super) fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
    known: &[String],
) -> Result<Environment, ConfigError> {
    let mut environment = Environment::default();
    let (mut platform, mut directories) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        // Every name that matters is ASCII, so a lossy look is enough to refuse the others.
        let name = name.to_string_lossy();
        directories.extend(state_directory(&name, &value));
        if value.is_empty() {
            continue;
        }
        if let Some(rest) = name.strip_prefix(PREFIX) {
            if is_service_link(rest, &value.to_string_lossy()) {
                continue;
            }
            let setting = rest.to_lowercase().replace('_', "-");
            if !known.contains(&setting) || Origin::variable_of(&setting) != name {
                return Err(unknown_variable(&name, &setting, known));
            }
            environment.own.push((setting, given(value, Origin::Own(name.into_owned()))?));
        } else if let Some((names, rank)) = platform_variable(&name) {
            platform.push(((names.setting, rank), given(value, Origin::Platform(names.variables[rank]))?));
        }
    }
    // As in the SDK: the older pair of names counts only when the newer is wholly absent, so that a key never meets
    // the token of another.
    let is_login = |setting: &str| matches!(setting, "key" | "token");
    let newer = platform.iter().any(|((setting, rank), _)| *rank == 0 && is_login(setting));
    platform.retain(|((setting, rank), _)| *rank == 0 || !(newer && is_login(setting)));
    let named = platform.into_iter().map(|((setting, _), given)| (setting.to_owned(), given));
    environment.platform = named.collect();
    let strongest = directories.into_iter().min().map(|(_, directory)| directory);
    environment.state = strongest.unwrap_or_else(|| STATE_WITHOUT_HOME.into());
    Ok(environment)
}

/// Whether a container platform has set the variable, and no person: Kubernetes and Docker describe other services so, to
/// every container that can reach them. The names come from those services' names, so one that is called `devstatus`, or
/// `devstatus-` and more, gives names that begin like ours. `rest` is what follows our prefix.
fn is_service_link(rest: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let words: Vec<&str> = rest.split('_').collect();
    // What comes last in the name, with or without the rest of the service's name before it.
    (0..words.len()).any(|start| match &words[start..] {
        // The port, also by its name.
        ["SERVICE", "HOST"] | ["SERVICE", "PORT", ..] => true,
        ["PORT"] => is_url,
        ["PORT", number, "TCP" | "UDP" | "SCTP"]
        | ["PORT", number, "TCP" | "UDP" | "SCTP", "PROTO" | "PORT" | "ADDR" | "START" | "END"] => {
            number.parse::<u16>().is_ok()
        }
        // Docker's legacy links: the name of the container, and all of its variables.
        ["NAME"] => value.starts_with('/'),
        ["ENV", _, ..] => true,
        _ => false,
    })
}

/// What a variable of the platform sets. Of two for one setting, the first is stronger.
fn platform_variable(variable: &str) -> Option<(&'static PlatformNames, usize)> {
    platform::ALL
        .iter()
        .find_map(|names| Some((names, names.variables.iter().position(|known| *known == variable)?)))
}

fn given(value: OsString, origin: Origin) -> Result<SettingText, ConfigError> {
    match value.into_string() {
        Ok(text) => Ok(SettingText { text: Secret::new(text), origin }),
        Err(_) => Err(ConfigError::expected(&origin, "UTF-8 text")),
    }
}

fn unknown_variable(name: &str, setting: &str, known: &[String]) -> ConfigError {
    let near = nearest(setting, known.iter().map(String::as_str)).map(Origin::variable_of);
    let what = match (showable(name), near) {
        (Some(name), Some(near)) => format!("unknown variable {name}: did you mean {near}?"),
        (Some(name), None) => format!("unknown variable {name}: no setting of this name exists"),
        (None, _) => format!("an unknown variable begins with {PREFIX}: no setting of its name exists"),
    };
    ConfigError::Arguments { what }
}
