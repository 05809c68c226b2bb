//! `GET /api/v1/series`: how many devices were connected, and how many sessions began and ended, in each interval of a range.

use std::fmt::Write as _;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;

use crate::describe::{self, ToSchema};
use formats::Cause;
use http_views::accept::Accept;
use http_views::context::Context;
use http_views::parameters::Parameters;
use presence::UnixSeconds;
use presence::time_text::TimeText;
use server::clock;
use server::series::{Figures, Gauge, Interval, POINTS_MAX, Points, Step};
use serving::error::Error;

const KNOWN: &[&str] = &["metric", "type", "source", "cause", "from", "to", "step"];

/// The range, if nothing is said of its beginning.
const RANGE_SECONDS: u32 = 86_400;

/// The type under which devices are found whose type has no series of its own.
const OTHER: &str = "other";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    Connected,
    Disconnected,
    Connects,
    Disconnects,
}

impl Metric {
    const ALL: [Metric; 4] = [Metric::Connected, Metric::Disconnected, Metric::Connects, Metric::Disconnects];

    fn word(self) -> &'static str {
        match self {
            Metric::Connected => "connected",
            Metric::Disconnected => "disconnected",
            Metric::Connects => "connects",
            Metric::Disconnects => "disconnects",
        }
    }
}

/// Metrics of a range of time.
#[derive(Serialize, ToSchema)]
pub struct Series {
    /// Where the first interval starts.
    #[schema(example = "2026-11-24T12:00:00Z")]
    from: String,
    /// Where the last one ends.
    #[schema(example = "2026-11-25T12:00:00Z")]
    to: String,
    /// How long an interval is.
    step_seconds: u32,
    /// For how long the fleet was observed in each interval; 0: not at all, and every metric is `null`.
    observed_seconds: Vec<u32>,
    /// Devices that were connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected: Option<GaugeSeries>,
    /// Devices that were known and not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected: Option<GaugeSeries>,
    /// Sessions that began in each interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    connects: Option<Vec<Option<u64>>>,
    /// Sessions that ended in each interval; one that was taken over has ended, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnects: Option<Vec<Option<u64>>>,
}

/// A number of devices in each interval.
#[derive(Serialize, ToSchema)]
pub struct GaugeSeries {
    min: Vec<Option<u64>>,
    max: Vec<Option<u64>>,
    /// At the end of the interval.
    last: Vec<Option<u64>>,
}

/// What is asked for.
struct SeriesRequest {
    metrics: Vec<Metric>,
    group: SeriesGroup,
    step: Step,
    from: UnixSeconds,
    to: UnixSeconds,
}

/// Of which devices.
enum SeriesGroup {
    All,
    Type(String),
    Source(String),
    /// Ends of sessions of all devices; the place among the causes.
    Cause(usize),
}

/// What is shown of one interval.
#[derive(Clone, Copy)]
struct Point {
    observed_seconds: u32,
    figures: Figures,
}

