//! What the instance that evaluates does: looks at changes as they come, lets the time pass each second, saves what is to be
//! announced, hands it to the senders, and answers the API.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use alerts::{Engine, RuleSet};
use futures_util::future::OptionFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::data;
use crate::desk::{EvaluatorCommand, OutputState, SilenceList};
use crate::evaluator::{Evaluator, now};
use crate::kept::{self, ANNOUNCED, SILENCES, StoredAlerts};
use crate::outbox::{AcceptedNumbers, NotificationQueue};
use crate::sender::{Sender, SenderState, StandingGroup};
use crate::service::{AlertService, STORE_RETRY};
use crate::silences::{SILENCES_MAX, StoredSilence};
use crate::standing;
use crate::stream::{self, AnnouncedGroups};
use store::StoreError;
use webhooks::settings::{EndpointSettings, Format};

/// How often deadlines are looked at: an alert fires within twice that time after its deadline.
const TICK: Duration = Duration::from_secs(1);

/// How often Alertmanager is told what fires: it takes an alert for resolved that it does not hear of for four times as long.
const STANDING_INTERVAL: Duration = Duration::from_secs(60);

/// The evaluation of this instance.
pub struct Lead<'a> {
    all: &'a AlertService,
    evaluator: Evaluator,
    /// The rules of the settings; those of the engine have the silences of the API as well.
    rules: Arc<RuleSet>,
    silences: Vec<StoredSilence>,
    /// With what is not saved yet.
    outbox: NotificationQueue,
    /// As the store has it.
    saved: watch::Sender<Arc<NotificationQueue>>,
    positions: Arc<Mutex<AcceptedNumbers>>,
    standing: watch::Sender<Arc<[StandingGroup]>>,
    senders: Senders,
    /// Something was announced since what is being saved.
    is_dirty: bool,
    /// A task of its own: what an order writes meanwhile may wait for what this one holds.
    saving: Option<AbortOnDropHandle<Result<Saved, StoreError>>>,
}

/// What the store has.
struct Saved {
    outbox: Arc<NotificationQueue>,
    announced: AnnouncedGroups,
}

/// The senders; dropping them ends them.
#[derive(Default)]
struct Senders {
    tasks: JoinSet<()>,
    states: Vec<(Arc<str>, Arc<SenderState>)>,
}

