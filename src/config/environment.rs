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

/// Sorts the variables. One that begins like ours and is none is refused, as it is a setting that would not work;
/// others belong to other programs.
pub(super) fn read(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Environment, Refusal> {
    let mut environment = Environment::default();
    // The names as they were given, to know the stronger of two for one setting.
    let mut platform: Vec<(usize, Given)> = Vec::new();
    for (name, value) in variables {
        // Every name that matters is ASCII, and a lossy look is enough to refuse the others.
        let name = name.to_string_lossy();
        environment.state.add(&name, &value);
        if name.starts_with(PREFIX) {
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
