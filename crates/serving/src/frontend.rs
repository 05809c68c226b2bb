//! What is between the network and the resources: keys, TLS and limits as the settings say, read before anything is
//! answered and followed while it is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::middleware::guard::Guard;
use crate::network::follow::FileWatch;
use crate::network::server::Server;
use crate::network::tls::{Tls, TlsError};
use server::access::{FileError, KeysFile};
use server::clock;
use server::http_settings::HttpSettings;
use server::metrics::{HttpMetrics, ReloadTarget};

/// Why nothing is answered.
#[derive(Debug, thiserror::Error)]
pub enum FrontendError {
    #[error(transparent)]
    Keys(#[from] FileError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(
        "the keys file {0} is not there: make a key with devstatus keys create, correct --keys-file, or let everybody ask with \
         --allow-anonymous"
    )]
    KeysFileMissing(PathBuf),
    #[error(
        "{0} can be reached by others, and there is no API key: make one with devstatus keys create, or let everybody ask \
         with --allow-anonymous"
    )]
    Exposed(SocketAddr),
}

/// Everything that is read before the first answer.
pub struct Frontend {
    settings: HttpSettings,
    guard: Arc<Guard>,
    keys: Option<(KeysFile, FileWatch)>,
    tls: Option<(Arc<Tls>, FileWatch)>,
}

impl Frontend {
    /// Reads keys and certificates.
    pub fn open(settings: HttpSettings, metrics: HttpMetrics) -> Result<Self, FrontendError> {
        let guard = Guard::new(&settings, metrics);
        let keys = match &settings.keys_file {
            None => None,
            Some(path) => {
                let followed = FileWatch::new(vec![path.clone()]);
                let file = KeysFile::at(path);
                match file.read()? {
                    Some(content) => {
                        guard.put_in_force(content);
                    }
                    // Without it everybody would be let in where the operator has asked for keys.
                    None if settings.keys_file_is_named && !settings.allow_anonymous => {
                        return Err(FrontendError::KeysFileMissing(path.clone()));
                    }
                    None => {}
                }
                Some((file, followed))
            }
        };
        let tls = match &settings.tls {
            None => None,
            Some(tls) => {
                let followed = FileWatch::new(tls.paths());
                Some((Arc::new(Tls::load(tls.clone())?), followed))
            }
        };
        let frontend = Self { settings, guard: Arc::new(guard), keys, tls };
        frontend.check_exposure()?;
        Ok(frontend)
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Those who can reach the address must have a key, unless the operator says otherwise.
    fn check_exposure(&self) -> Result<(), FrontendError> {
        let HttpSettings { listen, allow_anonymous, .. } = self.settings;
        let keys = self.guard.keyring.usable(clock::now());
        let (exposed, in_use) = (!listen.to_canonical().is_loopback(), self.guard.keyring.is_in_use());
        match (exposed, allow_anonymous) {
            (true, false) if keys == 0 => return Err(FrontendError::Exposed(self.settings.address())),
            (true, true) => tracing::warn!("every client that reaches {listen} may ask: --allow-anonymous"),
            (false, true) => tracing::info!("every client that reaches {listen} may ask: --allow-anonymous"),
            (false, false) if !in_use => tracing::info!("no API keys: every client on this machine may ask"),
            (_, false) => tracing::info!(keys, "every request needs an API key"),
        }
        Ok(())
    }

    /// Answers until shutdown, and follows the files meanwhile.
    pub async fn serve(self, listener: TcpListener, api: Arc<dyn Api>, shutdown: CancellationToken) {
        let Self { settings, guard, keys, tls } = self;
        if let Some((file, followed)) = keys {
            let guard = Arc::clone(&guard);
            tokio::spawn(followed.run(Arc::new(move || reread_keys(&guard, &file)), shutdown.clone()));
        }
        let tls = tls.map(|(tls, followed)| {
            let (metrics, reloaded) = (guard.metrics.clone(), Arc::clone(&tls));
            tokio::spawn(followed.run(Arc::new(move || reread_tls(&metrics, &reloaded)), shutdown.clone()));
            tls
        });
        let metrics = guard.metrics.clone();
        let app = api.app(&guard, &settings.cors_origins);
        Server::new(listener, app, &settings, tls, metrics, shutdown).run().await;
    }
}

fn reread_keys(guard: &Guard, file: &KeysFile) {
    match file.read() {
        Ok(Some(content)) => {
            if guard.put_in_force(content) {
                let keys = guard.keyring.usable(clock::now());
                tracing::info!(keys, "the keys file has changed: these keys are in force");
            } else if file.is_detached() {
                tracing::warn!(
                    "the keys file was replaced, but this process still sees the old one, because it is mounted as a single \
                     file: mount its directory instead"
                );
            }
        }
        Ok(None) => tracing::warn!("the keys file is gone: the keys that were in it stay in force"),
        Err(error) => {
            guard.metrics.reload_failed(ReloadTarget::Keys);
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(
                %error,
                cause,
                "the keys file has changed and cannot be used: the keys stay as they were"
            );
        }
    }
}

fn reread_tls(metrics: &HttpMetrics, tls: &Tls) {
    match tls.reload() {
        Ok(false) => {}
        Ok(true) => tracing::info!("the TLS files have changed: new connections use them"),
        Err(error) => {
            metrics.reload_failed(ReloadTarget::Tls);
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, cause, "the TLS files have changed and cannot be used: the old ones stay");
        }
    }
}
