//! What a lookup of one device reads when all goes well: its deciding message, as the IoT platform sent it. The device is one of
//! millions and stands in no cache, so the processor is told step by step what will be read, and other work is done meanwhile.

use super::record::{DecidingMessage, PackedRecord};
use super::{DeviceRegistry, Shard};
use presence::Device;

/// The search for one device. No step waits for what it fetches, but each for what the step before has fetched.
pub struct DeviceSearch<'a> {
    registry: &'a DeviceRegistry,
    device: Device<'a>,
    hash: u64,
    /// Where the first record with this hash was, which is nearly always the one that is searched.
    candidate: Option<u32>,
}

impl DeviceRegistry {
    /// Begins to search a device: the processor fetches the slot of the table that says where its record is.
    pub fn search<'a>(&'a self, device: Device<'a>) -> DeviceSearch<'a> {
        let search = DeviceSearch { registry: self, device, hash: self.hash(device), candidate: None };
        search.shard().records.read().prefetch_slot(search.hash);
        search
    }
}

impl<'a> DeviceSearch<'a> {
    pub fn device(&self) -> Device<'a> {
        self.device
    }

    fn shard(&self) -> &'a Shard {
        &self.registry.shards[DeviceRegistry::shard_number(self.hash)]
    }

    /// Has the processor fetch the record.
    pub fn fetch_record(&mut self) {
        self.candidate = self.shard().records.read().prefetch_record(self.hash);
    }

    /// Has the processor fetch what the record points to: the message is in it.
    pub fn fetch_message(&self) {
        if let Some(at) = self.candidate {
            self.shard().records.read().at(at).into_iter().for_each(PackedRecord::prefetch_body);
        }
    }

    /// Appends the device's deciding message and returns what it means. `None`: [`DeviceRegistry::read_whole`] must be asked, because
    /// the device is not held whole, is not known, or its state is of several messages or of another source.
    pub fn append_message(&self, message: &mut Vec<u8>) -> Option<DecidingMessage> {
        let records = self.shard().records.read();
        let candidate = self.candidate.and_then(|at| records.at(at)).filter(|record| record.is(self.device));
        let record = candidate.or_else(|| records.at(records.find(self.hash, self.device)?));
        self.registry.whole(record).ok()??.append_message(message)
    }
}
