//! `/api/v1/alerts`: what is pending and what fires, and which groups are acknowledged.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use crate::describe::{self, ToSchema};
use alerting::desk::{Acknowledgement, AlertQuery, EvaluatorCommand, LIST_MAX, time_text};
use alerts::{Alert, AlertState, WallMillis};
use http_views::context::Context;
use http_views::events::AlertDevice;
use http_views::parameters::Parameters;
use server::clock;
use serving::error::Error;
use system::period;

const LISTED: &[&str] = &["rule", "group", "type", "state", "limit"];
const ACKNOWLEDGED: &[&str] = &["rule", "group", "for", "until"];

/// Alerts of one answer, if nothing is said of it.
const LIMIT: usize = 1_000;

/// The longest acknowledgement: what nobody looks at for so long is to be announced again.
const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(90 * 86_400);

#[derive(Serialize, ToSchema)]
pub struct Alerts {
    /// Whether this instance evaluates the rules: `here`, `starting`, `elsewhere` (another instance does; the answer shows what it
    /// has announced), or `off` (there are no rules).
    #[schema(example = "here")]
    evaluation: &'static str,
    /// How many there are.
    total: usize,
    /// Those that fire first, of each state the oldest first.
    alerts: Vec<AlertView>,
}

/// One alert.
#[derive(Serialize, ToSchema)]
#[schema(as = Alert)]
pub struct AlertView {
    rule: String,
    #[schema(example = "offline_for")]
    kind: &'static str,
    /// `null`: it is about the group.
    device: Option<AlertDevice>,
    group: String,
    /// `pending` or `firing`.
    #[schema(example = "firing")]
    state: &'static str,
    /// When what it is about began.
    since: String,
    /// Why it is not announced, or its clock does not run: `stale`, `population`, `startup`, `fleet_drop`, `flapping`,
    /// `maintenance` or `silence`.
    suppressed_by: Option<&'static str>,
    /// Until then its group is not announced again because nothing has changed.
    acknowledged_until: Option<String>,
    /// A rule has 10,000 alerts at most; beyond them one about the group stands for so many devices. 0 of the others, and where
    /// another instance evaluates.
    further_devices: usize,
}

impl From<Alert> for AlertView {
    fn from(alert: Alert) -> Self {
        Self {
            rule: alert.rule.to_string(),
            kind: alert.kind,
            device: alert.device.as_deref().map(AlertDevice::from),
            group: alert.group.to_string(),
            state: state_word(alert.state),
            since: time_text(alert.since),
            suppressed_by: alert.suppressed_by.map(|reason| reason.word()),
            acknowledged_until: alert.acknowledged_until.map(time_text),
            further_devices: alert.further_devices,
        }
    }
}

fn state_word(state: AlertState) -> &'static str {
    match state {
        AlertState::Pending => "pending",
        AlertState::Firing => "firing",
        AlertState::Resolved => "resolved",
    }
}

/// Alerts
#[describe::path(
    get,
    path = "/api/v1/alerts",
    operation_id = "alerts",
    tag = "alerts",
    params(
        ("rule" = Option<Vec<String>>, Query, description = "Only alerts of this rule; may be given more than once, as may `group`, `type` and `state`"),
        ("group" = Option<Vec<String>>, Query, description = "Only alerts of this group"),
        ("type" = Option<Vec<String>>, Query, description = "Only alerts of devices of this type"),
        ("state" = Option<Vec<String>>, Query, description = "`pending` or `firing`"),
        ("limit" = Option<usize>, Query, description = "So many at most, 1 to 10,000; by default 1,000")
    ),
    responses(
        (status = 200, description = "What is pending and what fires", body = Alerts),
        (status = 503, description = "Nobody can be asked at present", body = serving::error::Problem, content_type = "application/problem+json")
    )
)]
pub async fn list(State(context): State<Context>, RawQuery(query): RawQuery) -> Result<Json<Alerts>, Error> {
    let parameters = Parameters::read(query.as_deref(), LISTED)?;
    let all = |name| parameters.all(name).map(str::to_owned).collect::<Vec<_>>();
    let state = |word: &str| {
        [AlertState::Pending, AlertState::Firing].into_iter().find(|state| state_word(*state) == word)
    };
    let states: Option<Vec<_>> = parameters.all("state").map(state).collect();
    let limit = parameters.parse("limit", format!("a whole number from 1 to {LIST_MAX}"), |text| {
        text.parse().ok().filter(|limit| (1..=LIST_MAX).contains(limit))
    })?;
    let query = AlertQuery {
        rules: all("rule"),
        groups: all("group"),
        types: all("type"),
        states: states.ok_or_else(|| Error::bad_parameter("state", "pending or firing"))?,
        limit: limit.unwrap_or(LIMIT),
    };
    let found = context.alerts.list(query).await?;
    Ok(Json(Alerts {
        evaluation: context.alerts.evaluation().word(),
        total: found.total,
        alerts: found.alerts.into_iter().map(AlertView::from).collect(),
    }))
}

