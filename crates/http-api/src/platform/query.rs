//! What a list of clients is asked for by, in the platform's words.

use jiff::Timestamp;

pub use super::state::ConnectionStatus;
use super::state::last_connect;
use crate::describe::ToSchema;
use http_views::devices::cursor;
use http_views::parameters::Parameters;
use presence::Moment;
use presence::query::{Filter, Position, Query, Sort, SortBy};
use server::registry::Snapshot;
use serving::error::Error;

pub const KNOWN: &[&str] =
    &["deviceType", "deviceId", "connectionStatus", "connectedAfter", "_limit", "_bookmark", "_sort"];

/// The platform's clients ask for 50 at a time.
const LIMIT_MAX: usize = 100;
const LIMIT: usize = 25;

/// What a list can be ordered by.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there for the OpenAPI document")]
pub enum SortKey {
    #[schema(rename = "id")]
    Id,
    #[schema(rename = "-id")]
    IdDescending,
    #[schema(rename = "lastActivityTime")]
    LastActivityTime,
    #[schema(rename = "-lastActivityTime")]
    LastActivityTimeDescending,
}

/// A list as it was asked for.
#[derive(Debug)]
pub struct StatesQuery {
    filter: Filter,
    device_id: Option<String>,
    connected_after: Option<Moment>,
    sort: Sort,
    after: Option<Position>,
    pub limit: usize,
}

impl StatesQuery {
    pub fn read(query: Option<&str>, known: &'static [&'static str]) -> Result<Self, Error> {
        let given = Parameters::read(query, known)?;
        let device_id = given.one("deviceId")?.map(str::to_owned);
        let expected = "a time in ISO 8601 with its offset, as 2026-11-24T01:12:15Z";
        let connected_after = given.parse("connectedAfter", expected, |text| {
            Some(Moment::from_nanos(text.parse::<Timestamp>().ok()?.as_nanosecond()))
        })?;
        let filter = Filter {
            types: given.one("deviceType")?.map(str::to_owned).into_iter().collect(),
            id_prefixes: device_id.clone().into_iter().collect(),
            status: given.parse("connectionStatus", "connected or disconnected", ConnectionStatus::parse)?,
            // A session's messages are not older than its beginning.
            since: connected_after,
            ..Filter::default()
        };
        let sort = given.parse("_sort", "id, -id, lastActivityTime or -lastActivityTime", sort)?;
        let sort = sort.unwrap_or(Sort { by: SortBy::Id, descending: false });
        let limit = given.parse("_limit", format!("a whole number from 1 to {LIMIT_MAX}"), |text| {
            text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit))
        })?;
        let expected = "the bookmark of the part before, of a list with the same parameters";
        let after = given.parse("_bookmark", expected, |text| cursor::read(text, &filter, sort))?;
        Ok(Self { filter, device_id, connected_after, sort, after, limit: limit.unwrap_or(LIMIT) })
    }

    /// The first part of what the map is asked for; its limit is the caller's.
    pub fn first(&self) -> Query {
        Query { filter: self.filter.clone(), sort: self.sort, after: self.after.clone(), limit: self.limit }
    }

    /// Whether the map lists devices that are no results.
    pub fn passes_over(&self) -> bool {
        self.device_id.is_some() || self.connected_after.is_some()
    }

    /// Whether a device that the map lists is a result.
    pub fn admits(&self, snapshot: &Snapshot) -> bool {
        self.device_id.as_ref().is_none_or(|id| **id == *snapshot.id)
            && self.connected_after.is_none_or(|after| {
                last_connect(snapshot).is_some_and(|moment| moment != Moment::UNKNOWN && moment > after)
            })
    }

    /// What goes on behind this device.
    pub fn bookmark(&self, snapshot: &Snapshot) -> String {
        let Snapshot { device_type, id, event, .. } = snapshot;
        let position =
            Position { device_type: device_type.to_string(), id: id.to_string(), time: event.time };
        cursor::write(&position, &self.filter, self.sort)
    }
}

fn sort(text: &str) -> Option<Sort> {
    let (descending, key) = match text.strip_prefix('-') {
        Some(key) => (true, key),
        None => (false, text),
    };
    let by = match key {
        "id" => SortBy::Id,
        "lastActivityTime" => SortBy::Since,
        _ => return None,
    };
    Some(Sort { by, descending })
}
