//! What a lookup of one device reads when all goes well: its deciding message, as the IoT platform sent it. The device is one of
//! millions and stands in no cache, so the processor is told early what will be read.

use super::record::DecidingMessage;
use super::{DeviceRegistry, Shard};
use presence::Device;

impl DeviceRegistry {
    /// Has the processor fetch where the search for this device begins.
    pub fn prefetch_slot(&self, device: Device<'_>) {
        let (hash, shard) = self.hash_and_shard(device);
        shard.records.read().prefetch_slot(hash);
    }

    /// Has the processor fetch the device's record, once it has fetched what [`DeviceRegistry::prefetch_slot`] told it.
    pub fn prefetch_record(&self, device: Device<'_>) {
        let (hash, shard) = self.hash_and_shard(device);
        shard.records.read().prefetch_record(hash);
    }

    fn hash_and_shard(&self, device: Device<'_>) -> (u64, &Shard) {
        let hash = self.hash(device);
        (hash, &self.shards[Self::shard_number(hash)])
    }

    /// Appends the device's deciding message and returns what it means. `None`: [`DeviceRegistry::read_whole`] must be asked, because
    /// the device is not held whole, is not known, or its state is of several messages or of another source.
    pub fn append_message(&self, device: Device<'_>, message: &mut Vec<u8>) -> Option<DecidingMessage> {
        self.read_packed(device, |record| record.append_message(message)).ok()??
    }
}
