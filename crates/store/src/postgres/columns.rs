//! States and events as arrays of columns, and rows as states and events. What is done with them is not known here.

use std::collections::BTreeMap;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::encoding::{self, Parts};
use crate::type_names::TypeNames;
use crate::{Batch, StoreError, StoredDevice};
use formats::held;
use presence::history;
use presence::history::HistoryEvent;
use presence::payload::Payload;
use presence::{DeviceName, DeviceState, EventKind, Moment, PresenceEvent, StableHash, UnixSeconds};

/// The columns that [`device`] reads, in any order.
pub const DEVICE: &str = "type, id, received_at, kind, session, time, close_code, payload, others";

/// All that one batch says of one device.
#[derive(Clone, Debug, Default)]
pub struct DeviceUpdate {
    pub state: DeviceState,
    pub received_at: u32,
}

/// All that a batch says, each device once, by name; what is no state is left out.
pub fn said(batch: &Batch) -> BTreeMap<(&str, &str), DeviceUpdate> {
    let mut said: BTreeMap<(&str, &str), DeviceUpdate> = BTreeMap::new();
    for device in &batch.devices {
        let one = said.entry((&device.name.device_type, &device.name.id)).or_default();
        one.state.merge(device.state.clone());
        one.received_at = one.received_at.max(device.received_at.0);
    }
    for entry in &batch.events {
        let one = said.entry((&entry.device_type, &entry.id)).or_default();
        one.state.apply(entry.event.clone());
        one.received_at = one.received_at.max(entry.received_at.0);
    }
    said.retain(|name, said| said.state.resolve().is_some() && is_storable(*name));
    said
}

/// The most bytes of a device's type and id together: an entry of an index has at most 2,704 bytes.
const NAME_MAX_BYTES: usize = 2_600;

/// Why the database can keep no device of that name; `None` if it can.
pub fn refusal(device_type: &str, id: &str) -> Option<&'static str> {
    if device_type.contains('\0') || id.contains('\0') {
        return Some("the database keeps no zero character in a name");
    }
    let is_too_long = device_type.len() + id.len() > NAME_MAX_BYTES;
    is_too_long.then_some("the database keeps no name of more than 2,600 bytes")
}

fn is_storable((device_type, id): (&str, &str)) -> bool {
    refusal(device_type, id).is_none()
}

/// Devices, column by column.
#[derive(Default)]
pub struct DeviceColumns<'a> {
    types: Vec<&'a str>,
    ids: Vec<&'a str>,
    connected: Vec<bool>,
    kinds: Vec<i16>,
    sessions: Vec<i64>,
    times: Vec<i64>,
    close_codes: Vec<i32>,
    addresses: Vec<Option<String>>,
    reasons: Vec<Option<String>>,
    received_at: Vec<i64>,
    payloads: Vec<Vec<u8>>,
    others: Vec<Option<Vec<u8>>>,
}

impl<'a> DeviceColumns<'a> {
    pub fn push(&mut self, (device_type, id): (&'a str, &'a str), said: &DeviceUpdate) {
        let Some(parts) = Parts::of(&said.state) else { return };
        let deciding = parts.deciding;
        let unpacked = deciding.payload.document();
        let (address, reason) = match held::summary(&unpacked) {
            Some(summary) => (text(&summary.address), text(&summary.reason)),
            None => (None, None),
        };
        self.types.push(device_type);
        self.ids.push(id);
        self.connected.push(parts.connected);
        self.kinds.push(encoding::kind_number(deciding.kind).into());
        self.sessions.push(nanos(deciding.session));
        self.times.push(nanos(deciding.time));
        self.close_codes.push(deciding.close_code.into());
        self.addresses.push(address);
        self.reasons.push(reason);
        self.received_at.push(said.received_at.into());
        self.payloads.push(deciding.payload.packed().to_vec());
        self.others.push(parts.others);
    }

    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// As parameters, in the order of the statements.
    pub fn parameters(&self) -> [&(dyn ToSql + Sync); 12] {
        [
            &self.types,
            &self.ids,
            &self.connected,
            &self.kinds,
            &self.sessions,
            &self.times,
            &self.close_codes,
            &self.addresses,
            &self.reasons,
            &self.received_at,
            &self.payloads,
            &self.others,
        ]
    }
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.replace('\0', "\u{fffd}"))
}