/// Series of the fleet
///
/// How many devices were connected, and how many sessions began and ended, in each interval of a range. An interval in which
/// the fleet was not observed is `null`: the process or the link to the broker was down, or not every retained status had been
/// read. Intervals of 10 seconds are kept for 2 hours, of a minute for 48 hours, of an hour for 90 days, of a day for 2 years.
#[describe::path(
    get,
    path = "/api/v1/series",
    tag = "fleet",
    params(
        ("metric" = Option<Vec<String>>, Query, style = Form, explode, description = "`connected`, `disconnected`, `connects` or `disconnects`; may be given more than once; all by default"),
        ("type" = Option<String>, Query, description = "Only devices of this type. The 200 types that came first have series; `other` is the rest"),
        ("source" = Option<String>, Query, description = "Only devices of this source; not with `type`. `null` before the first interval that was counted by source"),
        ("cause" = Option<String>, Query, description = "Of `disconnects`, only those of this cause class; not with `type` or `source`"),
        ("from" = Option<String>, Query, description = "From the interval of this time on (RFC 3339); a day before `to` by default"),
        ("to" = Option<String>, Query, description = "Until before this time (RFC 3339); now by default"),
        ("step" = Option<String>, Query, description = "`10s`, `1m`, `1h` or `1d`; by default the finest that is kept so long and gives at most 1,500 intervals")
    ),
    responses(
        (
            status = 200,
            description = "The intervals of the range, one after the other",
            content((Series = "application/json"), (String = "text/csv"))
        ),
        (
            status = 406,
            description = "None of the accepted media types is available",
            body = serving::error::Problem,
            content_type = "application/problem+json"
        )
    )
)]
pub async fn series(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let parameters = Parameters::read(query.as_deref(), KNOWN)?;
    let is_csv = is_csv(&headers)?;
    let request = SeriesRequest::read(&parameters, clock::now())?;
    if context.map.is_limited() {
        return Err(Error::NotWithMapLimit);
    }
    let range = (request.from, request.to);
    let points = context.series.read(request.step, range, |interval| request.point(interval)).await;
    let points = points.map_err(|_error| Error::StoreUnavailable)?;
    if is_csv {
        let content_type = "text/csv; charset=utf-8; header=present";
        return Ok(([(header::CONTENT_TYPE, content_type)], csv(&request.metrics, &points)).into_response());
    }
    Ok(Json(Series::of(&request.metrics, &points)).into_response())
}

fn is_csv(headers: &HeaderMap) -> Result<bool, Error> {
    let Some(accept) = Accept::of(headers) else { return Ok(false) };
    let (json, csv) = (accept.quality("application/json"), accept.quality("text/csv"));
    if json.max(csv) == 0 { Err(Error::NotAcceptable) } else { Ok(csv > json) }
}

impl SeriesRequest {
    fn read(parameters: &Parameters, now: UnixSeconds) -> Result<Self, Error> {
        let known = "connected, disconnected, connects or disconnects";
        let metric = |text: &str| Metric::ALL.into_iter().find(|metric| metric.word() == text);
        let metrics: Option<Vec<_>> = parameters.all("metric").map(metric).collect();
        let metrics = metrics.ok_or_else(|| Error::bad_parameter("metric", known))?;
        let cause = parameters.parse("cause", "a cause class", Cause::place_of_word)?;
        let metrics = match (metrics.is_empty(), cause) {
            (true, None) => Metric::ALL.to_vec(),
            (true, Some(_)) => vec![Metric::Disconnects],
            (false, _) => metrics,
        };
        let of_fleet = "given for disconnects of the whole fleet alone";
        let group = match (parameters.one("type")?, parameters.one("source")?, cause) {
            (None, None, None) => SeriesGroup::All,
            (Some(name), None, None) => SeriesGroup::Type(name.to_owned()),
            (None, Some(name), None) => SeriesGroup::Source(name.to_owned()),
            (None, None, Some(place)) if metrics == [Metric::Disconnects] => SeriesGroup::Cause(place),
            (_, _, Some(_)) => return Err(Error::bad_parameter("cause", of_fleet)),
            (Some(_), Some(_), None) => return Err(Error::bad_parameter("source", "given without `type`")),
        };
        let to = time(parameters, "to")?.unwrap_or(now);
        let from = time(parameters, "from")?.unwrap_or(UnixSeconds(to.0.saturating_sub(RANGE_SECONDS)));
        if from >= to {
            return Err(Error::bad_parameter("from", "a time before `to`"));
        }
        let step = parameters.parse("step", "10s, 1m, 1h or 1d", |text| {
            Step::ALL.into_iter().find(|step| step.word() == text)
        })?;
        let intervals = |step: Step| (to.0 - step.start_of(from).0).div_ceil(step.seconds());
        let age = u64::from(now.0.saturating_sub(from.0));
        let fits = |step: &Step| {
            intervals(*step) <= POINTS_MAX && age <= step.kept_seconds() + u64::from(step.seconds())
        };
        let step = step.or_else(|| Step::ALL.into_iter().find(fits)).unwrap_or(Step::Day);
        if intervals(step) > POINTS_MAX {
            return Err(Error::bad_parameter(
                "step",
                format!("so long that the range has at most {POINTS_MAX} intervals"),
            ));
        }
        Ok(Self { metrics, group, step, from, to })
    }

