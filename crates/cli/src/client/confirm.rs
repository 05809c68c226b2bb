//! Asks a running service whether it has read a keys file.

use std::thread;
use std::time::{Duration, Instant};

use super::problem::ClientError;
use super::service::Service;
use super::understand;
use super::view::ReadinessView;
use crate::config::ServiceSettings;

/// A service looks at its keys file once a second.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

/// Whether the service uses the keys file with this SHA-256, or begins to within the time that reading it may take.
pub fn confirms_keys(settings: ServiceSettings, sha256: &str) -> Result<bool, ClientError> {
    let service = Service::new(settings)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = service.readiness()?;
        let readiness: ReadinessView = understand(&text)?;
        if readiness.keys_file_sha256.as_deref() == Some(sha256) {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::park_timeout(PAUSE);
    }
}