/// Events, column by column.
#[derive(Default)]
pub struct EventColumns<'a> {
    types: Vec<&'a str>,
    ids: Vec<&'a str>,
    kinds: Vec<i16>,
    sessions: Vec<i64>,
    times: Vec<i64>,
    close_codes: Vec<i32>,
    received_at: Vec<i64>,
    digests: Vec<i64>,
    payloads: Vec<&'a [u8]>,
    first_seen: Vec<bool>,
}

impl<'a> EventColumns<'a> {
    /// By device, in their order for each: so two batches with the same events do not wait for each other.
    pub fn of(events: &'a [HistoryEvent]) -> Self {
        let mut sorted: Vec<&HistoryEvent> =
            events.iter().filter(|entry| is_storable((&entry.device_type, &entry.id))).collect();
        sorted.sort_by_key(|entry| (&entry.device_type, &entry.id));
        let mut columns = Self::default();
        for entry in sorted {
            let event = &entry.event;
            columns.types.push(&entry.device_type);
            columns.ids.push(&entry.id);
            columns.kinds.push(encoding::kind_number(event.kind).into());
            columns.sessions.push(nanos(event.session));
            columns.times.push(nanos(event.time));
            columns.close_codes.push(event.close_code.into());
            columns.received_at.push(entry.received_at.0.into());
            columns.digests.push(digest(event));
            columns.payloads.push(event.payload.packed());
            columns.first_seen.push(entry.is_first_seen);
        }
        columns
    }

    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// As parameters, in the order of the statement.
    pub fn parameters(&self) -> [&(dyn ToSql + Sync); 10] {
        [
            &self.types,
            &self.ids,
            &self.kinds,
            &self.sessions,
            &self.times,
            &self.close_codes,
            &self.received_at,
            &self.digests,
            &self.payloads,
            &self.first_seen,
        ]
    }
}

/// 64 bits of everything that a statement is, the same in every version.
fn digest(event: &PresenceEvent) -> i64 {
    let hash = StableHash::default()
        .with(&[encoding::kind_number(event.kind)])
        .with(&nanos(event.session).to_le_bytes())
        .with(&nanos(event.time).to_le_bytes())
        .with(&event.close_code.to_le_bytes())
        .with(&event.payload.unpack());
    i64::from_le_bytes(hash.value().to_le_bytes())
}

/// An unknown moment is the least number.
fn nanos(moment: Moment) -> i64 {
    moment.nanos().unwrap_or(i64::MIN)
}

/// The device in a row.
pub fn device(row: &Row, names: &mut TypeNames) -> Result<StoredDevice, StoreError> {
    let name =
        DeviceName { device_type: names.shared(column(row, "type")?), id: column::<&str>(row, "id")?.into() };
    let others: Option<&[u8]> = column(row, "others")?;
    let state = encoding::state(event(row)?, others.unwrap_or_default()).ok_or_else(senseless)?;
    Ok(StoredDevice { name, state, received_at: received_at(row)? })
}

/// The event in a row.
pub fn history_event(row: &Row) -> Result<history::HistoryRow, StoreError> {
    let sequence = u64::try_from(column::<i64>(row, "sequence")?).map_err(|_| senseless())?;
    let (event, received_at) = (event(row)?, received_at(row)?);
    Ok(history::HistoryRow { sequence, event, received_at, is_first_seen: column(row, "is_first_seen")? })
}

fn event(row: &Row) -> Result<PresenceEvent, StoreError> {
    let moment =
        |name| column::<i64>(row, name).map(|nanos| encoding::moment(Some(nanos).filter(|n| *n != i64::MIN)));
    let kind: Option<EventKind> = encoding::kind(column::<i16>(row, "kind")?.into());
    Ok(PresenceEvent {
        kind: kind.ok_or_else(senseless)?,
        session: moment("session")?,
        time: moment("time")?,
        close_code: u16::try_from(column::<i32>(row, "close_code")?).map_err(|_| senseless())?,
        payload: Payload::from_packed(column(row, "payload")?),
    })
}

fn received_at(row: &Row) -> Result<UnixSeconds, StoreError> {
    u32::try_from(column::<i64>(row, "received_at")?).map(UnixSeconds).map_err(|_| senseless())
}

pub fn column<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, name: &str) -> Result<T, StoreError> {
    row.try_get(name).map_err(|error| StoreError::Read(error.to_string()))
}

/// A row that no devstatus wrote.
fn senseless() -> StoreError {
    StoreError::Read("a row of the database is invalid".to_owned())
}
