//! The root of every module's settings: load, validate, redact.
//!
//! A setting is found by key in this order: flag, `DEVSTATUS_*` variable, `WIOTP_*` variable, file, default. `table` lists
//! each with all its names; `arguments`, `environment` and `file` collect texts with their origin into `values`; `build`
//! turns those into types that cannot be wrong. What a setting does is not here but in the module that owns it.
//!
//! No text that came in is ever echoed in an error: a token may stand in any place by mistake. An error names the place
//! and what was expected there; the name of an unknown key or flag is shown only when it cannot be a token.

mod arguments;
mod broker;
mod build;
mod client;
mod environment;
mod file;
mod http;
mod ini;
mod keys;
mod log;
mod parse;
mod population;
mod refusal;
mod server;
mod setting;
mod store;
mod table;
mod values;
mod yaml;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::client::settings::ClientSettings;
use crate::exchange::settings::Format;
use crate::fleet::settings::FleetSettings;
use crate::http::settings::HttpSettings;
use crate::source::settings::SourceSettings;
use crate::store::settings::StoreSettings;

pub use keys::{KeysAction, KeysSettings};
pub use log::{LogFormat, LogLevel, LogSettings};
pub use refusal::{Origin, Refusal};
pub use setting::Setting;

use arguments::Arguments;
use setting::Verb;
use values::Values;

/// What the service needs to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub source: SourceSettings,
    pub http: HttpSettings,
    pub store: StoreSettings,
    pub log: LogSettings,
}

/// What the demo needs: it brings its own broker.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoSettings {
    /// HTTP port on loopback; 0: any free port.
    pub port: u16,
    pub fleet: FleetSettings,
    pub log: LogSettings,
}

/// What the simulation needs.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulateSettings {
    /// The broker to publish to, and as whom.
    pub source: SourceSettings,
    pub fleet: FleetSettings,
    /// How long to publish once every device is published; `None`: until told to stop.
    pub duration: Option<Duration>,
    pub log: LogSettings,
}

/// What an export needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportSettings {
    pub store: StoreSettings,
    pub format: Format,
    /// `None`: standard output.
    pub file: Option<PathBuf>,
    pub log: LogSettings,
}

/// What an import needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportSettings {
    pub store: StoreSettings,
    /// `None`: standard input.
    pub file: Option<PathBuf>,
    pub log: LogSettings,
}

/// What the program was asked to do.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in the process, and it is moved twice")]
pub enum Command {
    Serve(Settings),
    Demo(DemoSettings),
    Simulate(SimulateSettings),
    Export(ExportSettings),
    Import(ImportSettings),
    Keys(KeysSettings),
    Client(ClientSettings),
}

/// Why the program ends before it starts.
#[derive(Debug)]
pub enum Stop {
    /// Help or version was asked for: the text for stdout, its last line break included.
    Answer(String),
    /// The settings are bad: one line for stderr.
    Refused(Refusal),
}

impl Stop {
    /// The exit code of the process: 0 after an answer, 2 when the settings are bad.
    pub fn exit_code(&self) -> u8 {
        match self {
            Stop::Answer(_) => 0,
            Stop::Refused(_) => 2,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Answer(text) => f.write_str(text),
            Stop::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

/// Reads arguments (the first is the program's name), environment and the files they name.
///
/// Nothing but those files is taken from the machine, so `main` passes `args_os()` and `vars_os()` and a test passes
/// lists.
pub fn load<K, V>(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (K, V)>,
) -> Result<Command, Stop>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let Arguments { verb, flags, operands } = arguments::read(args)?;
    if verb == Verb::Completions {
        return Err(arguments::completions(&operands)?);
    }
    let environment =
        environment::read(environment.into_iter().map(|(name, value)| (name.into(), value.into())))?;
    let mut values = Values::new(verb);
    values.add(flags);
    values.add(environment.own);
    if verb != Verb::Demo {
        values.add(environment.platform);
        if let Some((path, origin)) = build::config_file(&values)? {
            values.add(file::read(&path, &origin)?);
        }
    }
    Ok(match verb {
        Verb::Serve => Command::Serve(build::serve(&values, &environment.state)?),
        Verb::Demo => Command::Demo(build::demo(&values)?),
        Verb::Simulate => Command::Simulate(build::simulate(&values)?),
        Verb::Export => Command::Export(build::export(&values, &environment.state)?),
        Verb::Import => Command::Import(build::import(&values, &environment.state)?),
        Verb::KeysCreate | Verb::KeysList | Verb::KeysRevoke => {
            Command::Keys(keys::settings(&values, &environment.state, &operands, build::log(&values)?)?)
        }
        Verb::Get | Verb::Forget | Verb::List | Verb::Watch | Verb::Summary | Verb::Completions => {
            Command::Client(client::settings(&values, &operands)?)
        }
    })
}