    /// What is shown of an interval. A type or a source that is not in it had no devices.
    fn point(&self, interval: &Interval) -> Option<Point> {
        let figures = match &self.group {
            SeriesGroup::All => interval.all,
            SeriesGroup::Type(name) => match interval.types.get(&**name) {
                Some(figures) => *figures,
                None if name == OTHER => interval.other,
                None => Figures::default(),
            },
            SeriesGroup::Source(name) => interval.of_source(name)?,
            SeriesGroup::Cause(place) => Figures { disconnects: interval.causes[*place], ..interval.all },
        };
        Some(Point { observed_seconds: interval.observed_seconds, figures })
    }
}

fn time(parameters: &Parameters, name: &'static str) -> Result<Option<UnixSeconds>, Error> {
    let expected = "a time as in 2026-11-24T12:00:00Z (a + in it is written %2B)";
    parameters.parse(name, expected, |text| {
        let timestamp: Timestamp = text.parse().ok()?;
        u32::try_from(timestamp.as_second()).ok().map(UnixSeconds)
    })
}

impl Series {
    fn of(metrics: &[Metric], points: &Points<Point>) -> Self {
        let shown = |metric: Metric| metrics.contains(&metric);
        let numbers = |read: fn(&Figures) -> u64| {
            points.points.iter().map(|point| Some(read(&point.as_ref()?.figures))).collect()
        };
        let gauge = |read: fn(&Figures) -> Gauge| {
            let part = |part: fn(Gauge) -> u64| {
                points.points.iter().map(|point| Some(part(read(&point.as_ref()?.figures)))).collect()
            };
            GaugeSeries {
                min: part(|gauge| gauge.min),
                max: part(|gauge| gauge.max),
                last: part(|gauge| gauge.last),
            }
        };
        let observed = |point: &Option<Point>| point.map_or(0, |point| point.observed_seconds);
        Self {
            from: start(points, 0).to_string(),
            to: start(points, points.points.len()).to_string(),
            step_seconds: points.step.seconds(),
            observed_seconds: points.points.iter().map(observed).collect(),
            connected: shown(Metric::Connected).then(|| gauge(|figures| figures.connected)),
            disconnected: shown(Metric::Disconnected).then(|| gauge(|figures| figures.disconnected)),
            connects: shown(Metric::Connects).then(|| numbers(|figures| figures.connects)),
            disconnects: shown(Metric::Disconnects).then(|| numbers(|figures| figures.disconnects)),
        }
    }
}

/// Where an interval starts.
fn start<T>(points: &Points<T>, at: usize) -> TimeText {
    let behind = u32::try_from(at).unwrap_or(u32::MAX).saturating_mul(points.step.seconds());
    TimeText::of_seconds(points.start.0.saturating_add(behind))
}

/// A row for each interval; the cells of one that was not observed are empty.
fn csv(metrics: &[Metric], points: &Points<Point>) -> String {
    let mut text = "start,observed_seconds".to_owned();
    let shown = || Metric::ALL.into_iter().filter(|metric| metrics.contains(metric));
    for metric in shown() {
        let name = metric.word();
        let _ = match metric {
            Metric::Connected | Metric::Disconnected => write!(text, ",{name}_min,{name}_max,{name}_last"),
            Metric::Connects | Metric::Disconnects => write!(text, ",{name}"),
        };
    }
    for (at, point) in points.points.iter().enumerate() {
        let observed = point.map_or(0, |point| point.observed_seconds);
        let _ = write!(text, "\r\n{},{observed}", &*start(points, at));
        for metric in shown() {
            let figures = point.map(|point| point.figures);
            let _ = match (metric, figures) {
                (Metric::Connected | Metric::Disconnected, None) => write!(text, ",,,"),
                (Metric::Connects | Metric::Disconnects, None) => write!(text, ","),
                (Metric::Connected, Some(figures)) => gauge_cells(&mut text, figures.connected),
                (Metric::Disconnected, Some(figures)) => gauge_cells(&mut text, figures.disconnected),
                (Metric::Connects, Some(figures)) => write!(text, ",{}", figures.connects),
                (Metric::Disconnects, Some(figures)) => write!(text, ",{}", figures.disconnects),
            };
        }
    }
    text.push_str("\r\n");
    text
}

