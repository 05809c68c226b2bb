//! Between the API and the instance's evaluation: questions and orders, and whether rules are evaluated here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alerts::{
    Alert, AlertState, AnnouncedAlert, ContactPolicy, MaintenanceWindow, OUTPUT_RULE, RuleSet, Schedule,
    Silence, WallMillis,
};
use parking_lot::Mutex;
use store::Store;
use tokio::sync::{mpsc, oneshot, watch};

pub use crate::data::{key_text, list_path, time_text};
use crate::kept::StoredAlerts;
pub use crate::silences::{SILENCES_MAX, StoredSilence};
use crate::standing;
use crate::stream::{self, AlertReader, AnnouncedWatch};
use system::{clock, period};
use webhooks::settings::EndpointSettings;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Orders that may wait; one more is refused.
const ORDERS_MAX: usize = 64;

/// Alerts that one answer names at most.
pub const LIST_MAX: usize = 10_000;

/// Between the API and the evaluation. Cloning shares it.
#[derive(Clone, Default)]
pub struct AlertDesk {
    state: Arc<Mutex<DeskState>>,
    announced: Arc<AnnouncedWatch>,
    contacts: Arc<Contacts>,
}

/// The contact policies of the settings. Lookups ask for them, so where there are none that costs one read of a flag.
#[derive(Default)]
struct Contacts {
    is_any: AtomicBool,
    policies: Mutex<Arc<[ContactPolicy]>>,
}

#[derive(Default)]
struct DeskState {
    evaluation: Evaluation,
    orders: Option<mpsc::Sender<EvaluatorCommand>>,
    /// What is asked where another instance evaluates.
    sources: Option<EvaluatorInputs>,
    /// Of each endpoint of webhooks, whether it takes notifications.
    outputs: Vec<OutputState>,
}

/// What the store keeps, and what is in the settings.
#[derive(Clone)]
pub(crate) struct EvaluatorInputs {
    pub store: Arc<dyn Store>,
    pub rules: watch::Receiver<Arc<RuleSet>>,
    pub endpoints: watch::Receiver<Vec<EndpointSettings>>,
}

/// Whether an endpoint takes notifications; `None`: that is not known here.
#[derive(Clone, Debug)]
pub(crate) struct OutputState {
    pub name: Arc<str>,
    pub works: Option<bool>,
}

/// Whether this instance evaluates the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evaluation {
    /// There are no rules, or `--map-limit` holds only some of the devices.
    #[default]
    Off,
    /// The devices are being read.
    Starting,
    Here,
    /// Another instance evaluates, or the store is away.
    Elsewhere,
}

impl Evaluation {
    pub fn word(self) -> &'static str {
        match self {
            Evaluation::Off => "off",
            Evaluation::Starting => "starting",
            Evaluation::Here => "here",
            Evaluation::Elsewhere => "elsewhere",
        }
    }
}

/// Which alerts are asked for.
#[derive(Clone, Debug, Default)]
pub struct AlertQuery {
    /// Empty: of all.
    pub rules: Vec<String>,
    pub groups: Vec<String>,
    pub types: Vec<String>,
    pub states: Vec<AlertState>,
    /// How many are shown.
    pub limit: usize,
}

/// The alerts that there are.
#[derive(Clone, Debug, Default)]
pub struct AlertList {
    /// Those that fire first, of each state the oldest first.
    pub alerts: Vec<Alert>,
    pub total: usize,
}

impl AlertQuery {
    /// The alerts that are asked for, of all.
    pub(crate) fn list(&self, alerts: impl Iterator<Item = Alert>) -> AlertList {
        let mut alerts: Vec<Alert> = alerts.filter(|alert| self.admits(alert)).collect();
        let total = alerts.len();
        alerts.sort_by_cached_key(|alert| {
            let is_pending = alert.state == AlertState::Pending;
            (is_pending, alert.since, alert.rule.clone(), alert.device.clone(), alert.group.clone())
        });
        alerts.truncate(self.limit.min(LIST_MAX));
        AlertList { alerts, total }
    }

    fn admits(&self, alert: &Alert) -> bool {
        let is_any = |wanted: &[String], is: &str| wanted.is_empty() || wanted.iter().any(|one| one == is);
        let of_type = || alert.device.as_ref().is_some_and(|device| is_any(&self.types, &device.device_type));
        is_any(&self.rules, &alert.rule)
            && is_any(&self.groups, &alert.group)
            && (self.types.is_empty() || of_type())
            && (self.states.is_empty() || self.states.contains(&alert.state))
    }
}

/// The rules of the settings, and where their notifications can go.
#[derive(Clone, Debug, Default)]
pub struct RuleList {
    pub rules: Arc<RuleSet>,
    pub outputs: Vec<Output>,
}

