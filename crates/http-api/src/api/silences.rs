//! `/api/v1/silences`: when nothing is announced: silences of the settings and those that were made here, and windows.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use super::alerts::end_of;
use super::rules::SelectorView;
use crate::describe::{self, ToSchema};
use alerting::desk::{EvaluatorCommand, ShownWindow, StoredSilence, time_text};
use alerts::WallMillis;
use http_views::context::Context;
use http_views::parameters::{NoParameters, Parameters};
use server::clock;
use serving::error::Error;

const KNOWN: &[&str] =
    &["type", "id", "id_prefix", "source", "rule", "from", "for", "until", "author", "comment"];

/// The longest silence.
const SILENCE_MAX: Duration = Duration::from_secs(730 * 86_400);
/// The longest text, and the most values of one parameter: each silence is kept and compared with every alert.
const TEXT_MAX_BYTES: usize = 1_000;
const VALUES_MAX: usize = 100;

#[derive(Serialize, ToSchema)]
pub struct Silences {
    silences: Vec<SilenceView>,
    /// The windows of the settings.
    windows: Vec<WindowView>,
}

/// One silence.
#[derive(Serialize, ToSchema)]
#[schema(as = Silence)]
pub struct SilenceView {
    /// `null`: it is in the settings.
    id: Option<String>,
    /// Of which devices; empty: any.
    types: Vec<String>,
    ids: Vec<String>,
    id_prefixes: Vec<String>,
    sources: Vec<String>,
    /// Of which rules; empty: of all.
    rules: Vec<String>,
    from: String,
    until: String,
    /// Whether it silences now.
    active: bool,
    author: String,
    comment: String,
}

/// A maintenance window.
#[derive(Serialize, ToSchema)]
#[schema(as = MaintenanceWindow)]
pub struct WindowView {
    name: String,
    #[schema(example = "sun 02:00:00 for 3h Europe/Berlin")]
    schedule: String,
    open: bool,
    /// Of which devices.
    selector: SelectorView,
}

/// The id of a silence that was made.
#[derive(Serialize, ToSchema)]
pub struct MadeSilence {
    id: String,
}

impl From<StoredSilence> for SilenceView {
    fn from(silence: StoredSilence) -> Self {
        let now_ms = clock::now_millis();
        Self {
            id: Some(silence.id).filter(|id| !id.is_empty()),
            types: silence.types,
            ids: silence.ids,
            id_prefixes: silence.id_prefixes,
            sources: silence.sources,
            rules: silence.rules,
            from: time_text(WallMillis(silence.from_ms)),
            until: time_text(WallMillis(silence.until_ms)),
            active: (silence.from_ms..silence.until_ms).contains(&now_ms),
            author: silence.author,
            comment: silence.comment,
        }
    }
}

impl From<ShownWindow> for WindowView {
    fn from(window: ShownWindow) -> Self {
        Self {
            schedule: window.schedule(),
            open: window.is_open,
            selector: SelectorView::from(&window.window.selector),
            name: window.window.name,
        }
    }
}

/// Silences and maintenance windows
#[describe::path(
    get,
    path = "/api/v1/silences",
    operation_id = "silences",
    tag = "alerts",
    responses(
        (status = 200, description = "Those of the settings and those that were made here, until a day after their end", body = Silences),
        (status = 503, description = "Nobody can be asked at present", body = serving::error::Problem, content_type = "application/problem+json")
    )
)]
pub async fn list(State(context): State<Context>, _: NoParameters) -> Result<Json<Silences>, Error> {
    let found = context.alerts.silences().await?;
    let silences = found.of_settings.into_iter().chain(found.made);
    Ok(Json(Silences {
        silences: silences.map(SilenceView::from).collect(),
        windows: found.windows.into_iter().map(WindowView::from).collect(),
    }))
}

