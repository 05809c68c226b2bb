//! Whether this instance evaluates: it does while it holds the lease, and there are rules.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alerts::RuleSet;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::desk::{AlertDesk, Evaluation, EvaluatorInputs};
use crate::kept::LEASE;
use crate::lead::Lead;
use crate::metrics::AlertMetrics;
use crate::stream::AnnouncedGroups;
use server::feed::Feed;
use server::health::Health;
use server::registry::DeviceRegistry;
use store::{Store, StoreError};
use system::log_limit::OnceAMinute;
use webhooks::Leases;
use webhooks::desk::WebhookDesk;
use webhooks::settings::EndpointSettings;

/// A store that fails is asked again after this.
pub const STORE_RETRY: Duration = Duration::from_secs(1);

/// How often an instance reads what another one has announced, while a stream at it wants to know that.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(2);

/// The evaluation, and what it reads from.
pub struct AlertService {
    /// They may be replaced at any time, as may the endpoints.
    pub rules: watch::Receiver<Arc<RuleSet>>,
    pub endpoints: watch::Receiver<Vec<EndpointSettings>>,
    pub registry: Arc<DeviceRegistry>,
    pub feed: Arc<Feed>,
    pub health: Arc<Health>,
    pub holder: Arc<LeaseHolder>,
    /// Where CloudEvents come from, as a URI.
    pub source: Arc<str>,
    pub metrics: AlertMetrics,
    pub desk: AlertDesk,
    /// Shows the attempts.
    pub webhooks: WebhookDesk,
}

/// The lease of this instance, and the store that checks it.
pub struct LeaseHolder {
    store: Arc<dyn Store>,
    leases: Leases,
    log: OnceAMinute,
}

impl LeaseHolder {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, leases: Leases::default(), log: OnceAMinute::default() }
    }

    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Says that alerts wait for the store.
    pub fn log_wait(&self, error: &StoreError) {
        if let Some(times) = self.log.pass(Instant::now()) {
            tracing::warn!(%error, times, "alerts wait for the store");
        }
    }

    /// Writes or drops what is kept under a name; does not return if another instance has taken over.
    pub async fn set(&self, name: &str, state: Option<String>) -> Result<(), StoreError> {
        if self.store.set_delivery_state(&self.leases.of(LEASE), name, state).await? {
            return Ok(());
        }
        self.leases.lose(LEASE);
        pending().await
    }
}

impl AlertService {
    /// Evaluates until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        // What a run that has failed held may be another instance's by now.
        self.holder.leases.end(self.holder.store()).await;
        let (mut rules, desk) = (self.rules.clone(), self.desk.clone());
        desk.set_contacts(rules.borrow_and_update().contacts.clone());
        let follow = async {
            while rules.changed().await.is_ok() {
                desk.set_contacts(rules.borrow_and_update().contacts.clone());
            }
        };
        tokio::join!(shutdown.run_until_cancelled(follow), self.evaluate(shutdown.clone()));
    }

    async fn evaluate(&self, shutdown: CancellationToken) {
        self.desk.attach(EvaluatorInputs {
            store: Arc::clone(&self.holder.store),
            rules: self.rules.clone(),
            endpoints: self.endpoints.clone(),
        });
        if self.registry.is_limited() {
            if !self.rules.borrow().rules.is_empty() {
                tracing::warn!(
                    "alert rules are not evaluated, because --map-limit holds only some of the devices"
                );
            }
            return;
        }
        shutdown.run_until_cancelled(self.follow_rules()).await;
        self.holder.leases.end(self.holder.store()).await;
    }

    /// Takes part while there are rules.
    async fn follow_rules(&self) {
        if self.rules.borrow().rules.is_empty() {
            self.desk.announced().publish(AnnouncedGroups::new());
        }
        let mut rules = self.rules.clone();
        // The sender lives as long as the service; without it the rules stay as they are.
        while rules.wait_for(|rules| !rules.rules.is_empty()).await.is_ok() {
            self.desk.set(Evaluation::Elsewhere);
            tokio::select! {
                () = self.holder.leases.hold(self.holder.store(), vec![LEASE.to_owned()]) => {}
                () = self.take_turns() => {}
                () = no_rules(&mut rules) => {}
            }
            self.end_evaluation(Evaluation::Off);
            self.desk.announced().publish(AnnouncedGroups::new());
            self.holder.leases.end(self.holder.store()).await;
        }
        pending().await
    }

    /// Evaluates whenever this instance holds the lease.
    async fn take_turns(&self) {
        loop {
            tokio::select! {
                () = self.holder.leases.wait_for(LEASE) => {}
                () = self.follow_others() => {}
            }
            self.desk.set(Evaluation::Starting);
            tracing::info!("this instance evaluates the alert rules");
            tokio::select! {
                () = Lead::run(self) => {}
                () = self.holder.leases.wait_for_loss(LEASE) => {}
            }
            tracing::info!("another instance evaluates the alert rules, or the store is away");
            self.end_evaluation(Evaluation::Elsewhere);
        }
    }

    /// Tells streams at this instance what another one announces.
    async fn follow_others(&self) {
        let mut ticks = interval(FOLLOW_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.desk.follow_others().await;
        }
    }

    fn end_evaluation(&self, evaluation: Evaluation) {
        self.metrics.evaluating.set(0);
        self.metrics.clear();
        self.desk.set(evaluation);
    }
}

async fn no_rules(rules: &mut watch::Receiver<Arc<RuleSet>>) {
    if rules.wait_for(|rules| rules.rules.is_empty()).await.is_err() {
        pending().await
    }
}