/// An endpoint of webhooks.
#[derive(Clone, Debug)]
pub struct Output {
    pub name: String,
    pub format: &'static str,
    /// Whether it has taken the newest notification; `None`: none was sent to it, or another instance sends.
    pub works: Option<bool>,
}

/// When nothing is announced: what was made by the API, by the settings, and the windows.
#[derive(Clone, Debug, Default)]
pub struct SilenceList {
    pub made: Vec<StoredSilence>,
    pub of_settings: Vec<StoredSilence>,
    pub windows: Vec<ShownWindow>,
}

/// A maintenance window.
#[derive(Clone, Debug)]
pub struct ShownWindow {
    pub window: MaintenanceWindow,
    pub is_open: bool,
}

impl ShownWindow {
    /// When it is open, for a person.
    pub fn schedule(&self) -> String {
        match &self.window.schedule {
            Schedule::Once(span) => format!("{} to {}", time_text(span.from), time_text(span.until)),
            Schedule::Weekly { days, start, duration, zone } => {
                let days: Vec<&str> =
                    days.iter().map(|day| DAYS[day.to_monday_zero_offset() as usize]).collect();
                let zone = zone.iana_name().unwrap_or_default();
                format!("{} {start:.0} for {} {zone}", days.join(" "), period::text(*duration))
            }
        }
    }
}

impl SilenceList {
    pub(crate) fn of(made: &[StoredSilence], rules: &RuleSet) -> Self {
        let at = WallMillis(clock::now_millis());
        let windows = rules.windows.iter().map(|window| {
            let is_open = window.schedule.is_open(at);
            ShownWindow { window: window.clone(), is_open }
        });
        Self {
            made: made.to_vec(),
            of_settings: rules.silences.iter().map(of_settings).collect(),
            windows: windows.collect(),
        }
    }
}

/// A silence of the settings, which has no id.
fn of_settings(silence: &Silence) -> StoredSilence {
    let Silence { selector, rules, span, author, comment } = silence;
    StoredSilence {
        id: String::new(),
        types: selector.types.clone(),
        ids: selector.ids.clone(),
        id_prefixes: selector.id_prefixes.clone(),
        sources: selector.sources.clone(),
        rules: rules.iter().map(|rule| rule.to_string()).collect(),
        from_ms: span.from.0,
        until_ms: span.until.0,
        author: author.clone(),
        comment: comment.clone(),
    }
}

/// An alert that another instance has announced.
fn announced(alert: AnnouncedAlert, rules: &RuleSet) -> Alert {
    let rule = rules.rules.iter().find(|rule| rule.name == alert.rule);
    Alert {
        kind: standing::kind(&alert.rule, rule),
        rule: alert.rule,
        device: alert.device,
        group: alert.group,
        state: AlertState::Firing,
        since: alert.since,
        suppressed_by: None,
        acknowledged_until: alert.acknowledged_until,
        further_devices: 0,
    }
}

/// Which alerts are acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub rule: String,
    pub group: String,
    /// `None`: no longer.
    pub until: Option<WallMillis>,
}

/// What is asked of the evaluation, and where the answer goes.
pub enum EvaluatorCommand {
    List(AlertQuery, oneshot::Sender<AlertList>),
    /// The answer: whether something of the group was announced.
    Acknowledge(Acknowledgement, oneshot::Sender<bool>),
    Silences(oneshot::Sender<SilenceList>),
    /// The answer: whether there was room.
    Silence(StoredSilence, oneshot::Sender<bool>),
    /// Ends a silence; the answer: whether there was one.
    EndSilence(String, oneshot::Sender<bool>),
}

/// Why nobody can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluatorUnavailable {
    /// There are no rules, or they cannot be evaluated with these settings.
    Off,
    /// Another instance evaluates the rules, none does yet, or too many orders wait.
    NotHere,
}

impl AlertDesk {
    pub fn evaluation(&self) -> Evaluation {
        self.state.lock().evaluation
    }

    /// Endpoints of webhooks that take no notification.
    pub fn failing(&self) -> Vec<Arc<str>> {
        let state = self.state.lock();
        let failing = state.outputs.iter().filter(|output| output.works == Some(false));
        failing.map(|output| output.name.clone()).collect()
    }

