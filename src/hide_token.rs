//! Takes a token, an API key, or a store's URL with a password, that was given as an argument out of what `ps` shows to every user of the
//! machine.
//!
//! The kernel shows the arguments a program was started with, so the program starts itself again, in the same process,
//! with the secret in the environment, which only its own user can read.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process;

use devstatus::config::Command;
use devstatus::store::settings::Location;

/// Where the token is taken from after the restart; it beats the other variables, as the flag did.
const TOKEN: &str = "DEVSTATUS_TOKEN";
/// The same for the store's URL.
const STORE: &str = "DEVSTATUS_STORE";
/// What the token and the URL's password were stronger than as flags, and would contradict as variables.
const TOKEN_FILE: &str = "DEVSTATUS_TOKEN_FILE";
const STORE_PASSWORD_FILE: &str = "DEVSTATUS_STORE_PASSWORD_FILE";
/// The same for the key that a running service is asked with.
const API_KEY: &str = "DEVSTATUS_API_KEY";
const API_KEY_FILE: &str = "DEVSTATUS_API_KEY_FILE";

/// Does nothing unless an argument holds the token that the settings came to; returns only then, or on an error.
pub fn from_process_title(command: &Command, arguments: &[OsString]) -> io::Result<()> {
    let login = match command {
        Command::Serve(settings) => settings.source.login.as_ref(),
        Command::Simulate(settings) => settings.source.login.as_ref(),
        Command::Demo(_)
        | Command::Export(_)
        | Command::Import(_)
        | Command::Keys(_)
        | Command::Client(_) => None,
    };
    let mut visible = arguments.to_vec();
    let mut again = process::Command::new(std::env::current_exe()?);
    let mut found = false;
    if let Some(login) = login
        && let Some(without) = without_token(&visible, login.token.expose())
    {
        visible = without;
        again.env(TOKEN, login.token.expose()).env_remove(TOKEN_FILE);
        found = true;
    }
    if has_store_password(command)
        && let Some((without, url)) = without_flag(&visible, "--store")
        && holds_password(&url)
    {
        visible = without;
        again.env(STORE, url).env_remove(STORE_PASSWORD_FILE);
        found = true;
    }
    if matches!(command, Command::Client(_))
        && let Some((without, key)) = without_flag(&visible, "--api-key")
    {
        visible = without;
        again.env(API_KEY, key).env_remove(API_KEY_FILE);
        found = true;
    }
    if !found {
        return Ok(());
    }
    if let Some(name) = visible.first() {
        again.arg0(name);
    }
    Err(again.args(visible.iter().skip(1)).exec())
}

fn has_store_password(command: &Command) -> bool {
    let store = match command {
        Command::Serve(settings) => &settings.store,
        Command::Export(settings) => &settings.store,
        Command::Import(settings) => &settings.store,
        Command::Demo(_) | Command::Simulate(_) | Command::Keys(_) | Command::Client(_) => {
            return false;
        }
    };
    match &store.location {
        Location::Memory | Location::Sqlite(_) => false,
        Location::Postgres(server) | Location::Valkey(server) => server.password.is_some(),
    }
}

/// Whether a URL has a password in itself, not in a file.
fn holds_password(url: &OsStr) -> bool {
    let login = url.to_str().and_then(|url| url.split_once("://")?.1.rsplit_once('@'));
    login.is_some_and(|(login, _)| login.contains(':'))
}

/// The arguments without `--flag VALUE` or `--flag=VALUE`, and the value; `None` if neither is there.
fn without_flag(arguments: &[OsString], flag: &str) -> Option<(Vec<OsString>, OsString)> {
    let mut kept = arguments.to_vec();
    for at in 0..kept.len() {
        if kept[at] == flag && at + 1 < kept.len() {
            kept.remove(at);
            let value = kept.remove(at);
            return Some((kept, value));
        }
        if let Some(value) = kept[at].to_str().and_then(|text| text.strip_prefix(flag)?.strip_prefix('=')) {
            let value = value.into();
            kept.remove(at);
            return Some((kept, value));
        }
    }
    None
}

/// The arguments without `-t TOKEN`, `-tTOKEN`, `--token TOKEN`, `--token=TOKEN`; `None` if none of them is there.
fn without_token(arguments: &[OsString], token: &str) -> Option<Vec<OsString>> {
    let mut kept: Vec<OsString> = Vec::new();
    let mut found = false;
    for argument in arguments {
        let after_flag = kept.last().is_some_and(|last| is_bare_flag(last));
        if after_flag && argument == token {
            let flag = kept.pop().unwrap_or_default();
            kept.extend(other_letters(&flag));
            found = true;
        } else if let Some(flag) = argument.to_str().and_then(|text| text.strip_suffix(token))
            && (flag == "--token=" || is_bare_flag(OsStr::new(flag.trim_end_matches('='))))
        {
            kept.extend(other_letters(OsStr::new(flag)));
            found = true;
        } else {
            kept.push(argument.clone());
        }
    }
    found.then_some(kept)
}

/// `--token`, `-t`, or letters that end in t: `-vt`.
fn is_bare_flag(argument: &OsStr) -> bool {
    let Some(text) = argument.to_str() else { return false };
    text == "--token" || (text.starts_with('-') && !text.starts_with("--") && text.ends_with('t'))
}

/// What is left of a cluster of short flags without its `t`.
fn other_letters(flag: &OsStr) -> Option<OsString> {
    let text = flag.to_str()?.trim_end_matches('=');
    let others = text.strip_prefix('-').filter(|rest| !rest.starts_with('-'))?.strip_suffix('t')?;
    (!others.is_empty()).then(|| OsString::from(format!("-{others}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(arguments: &[&str]) -> Vec<OsString> {
        arguments.iter().map(OsString::from).collect()
    }

    #[test]
    fn every_way_to_give_a_token_is_taken_out() {
        for (given, left) in [
            (&["d", "-t", "s3", "-p", "1"][..], &["d", "-p", "1"][..]),
            (&["d", "-ts3", "-v"], &["d", "-v"]),
            (&["d", "-t=s3"], &["d"]),
            (&["d", "--token", "s3"], &["d"]),
            (&["d", "--token=s3", "serve"], &["d", "serve"]),
            (&["d", "-vt", "s3"], &["d", "-v"]),
        ] {
            assert_eq!(without_token(&list(given), "s3"), Some(list(left)), "{given:?}");
        }
    }

    #[test]
    fn a_url_of_a_store_is_taken_out_whole() {
        let url = "postgres://u:p@h/d";
        for given in [&["d", "--store", url, "-v"][..], &["d", "--store=postgres://u:p@h/d", "-v"]] {
            assert_eq!(
                without_flag(&list(given), "--store"),
                Some((list(&["d", "-v"]), url.into())),
                "{given:?}"
            );
        }
        assert_eq!(without_flag(&list(&["d", "--store-schema", url]), "--store"), None);
    }

    #[test]
    fn a_url_is_a_secret_if_a_password_stands_in_it() {
        for (url, holds) in [
            ("postgres://u:p@h", true),
            ("valkey://:p@a:1,b:2", true),
            ("postgres://u@h:1/d", false),
            ("valkey://h:1", false),
        ] {
            assert_eq!(holds_password(OsStr::new(url)), holds, "{url}");
        }
    }

    #[test]
    fn arguments_without_the_token_stay() {
        assert_eq!(without_token(&list(&["d", "-i", "s3", "--token-file", "f"]), "s3"), None);
    }
}
