//! Devices that the store refuses to keep while it takes others: which they are, and when each is tried again. They are
//! answered from memory all the same. What is written, and when, is decided by the writer.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use presence::DeviceName;
use store::Batch;

/// The memory that the names of refused devices may take. At the bound any of them gives way; it is found to be refused again
/// when it changes.
const REFUSED_MAX_BYTES: usize = 16 << 20;
/// What a refused device takes beside its name and the reason, about.
const OVERHEAD_BYTES: usize = 128;
/// The most of a store's reason that is held for each device.
const REASON_MAX_BYTES: usize = 256;

/// A refused device that has changed is tried again after this time at the earliest: each attempt costs a batch of its own.
const RETRY_CHANGED: Duration = Duration::from_secs(60);
/// One that has not changed, after this time: somebody may have mended the store meanwhile.
const RETRY_UNCHANGED: Duration = Duration::from_secs(3_600);
/// Devices that are tried again at once.
const RETRIES_AT_ONCE: usize = 16;

/// The devices that are refused at present.
#[derive(Default)]
pub struct RefusedDevices {
    refusals: HashMap<DeviceName, DeviceRefusal>,
    bytes: usize,
}

struct DeviceRefusal {
    tried_at: Instant,
    reason: Box<str>,
    has_changed: bool,
}

impl RefusedDevices {
    pub fn len(&self) -> usize {
        self.refusals.len()
    }

    pub fn is_empty(&self) -> bool {
        self.refusals.is_empty()
    }

    /// Any of the devices, and why it is refused.
    pub fn example(&self) -> Option<(&DeviceName, &str)> {
        self.refusals.iter().next().map(|(name, refusal)| (name, &*refusal.reason))
    }

    /// Adds a device that was refused just now; returns those that give way.
    pub fn add(&mut self, name: DeviceName, reason: &str, now: Instant) -> Vec<DeviceName> {
        self.remove(&name);
        let reason = shortened(reason).into();
        let refusal = DeviceRefusal { tried_at: now, reason, has_changed: false };
        self.bytes += size(&name, &refusal);
        let mut given_way = Vec::new();
        while self.bytes > REFUSED_MAX_BYTES
            && let Some(any) = self.refusals.keys().next().cloned()
        {
            self.remove(&any);
            given_way.push(any);
        }
        self.refusals.insert(name, refusal);
        given_way
    }

    /// The store has taken the device, or nobody knows it any more.
    pub fn remove(&mut self, name: &DeviceName) {
        if let Some((name, refusal)) = self.refusals.remove_entry(name) {
            self.bytes -= size(&name, &refusal);
        }
    }

    /// Notes that a device has changed, and says whether it is a refused one.
    pub fn note_change(&mut self, name: &DeviceName) -> bool {
        let refusal = self.refusals.get_mut(name);
        refusal.map(|refusal| refusal.has_changed = true).is_some()
    }

    /// The devices that are to be tried again, those that have waited longest first.
    pub fn due(&self, now: Instant) -> Vec<DeviceName> {
        let mut due: Vec<_> = self.refusals.iter().filter(|(_, refusal)| refusal.is_due(now)).collect();
        due.sort_by_key(|(_, refusal)| refusal.tried_at);
        due.into_iter().take(RETRIES_AT_ONCE).map(|(name, _)| name.clone()).collect()
    }
}

impl DeviceRefusal {
    fn is_due(&self, now: Instant) -> bool {
        now.duration_since(self.tried_at) >= if self.has_changed { RETRY_CHANGED } else { RETRY_UNCHANGED }
    }
}

fn size(name: &DeviceName, refusal: &DeviceRefusal) -> usize {
    OVERHEAD_BYTES + name.device_type.len() + name.id.len() + refusal.reason.len()
}

fn shortened(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_MAX_BYTES)]
}

