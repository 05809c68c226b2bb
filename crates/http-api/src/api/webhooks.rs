//! `/api/v1/webhooks`: the state of the deliveries to each endpoint, and the orders that an administrator can give.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, Path, RawQuery, State};
use axum::http::request::Parts;
use jiff::Timestamp;
use presence::UnixSeconds;
use serde::{Deserialize, Serialize};
use system::clock::now_millis;
use tokio::time::timeout;
use webhooks::desk::{Attempt, CommandError, CommandOutcome, EndpointView, WorkerCommand};
use webhooks::{DeadLetter, EventPlace, OVERLAP_DEFAULT, OVERLAP_MAX};

use crate::describe::{self, IntoParams, ToSchema};
use http_views::context::Context;
use http_views::parameters::{NoParameters, Parameters};
use serving::error::Error;

/// How long a request waits for its order: an attempt may take 25 s with its connection.
const ORDER_TIMEOUT: Duration = Duration::from_secs(30);

/// The data of a webhook's `fleet.gap`.
#[derive(ToSchema)]
#[schema(as = WebhookGap)]
#[expect(dead_code, reason = "it describes what the deliveries send")]
pub struct WebhookGapView {
    /// `dropped`, `not_logged`, `restarted` or `overrun`.
    #[schema(example = "dropped")]
    reason: String,
}

/// The data of a webhook's `webhook.test`.
#[derive(ToSchema)]
#[schema(as = WebhookTest)]
#[expect(dead_code, reason = "it describes what the deliveries send")]
pub struct WebhookTestView {
    /// The endpoint's name.
    endpoint: String,
}

/// An endpoint's name in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct WebhookPath {
    /// The endpoint's name in the settings
    name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for WebhookPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Path(path) = Path::from_request_parts(parts, state).await.map_err(|_not_utf_8| Error::BadPath)?;
        Ok(path)
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Webhooks)]
pub struct WebhooksView {
    /// By name.
    webhooks: Vec<WebhookView>,
}

/// One endpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookView {
    name: String,
    /// Scheme, host and port; the rest of the URL may hold a token.
    address: String,
    #[schema(example = "every")]
    mode: &'static str,
    settle_seconds: u64,
    /// `starting`, `delivering`, `failing`, `gone` (it has answered 410), `given_up` (it has failed for five days), `elsewhere`
    /// (another instance delivers, or the store is away), or `broken` (TLS cannot be used).
    #[schema(example = "delivering")]
    state: &'static str,
    /// Since when every attempt has failed; `null`: the last one was successful.
    failing_since: Option<String>,
    /// Until when messages are signed with the secret before the newest, too; `null`: with one secret, or with those in its file.
    previous_secret_until: Option<String>,
    /// Up to where the endpoint has accepted the history, in the form of a stream's id.
    position: Option<String>,
    dead_letters_total: usize,
    /// The newest attempt since the service began.
    last_attempt: Option<AttemptView>,
}

