//! Which key holds what. Everything about a device is in one of 256 buckets, whose keys share a hash tag and so a slot:
//! a script may then change all of it as one step, and what many devices have in common costs memory once for each bucket.
//!
//! There is one bucket in each 64 slots, so that the shards of a cluster have equal parts, however the slots lie.

use std::sync::LazyLock;

use presence::{Device, DeviceName};

/// A power of two that divides the slots. More of them would make a look for changes dearer: it asks each.
pub const BUCKETS: usize = 256;
/// Of a Redis or Valkey cluster, by its specification.
const SLOTS: u16 = 16_384;

/// Names are joined by a character that no topic can hold and that sorts before all others, so that joined names have the
/// order of the pairs.
pub const SEPARATOR: u8 = 0;

/// Which one of the buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u8);

impl Bucket {
    /// By the slot that the joined name would have, which is the same in every version.
    pub fn of(joined: &[u8]) -> Self {
        Self::of_slot(slot_of(joined))
    }

    fn of_slot(slot: HashSlot) -> Self {
        Self(u8::try_from(usize::from(slot.0) * BUCKETS / usize::from(SLOTS)).unwrap_or(u8::MAX))
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    pub fn number(self) -> u8 {
        self.0
    }

    pub fn index(self) -> usize {
        self.0.into()
    }
}

impl From<u8> for Bucket {
    fn from(number: u8) -> Self {
        Self(number)
    }
}

/// Which of the slots of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashSlot(pub u16);

/// The hash tag of each bucket.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut tags = vec![None; BUCKETS];
    let mut left = BUCKETS;
    for number in 0.. {
        let tag = format!("{number}");
        let place = &mut tags[Bucket::of_slot(slot_of(tag.as_bytes())).index()];
        if place.is_none() {
            *place = Some(tag);
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    tags.into_iter().flatten().collect()
});

/// The hash tag of what is of all instances.
const OF_ALL: &str = "instances";

/// The keys below one prefix.
#[derive(Clone, Debug)]
pub struct BucketKeys {
    prefix: String,
}

impl BucketKeys {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Records by name.
    pub fn devices(&self, bucket: Bucket) -> Vec<u8> {
        self.in_bucket(bucket, "devices")
    }

    /// Names in order.
    pub fn names(&self, bucket: Bucket) -> Vec<u8> {
        self.in_bucket(bucket, "names")
    }

    /// Which devices have changed, in order.
    pub fn changes(&self, bucket: Bucket) -> Vec<u8> {
        self.in_bucket(bucket, "changes")
    }

    /// Devices that have a history, by when their oldest event was received.
    pub fn due(&self, bucket: Bucket) -> Vec<u8> {
        self.in_bucket(bucket, "due")
    }

    /// Devices that were forgotten.
    pub fn tombstones(&self, bucket: Bucket) -> Vec<u8> {
        self.in_bucket(bucket, "tombstones")
    }

    /// The events of one device, the newest first.
    pub fn history(&self, bucket: Bucket, joined: &[u8]) -> Vec<u8> {
        let mut key = self.in_bucket(bucket, "history:");
        key.extend_from_slice(joined);
        key
    }

    /// The slot of all keys of a bucket.
    pub fn slot(&self, bucket: Bucket) -> HashSlot {
        slot_of(TAGS[bucket.index()].as_bytes())
    }

    /// The slot of what is of all instances.
    pub fn slot_of_all(&self) -> HashSlot {
        slot_of(OF_ALL.as_bytes())
    }

    /// What is of all instances.
    pub fn of_all(&self, name: &str) -> String {
        format!("{}:{{{OF_ALL}}}:{name}", self.prefix)
    }

    fn in_bucket(&self, bucket: Bucket, name: &str) -> Vec<u8> {
        format!("{}:{{{}}}:{name}", self.prefix, TAGS[bucket.index()]).into_bytes()
    }
}

/// Type and id as one.
pub fn joined(device: Device<'_>) -> Vec<u8> {
    let mut joined = Vec::with_capacity(device.device_type.len() + 1 + device.id.len());
    joined.extend_from_slice(device.device_type.as_bytes());
    joined.push(SEPARATOR);
    joined.extend_from_slice(device.id.as_bytes());
    joined
}

/// The pair that was joined; `None` for bytes that none of us wrote.
pub fn parted(joined: &[u8]) -> Option<DeviceName> {
    let joined = std::str::from_utf8(joined).ok()?;
    let (device_type, id) = joined.split_once(char::from(SEPARATOR))?;
    Some(DeviceName { device_type: device_type.into(), id: id.into() })
}

/// The slot of a text that has no hash tag: CRC-16 with the polynomial 0x1021, as the specification of the cluster has it.
fn slot_of(text: &[u8]) -> HashSlot {
    let crc = text.iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    HashSlot(crc % SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot_of(b"123456789"), HashSlot(0x31C3));
        assert_eq!(slot_of(b"foo"), HashSlot(12_182));
    }

    #[test]
    fn each_part_of_the_slots_holds_one_bucket() {
        for bucket in Bucket::all() {
            let slot = BucketKeys::new("any").slot(bucket);
            assert_eq!(usize::from(slot.0 / 64), bucket.index());
        }
    }

    #[test]
    fn joined_names_come_apart_and_sort_as_the_pairs_do() {
        let name =
            |device_type: &str, id: &str| DeviceName { device_type: device_type.into(), id: id.into() };
        let names = [name("a", ""), name("a", "b"), name("a\u{1}", "a"), name("ü", "\u{10ffff}")];
        let joined: Vec<_> = names.iter().map(|name| joined(name.device())).collect();
        assert!(joined.is_sorted());
        assert_eq!(joined.iter().map(|joined| parted(joined)).collect::<Option<Vec<_>>>().unwrap(), names);
        assert_eq!(parted(b"no separator"), None);
    }
}
