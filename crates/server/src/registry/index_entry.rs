//! One device as an order of its type holds it, with what filters look at: 26 bytes.

use std::net::Ipv4Addr;

use super::end_code::EndCode;
use super::shard::RecordPlace;
use presence::{Moment, Status};

/// What filters look at of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexKey {
    pub status: Status,
    pub end_code: EndCode,
    pub time: Moment,
    /// `None`: look at the record.
    pub address: Option<Ipv4Addr>,
}

/// One device in an order. Packed, because there are millions.
#[derive(Clone, Copy)]
#[repr(C, packed(2))]
pub(super) struct IndexEntry {
    /// Orders ids that differ in it; see [`super::index::TypeIndex`].
    pub key: u64,
    time: Moment,
    place: RecordPlace,
    /// All zeros: look at the record.
    address: u32,
    /// [`EndCode::NONE`] if the device is connected, and only then.
    end_code: EndCode,
}

const _: () = assert!(size_of::<IndexEntry>() == 26);

impl IndexEntry {
    pub fn new(key: u64, place: RecordPlace, index_key: IndexKey) -> Self {
        Self {
            key,
            time: index_key.time,
            place,
            address: index_key.address.map_or(0, u32::from),
            end_code: index_key.end_code,
        }
    }

    pub fn place(&self) -> RecordPlace {
        self.place
    }

    #[inline]
    pub fn time(&self) -> Moment {
        self.time
    }

    /// All zeros: look at the record.
    #[inline]
    pub fn address_bits(&self) -> u32 {
        self.address
    }

    #[inline]
    pub fn end_code(&self) -> EndCode {
        self.end_code
    }

    // A list may pass over millions of them.
    #[inline]
    pub fn index_key(&self) -> IndexKey {
        let end_code = self.end_code;
        IndexKey {
            status: if end_code == EndCode::NONE { Status::Connected } else { Status::Disconnected },
            end_code,
            time: self.time,
            address: (self.address != 0).then(|| Ipv4Addr::from(self.address)),
        }
    }
}
