//! Which clients of which brokers the running services of a test are. A broker lets in one client of an id at a time, so two
//! services with one id end each other's connections, and whether both become ready is luck. No test may start such two.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The client of a broker that a running service is, until this is dropped.
pub struct BrokerClient {
    broker: String,
    application: String,
}

static RUNNING: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

impl BrokerClient {
    /// The client that a service with these arguments is, or nothing if they do not name broker and application.
    ///
    /// # Panics
    ///
    /// If another service of this test is the same client.
    pub fn of(arguments: &[String]) -> Option<Self> {
        let value_of = |flag: &str| {
            let at = arguments.iter().rposition(|argument| argument == flag)?;
            arguments.get(at + 1).cloned()
        };
        let client = Self { broker: value_of("--broker")?, application: value_of("-i")? };
        let mut running = running();
        assert!(
            !running.contains(&client.key()),
            "another service of this test is the application {} at {}: use Launch::application",
            client.application,
            client.broker
        );
        running.push(client.key());
        drop(running);
        Some(client)
    }

    fn key(&self) -> (String, String) {
        (self.broker.clone(), self.application.clone())
    }
}

impl Drop for BrokerClient {
    fn drop(&mut self) {
        let key = self.key();
        running().retain(|other| *other != key);
    }
}

/// A test that has panicked is over; what it leaves is as good as before.
fn running() -> MutexGuard<'static, Vec<(String, String)>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