    /// Asks the evaluation.
    pub async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> EvaluatorCommand,
    ) -> Result<T, EvaluatorUnavailable> {
        let (orders, evaluation) = {
            let state = self.state.lock();
            (state.orders.clone(), state.evaluation)
        };
        let Some(orders) = orders else {
            return Err(match evaluation {
                Evaluation::Off => EvaluatorUnavailable::Off,
                Evaluation::Here | Evaluation::Starting | Evaluation::Elsewhere => {
                    EvaluatorUnavailable::NotHere
                }
            });
        };
        let (answer, answered) = oneshot::channel();
        orders.try_send(order(answer)).map_err(|_full| EvaluatorUnavailable::NotHere)?;
        answered.await.map_err(|_ended| EvaluatorUnavailable::NotHere)
    }

    /// The alerts that are asked for: where another instance evaluates, those that it has announced.
    pub async fn list(&self, query: AlertQuery) -> Result<AlertList, EvaluatorUnavailable> {
        match self.evaluation() {
            Evaluation::Off => Ok(AlertList::default()),
            Evaluation::Here => self.ask(|answer| EvaluatorCommand::List(query, answer)).await,
            Evaluation::Starting | Evaluation::Elsewhere => {
                let (kept, rules) = self.read().await?;
                Ok(query.list(kept.announced.into_iter().map(|alert| announced(alert, &rules))))
            }
        }
    }

    /// When nothing is announced.
    pub async fn silences(&self) -> Result<SilenceList, EvaluatorUnavailable> {
        match self.evaluation() {
            Evaluation::Off => Ok(SilenceList::default()),
            Evaluation::Here => self.ask(EvaluatorCommand::Silences).await,
            Evaluation::Starting | Evaluation::Elsewhere => {
                let (kept, rules) = self.read().await?;
                Ok(SilenceList::of(&kept.silences, &rules))
            }
        }
    }

    /// The rules and the endpoints. Where another instance evaluates, those are failing that it has announced as such.
    pub async fn rules(&self) -> Result<RuleList, EvaluatorUnavailable> {
        let (sources, mut states) = {
            let state = self.state.lock();
            (state.sources.clone(), state.outputs.clone())
        };
        let Some(EvaluatorInputs { rules, endpoints, .. }) = sources else { return Ok(RuleList::default()) };
        if matches!(self.evaluation(), Evaluation::Starting | Evaluation::Elsewhere) {
            let announced = self.read().await?.0.announced.into_iter();
            let failing = announced.filter(|alert| *alert.rule == *OUTPUT_RULE);
            states = failing.map(|alert| OutputState { name: alert.group, works: Some(false) }).collect();
        }
        let works = |name: &str| states.iter().find(|output| *output.name == *name)?.works;
        let output = |endpoint: &EndpointSettings| {
            let (name, format) = (endpoint.name.clone(), endpoint.format.word());
            Output { works: works(&name), format, name }
        };
        let outputs = endpoints.borrow().iter().map(output).collect();
        Ok(RuleList { rules: rules.borrow().clone(), outputs })
    }

    async fn read(&self) -> Result<(StoredAlerts, Arc<RuleSet>), EvaluatorUnavailable> {
        let sources = self.state.lock().sources.clone();
        let EvaluatorInputs { store, rules, .. } = sources.ok_or(EvaluatorUnavailable::NotHere)?;
        let states = store.delivery_states().await.map_err(|_away| EvaluatorUnavailable::NotHere)?;
        let rules = rules.borrow().clone();
        Ok((StoredAlerts::read(states), rules))
    }

    /// Where the store, the rules and the endpoints are.
    pub(crate) fn attach(&self, sources: EvaluatorInputs) {
        self.state.lock().sources = Some(sources);
    }

    /// The contact policies of the settings; `None`: there are none.
    pub fn contacts(&self) -> Option<Arc<[ContactPolicy]>> {
        let is_any = self.contacts.is_any.load(Ordering::Acquire);
        is_any.then(|| Arc::clone(&self.contacts.policies.lock()))
    }

    pub(crate) fn set_contacts(&self, policies: Arc<[ContactPolicy]>) {
        let is_any = !policies.is_empty();
        *self.contacts.policies.lock() = policies;
        self.contacts.is_any.store(is_any, Ordering::Release);
    }

    /// What is announced, from now on, at every instance.
    pub fn follow(&self) -> AlertReader {
        self.announced.reader()
    }

    /// Where this instance says what is announced.
    pub(crate) fn announced(&self) -> &AnnouncedWatch {
        &self.announced
    }

    /// Says what is announced where another instance evaluates, if somebody wants to know it.
    pub(crate) async fn follow_others(&self) {
        if !self.announced.has_readers() {
            return self.announced.forget();
        }
        // While the store is away, nothing is announced.
        if let Ok((kept, rules)) = self.read().await {
            self.announced.publish(stream::groups(&kept.announced, &rules));
        }
    }

    pub(crate) fn set(&self, evaluation: Evaluation) {
        let mut state = self.state.lock();
        state.evaluation = evaluation;
        if evaluation != Evaluation::Here {
            (state.orders, state.outputs) = (None, Vec::new());
        }
    }

    pub(crate) fn set_outputs(&self, outputs: Vec<OutputState>) {
        self.state.lock().outputs = outputs;
    }

    /// The evaluation takes orders from now on.
    pub(crate) fn open(&self) -> mpsc::Receiver<EvaluatorCommand> {
        let (sender, receiver) = mpsc::channel(ORDERS_MAX);
        let mut state = self.state.lock();
        (state.evaluation, state.orders) = (Evaluation::Here, Some(sender));
        receiver
    }
}
