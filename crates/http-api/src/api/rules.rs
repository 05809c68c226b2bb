//! `/api/v1/rules`: the alert rules and contact policies of the settings, and where notifications can go.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use presence::query::Filter;
use serde::Serialize;

use crate::describe::{self, ToSchema};
use alerting::desk::Output;
use alerts::{ContactPolicy, Kind, Patience, Rule};
use http_views::context::Context;
use http_views::parameters::NoParameters;
use serving::error::Error;
use system::period;

#[derive(Serialize, ToSchema)]
pub struct Rules {
    /// Whether this instance evaluates the rules, as in the list of alerts.
    #[schema(example = "here")]
    evaluation: &'static str,
    /// How long after a start or a reconnect no clock runs.
    #[schema(example = "5m")]
    startup_grace: String,
    rules: Vec<RuleView>,
    /// The first whose selector admits a device applies to it.
    contacts: Vec<ContactView>,
    /// All endpoints of webhooks.
    outputs: Vec<OutputView>,
}

/// One rule. Times are written as in the settings.
#[derive(Serialize, ToSchema)]
#[schema(as = AlertRule)]
pub struct RuleView {
    name: String,
    #[schema(example = "offline_for")]
    kind: &'static str,
    #[serde(rename = "for")]
    #[schema(example = "10m")]
    hold: String,
    keep_firing_for: String,
    selector: SelectorView,
    exclude_causes: Vec<String>,
    #[schema(example = "type")]
    group_by: &'static str,
    group_wait: String,
    group_interval: String,
    /// `null`: never.
    repeat_interval: Option<String>,
    /// Names of outputs.
    webhooks: Vec<String>,
    #[serde(flatten)]
    threshold: ThresholdView,
}

/// What only some kinds have; `null` of the others.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = AlertThreshold)]
pub struct ThresholdView {
    window: Option<String>,
    start: Option<u32>,
    stop: Option<u32>,
    min_percent: Option<u8>,
    min_devices: Option<u32>,
    /// How many devices a `never_connected` rule lists.
    devices_total: Option<usize>,
}

/// Which devices: those that have one of the values of each that is not empty.
#[derive(Serialize, ToSchema)]
#[schema(as = Selector)]
pub struct SelectorView {
    types: Vec<String>,
    ids: Vec<String>,
    id_prefixes: Vec<String>,
    sources: Vec<String>,
}

/// How often devices are expected to be connected.
#[derive(Serialize, ToSchema)]
#[schema(as = ContactPolicy)]
pub struct ContactView {
    /// `permanent`, `periodic` or `ephemeral`.
    #[schema(example = "periodic")]
    policy: &'static str,
    /// Only with `periodic`.
    every: Option<String>,
    grace: Option<String>,
    selector: SelectorView,
}

/// An endpoint that notifications can go to.
#[derive(Serialize, ToSchema)]
#[schema(as = AlertOutput)]
pub struct OutputView {
    name: String,
    #[schema(example = "alertmanager")]
    format: &'static str,
    /// Whether it has accepted the newest notification; `null`: none was sent to it since the start, or another instance sends.
    works: Option<bool>,
}

impl From<&Filter> for SelectorView {
    fn from(filter: &Filter) -> Self {
        Self {
            types: filter.types.clone(),
            ids: filter.ids.clone(),
            id_prefixes: filter.id_prefixes.clone(),
            sources: filter.sources.clone(),
        }
    }
}

impl From<&Kind> for ThresholdView {
    fn from(kind: &Kind) -> Self {
        match kind {
            Kind::OfflineFor => Self::default(),
            Kind::Flapping(count) | Kind::DuplicateIdentity(count) | Kind::Refusals(count) => Self {
                window: Some(period::text(count.window)),
                start: Some(count.start),
                stop: Some(count.stop),
                ..Self::default()
            },
            Kind::FleetDrop(drop) => Self {
                window: Some(period::text(drop.window)),
                min_percent: Some(drop.min_percent),
                min_devices: Some(drop.min_devices),
                ..Self::default()
            },
            Kind::NeverConnected(devices) => Self { devices_total: Some(devices.len()), ..Self::default() },
        }
    }
}

impl From<&Rule> for RuleView {
    fn from(rule: &Rule) -> Self {
        Self {
            name: rule.name.to_string(),
            kind: rule.kind.word(),
            hold: period::text(rule.hold),
            keep_firing_for: period::text(rule.keep_firing_for),
            selector: SelectorView::from(&rule.selector),
            exclude_causes: rule.excluded_causes.clone(),
            group_by: rule.group_by.word(),
            group_wait: period::text(rule.group_wait),
            group_interval: period::text(rule.group_interval),
            repeat_interval: rule.repeat_interval.map(period::text),
            webhooks: rule.webhooks.iter().map(|name| name.to_string()).collect(),
            threshold: ThresholdView::from(&rule.kind),
        }
    }
}

impl From<&ContactPolicy> for ContactView {
    fn from(contact: &ContactPolicy) -> Self {
        let (every, grace): (Option<Duration>, _) = match contact.patience {
            Patience::Periodic { every, grace } => (Some(every), Some(grace)),
            Patience::Permanent | Patience::Ephemeral => (None, None),
        };
        Self {
            policy: contact.patience.word(),
            every: every.map(period::text),
            grace: grace.map(period::text),
            selector: SelectorView::from(&contact.selector),
        }
    }
}

impl From<Output> for OutputView {
    fn from(Output { name, format, works }: Output) -> Self {
        Self { name, format, works }
    }
}

/// Alert rules
///
/// The rules and contact policies of the settings, which can only be changed there, and the endpoints that notifications can
/// go to.
#[describe::path(
    get,
    path = "/api/v1/rules",
    operation_id = "rules",
    tag = "alerts",
    responses(
        (status = 200, description = "As the settings have them", body = Rules),
        (status = 503, description = "Nobody can be asked at present", body = serving::error::Problem, content_type = "application/problem+json")
    )
)]
pub async fn list(State(context): State<Context>, _: NoParameters) -> Result<Json<Rules>, Error> {
    let found = context.alerts.rules().await?;
    Ok(Json(Rules {
        evaluation: context.alerts.evaluation().word(),
        startup_grace: period::text(found.rules.startup_grace),
        rules: found.rules.rules.iter().map(RuleView::from).collect(),
        contacts: found.rules.contacts.iter().map(ContactView::from).collect(),
        outputs: found.outputs.into_iter().map(OutputView::from).collect(),
    }))
}