/// Makes a silence
///
/// Alerts that it is about are evaluated and not announced. It is kept in the store.
#[describe::path(
    post,
    path = "/api/v1/silences",
    operation_id = "silence",
    tag = "alerts",
    params(
        ("type" = Option<Vec<String>>, Query, description = "Only devices of this type; may be given more than once, as may `id`, `id_prefix`, `source` and `rule`"),
        ("id" = Option<Vec<String>>, Query, description = "Only devices with this id"),
        ("id_prefix" = Option<Vec<String>>, Query, description = "Only devices whose id begins so"),
        ("source" = Option<Vec<String>>, Query, description = "Only devices of this source"),
        ("rule" = Option<Vec<String>>, Query, description = "Only alerts of this rule"),
        ("from" = Option<String>, Query, description = "From when on (RFC 3339); by default from now"),
        ("for" = Option<String>, Query, description = "How long, like `2h`"),
        ("until" = Option<String>, Query, description = "In its place, until when (RFC 3339)"),
        ("author" = Option<String>, Query, description = "Who wants it"),
        ("comment" = Option<String>, Query, description = "Why")
    ),
    responses(
        (status = 200, description = "It is made", body = MadeSilence),
        (status = 409, description = "There are as many as may be, or no rules are evaluated", body = serving::error::Problem, content_type = "application/problem+json"),
        (status = 503, description = "Another instance evaluates the rules", body = serving::error::Problem, content_type = "application/problem+json")
    )
)]
pub async fn silence(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<Json<MadeSilence>, Error> {
    let parameters = Parameters::read(query.as_deref(), KNOWN)?;
    let from = parameters.parse("from", "a time, as in 2026-11-24T12:00:00Z", |text| {
        Some(WallMillis(text.parse::<Timestamp>().ok()?.as_millisecond()))
    })?;
    let from = from.unwrap_or(WallMillis(clock::now_millis()));
    let until = end_of(&parameters, from, SILENCE_MAX)?;
    let id = StoredSilence::random_id();
    let silence = StoredSilence {
        id: id.clone(),
        types: texts(&parameters, "type")?,
        ids: texts(&parameters, "id")?,
        id_prefixes: texts(&parameters, "id_prefix")?,
        sources: texts(&parameters, "source")?,
        rules: texts(&parameters, "rule")?,
        from_ms: from.0,
        until_ms: until.0,
        author: text(&parameters, "author")?,
        comment: text(&parameters, "comment")?,
    };
    match context.alerts.ask(|answer| EvaluatorCommand::Silence(silence, answer)).await {
        Ok(true) => Ok(Json(MadeSilence { id })),
        Ok(false) => Err(Error::TooManySilences),
        Err(unavailable) => Err(unavailable.into()),
    }
}

/// Ends a silence
#[describe::path(
    delete,
    path = "/api/v1/silences/{id}",
    operation_id = "end_silence",
    tag = "alerts",
    params(("id" = String, Path, description = "The id of a silence that was made here")),
    responses(
        (status = 204, description = "It is ended"),
        (status = 404, description = "There is no such silence, or it is in the settings", body = serving::error::Problem, content_type = "application/problem+json"),
        (status = 409, description = "No rules are evaluated", body = serving::error::Problem, content_type = "application/problem+json"),
        (status = 503, description = "Another instance evaluates the rules", body = serving::error::Problem, content_type = "application/problem+json")
    )
)]
pub async fn end(
    State(context): State<Context>,
    Path(id): Path<String>,
    _: NoParameters,
) -> Result<StatusCode, Error> {
    match context.alerts.ask(|answer| EvaluatorCommand::EndSilence(id, answer)).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(Error::NotFound),
        Err(unavailable) => Err(unavailable.into()),
    }
}

fn texts(parameters: &Parameters, name: &'static str) -> Result<Vec<String>, Error> {
    let values: Vec<String> = parameters.all(name).map(str::to_owned).collect();
    let is_fit = |value: &String| !value.is_empty() && value.len() <= TEXT_MAX_BYTES;
    if values.len() <= VALUES_MAX && values.iter().all(is_fit) {
        return Ok(values);
    }
    let expected = format!("at most {VALUES_MAX} texts of 1 to {TEXT_MAX_BYTES} bytes");
    Err(Error::bad_parameter(name, expected))
}

fn text(parameters: &Parameters, name: &'static str) -> Result<String, Error> {
    let text = parameters.parse(name, format!("a text of at most {TEXT_MAX_BYTES} bytes"), |text| {
        (text.len() <= TEXT_MAX_BYTES).then(|| text.to_owned())
    })?;
    Ok(text.unwrap_or_default())
}
