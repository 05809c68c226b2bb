//! `devstatus keys`: makes, lists and revokes API keys. Works on the file alone; a running service rereads it.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use jiff::Timestamp;

use crate::access::{ApiKey, FileError, KeysFile, NewKey};
use crate::clock::{self, UnixSeconds};
use crate::config::{KeysAction, KeysSettings};

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("there is no key of this id; devstatus keys list shows them")]
    UnknownId,
    #[error("cannot write the answer")]
    Output(#[source] io::Error),
}

/// Does what is asked; `say` gets the text for the user.
pub fn run(settings: KeysSettings, say: impl FnOnce(&str) -> io::Result<()>) -> Result<(), KeysError> {
    let has_secret = matches!(settings.action, KeysAction::Create { .. });
    let file = KeysFile::at(settings.file);
    let text = match settings.action {
        KeysAction::Create { organization, name, scopes, lifetime } => {
            let created_at = clock::now();
            let expires_at = lifetime.map(|lifetime| later(created_at, lifetime));
            create(&file, NewKey { organization, name, scopes, created_at, expires_at })?
        }
        KeysAction::List => list(&file.read()?.unwrap_or_default(), clock::now()),
        KeysAction::Revoke { id } => revoke(&file, &id)?,
    };
    match say(&text) {
        // Whoever reads has read enough, unless it is what is shown only once.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !has_secret => Ok(()),
        said => said.map_err(KeysError::Output),
    }
}

fn create(file: &KeysFile, new: NewKey) -> Result<String, FileError> {
    let (key, secret) = new.generate();
    let (id, expiry) = (key.id.clone(), expiry(&key));
    file.change(|keys| keys.push(key))?;
    let secret = secret.expose();
    Ok(format!(
        "key:     {id}\nsecret:  {secret}\nbearer:  {id}.{secret}\nexpires: {expiry}\n\n\
         The secret is kept nowhere and is not shown again. Use it as\n\n  \
         curl --user {id}:{secret} …\n  \
         curl --header 'Authorization: Bearer {id}.{secret}' …\n"
    ))
}

fn revoke(file: &KeysFile, id: &str) -> Result<String, KeysError> {
    let known = file.read()?.unwrap_or_default();
    // Without it nothing is written: a file that is there, even an empty one, makes keys a must.
    if !known.iter().any(|key| key.id == id) {
        return Err(KeysError::UnknownId);
    }
    file.change(|keys| keys.retain(|key| key.id != id))?;
    Ok("revoked\n".to_owned())
}

/// A line for each key, in columns, the oldest first.
fn list(keys: &[ApiKey], now: UnixSeconds) -> String {
    let mut rows = vec![["ID", "SCOPES", "CREATED", "EXPIRES", "NAME"].map(str::to_owned)];
    rows.extend(keys.iter().map(|key| {
        let expiry = if key.is_expired(now) { "expired".to_owned() } else { expiry(key) };
        [key.id.clone(), key.scopes.to_string(), date(key.created_at), expiry, key.name.clone()]
    }));
    let widths: Vec<usize> =
        (0..4).map(|at| rows.iter().map(|row| row[at].len()).max().unwrap_or(0)).collect();
    rows.iter().fold(String::new(), |mut text, row| {
        for (cell, width) in row.iter().zip(&widths) {
            write!(text, "{cell:<width$}  ").expect("writing to a String cannot fail");
        }
        text + &row[4] + "\n"
    })
}

fn expiry(key: &ApiKey) -> String {
    key.expires_at.map_or_else(|| "never".to_owned(), date)
}

fn date(seconds: UnixSeconds) -> String {
    let timestamp = Timestamp::from_second(seconds.0.into());
    timestamp.map(|timestamp| timestamp.to_string()).unwrap_or_default()
}

/// At most in 2106, where the seconds end.
fn later(from: UnixSeconds, by: Duration) -> UnixSeconds {
    UnixSeconds(from.0.saturating_add(u32::try_from(by.as_secs()).unwrap_or(u32::MAX)))
}
