//! The names by which the devices of an order are sorted: ids in the order of one type, and types with ids in the one that
//! further types share.

use super::DeviceRegistry;
use super::index::Ids;
use super::shard::RecordPlace;

/// Tells the names of records.
#[derive(Clone, Copy)]
pub(super) enum Names<'a> {
    Ids(&'a DeviceRegistry),
    /// See [`full`].
    Full(&'a DeviceRegistry),
}

impl Ids for Names<'_> {
    fn read_id<T>(&self, place: RecordPlace, read_id: impl FnOnce(&[u8]) -> T) -> T {
        let (Self::Ids(registry) | Self::Full(registry)) = self;
        let records = registry.shards[place.shard()].records.read();
        let record = records.at(place.at()).expect("a record outlives its place in the orders");
        match self {
            Self::Ids(_) => read_id(record.id_bytes()),
            Self::Full(_) => read_id(full(&record.device_type.name, record.id()).as_bytes()),
        }
    }
}

/// Type and id as one text: sorted by type, then id, because no topic holds a NUL.
pub(super) fn full(device_type: &str, id: &str) -> String {
    format!("{device_type}\0{id}")
}