/// Acknowledges a group of alerts
///
/// Until then it is not announced again because nothing has changed; new alerts of the group are announced.
#[describe::path(
    post,
    path = "/api/v1/alerts/acknowledgement",
    operation_id = "acknowledge_alerts",
    tag = "alerts",
    params(
        ("rule" = String, Query, description = "The name of the rule"),
        ("group" = Option<String>, Query, description = "The group, as the alert has it; by default the one of a rule without groups"),
        ("for" = Option<String>, Query, description = "How long, like `4h`, at most 90d"),
        ("until" = Option<String>, Query, description = "In its place, until when (RFC 3339)")
    ),
    responses(
        (status = 204, description = "It is acknowledged"),
        (status = 404, description = "Nothing of the group was announced", body = serving::error::Problem, content_type = "application/problem+json"),
        (status = 409, description = "No rules are evaluated", body = serving::error::Problem, content_type = "application/problem+json"),
        (status = 503, description = "Another instance evaluates the rules", body = serving::error::Problem, content_type = "application/problem+json")
    )
)]
pub async fn acknowledge(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, Error> {
    let parameters = Parameters::read(query.as_deref(), ACKNOWLEDGED)?;
    let until = end_of(&parameters, WallMillis(clock::now_millis()), ACKNOWLEDGED_MAX)?;
    set_acknowledged(&context, &parameters, Some(until)).await
}

/// Takes an acknowledgement back
#[describe::path(
    delete,
    path = "/api/v1/alerts/acknowledgement",
    operation_id = "end_acknowledgement",
    tag = "alerts",
    params(
        ("rule" = String, Query, description = "The name of the rule"),
        ("group" = Option<String>, Query, description = "The group")
    ),
    responses(
        (status = 204, description = "It is acknowledged no longer"),
        (status = 404, description = "Nothing of the group was announced", body = serving::error::Problem, content_type = "application/problem+json"),
        (status = 409, description = "No rules are evaluated", body = serving::error::Problem, content_type = "application/problem+json"),
        (status = 503, description = "Another instance evaluates the rules", body = serving::error::Problem, content_type = "application/problem+json")
    )
)]
pub async fn end_acknowledgement(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, Error> {
    let parameters = Parameters::read(query.as_deref(), &ACKNOWLEDGED[..2])?;
    set_acknowledged(&context, &parameters, None).await
}

async fn set_acknowledged(
    context: &Context,
    parameters: &Parameters,
    until: Option<WallMillis>,
) -> Result<StatusCode, Error> {
    let rule = parameters.one("rule")?.ok_or_else(|| Error::bad_parameter("rule", "given"))?.to_owned();
    let group = parameters.one("group")?.unwrap_or_default().to_owned();
    let wanted = Acknowledgement { rule, group, until };
    let is_done = context.alerts.ask(|answer| EvaluatorCommand::Acknowledge(wanted, answer)).await?;
    if is_done { Ok(StatusCode::NO_CONTENT) } else { Err(Error::NotFound) }
}

/// The end of what begins then, by `for` or `until`.
pub fn end_of(parameters: &Parameters, from: WallMillis, longest: Duration) -> Result<WallMillis, Error> {
    let longest_ms = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
    let length = format!("a time from 1s to {}, like 4h", period::text(longest));
    let length = parameters.parse("for", length, |text| {
        let length = i64::try_from(period::parse(text)?.as_millis()).ok()?;
        (1..=longest_ms).contains(&length).then_some(length)
    })?;
    let expected = format!(
        "a time after its beginning, at most {} later, as in 2026-11-24T12:00:00Z",
        period::text(longest)
    );
    let until = parameters.parse("until", expected, |text| {
        let until = text.parse::<Timestamp>().ok()?.as_millisecond();
        (1..=longest_ms).contains(&until.saturating_sub(from.0)).then_some(WallMillis(until))
    })?;
    match (length, until) {
        (Some(length), None) => Ok(WallMillis(from.0.saturating_add(length))),
        (None, Some(until)) => Ok(until),
        (None, None) | (Some(_), Some(_)) => Err(Error::bad_parameter("until", "given, or for in its place")),
    }
}
