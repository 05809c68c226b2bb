//! `devstatus keys`: makes, lists and revokes API keys. Works on the file alone; a running service rereads it, and is asked whether
//! it has.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use jiff::Timestamp;

use crate::client::{self, ClientError};
use crate::config::{KeysAction, KeysSettings, ServiceSettings};
use presence::UnixSeconds;
use server::access::{ApiKey, FileError, KeysFile, NewKey};
use server::clock;

/// Why nothing came of it, or less than was asked for.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("there is no key of this id; devstatus keys list shows them")]
    UnknownId,
    #[error("cannot write the answer")]
    Output(#[source] io::Error),
    #[error("cannot write the answer, so the key was taken out of force again")]
    Undone(#[source] io::Error),
    /// The file failed second; what the user has to know is the id.
    #[error("cannot write the answer, and the key {id} cannot be taken out of force again: revoke it")]
    Unknown { id: String, source: FileError },
    #[error(
        "the key is revoked in the file, but the service at {url} does not confirm it: it uses other keys"
    )]
    OtherKeys { url: String },
    #[error("the key is revoked in the file, but the service does not confirm it")]
    NotConfirmed(#[source] ClientError),
}

/// Does what is asked; `say` gets the text for the user.
pub fn run(settings: KeysSettings, say: impl FnOnce(&str) -> io::Result<()>) -> Result<(), KeysError> {
    let file = KeysFile::at(settings.file);
    let text = match settings.action {
        KeysAction::Create { organization, name, scopes, lifetime } => {
            let created_at = clock::now();
            let expires_at = lifetime.map(|lifetime| later(created_at, lifetime));
            return create(&file, NewKey { organization, name, scopes, created_at, expires_at }, say);
        }
        KeysAction::List => {
            let keys = file.read()?.map(|content| content.keys).unwrap_or_default();
            list(&keys, clock::now())
        }
        KeysAction::Revoke { id, service, is_required } => {
            let sha256 = revoke(&file, &id)?;
            let confirmation = confirmation(service, &sha256, is_required)?;
            format!("revoked in {}\n{confirmation}\n", file.path().display())
        }
    };
    match say(&text) {
        // The reader has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        said => said.map_err(KeysError::Output),
    }
}

/// Makes a key. One whose secret nobody has seen does not stay in force.
fn create(file: &KeysFile, new: NewKey, say: impl FnOnce(&str) -> io::Result<()>) -> Result<(), KeysError> {
    let (key, secret) = new.generate();
    let (id, expiry) = (key.id.clone(), expiry(&key));
    file.change(|keys| keys.push(key))?;
    let secret = secret.expose();
    let text = format!(
        "key:     {id}\nsecret:  {secret}\nbearer:  {id}.{secret}\nexpires: {expiry}\n\n\
         The secret is stored nowhere and is not shown again. Use it as\n\n  \
         curl --user {id}:{secret} …\n  \
         curl --header 'Authorization: Bearer {id}.{secret}' …\n"
    );
    let Err(error) = say(&text) else { return Ok(()) };
    match file.change(|keys| keys.retain(|key| key.id != id)) {
        Ok(_without_it) => Err(KeysError::Undone(error)),
        Err(source) => Err(KeysError::Unknown { id, source }),
    }
}

/// Takes the key out of the file; returns the SHA-256 that the file has then.
fn revoke(file: &KeysFile, id: &str) -> Result<String, KeysError> {
    let known = file.read()?.map(|content| content.keys).unwrap_or_default();
    // Without it nothing is written: a file that is there, even an empty one, makes keys a must.
    if !known.iter().any(|key| key.id == id) {
        return Err(KeysError::UnknownId);
    }
    let content = file.change(|keys| keys.retain(|key| key.id != id))?;
    Ok(content.sha256.to_string())
}

/// What the running service says of it, as a line.
fn confirmation(service: ServiceSettings, sha256: &str, is_required: bool) -> Result<String, KeysError> {
    let url = service.url.clone();
    let unconfirmed = |why: &str| {
        format!("not confirmed: {why}; a service reads the file within a second, --url names one to ask")
    };
    match client::confirms_keys(service, sha256) {
        Ok(true) => Ok(format!("confirmed: the service at {url} refuses the key now")),
        Ok(false) if is_required => Err(KeysError::OtherKeys { url }),
        Ok(false) => Ok(unconfirmed(&format!("the service at {url} uses other keys"))),
        Err(error) if is_required => Err(KeysError::NotConfirmed(error)),
        Err(error) => Ok(unconfirmed(&error.to_string())),
    }
}

/// A line for each key, in columns, the oldest first.
fn list(keys: &[ApiKey], now: UnixSeconds) -> String {
    let mut rows = vec![["ID", "SCOPES", "CREATED", "EXPIRES", "NAME"].map(str::to_owned)];
    rows.extend(keys.iter().map(|key| {
        let expiry = if key.is_expired(now) { "expired".to_owned() } else { expiry(key) };
        [key.id.clone(), key.scopes.to_string(), date(key.created_at), expiry, client::plain(&key.name)]
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
