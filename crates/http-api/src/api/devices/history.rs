//! `GET /api/v1/devices/{type}/{id}/history`: what happened to a device, newest first, and the totals.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::api::device_path::DevicePath;
use crate::describe::{self, ToSchema};
use formats::status;
use http_views::context::Context;
use http_views::devices::event::EventView;
use http_views::parameters::Parameters;
use presence::history::HistoryRow;
use presence::time_text::TimeText;
use presence::{DeviceName, DeviceState, EventKind, Moment, PresenceEvent, Status};
use server::{clock, history};
use serving::error::Error;
use serving::error::refusal::RequestRefusal;

const KNOWN: &[&str] = &["limit", "before"];
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;
/// As many as the settings let be kept of one device at most.
const ALL: usize = 100_000;

/// Histories that are read at once: each holds all events of a device for a moment. Further ones wait.
static READINGS: Semaphore = Semaphore::const_new(8);

/// What happened to one device.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryView {
    #[serde(rename = "type")]
    #[schema(example = "elevator")]
    device_type: String,
    #[schema(example = "elevator-0049")]
    id: String,
    /// Newest first.
    events: Vec<EventView>,
    /// What to give as `before` for the events that follow; `null`: none is kept.
    next: Option<u64>,
    /// Over everything that is kept, whatever part of it is shown; `null` if nothing is known of the device.
    totals: Option<TotalsView>,
}

/// The totals of the events of a device between two moments.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryTotals)]
pub struct TotalsView {
    /// The beginning of what is kept, or of what is known of the device.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<TimeText>,
    /// Now.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<TimeText>,
    /// Sessions that began.
    connects: u64,
    /// Share of the time in which a session was on.
    #[schema(example = 99.5)]
    connected_percent: f64,
    /// The longest time without any session, in seconds.
    longest_offline_s: f64,
    /// Sessions that ended within the last hour.
    flaps_last_hour: u64,
}

/// What happened to a device
///
/// Connects, disconnects, takeovers and failed logins, with their totals. As many are kept as `--history-days` and
/// `--history-per-device` say. A device that was never heard of has no events.
#[describe::path(
    get,
    path = "/api/v1/devices/{type}/{id}/history",
    operation_id = "history",
    tag = "devices",
    params(
        DevicePath,
        ("limit" = Option<u64>, Query, description = "How many events, 1 to 1000; 100 if not given"),
        ("before" = Option<u64>, Query, description = "Only events with a lower sequence: `next` of the answer before")
    ),
    responses(
        (status = 200, description = "The newest events, and totals over all stored events", body = HistoryView),
        DevicePath,
        (
            status = 503,
            description = "The store cannot be read at present",
            body = serving::error::Problem,
            content_type = "application/problem+json"
        )
    )
)]
pub async fn history(
    State(context): State<Context>,
    path: DevicePath,
    RawQuery(query): RawQuery,
) -> Result<Json<HistoryView>, Error> {
    let device = path.possible_device(&context)?;
    let parameters = Parameters::read(query.as_deref(), KNOWN)?;
    let limit = parameters
        .parse("limit", "a whole number from 1 to 1000", |text| {
            text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit))
        })?
        .unwrap_or(LIMIT);
    let before = parameters.parse("before", "a whole number", |text| text.parse().ok())?;
    let _reading = READINGS.acquire().await.expect("the semaphore is never closed");
    // Everything that is kept, for the totals; the settings bound it.
    let rows = context.history.history(DeviceName::of(device), None, ALL).await.map_err(|error| {
        tracing::warn!(%error, "a history cannot be read");
        Error::HistoryUnavailable
    })?;
    let believed =
        context.state(device, |state, _received_in| known_events(state)).await?.unwrap_or_default();
    let kept = context.history_retention;
    let shown = tokio::task::spawn_blocking(move || {
        let totals = totals(kept, believed, &rows);
        let mut wanted =
            rows.into_iter().filter(|row| before.is_none_or(|before: u64| row.sequence < before));
        let shown: Vec<HistoryRow> = wanted.by_ref().take(limit).collect();
        let next = wanted.next().and(shown.last()).map(|row| row.sequence);
        (shown.into_iter().map(EventView::of).collect(), next, totals)
    });
    let (events, next, totals) = shown.await.map_err(|_panic| Error::from(RequestRefusal::Internal))?;
    let DevicePath { device_type, id } = path;
    Ok(Json(HistoryView { device_type, id, events, next, totals }))
}

/// Over what is kept and what is believed: of a device that has been connected for longer than its history reaches back, only
/// the state tells of that session.
fn totals(kept: Duration, believed: Vec<PresenceEvent>, rows: &[HistoryRow]) -> Option<TotalsView> {
    let mut events: Vec<PresenceEvent> = rows.iter().map(|row| row.event.clone()).collect();
    events.extend(believed);
    let events = with_times_of_sessions(events);
    let moments = || events.iter().flat_map(|event| [event.session, event.time]).filter_map(Moment::nanos);
    let now = clock::now_millis().saturating_mul(1_000_000);
    // The platform's clock may be ahead of ours.
    let to = moments().max()?.max(now);
    let kept = i64::try_from(kept.as_nanos()).unwrap_or(i64::MAX);
    let from = moments().min()?.max(to.saturating_sub(kept));
    let history::HistoryTotals { connects, connected_percent, longest_offline_s, flaps_last_hour } =
        history::totals(&events, from, to);
    let shown = |nanos: i64| Moment::from_nanos(i128::from(nanos)).rfc3339();
    let (from, to) = (shown(from), shown(to));
    Some(TotalsView { from, to, connects, connected_percent, longest_offline_s, flaps_last_hour })
}