fn gauge_cells(text: &mut String, gauge: Gauge) -> std::fmt::Result {
    write!(text, ",{},{},{}", gauge.min, gauge.max, gauge.last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_795_521_605);

    fn read(query: &str) -> Result<SeriesRequest, Error> {
        SeriesRequest::read(&Parameters::read(Some(query), KNOWN)?, NOW)
    }

    #[test]
    fn the_finest_step_is_chosen_that_is_kept_so_long_and_gives_few_enough_intervals() {
        for (query, step) in [
            ("", Step::Minute),
            ("from=2026-11-24T11:00:00Z", Step::TenSeconds),
            ("from=2026-11-24T09:59:00Z", Step::Minute),
            ("from=2026-11-23T10:00:00Z", Step::Hour),
            ("from=2026-09-27T12:00:00Z", Step::Hour),
            ("from=2026-08-25T12:00:00Z", Step::Day),
            ("from=2026-11-23T10:00:00Z&to=2026-11-23T11:00:00Z", Step::Minute),
            ("from=2026-06-23T10:00:00Z&to=2026-06-23T11:00:00Z", Step::Day),
            ("step=1h", Step::Hour),
        ] {
            assert_eq!(read(query).map(|request| request.step), Ok(step), "{query}");
        }
    }

    #[test]
    fn a_value_that_a_parameter_cannot_have_is_refused_by_name() {
        for (query, name) in [
            ("metric=sessions", "metric"),
            ("cause=weather", "cause"),
            ("cause=timeout&type=pump", "cause"),
            ("cause=timeout&source=north", "cause"),
            ("source=north&type=pump", "source"),
            ("cause=timeout&metric=connected", "cause"),
            ("from=2026-11-25T12:00:00Z", "from"),
            ("to=1969-11-25T12:00:00Z", "to"),
            ("step=1", "step"),
            ("step=10s", "step"),
        ] {
            match read(query).map(|request| request.step) {
                Err(Error::BadParameter { name: refused, .. }) => assert_eq!(refused, name, "{query}"),
                other => panic!("{query}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_was_not_observed_is_null_and_an_empty_cell() {
        let figures =
            Figures { connected: Gauge { min: 1, max: 3, last: 2 }, connects: 4, ..Figures::default() };
        let point = Point { observed_seconds: 50, figures };
        let points =
            Points { step: Step::Minute, start: UnixSeconds(1_795_521_600), points: vec![None, Some(point)] };
        let metrics = [Metric::Connects, Metric::Connected];
        let expected = serde_json::json!({
            "from": "2026-11-24T12:00:00Z", "to": "2026-11-24T12:02:00Z", "step_seconds": 60,
            "observed_seconds": [0, 50],
            "connected": {"min": [null, 1], "max": [null, 3], "last": [null, 2]},
            "connects": [null, 4],
        });
        assert_eq!(serde_json::to_value(Series::of(&metrics, &points)).unwrap(), expected);
        let expected = "start,observed_seconds,connected_min,connected_max,connected_last,connects\r\n\
                        2026-11-24T12:00:00Z,0,,,,\r\n\
                        2026-11-24T12:01:00Z,50,1,3,2,4\r\n";
        assert_eq!(csv(&metrics, &points), expected);
    }
}
