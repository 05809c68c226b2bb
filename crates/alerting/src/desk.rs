//! Between the API and the instance's evaluation: questions and orders, and whether rules are evaluated here.

use std::sync::Arc;

use alerts::{Alert, AlertState, AnnouncedAlert, MaintenanceWindow, RuleSet, Schedule, Silence, WallMillis};
use parking_lot::Mutex;
use store::Store;
use tokio::sync::{mpsc, oneshot, watch};

pub use crate::data::time_text;
use crate::kept::Kept;
pub use crate::silences::{KeptSilence, SILENCES_MAX};
use system::{clock, period};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Orders that may wait; one more is refused.
const ORDERS_MAX: usize = 64;

/// Alerts that one answer names at most.
pub const LIST_MAX: usize = 10_000;

/// Between the API and the evaluation. Cloning shares it.
#[derive(Clone, Default)]
pub struct AlertDesk(Arc<Mutex<DeskState>>);

#[derive(Default)]
struct DeskState {
    evaluation: Evaluation,
    orders: Option<mpsc::Sender<Order>>,
    /// What is asked where another instance evaluates.
    kept: Option<KeptSource>,
    /// Endpoints of webhooks that take no notification.
    failing: Vec<Arc<str>>,
}

/// What the store keeps, and the rules of the settings.
#[derive(Clone)]
struct KeptSource {
    store: Arc<dyn Store>,
    rules: watch::Receiver<Arc<RuleSet>>,
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

/// When nothing is announced: what was made by the API, by the settings, and the windows.
#[derive(Clone, Debug, Default)]
pub struct SilenceList {
    pub made: Vec<KeptSilence>,
    pub of_settings: Vec<KeptSilence>,
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
    pub(crate) fn of(made: &[KeptSilence], rules: &RuleSet) -> Self {
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
fn of_settings(silence: &Silence) -> KeptSilence {
    let Silence { selector, rules, span, author, comment } = silence;
    KeptSilence {
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
        kind: rule.map_or("service", |rule| rule.kind.word()),
        rule: alert.rule,
        device: alert.device,
        group: alert.group,
        state: AlertState::Firing,
        since: alert.since,
        suppressed_by: None,
        acknowledged_until: alert.acknowledged_until,
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
pub enum Order {
    List(AlertQuery, oneshot::Sender<AlertList>),
    /// The answer: whether something of the group was announced.
    Acknowledge(Acknowledgement, oneshot::Sender<bool>),
    Silences(oneshot::Sender<SilenceList>),
    /// The answer: whether there was room.
    Silence(KeptSilence, oneshot::Sender<bool>),
    /// Ends a silence; the answer: whether there was one.
    EndSilence(String, oneshot::Sender<bool>),
}

/// Why nobody can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// There are no rules, or they cannot be evaluated with these settings.
    Off,
    /// Another instance evaluates the rules, none does yet, or too many orders wait.
    NotHere,
}

impl AlertDesk {
    pub fn evaluation(&self) -> Evaluation {
        self.0.lock().evaluation
    }

    /// Endpoints of webhooks that take no notification.
    pub fn failing(&self) -> Vec<Arc<str>> {
        self.0.lock().failing.clone()
    }

    /// Asks the evaluation.
    pub async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, Unavailable> {
        let (orders, evaluation) = {
            let state = self.0.lock();
            (state.orders.clone(), state.evaluation)
        };
        let Some(orders) = orders else {
            return Err(match evaluation {
                Evaluation::Off => Unavailable::Off,
                Evaluation::Here | Evaluation::Starting | Evaluation::Elsewhere => Unavailable::NotHere,
            });
        };
        let (answer, answered) = oneshot::channel();
        orders.try_send(order(answer)).map_err(|_full| Unavailable::NotHere)?;
        answered.await.map_err(|_ended| Unavailable::NotHere)
    }

    /// The alerts that are asked for: where another instance evaluates, those that it has announced.
    pub async fn list(&self, query: AlertQuery) -> Result<AlertList, Unavailable> {
        match self.evaluation() {
            Evaluation::Off => Ok(AlertList::default()),
            Evaluation::Here => self.ask(|answer| Order::List(query, answer)).await,
            Evaluation::Starting | Evaluation::Elsewhere => {
                let (kept, rules) = self.read().await?;
                Ok(query.list(kept.announced.into_iter().map(|alert| announced(alert, &rules))))
            }
        }
    }

    /// When nothing is announced.
    pub async fn silences(&self) -> Result<SilenceList, Unavailable> {
        match self.evaluation() {
            Evaluation::Off => Ok(SilenceList::default()),
            Evaluation::Here => self.ask(Order::Silences).await,
            Evaluation::Starting | Evaluation::Elsewhere => {
                let (kept, rules) = self.read().await?;
                Ok(SilenceList::of(&kept.silences, &rules))
            }
        }
    }

    async fn read(&self) -> Result<(Kept, Arc<RuleSet>), Unavailable> {
        let source = self.0.lock().kept.clone();
        let KeptSource { store, rules } = source.ok_or(Unavailable::NotHere)?;
        let states = store.webhook_states().await.map_err(|_away| Unavailable::NotHere)?;
        let rules = rules.borrow().clone();
        Ok((Kept::read(states), rules))
    }

    /// Where the store and the rules are.
    pub(crate) fn attach(&self, store: Arc<dyn Store>, rules: watch::Receiver<Arc<RuleSet>>) {
        self.0.lock().kept = Some(KeptSource { store, rules });
    }

    pub(crate) fn set(&self, evaluation: Evaluation) {
        let mut state = self.0.lock();
        state.evaluation = evaluation;
        if evaluation != Evaluation::Here {
            (state.orders, state.failing) = (None, Vec::new());
        }
    }

    pub(crate) fn set_failing(&self, failing: Vec<Arc<str>>) {
        self.0.lock().failing = failing;
    }

    /// The evaluation takes orders from now on.
    pub(crate) fn open(&self) -> mpsc::Receiver<Order> {
        let (sender, receiver) = mpsc::channel(ORDERS_MAX);
        let mut state = self.0.lock();
        (state.evaluation, state.orders) = (Evaluation::Here, Some(sender));
        receiver
    }
}
