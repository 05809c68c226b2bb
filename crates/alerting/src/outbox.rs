//! Notifications that are to be sent, as the store has them, and up to which of them each endpoint has accepted them (pure).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use alerts::{Notification, NotificationStatus};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Notifications that wait. Beyond it the oldest are dropped: an endpoint that was away for so long has the newest.
pub const WAITING_MAX: usize = 1_000;

/// One notification.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueEntry {
    /// Rises from each to the next.
    pub number: u64,
    /// The key of its group.
    pub key: u64,
    pub is_firing: bool,
    pub at_ms: i64,
    /// As endpoints receive it.
    pub data: Box<RawValue>,
    /// The endpoints that receive it.
    pub webhooks: Vec<String>,
}

impl QueueEntry {
    fn is_for(&self, webhook: &str) -> bool {
        self.webhooks.iter().any(|name| name == webhook)
    }

    /// The type of its messages.
    pub fn event_type(&self) -> &'static str {
        if self.is_firing { NotificationStatus::Firing.word() } else { NotificationStatus::Resolved.word() }
    }
}

/// All that wait, in their order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NotificationQueue {
    /// The number of the newest one that there ever was.
    newest: u64,
    #[serde(serialize_with = "write_entries", deserialize_with = "read_entries")]
    entries: VecDeque<Arc<QueueEntry>>,
}

fn write_entries<S: Serializer>(
    entries: &VecDeque<Arc<QueueEntry>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(entries.iter().map(|entry| &**entry))
}

fn read_entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VecDeque<Arc<QueueEntry>>, D::Error> {
    Ok(Vec::<QueueEntry>::deserialize(deserializer)?.into_iter().map(Arc::new).collect())
}

/// Up to which number each endpoint has accepted everything.
pub type AcceptedNumbers = BTreeMap<String, u64>;

impl NotificationQueue {
    /// Adds a notification; returns how many were dropped for it.
    pub fn add(
        &mut self,
        notification: &Notification,
        data: Box<RawValue>,
        positions: &AcceptedNumbers,
    ) -> usize {
        let mut webhooks: Vec<_> = notification.webhooks.iter().map(|name| name.to_string()).collect();
        if notification.is_repeated {
            // To an endpoint that still waits for an earlier one about the group, a repetition says nothing.
            webhooks.retain(|webhook| !self.waits(notification.key, webhook, positions));
        }
        if webhooks.is_empty() {
            return 0;
        }
        self.newest += 1;
        self.entries.push_back(Arc::new(QueueEntry {
            number: self.newest,
            key: notification.key,
            is_firing: notification.status == NotificationStatus::Firing,
            at_ms: notification.at.0,
            data,
            webhooks,
        }));
        let dropped = self.entries.len().saturating_sub(WAITING_MAX);
        self.entries.drain(..dropped);
        dropped
    }

    fn waits(&self, key: u64, webhook: &str, positions: &AcceptedNumbers) -> bool {
        let position = positions.get(webhook).copied().unwrap_or(0);
        let mut of_endpoint = self.entries.iter().filter(|entry| entry.number > position);
        of_endpoint.any(|entry| entry.key == key && entry.is_for(webhook))
    }

    /// Drops what every one of these endpoints that receives it has accepted.
    pub fn drop_sent(&mut self, positions: &AcceptedNumbers) {
        self.entries.retain(|entry| {
            // An endpoint that is in the settings no longer has no position.
            let waits =
                |webhook: &String| positions.get(webhook).is_some_and(|position| *position < entry.number);
            entry.webhooks.iter().any(waits)
        });
    }

    /// The first that an endpoint with that position is to receive.
    pub fn next_of(&self, webhook: &str, position: u64) -> Option<&Arc<QueueEntry>> {
        self.entries.iter().find(|entry| entry.number > position && entry.is_for(webhook))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use alerts::WallMillis;

    use super::*;

    fn notification(key: u64, is_repeated: bool) -> Notification {
        Notification {
            rule: "offline".into(),
            kind: "offline_for",
            group: "".into(),
            status: NotificationStatus::Firing,
            key,
            at: WallMillis(1),
            is_repeated,
            firing: Vec::new(),
            begun_total: 0,
            firing_total: 0,
            further_devices: 0,
            resolved: Vec::new(),
            resolved_total: 0,
            webhooks: vec!["ops".into(), "mail".into()],
        }
    }

    fn add(
        outbox: &mut NotificationQueue,
        key: u64,
        is_repeated: bool,
        positions: &AcceptedNumbers,
    ) -> usize {
        outbox.add(&notification(key, is_repeated), RawValue::from_string("{}".into()).unwrap(), positions)
    }

    fn positions(ops: u64, mail: u64) -> AcceptedNumbers {
        [("ops".into(), ops), ("mail".into(), mail)].into()
    }

    #[test]
    fn each_endpoint_receives_everything_in_order_and_what_all_have_is_dropped() {
        let mut outbox = NotificationQueue::default();
        (1..=3).for_each(|key| assert_eq!(add(&mut outbox, key, false, &positions(0, 0)), 0));
        let next =
            |outbox: &NotificationQueue, position| outbox.next_of("ops", position).map(|entry| entry.key);
        assert_eq!([0, 1, 2, 3].map(|position| next(&outbox, position)), [Some(1), Some(2), Some(3), None]);
        assert_eq!(outbox.next_of("other", 0).map(|entry| entry.key), None);
        outbox.drop_sent(&positions(2, 1));
        assert_eq!((outbox.len(), next(&outbox, 0)), (2, Some(2)));
        outbox.drop_sent(&[("mail".into(), 3)].into());
        assert_eq!((outbox.len(), outbox.newest), (0, 3));
        add(&mut outbox, 9, false, &positions(3, 3));
        let again: NotificationQueue =
            serde_json::from_str(&serde_json::to_string(&outbox).unwrap()).unwrap();
        assert_eq!(again.next_of("mail", 3).map(|entry| (entry.number, entry.key)), Some((4, 9)));
    }

    #[test]
    fn a_repetition_goes_only_to_endpoints_that_have_the_first() {
        let mut outbox = NotificationQueue::default();
        let positions = positions(1, 0);
        add(&mut outbox, 7, false, &positions);
        add(&mut outbox, 7, true, &positions);
        assert_eq!(outbox.next_of("ops", 1).map(|entry| entry.number), Some(2));
        assert_eq!(outbox.next_of("mail", 1).map(|entry| entry.number), None);
        add(&mut outbox, 7, true, &positions);
        assert_eq!(outbox.len(), 2, "ops waits, too");
    }

    #[test]
    fn the_newest_wait_up_to_a_bound() {
        let mut outbox = NotificationQueue::default();
        let dropped: usize =
            (0..=WAITING_MAX as u64).map(|key| add(&mut outbox, key, false, &positions(0, 0))).sum();
        assert_eq!((outbox.len(), dropped), (WAITING_MAX, 1));
        assert_eq!(outbox.next_of("ops", 0).map(|entry| entry.key), Some(1));
    }
}
