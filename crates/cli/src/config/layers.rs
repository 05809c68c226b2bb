//! What variables and files say, before its meaning is known: for each setting the strongest text, with its origin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

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
    pub state: StateDirectories,
}

/// Where a program of this machine keeps its state; not settings, so never refused.
#[derive(Clone, Debug, Default)]
pub(super) struct StateDirectories {
    /// `STATE_DIRECTORY`: what systemd made for this service.
    service: Option<PathBuf>,
    /// `XDG_STATE_HOME`
    user: Option<PathBuf>,
    /// `HOME`
    home: Option<PathBuf>,
}

impl StateDirectories {
    /// Without a home there is no user, so this is a service's.
    const WITHOUT_HOME: &str = "/var/lib/devstatus";

    fn add(&mut self, name: &str, value: &OsString) {
        let directory = match name {
            "STATE_DIRECTORY" => &mut self.service,
            "XDG_STATE_HOME" => &mut self.user,
            "HOME" => &mut self.home,
            _ => return,
        };
        // The specification of `XDG_STATE_HOME` says to ignore a relative one; the others are never relative.
        *directory = Some(PathBuf::from(value)).filter(|path| path.is_absolute());
    }

    /// Where files of this program belong: in what systemd made for the service, else with the user.
    pub fn directory(&self) -> PathBuf {
        match (&self.service, &self.user, &self.home) {
            (Some(directory), _, _) => directory.clone(),
            (None, Some(directory), _) => directory.join("devstatus"),
            (None, None, Some(home)) => home.join(".local/state/devstatus"),
            (None, None, None) => Self::WITHOUT_HOME.into(),
        }
    }
}

/// Sorts the variables. An empty one counts as unset, as `${NAME:-}` in a Compose file means it. One that begins like ours
/// and is not a known setting is refused, because it would have no effect; others belong to other programs.
pub(super) fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
    known: &[String],
) -> Result<Environment, ConfigError> {
    let mut environment = Environment::default();
    let mut platform = Vec::new();
    for (name, value) in variables {
        // Every name that matters is ASCII, so a lossy look is enough to refuse the others.
        let name = name.to_string_lossy();
        environment.state.add(&name, &value);
        if value.is_empty() {
            continue;
        }
        if let Some(rest) = name.strip_prefix(PREFIX) {
            if is_service_link(rest, &value.to_string_lossy()) {
                continue;
            }
            let setting = rest.to_lowercase().replace('_', "-");
            if !known.contains(&setting) || Origin::variable_of(&setting) != name {
                return Err(unknown_variable(&name, known));
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
    Ok(environment)
}

/// Whether a container platform has set the variable, and no person: Kubernetes and Docker describe other services so, to
/// every container that can reach them. The names come from those services' names, so one that is called `devstatus`, or
/// `devstatus-` and more, gives names that begin like ours. `rest` is what follows our prefix.
fn is_service_link(rest: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    // What comes last in the name, with or without the rest of the service's name before it.
    let ends_with =
        |word: &str| rest.strip_suffix(word).is_some_and(|before| before.is_empty() || before.ends_with('_'));
    let contains = |word: &str| rest.starts_with(word) || rest.contains(&format!("_{word}"));
    ends_with("SERVICE_HOST")
        || ends_with("SERVICE_PORT")
        // The port by its name.
        || contains("SERVICE_PORT_")
        || has_port_and_protocol(rest)
        || (ends_with("PORT") && is_url)
        // Docker's legacy links: the name of the container, and all of its variables.
        || (ends_with("NAME") && value.starts_with('/'))
        || contains("ENV_")
}

/// As in `PORT_80_TCP`, `PORT_80_TCP_ADDR` and, for a range, `PORT_80_TCP_START`.
fn has_port_and_protocol(rest: &str) -> bool {
    let words: Vec<&str> = rest.split('_').collect();
    words.windows(3).enumerate().any(|(at, three)| {
        let is_number = !three[1].is_empty() && three[1].bytes().all(|byte| byte.is_ascii_digit());
        let is_end = match words[at + 3..] {
            [] => true,
            [last] => matches!(last, "PROTO" | "PORT" | "ADDR" | "START" | "END"),
            _ => false,
        };
        three[0] == "PORT" && is_number && matches!(three[2], "TCP" | "UDP" | "SCTP") && is_end
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
        Err(_) => Err(ConfigError::Invalid { origin, expected: "UTF-8 text".to_owned() }),
    }
}

fn unknown_variable(name: &str, known: &[String]) -> ConfigError {
    let known: Vec<String> = known.iter().map(|setting| Origin::variable_of(setting)).collect();
    let near = nearest(&name[PREFIX.len()..], known.iter().map(|variable| &variable[PREFIX.len()..]));
    ConfigError::UnknownVariable { name: showable(name), near: near.map(|near| format!("{PREFIX}{near}")) }
}