impl<'a> Lead<'a> {
    /// Evaluates without an end.
    pub async fn run(all: &'a AlertService) {
        let mut lead = Self::begin(all).await;
        let (mut rules, mut endpoints) = (all.rules.clone(), all.endpoints.clone());
        let mut orders = all.desk.open();
        all.metrics.evaluating.set(1);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut standing = interval(STANDING_INTERVAL);
        standing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => lead.tick().await,
                _ = standing.tick() => lead.repeat_standing(),
                () = lead.evaluator.wait() => lead.evaluator.observe_changes().await,
                // This evaluation fails, too, and begins anew.
                Some(Err(failed)) = lead.senders.tasks.join_next() => resume_unwind(failed.into_panic()),
                Some(saved) = OptionFuture::from(lead.saving.as_mut()) => match saved {
                    Ok(saved) => lead.note_saved(saved),
                    Err(failed) => resume_unwind(failed.into_panic()),
                },
                Ok(()) = rules.changed() => {
                    let rules = rules.borrow_and_update().clone();
                    lead.set_rules(rules).await;
                }
                Ok(()) = endpoints.changed() => {
                    let endpoints = endpoints.borrow_and_update().clone();
                    lead.start_senders(&endpoints).await;
                }
                Some(order) = orders.recv() => lead.carry_out(order).await,
            }
        }
    }

    /// Takes what an earlier evaluation has announced, and reads every device.
    async fn begin(all: &'a AlertService) -> Self {
        let StoredAlerts { announced, outbox, positions, silences } = load(all).await;
        let rules = all.rules.clone().borrow_and_update().clone();
        let endpoints = all.endpoints.clone().borrow_and_update().clone();
        all.desk.announced().publish(stream::groups(&announced, &rules));
        let of_engine = Arc::new(with_silences(&rules, &silences));
        let mut engine = Engine::new(Arc::clone(&of_engine), now());
        engine.restore(now(), announced);
        let evaluator = Evaluator::new(all, engine, &of_engine);
        let mut lead = Self {
            all,
            evaluator,
            rules,
            silences,
            saved: watch::Sender::new(Arc::new(outbox.clone())),
            outbox,
            positions: Arc::new(Mutex::new(positions)),
            standing: watch::Sender::new(Arc::from([])),
            senders: Senders::default(),
            is_dirty: false,
            saving: None,
        };
        lead.start_senders(&endpoints).await;
        lead.evaluator.end_outages_of_others();
        lead.evaluator.observe_all().await;
        lead
    }

    async fn set_rules(&mut self, rules: Arc<RuleSet>) {
        tracing::info!(rules = rules.rules.len(), "the alert rules in the settings have changed");
        self.all.metrics.clear();
        self.rules = rules;
        self.apply_rules().await;
        self.is_dirty = true;
    }

    async fn apply_rules(&mut self) {
        let rules = with_silences(&self.rules, &self.silences);
        self.evaluator.set_rules(Arc::new(rules)).await;
    }

    /// One sender for each endpoint, anew.
    async fn start_senders(&mut self, endpoints: &[EndpointSettings]) {
        let names: BTreeSet<String> = endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
        let gone = {
            let mut positions = self.positions.lock();
            let gone: Vec<_> = positions.keys().filter(|name| !names.contains(*name)).cloned().collect();
            positions.retain(|name, _| names.contains(name));
            for name in names {
                positions.entry(name).or_insert(0);
            }
            gone
        };
        for name in gone {
            self.evaluator.engine.set_output(now(), &name, true);
            if let Err(error) = self.all.holder.set(&kept::position_name(&name), None).await {
                tracing::warn!(%error, "the position of a webhook that is no longer in the settings stays");
            }
        }
        let mut senders = Senders::default();
        for endpoint in endpoints {
            let state = Arc::new(SenderState::default());
            senders.states.push((endpoint.name.as_str().into(), Arc::clone(&state)));
            let sender = Sender {
                outbox: self.saved.subscribe(),
                standing: self.standing.subscribe(),
                positions: Arc::clone(&self.positions),
                holder: Arc::clone(&self.all.holder),
                source: Arc::clone(&self.all.source),
                desk: self.all.webhooks.clone(),
                metrics: self.all.metrics.of(&endpoint.name),
                endpoint: endpoint.clone(),
                state,
            };
            senders.tasks.spawn(sender.run());
        }
        self.senders = senders;
    }

    /// Lets the time pass.
    async fn tick(&mut self) {
        self.evaluator.observe_changes().await;
        self.evaluator.observe_health();
        self.observe_outputs();
        self.forget_silences().await;
        let notifications = self.evaluator.engine.advance(now());
        let positions = self.positions.lock().clone();
        self.outbox.drop_sent(&positions);
        for notification in &notifications {
            let (rule, group, status) = (&notification.rule, &notification.group, notification.status.word());
            let (firing, resolved) = (notification.firing_total, notification.resolved_total);
            tracing::info!(%rule, %group, firing, resolved, "{status}");
            let data = data::of_notification(notification, &self.rules.public_url);
            let dropped = self.outbox.add(notification, data, &positions);
            if dropped > 0 {
                tracing::error!(dropped, "too many notifications about alerts wait: the oldest are dropped");
                self.all.metrics.dropped.inc_by(dropped as u64);
            }
            self.is_dirty = true;
        }
        self.all.metrics.show(self.evaluator.engine.totals());
        self.save();
    }

    /// Has Alertmanager told what fires.
    fn repeat_standing(&mut self) {
        let is_wanted = |endpoint: &EndpointSettings| endpoint.format == Format::Alertmanager;
        if self.all.endpoints.borrow().iter().any(is_wanted) {
            let groups = standing::groups(&self.evaluator.engine.announced(), &self.rules, now().wall);
            self.standing.send_replace(groups.into());
        }
    }

    fn observe_outputs(&mut self) {
        let state = |(name, state): &(Arc<str>, Arc<SenderState>)| OutputState {
            name: name.clone(),
            works: state.works(),
        };
        let outputs: Vec<_> = self.senders.states.iter().map(state).collect();
        for OutputState { name, works } in &outputs {
            if let Some(works) = *works {
                self.evaluator.engine.set_output(now(), name, works);
            }
        }
        self.all.desk.set_outputs(outputs);
    }

    /// Begins to save what was announced and what is to be sent, unless that is going on: then it follows.
    fn save(&mut self) {
        if !self.is_dirty || self.saving.is_some() {
            return;
        }
        self.is_dirty = false;
        let announced = self.evaluator.engine.announced();
        let text = kept::announced_text(&announced, &self.outbox);
        let announced = stream::groups(&announced, &self.rules);
        let (holder, outbox) = (Arc::clone(&self.all.holder), Arc::new(self.outbox.clone()));
        self.saving = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let saved = holder.set(ANNOUNCED, Some(text)).await;
            if saved.is_err() {
                sleep(STORE_RETRY).await;
            }
            saved.map(|()| Saved { outbox, announced })
        })));
    }

    fn note_saved(&mut self, saved: Result<Saved, StoreError>) {
        self.saving = None;
        match saved {
            Ok(Saved { outbox, announced }) => {
                self.saved.send_replace(outbox);
                self.all.desk.announced().publish(announced);
            }
            Err(error) => {
                self.all.holder.log_wait(&error);
                self.is_dirty = true;
            }
        }
        self.save();
    }

    async fn forget_silences(&mut self) {
        let now_ms = now().wall.0;
        let before = self.silences.len();
        self.silences.retain(|silence| !silence.is_forgotten(now_ms));
        if self.silences.len() < before {
            self.apply_rules().await;
        }
    }

    async fn carry_out(&mut self, order: EvaluatorCommand) {
        // The request may have ended meanwhile, so nobody may want the answer.
        match order {
            EvaluatorCommand::List(query, answer) => {
                drop(answer.send(query.list(self.evaluator.engine.alerts(now()))))
            }
            EvaluatorCommand::Acknowledge(wanted, answer) => {
                let engine = &mut self.evaluator.engine;
                let is_done = engine.acknowledge(&wanted.rule, &wanted.group, wanted.until);
                self.is_dirty |= is_done;
                self.save();
                let _ = answer.send(is_done);
            }
            EvaluatorCommand::Silences(answer) => {
                drop(answer.send(SilenceList::of(&self.silences, &self.rules)))
            }
            EvaluatorCommand::Silence(silence, answer) => {
                let has_room = self.silences.len() < SILENCES_MAX;
                let silences = self.silences.iter().cloned().chain([silence]).collect();
                if !has_room || self.keep_silences(silences).await {
                    let _ = answer.send(has_room);
                }
            }
            EvaluatorCommand::EndSilence(id, answer) => {
                let others = self.silences.iter().filter(|silence| silence.id != id);
                let others: Vec<_> = others.cloned().collect();
                let was_there = others.len() < self.silences.len();
                if !was_there || self.keep_silences(others).await {
                    let _ = answer.send(was_there);
                }
            }
        }
    }

    /// Applies silences once the store has them. If it is away, the order is refused, so that the evaluation does not wait for it.
    async fn keep_silences(&mut self, silences: Vec<StoredSilence>) -> bool {
        let text = serde_json::to_string(&silences).expect("texts and numbers are JSON");
        if let Err(error) = self.all.holder.set(SILENCES, Some(text)).await {
            tracing::warn!(%error, "a silence is refused, because the store is away");
            return false;
        }
        self.silences = silences;
        self.apply_rules().await;
        true
    }
}

fn with_silences(rules: &RuleSet, silences: &[StoredSilence]) -> RuleSet {
    let mut rules = rules.clone();
    rules.silences.extend(silences.iter().map(StoredSilence::silence));
    rules
}

async fn load(all: &AlertService) -> StoredAlerts {
    loop {
        match all.holder.store().delivery_states().await {
            Ok(states) => return StoredAlerts::read(states),
            Err(error) => {
                all.holder.log_wait(&error);
                sleep(STORE_RETRY).await;
            }
        }
    }
}
