//! Picks our variables and the platform's out of the environment.

use std::ffi::OsString;
use std::path::PathBuf;

use super::refusal::{Origin, Refusal, nearest, showable};
use super::setting::{Setting, Spec};
use super::table::SPECS;
use super::values::Given;
use crate::secret::Secret;

/// All of our own variables begin so.
const PREFIX: &str = "DEVSTATUS_";

/// The two layers of the environment.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub own: Vec<Given>,
    pub platform: Vec<Given>,
    pub state: StateDirectories,
}

/// What the environment says of where a program keeps its state; not settings, so never refused.
#[derive(Debug, Default)]
pub(super) struct StateDirectories {
    /// `STATE_DIRECTORY`: what systemd made for this service.
    pub service: Option<PathBuf>,
    /// `XDG_STATE_HOME`
    pub user: Option<PathBuf>,
    /// `HOME`
    pub home: Option<PathBuf>,
}

impl StateDirectories {
    fn add(&mut self, name: &str, value: &OsString) {
        let directory = match name {
            "STATE_DIRECTORY" => &mut self.service,
            "XDG_STATE_HOME" => &mut self.user,
            "HOME" => &mut self.home,
            _ => return,
        };
        // A relative one is to be ignored, says the specification of `XDG_STATE_HOME`; the others are never relative.
        *directory = Some(PathBuf::from(value)).filter(|path| path.is_absolute());
    }
}

/// Sorts the variables. An empty one counts as unset, as `${NAME:-}` in a Compose file means it. One that begins like ours
/// and is none is refused, as it is a setting that would not work; others belong to other programs.
pub(super) fn read(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Environment, Refusal> {
    let mut environment = Environment::default();
    // The names as they were given, to know the stronger of two for one setting.
    let mut platform: Vec<(usize, Given)> = Vec::new();
    for (name, value) in variables {
        // Every name that matters is ASCII, and a lossy look is enough to refuse the others.
        let name = name.to_string_lossy();
        environment.state.add(&name, &value);
        if value.is_empty() {
            continue;
        }
        if let Some(rest) = name.strip_prefix(PREFIX) {
            if is_service_link(rest, &value.to_string_lossy()) {
                continue;
            }
            let spec = SPECS
                .iter()
                .find(|spec| spec.variable().as_deref() == Some(&name))
                .ok_or_else(|| unknown(&name))?;
            environment.own.push(given(spec, value, Origin::Own(name.into_owned()))?);
        } else if let Some((spec, rank, name)) = find_platform(&name) {
            platform.push((rank, given(spec, value, Origin::Platform(name))?));
        }
    }
    // As in the SDK: the older pair of names counts only when the newer is wholly absent, so that a key never meets
    // the token of another.
    let newer = platform.iter().any(|(rank, given)| *rank == 0 && is_login(given));
    platform.retain(|(rank, given)| *rank == 0 || !(newer && is_login(given)));
    environment.platform = platform.into_iter().map(|(_, given)| given).collect();
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

fn is_login(given: &Given) -> bool {
    matches!(given.setting, Setting::Key | Setting::Token)
}

fn find_platform(name: &str) -> Option<(&'static Spec, usize, &'static str)> {
    SPECS.iter().find_map(|spec| {
        let rank = spec.platform.iter().position(|known| *known == name)?;
        Some((spec, rank, spec.platform[rank]))
    })
}

fn given(spec: &Spec, value: OsString, origin: Origin) -> Result<Given, Refusal> {
    match value.into_string() {
        Ok(text) => Ok(Given { setting: spec.setting, text: Secret::new(text), origin }),
        Err(_) => Err(Refusal::Invalid { origin, expected: "UTF-8 text".to_owned() }),
    }
}

fn unknown(name: &str) -> Refusal {
    let known: Vec<String> = SPECS.iter().filter_map(Spec::variable).collect();
    let near = nearest(&name[PREFIX.len()..], known.iter().map(|variable| &variable[PREFIX.len()..]));
    Refusal::UnknownVariable { name: showable(name), near: near.map(|near| format!("{PREFIX}{near}")) }
}
