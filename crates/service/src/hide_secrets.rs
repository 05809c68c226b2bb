//! Takes secrets that were given as arguments out of what `ps` shows to every user of the machine.
//!
//! The kernel shows the arguments a program was started with, so the program starts itself again, in the same process. The
//! new arguments, with every secret blacked out, are only for show; the real ones are in the environment, which only the
//! process's own user can read.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process;

use cli::config::Command;
use store::settings::Location;

/// The arguments after the restart: `DEVSTATUS_ARGUMENT_0` and so on.
const PREFIX: &str = "DEVSTATUS_ARGUMENT_";
const BLACKED_OUT: &[u8] = b"***";

/// The arguments and the variables that the user gave, whether before or after the restart.
pub struct CommandLine {
    pub arguments: Vec<OsString>,
    pub environment: Vec<(OsString, OsString)>,
    /// The program has been started again, so the process title holds no secret.
    pub is_hidden: bool,
}

/// Reads them from the process.
pub fn given() -> CommandLine {
    let (hidden, environment): (Vec<_>, Vec<_>) =
        std::env::vars_os().partition(|(name, _)| name.as_bytes().starts_with(PREFIX.as_bytes()));
    let mut hidden: Vec<(usize, OsString)> = hidden
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_str()?.strip_prefix(PREFIX)?.parse().ok()?, text)))
        .collect();
    hidden.sort();
    let is_hidden = !hidden.is_empty();
    let arguments = if is_hidden {
        hidden.into_iter().map(|(_, text)| text).collect()
    } else {
        std::env::args_os().collect()
    };
    CommandLine { arguments, environment, is_hidden }
}

/// Does nothing unless an argument holds a secret; returns only then, or on an error.
pub fn from_process_title(command: &Command, given: &CommandLine) -> io::Result<()> {
    let secrets = secrets(command);
    let visible: Vec<OsString> =
        given.arguments.iter().map(|argument| blacked_out(argument, &secrets)).collect();
    if given.is_hidden || visible == given.arguments {
        return Ok(());
    }
    let mut again = process::Command::new(std::env::current_exe()?);
    for (number, argument) in given.arguments.iter().enumerate() {
        again.env(format!("{PREFIX}{number}"), argument);
    }
    if let Some(name) = visible.first() {
        again.arg0(name);
    }
    Err(again.args(visible.iter().skip(1)).exec())
}

/// What must not be shown. Some of it may have come from a file; then no argument holds it.
fn secrets(command: &Command) -> Vec<&str> {
    let (login, location) = match command {
        Command::Serve(settings) => (settings.source.login.as_ref(), Some(&settings.store.location)),
        Command::Simulate(settings) => (settings.source.login.as_ref(), None),
        Command::Export(settings, _) | Command::Import(settings) => (None, Some(&settings.store.location)),
        Command::TestRules(settings) => (None, Some(&settings.store.location)),
        Command::Client(settings) => return settings.service.key.iter().map(|key| key.expose()).collect(),
        Command::Demo(_)
        | Command::Keys(_)
        | Command::CheckRules(_)
        | Command::ListSources
        | Command::TestSource(_) => (None, None),
    };
    let password = location.and_then(|location| match location {
        Location::Memory | Location::Sqlite(_) => None,
        Location::Postgres(server) | Location::Valkey(server) => server.password.as_ref(),
    });
    login.map(|login| &login.token).into_iter().chain(password).map(|secret| secret.expose()).collect()
}

/// The argument without any of the secrets. The password in a URL may be percent-encoded, so whatever is in its place
/// goes, and goes first: a password that ends with the sign behind it must not take that sign along.
fn blacked_out(argument: &OsStr, secrets: &[&str]) -> OsString {
    let mut bytes = argument.as_bytes().to_vec();
    let store =
        [&b"postgres://"[..], b"postgresql://", b"valkey://", b"valkeys://", b"redis://", b"rediss://"];
    for scheme in store {
        let found = bytes.windows(scheme.len()).position(|part| part == scheme);
        let Some(start) = found.map(|at| at + scheme.len()) else { continue };
        if let Some(end) = bytes[start..].iter().rposition(|byte| *byte == b'@').map(|at| start + at)
            && let Some(colon) = bytes[start..end].iter().position(|byte| *byte == b':').map(|at| start + at)
        {
            bytes.splice(colon + 1..end, BLACKED_OUT.iter().copied());
        }
    }
    for secret in secrets.iter().map(|secret| secret.as_bytes()).filter(|secret| !secret.is_empty()) {
        while let Some(at) = bytes.windows(secret.len()).position(|part| part == secret) {
            bytes.splice(at..at + secret.len(), BLACKED_OUT.iter().copied());
            if BLACKED_OUT.windows(secret.len().min(BLACKED_OUT.len())).any(|part| part == secret) {
                break;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(arguments: &[&str], secrets: &[&str]) -> Vec<String> {
        let shown = arguments.iter().map(|argument| blacked_out(OsStr::new(argument), secrets));
        shown.map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn every_way_to_give_a_token_is_blacked_out() {
        for (given, expected) in [
            (&["d", "-t", "s3cr", "-p", "1"][..], &["d", "-t", "***", "-p", "1"][..]),
            (&["d", "-ts3cr", "-v"], &["d", "-t***", "-v"]),
            (&["d", "-t=s3cr"], &["d", "-t=***"]),
            (&["d", "--token", "s3cr"], &["d", "--token", "***"]),
            (&["d", "--token=s3cr", "serve"], &["d", "--token=***", "serve"]),
            (&["d", "-vt", "s3cr"], &["d", "-vt", "***"]),
            (&["d", "-i", "id", "--token-file", "f"], &["d", "-i", "id", "--token-file", "f"]),
        ] {
            assert_eq!(shown(given, &["s3cr"]), expected, "{given:?}");
        }
        assert_eq!(shown(&["d", "-t", "*"], &["*"])[2], "***");
        assert_eq!(shown(&["d", "-t", "**"], &["**"])[2], "***");
    }

    #[test]
    fn the_password_in_a_url_is_blacked_out_however_it_is_encoded() {
        for (url, expected) in [
            ("postgres://u:p@h/d", "postgres://u:***@h/d"),
            ("--store=postgres://u:p%40@h/d", "--store=postgres://u:***@h/d"),
            ("valkey://:p@a:1,b:2", "valkey://:***@a:1,b:2"),
            ("postgres://u@h:1/d", "postgres://u@h:1/d"),
            ("valkey://h:1", "valkey://h:1"),
        ] {
            assert_eq!(shown(&[url], &["p@"]), [expected]);
        }
    }
}