/// One attempt to deliver a message.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookAttempt)]
pub struct AttemptView {
    /// The `webhook-id`.
    id: String,
    #[serde(rename = "type")]
    event_type: &'static str,
    at: String,
    duration_ms: u64,
    /// The status of the answer; `null`: there was none.
    status: Option<u16>,
    /// Why the endpoint has not accepted the message; `null`: it has.
    failure: Option<String>,
    /// The first 1,024 bytes of the body that it has answered with then; `null`: none.
    answer: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct WebhookDeliveries {
    /// The newest 1,000 attempts since the service began, newest first.
    attempts: Vec<AttemptView>,
    /// The newest 1,000 messages that the endpoint has rejected for good, newest first.
    dead_letters: Vec<DeadLetterView>,
}

/// A message that an endpoint has rejected for good.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDeadLetter)]
pub struct DeadLetterView {
    /// The `webhook-id`.
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    /// The device; `null`: the message is not about a change of a device, and cannot be sent once more.
    device: Option<DeadLetterDevice>,
    /// When it was given up.
    at: String,
    /// The last answer.
    failure: String,
}

#[derive(Serialize, ToSchema)]
pub struct DeadLetterDevice {
    #[serde(rename = "type")]
    device_type: String,
    id: String,
}

/// A secret that was made for an endpoint.
#[derive(Serialize, ToSchema)]
pub struct WebhookSecret {
    /// It signs every message from now on, and is shown here alone.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
    /// Until when messages are signed with the secret before it, too; `null`: no longer.
    previous_secret_until: Option<String>,
}

/// The outcome of an order.
#[derive(Serialize, ToSchema)]
pub struct WebhookOutcome {
    /// Whether the order is carried out; if it sends a message, whether the endpoint has accepted it.
    done: bool,
    /// Why the endpoint has not accepted the message.
    failure: Option<String>,
}

fn time(at_ms: i64) -> String {
    format!("{:.3}", Timestamp::from_millisecond(at_ms).unwrap_or_default())
}

impl WebhookView {
    fn of((name, view): (String, EndpointView)) -> Self {
        Self {
            name,
            address: view.address,
            mode: view.mode,
            settle_seconds: view.settle_s,
            state: view.state.word(),
            failing_since: view.failing_since_ms.map(time),
            previous_secret_until: view.overlap_until_ms.filter(|until| *until > now_millis()).map(time),
            position: view.position,
            dead_letters_total: view.dead_letters_total,
            last_attempt: view.attempts.back().map(|attempt| AttemptView::of(attempt)),
        }
    }
}

impl AttemptView {
    fn of(attempt: &Attempt) -> Self {
        let Attempt { id, event_type, at_ms, took_ms, status, failure, answer } = attempt.clone();
        Self { id, event_type, at: time(at_ms), duration_ms: took_ms, status, failure, answer }
    }
}

impl From<DeadLetter> for DeadLetterView {
    fn from(DeadLetter { id, event_type, event, at_ms, why }: DeadLetter) -> Self {
        let device =
            event.map(|EventPlace { device_type, id, sequence: _ }| DeadLetterDevice { device_type, id });
        Self { id, event_type, device, at: time(at_ms), failure: why }
    }
}

/// Webhook endpoints
#[describe::path(
    get,
    path = "/api/v1/webhooks",
    operation_id = "webhooks",
    tag = "webhooks",
    responses((status = 200, description = "The endpoints, and the state of their deliveries", body = WebhooksView))
)]
pub async fn list(State(context): State<Context>, _: NoParameters) -> Json<WebhooksView> {
    Json(WebhooksView { webhooks: context.webhooks.views().into_iter().map(WebhookView::of).collect() })
}

/// Deliveries to a webhook endpoint
#[describe::path(
    get,
    path = "/api/v1/webhooks/{name}/deliveries",
    operation_id = "webhook_deliveries",
    tag = "webhooks",
    params(WebhookPath),
    responses(
        (status = 200, description = "The newest attempts, and the dead letters", body = WebhookDeliveries),
        WebhookPath
    )
)]
pub async fn deliveries(
    State(context): State<Context>,
    path: WebhookPath,
    _: NoParameters,
) -> Result<Json<WebhookDeliveries>, Error> {
    let view = context.webhooks.view(&path.name).ok_or(Error::UnknownWebhook)?;
    Ok(Json(WebhookDeliveries {
        attempts: view.attempts.iter().rev().map(|attempt| AttemptView::of(attempt)).collect(),
        dead_letters: view.dead_letters.iter().cloned().map(DeadLetterView::from).collect(),
    }))
}

/// Tries a webhook endpoint out
///
/// Sends it a message `webhook.test`, once.
#[describe::path(
    post,
    path = "/api/v1/webhooks/{name}/test",
    operation_id = "test_webhook",
    tag = "webhooks",
    params(WebhookPath),
    responses(
        (status = 200, description = "Whether the endpoint has accepted it", body = WebhookOutcome),
        WebhookPath,
        crate::api::described::DeliveryUnavailable
    )
)]
pub async fn test(
    State(context): State<Context>,
    path: WebhookPath,
    _: NoParameters,
) -> Result<Json<WebhookOutcome>, Error> {
    order(&context, &path, WorkerCommand::Test).await
}

/// Enables a webhook endpoint
///
/// An endpoint that has answered 410 or has failed for five days continues where it was; one that fails is tried at once.
#[describe::path(
    post,
    path = "/api/v1/webhooks/{name}/enable",
    operation_id = "enable_webhook",
    tag = "webhooks",
    params(WebhookPath),
    responses(
        (status = 200, description = "It is enabled", body = WebhookOutcome),
        WebhookPath,
        crate::api::described::DeliveryUnavailable
    )
)]
pub async fn enable(
    State(context): State<Context>,
    path: WebhookPath,
    _: NoParameters,
) -> Result<Json<WebhookOutcome>, Error> {
    order(&context, &path, WorkerCommand::Enable).await
}

