//! `/api/v1/session`: a browser logs in with a key, asks whether it still is, and logs out.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Extension;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, http::HeaderValue};
use serde::Serialize;

use crate::describe::{self, ToSchema};
use http_views::parameters::NoParameters;
use presence::time_text::TimeText;
use server::access::Grant;
use serving::error::Error;
use serving::middleware::guard::{Guard, LoggedIn};
use serving::middleware::sessions;
use serving::network::requests::Peer;

/// What the request may do, and how long.
#[derive(Serialize, ToSchema)]
#[schema(as = Login)]
pub struct SessionView {
    /// The id of the key; `null`: no key is needed here.
    key_id: Option<String>,
    /// `read`, `events`, `admin`.
    #[schema(example = json!(["read", "events"]))]
    scopes: Vec<&'static str>,
    /// When the login ends; `null`: the request carries a key itself, or needs none.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<TimeText>,
}

impl SessionView {
    fn of(LoggedIn { grant, expires_at }: &LoggedIn) -> Self {
        let (key_id, scopes) = match grant {
            Grant::Key(held) => (Some(held.key.id.clone()), held.key.scopes),
            Grant::Anonymous(scopes) => (None, *scopes),
        };
        let scopes = scopes.iter().map(|scope| scope.word()).collect();
        Self { key_id, scopes, expires_at: expires_at.map(|at| at.rfc3339()) }
    }
}

fn client(guard: &Guard, Peer(peer): Peer, headers: &HeaderMap) -> IpAddr {
    guard.proxies.client(peer, headers)
}

/// Log a browser in
///
/// Send the key as for every other request; the answer sets a cookie that stands for it, for at most 12 hours, with the scopes
/// of the key. Browsers keep the cookie only over HTTPS, or from this machine itself. Requests that change something are
/// taken with the cookie only from pages of this service (`Sec-Fetch-Site: same-origin`). The login ends with the process,
/// and when the key is revoked or changed.
#[describe::path(
    post,
    path = "/api/v1/session",
    operation_id = "log_in",
    tag = "service",
    responses((status = 200, description = "The cookie is set", body = SessionView))
)]
pub async fn log_in(
    Extension(guard): Extension<Arc<Guard>>,
    Extension(peer): Extension<Peer>,
    _: NoParameters,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let (logged_in, cookie) = guard.log_in(client(&guard, peer, &headers), &headers)?;
    let cookie = cookie.map(|cookie| [(header::SET_COOKIE, cookie)]);
    Ok((cookie, Json(SessionView::of(&logged_in))).into_response())
}

/// Whether a key or login is good
#[describe::path(
    get,
    path = "/api/v1/session",
    operation_id = "session",
    tag = "service",
    responses((status = 200, description = "What the request may do", body = SessionView))
)]
pub async fn session(
    Extension(guard): Extension<Arc<Guard>>,
    Extension(peer): Extension<Peer>,
    _: NoParameters,
    headers: HeaderMap,
) -> Result<Json<SessionView>, Error> {
    let logged_in = guard.logged_in(client(&guard, peer, &headers), &headers)?;
    Ok(Json(SessionView::of(&logged_in)))
}

/// Log a browser out
///
/// The login of the cookie ends at once. Without one nothing happens.
#[describe::path(
    delete,
    path = "/api/v1/session",
    operation_id = "log_out",
    tag = "service",
    responses((status = 204, description = "The cookie stands for nothing any longer"))
)]
pub async fn log_out(
    Extension(guard): Extension<Arc<Guard>>,
    _: NoParameters,
    headers: HeaderMap,
) -> (StatusCode, [(header::HeaderName, HeaderValue); 1]) {
    guard.log_out(&headers);
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, sessions::no_cookie())])
}
