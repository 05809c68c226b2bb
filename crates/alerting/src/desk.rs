//! Between the API and the instance's evaluation: questions and orders, and whether rules are evaluated here.

use std::sync::Arc;

use alerts::{Alert, AlertState, MaintenanceWindow, WallMillis};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

pub use crate::data::time_text;
use crate::silences::KeptSilence;
pub use crate::silences::{KeptSilence as SilenceEntry, SILENCES_MAX};

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
    /// Endpoints of webhooks that take no notification.
    failing: Vec<Arc<str>>,
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

/// The rules are not evaluated here, or too many orders wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHere;

impl AlertDesk {
    pub fn evaluation(&self) -> Evaluation {
        self.0.lock().evaluation
    }

    /// Endpoints of webhooks that take no notification.
    pub fn failing(&self) -> Vec<Arc<str>> {
        self.0.lock().failing.clone()
    }

    /// Asks the evaluation.
    pub async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, NotHere> {
        let orders = self.0.lock().orders.clone().ok_or(NotHere)?;
        let (answer, answered) = oneshot::channel();
        orders.try_send(order(answer)).map_err(|_full| NotHere)?;
        answered.await.map_err(|_ended| NotHere)
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