/// Parts of a batch by device; a device's events stay with it.
pub fn divide(batch: &Batch, is_first: impl Fn(&str, &str) -> bool) -> [Batch; 2] {
    let mut parts = [Batch::default(), Batch::default()];
    for device in &batch.devices {
        let part = usize::from(!is_first(&device.name.device_type, &device.name.id));
        parts[part].devices.push(device.clone());
    }
    for event in &batch.events {
        let part = usize::from(!is_first(&event.device_type, &event.id));
        parts[part].events.push(event.clone());
    }
    for part in &mut parts {
        // Either may be refused.
        part.events_lost = batch.events_lost;
        part.based_on.clone_from(&batch.based_on);
    }
    parts
}

/// Two halves of a batch; `None` if it is about one device alone.
pub fn halves(batch: &Batch) -> Option<[Batch; 2]> {
    let of_devices = batch.devices.iter().map(|device| (&*device.name.device_type, &*device.name.id));
    let of_events = batch.events.iter().map(|event| (&*event.device_type, &*event.id));
    let names: BTreeSet<(&str, &str)> = of_devices.chain(of_events).collect();
    if names.len() < 2 {
        return None;
    }
    let middle = *names.iter().nth(names.len() / 2)?;
    Some(divide(batch, |device_type, id| (device_type, id) < middle))
}

/// The device that a batch of one device is about.
pub fn only_device(batch: &Batch) -> Option<DeviceName> {
    let device = batch.devices.first().map(|device| device.name.clone());
    device.or_else(|| {
        let event = batch.events.first()?;
        Some(DeviceName { device_type: event.device_type.clone(), id: event.id.clone() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use presence::{DeviceState, UnixSeconds};
    use store::StoredDevice;

    fn name(id: &str) -> DeviceName {
        DeviceName { device_type: "t".into(), id: id.into() }
    }

    #[test]
    fn a_refused_device_is_tried_again_soon_if_it_has_changed_and_rarely_if_not() {
        let (mut refused, start) = (RefusedDevices::default(), Instant::now());
        for id in ["changes", "stays"] {
            assert!(refused.add(name(id), "why", start).is_empty());
        }
        assert!(refused.note_change(&name("changes")) && !refused.note_change(&name("other")));
        let due = |refused: &RefusedDevices, after: Duration| refused.due(start + after);
        assert!(due(&refused, RETRY_CHANGED - Duration::from_millis(1)).is_empty());
        assert_eq!(due(&refused, RETRY_CHANGED), [name("changes")]);
        refused.add(name("changes"), "why", start + RETRY_CHANGED);
        assert_eq!(due(&refused, RETRY_UNCHANGED), [name("stays")], "the other was tried since");
        refused.remove(&name("stays"));
        assert_eq!((refused.len(), due(&refused, RETRY_UNCHANGED).len()), (1, 0));
    }

    #[test]
    fn the_names_of_refused_devices_are_bounded_in_bytes() {
        let (mut refused, now) = (RefusedDevices::default(), Instant::now());
        let long = "x".repeat(64 << 10);
        let mut given_way = 0;
        for id in 0..1_000 {
            given_way += refused.add(name(&format!("{id}{long}")), &long, now).len();
        }
        assert_eq!(refused.len() + given_way, 1_000);
        assert!(
            refused.bytes <= REFUSED_MAX_BYTES && refused.len() > 200,
            "{} {}",
            refused.bytes,
            refused.len()
        );
        let names: Vec<_> = refused.refusals.keys().cloned().collect();
        names.iter().for_each(|name| refused.remove(name));
        assert_eq!(refused.bytes, 0);
        assert!(refused.due(now + RETRY_UNCHANGED).is_empty());
    }

    #[test]
    fn a_batch_splits_into_halves_and_a_single_device_does_not() {
        let device = |id: &str| StoredDevice {
            name: name(id),
            state: DeviceState::default(),
            received_at: UnixSeconds(1),
        };
        let batch = Batch { devices: ["a", "b", "c"].map(device).to_vec(), ..Batch::default() };
        let ids = |batch: &Batch| batch.devices.iter().map(|one| one.name.id.to_string()).collect::<String>();
        let [first, second] = halves(&batch).unwrap();
        assert_eq!((ids(&first), ids(&second)), ("a".to_owned(), "bc".to_owned()));
        assert_eq!((halves(&first), only_device(&first)), (None, Some(name("a"))));
        assert_eq!((halves(&Batch::default()), only_device(&Batch::default())), (None, None));
    }
}