/// Delivers messages once more
///
/// With `id`, one dead letter, which is dropped once the endpoint has accepted it. With `since`, every change that the history
/// has from that time on, in order; messages have the ids that they had.
#[describe::path(
    post,
    path = "/api/v1/webhooks/{name}/redeliver",
    operation_id = "redeliver_webhook",
    tag = "webhooks",
    params(
        WebhookPath,
        ("id" = Option<String>, Query, description = "The `webhook-id` of a dead letter"),
        ("since" = Option<String>, Query, description = "From this time on (RFC 3339)")
    ),
    responses(
        (status = 200, description = "With `id`, whether the endpoint has accepted the message; with `since`, that the redelivery has begun", body = WebhookOutcome),
        (status = 404, description = "There is no such endpoint or dead letter, or its event is gone", body = serving::error::Problem, content_type = "application/problem+json"),
        crate::api::described::DeliveryUnavailable
    )
)]
pub async fn redeliver(
    State(context): State<Context>,
    path: WebhookPath,
    RawQuery(query): RawQuery,
) -> Result<Json<WebhookOutcome>, Error> {
    let parameters = Parameters::read(query.as_deref(), &["id", "since"])?;
    let since = parameters.parse("since", "a time, as in 2026-11-24T12:00:00Z", |text| {
        let seconds = text.parse::<Timestamp>().ok()?.as_second();
        u32::try_from(seconds).ok().map(UnixSeconds)
    })?;
    let asked = match (parameters.one("id")?, since) {
        (Some(id), None) => WorkerCommand::Redeliver(id.to_owned()),
        (None, Some(since)) => WorkerCommand::RedeliverSince(since),
        (None, None) | (Some(_), Some(_)) => {
            return Err(Error::bad_parameter("since", "given, or id in its place"));
        }
    };
    order(&context, &path, asked).await
}

/// Makes a secret for a webhook endpoint
///
/// The answer shows it, and no other does. Messages are signed with it from now on, and for the overlap with the secret before it,
/// too. If the answer is lost, make another one: the earlier ones count on. If the endpoint's file has other secrets afterwards,
/// those count.
#[describe::path(
    post,
    path = "/api/v1/webhooks/{name}/secret",
    operation_id = "rotate_webhook_secret",
    tag = "webhooks",
    params(
        WebhookPath,
        ("overlap" = Option<String>, Query, description = "How long the secret before counts, too: from 0s to 7d, by default 24h", example = "24h")
    ),
    responses(
        (status = 200, description = "The secret", body = WebhookSecret),
        (status = 409, description = "No secret can be made for it", body = serving::error::Problem, content_type = "application/problem+json"),
        WebhookPath,
        crate::api::described::DeliveryUnavailable
    )
)]
pub async fn rotate(
    State(context): State<Context>,
    path: WebhookPath,
    RawQuery(query): RawQuery,
) -> Result<Json<WebhookSecret>, Error> {
    let parameters = Parameters::read(query.as_deref(), &["overlap"])?;
    let overlap = parameters.parse("overlap", "a time from 0s to 7d, like 24h", |text| {
        system::period::parse(text).filter(|overlap| *overlap <= OVERLAP_MAX)
    })?;
    match carry_out(&context, &path, WorkerCommand::Rotate(overlap.unwrap_or(OVERLAP_DEFAULT))).await? {
        CommandOutcome::Rotated(made) => Ok(Json(WebhookSecret {
            secret: made.text.expose().to_owned(),
            previous_secret_until: Some(made.overlap_until_ms)
                .filter(|until| *until > now_millis())
                .map(time),
        })),
        CommandOutcome::NotRotated(refusal) => Err(Error::WebhookSecret(refusal)),
        CommandOutcome::Done | CommandOutcome::Failed(_) | CommandOutcome::Unknown => {
            Err(Error::UnknownWebhook)
        }
    }
}

async fn order(
    context: &Context,
    path: &WebhookPath,
    order: WorkerCommand,
) -> Result<Json<WebhookOutcome>, Error> {
    match carry_out(context, path, order).await? {
        CommandOutcome::Done => Ok(Json(WebhookOutcome { done: true, failure: None })),
        CommandOutcome::Failed(why) => Ok(Json(WebhookOutcome { done: false, failure: Some(why) })),
        CommandOutcome::Unknown | CommandOutcome::Rotated(_) | CommandOutcome::NotRotated(_) => {
            Err(Error::UnknownDeadLetter)
        }
    }
}

async fn carry_out(
    context: &Context,
    path: &WebhookPath,
    order: WorkerCommand,
) -> Result<CommandOutcome, Error> {
    let outcome = timeout(ORDER_TIMEOUT, context.webhooks.order(&path.name, order)).await;
    match outcome.map_err(|_elapsed| Error::WebhookBusy)? {
        Ok(outcome) => Ok(outcome),
        Err(CommandError::Unknown) => Err(Error::UnknownWebhook),
        Err(CommandError::Busy) => Err(Error::WebhookBusy),
    }
}