/// Of sources whose messages do not say when a session began, each end belongs to the beginning before it: there the key of a
/// session only orders events. An end that is both kept and believed, or of which a later message said more, is one.
fn with_times_of_sessions(mut events: Vec<PresenceEvent>) -> Vec<PresenceEvent> {
    events.sort_by_key(|event| event.session);
    let (mut began, mut ended) = (None, None);
    for event in &mut events {
        if event.payload.source().is_none() {
            continue;
        }
        let message = event.payload.document();
        let said = status::read(&message).and_then(|status| status.connect_moment());
        match event.kind {
            EventKind::Connect => {
                event.session = said.unwrap_or(event.time);
                began = Some(event.session);
            }
            EventKind::Disconnect | EventKind::Takeover => {
                let again = ended.filter(|(_, time)| *time == event.time).map(|(session, _)| session);
                event.session = said.or(began.take()).or(again).unwrap_or(event.time);
                ended = Some((event.session, event.time));
            }
            EventKind::Refusal | EventKind::FailedLogin | EventKind::Request => {}
        }
    }
    events
}

/// What a state says of the device's sessions.
fn known_events(state: &DeviceState) -> Vec<PresenceEvent> {
    let taken_over = state.resolve().filter(|event| event.inferred && event.status == Status::Connected);
    let taker = taken_over.and_then(|_| state.newest_takeover()).map(|takeover| {
        // Who took over is connected since then; its own session has not been seen. It begins a nanosecond later than the
        // takeover, because a session that was taken over as it began has that moment for its name.
        let began = takeover.time.max(takeover.session).earlier_by(-1);
        PresenceEvent { kind: EventKind::Connect, session: began, time: began, ..takeover.clone() }
    });
    taker.into_iter().chain(state.clone().into_events()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use futures_util::future::{BoxFuture, join_all};

    use super::*;
    use http_views::testing::Fixture;
    use presence::payload::Payload;
    use server::http_settings::HttpSettings;
    use serving::api::ApiParts;
    use store::{ReadHistory, StoreError};

    /// A history that takes a while, and how often it was read at once.
    #[derive(Default)]
    struct SlowHistory {
        reading: AtomicUsize,
        most: AtomicUsize,
    }

    impl ReadHistory for SlowHistory {
        fn history(
            &self,
            _: DeviceName,
            _: Option<u64>,
            _: usize,
        ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>> {
            async {
                let reading = self.reading.fetch_add(1, Ordering::Relaxed) + 1;
                self.most.fetch_max(reading, Ordering::Relaxed);
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                self.reading.fetch_sub(1, Ordering::Relaxed);
                Ok(Vec::new())
            }
            .boxed()
        }
    }

    #[tokio::test]
    async fn a_bounded_number_of_histories_is_read_at_once() {
        let fixture = Fixture::new(&HttpSettings::default());
        let slow = Arc::new(SlowHistory::default());
        let parts =
            ApiParts { history: Arc::clone(&slow) as Arc<dyn ReadHistory>, ..(*fixture.context).clone() };
        let context = Context::new(parts);
        let answers = join_all((0..20).map(|number| {
            let path = DevicePath { device_type: "pump".to_owned(), id: number.to_string() };
            history(State(context.clone()), path, RawQuery(None))
        }));
        assert!(answers.await.iter().all(Result::is_ok));
        assert_eq!(slow.most.load(Ordering::Relaxed), 8);
    }

    #[test]
    fn an_end_that_names_no_session_ends_the_one_before_it() {
        let moment = |seconds: i128| Moment::from_nanos(seconds * 1_000_000_000);
        let event = |kind, key, time| PresenceEvent {
            kind,
            session: moment(key),
            time: moment(time),
            close_code: 0,
            payload: Payload::pack_of("tasmota", b"{}"),
        };
        let events = vec![
            event(EventKind::Disconnect, 21, 20),
            event(EventKind::Connect, 11, 10),
            event(EventKind::Disconnect, 5, 4),
            event(EventKind::Connect, 31, 30),
        ];
        // What is kept is believed, too, and a later message said why it ended.
        let again = [event(EventKind::Disconnect, 21, 20), event(EventKind::Disconnect, 22, 20)];
        let shown = with_times_of_sessions([events, again.to_vec()].concat());
        let shown: Vec<_> = shown.iter().map(|event| (event.session, event.time)).collect();
        let expected = [(4, 4), (10, 10), (10, 20), (10, 20), (10, 20), (30, 30)];
        assert_eq!(shown, expected.map(|(session, time)| (moment(session), moment(time))));
    }
}
