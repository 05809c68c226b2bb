//! What is announced, group by group, for streams: each stream shows what differs from what it has shown, so a slow one holds
//! up nobody and costs no queue.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use alerts::{ALERTS_NAMED_MAX, AnnouncedAlert, RuleSet, WallMillis};
use bytes::Bytes;
use presence::DeviceName;
use tokio::sync::watch;

use crate::standing;

/// Groups that a reader compares in one step, so that other streams are served in between.
const STEP_GROUPS: usize = 256;

/// The groups with announced alerts, by their keys.
pub(crate) type AnnouncedGroups = BTreeMap<u64, Arc<AnnouncedGroup>>;

/// A group of alerts that was announced and fires.
#[derive(Debug)]
pub struct AnnouncedGroup {
    pub about: GroupAbout,
    /// As streams show it, for all of them.
    pub shown: OnceLock<Bytes>,
}

/// What is said of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupAbout {
    pub key: u64,
    pub rule: Arc<str>,
    pub kind: &'static str,
    pub group: Arc<str>,
    /// At most [`ALERTS_NAMED_MAX`].
    pub firing: Vec<FiringAlert>,
    pub firing_total: usize,
    pub acknowledged_until: Option<WallMillis>,
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiringAlert {
    /// `None`: it is about the group.
    pub device: Option<Arc<DeviceName>>,
    pub since: WallMillis,
}

/// What a stream shows.
#[derive(Clone, Debug)]
pub enum AlertEvent {
    /// The group fires, or something of it has changed.
    Firing(Arc<AnnouncedGroup>),
    /// It fires no longer.
    Resolved(Arc<AnnouncedGroup>),
    /// Once: all groups that fired at the beginning were shown, so many.
    Complete(usize),
}

/// The groups of what is announced.
pub(crate) fn groups(announced: &[AnnouncedAlert], rules: &RuleSet) -> AnnouncedGroups {
    let mut groups: BTreeMap<u64, GroupAbout> = BTreeMap::new();
    for alert in announced {
        let rule = rules.rules.iter().find(|rule| rule.name == alert.rule);
        let group = groups.entry(alert.key).or_insert_with(|| GroupAbout {
            key: alert.key,
            rule: alert.rule.clone(),
            kind: standing::kind(&alert.rule, rule),
            group: alert.group.clone(),
            firing: Vec::new(),
            firing_total: 0,
            acknowledged_until: alert.acknowledged_until,
        });
        group.firing_total += 1;
        if group.firing.len() < ALERTS_NAMED_MAX {
            group.firing.push(FiringAlert { device: alert.device.clone(), since: alert.since });
        }
    }
    let of = |about| Arc::new(AnnouncedGroup { about, shown: OnceLock::new() });
    groups.into_iter().map(|(key, about)| (key, of(about))).collect()
}

/// Where an instance says what is announced, as far as it knows.
#[derive(Debug, Default)]
pub(crate) struct AnnouncedWatch(watch::Sender<Option<Arc<AnnouncedGroups>>>);

impl AnnouncedWatch {
    /// Tells all readers what is announced now.
    pub fn publish(&self, mut groups: AnnouncedGroups) {
        self.0.send_if_modified(|before| {
            let Some(before) = before else {
                *before = Some(Arc::new(groups));
                return true;
            };
            for (key, group) in &mut groups {
                let same = before.get(key).filter(|before| before.about == group.about);
                if let Some(same) = same {
                    *group = Arc::clone(same);
                }
            }
            let is_same = groups.len() == before.len()
                && groups
                    .iter()
                    .all(|(key, group)| before.get(key).is_some_and(|before| Arc::ptr_eq(before, group)));
            if !is_same {
                *before = Arc::new(groups);
            }
            !is_same
        });
    }

    /// Nobody follows, so from now on it is not known what is announced.
    pub fn forget(&self) {
        self.0.send_if_modified(|groups| {
            *groups = None;
            false
        });
    }

    pub fn has_readers(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub fn reader(&self) -> AlertReader {
        AlertReader { groups: self.0.subscribe(), shown: Arc::default(), showing: None, is_complete: false }
    }
}

/// What one stream has shown, and what comes next.
#[derive(Debug)]
pub struct AlertReader {
    groups: watch::Receiver<Option<Arc<AnnouncedGroups>>>,
    shown: Arc<AnnouncedGroups>,
    showing: Option<Showing>,
    is_complete: bool,
}

/// What is being shown, and up to which key it was.
#[derive(Debug)]
struct Showing {
    groups: Arc<AnnouncedGroups>,
    up_to: Option<u64>,
}

impl AlertReader {
    /// Waits until there is something to tell.
    pub async fn wait(&mut self) {
        let is_first = !self.is_complete && self.groups.borrow().is_some();
        if self.showing.is_none() && !is_first && self.groups.changed().await.is_err() {
            // The service is ending.
            std::future::pending().await
        }
    }

    /// The next events; there may be none, although more follow.
    pub fn take(&mut self) -> Vec<AlertEvent> {
        let showing = match self.showing.take() {
            Some(showing) => showing,
            None => match self.groups.borrow_and_update().clone() {
                Some(groups) if !self.is_complete || !Arc::ptr_eq(&groups, &self.shown) => {
                    Showing { groups, up_to: None }
                }
                Some(_) | None => return Vec::new(),
            },
        };
        self.step(showing)
    }

    fn step(&mut self, Showing { groups, mut up_to }: Showing) -> Vec<AlertEvent> {
        let mut events = Vec::new();
        for _ in 0..STEP_GROUPS {
            let rest = (up_to.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
            let next = [&self.shown, &groups].into_iter().filter_map(|all| all.range(rest).next());
            let Some(key) = next.map(|(key, _)| *key).min() else {
                if !std::mem::replace(&mut self.is_complete, true) {
                    events.push(AlertEvent::Complete(groups.len()));
                }
                self.shown = groups;
                return events;
            };
            up_to = Some(key);
            match (self.shown.get(&key), groups.get(&key)) {
                (Some(before), Some(group)) if Arc::ptr_eq(before, group) => {}
                (_, Some(group)) => events.push(AlertEvent::Firing(Arc::clone(group))),
                (Some(before), None) => events.push(AlertEvent::Resolved(Arc::clone(before))),
                (None, None) => {}
            }
        }
        self.showing = Some(Showing { groups, up_to });
        events
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn alert(key: u64, id: &str) -> AnnouncedAlert {
        AnnouncedAlert {
            rule: "offline".into(),
            device: Some(Arc::new(DeviceName { device_type: "pump".into(), id: id.into() })),
            group: format!("group-{key}").into(),
            source: None,
            since: WallMillis(1),
            key,
            members: Vec::new(),
            acknowledged_until: None,
        }
    }

    /// Everything that there is to tell, shortly.
    fn next_events(reader: &mut AlertReader) -> Vec<String> {
        let mut all = Vec::new();
        while reader.wait().now_or_never().is_some() {
            all.extend(reader.take().iter().map(|event| match event {
                AlertEvent::Firing(group) => {
                    format!("{} fires {}", group.about.key, group.about.firing_total)
                }
                AlertEvent::Resolved(group) => format!("{} is over", group.about.key),
                AlertEvent::Complete(groups) => format!("{groups} in all"),
            }));
        }
        all
    }

    fn publish(watch: &AnnouncedWatch, announced: &[AnnouncedAlert]) {
        watch.publish(groups(announced, &RuleSet::default()));
    }

    #[test]
    fn a_stream_shows_what_fires_and_then_what_differs() {
        let watch = AnnouncedWatch::default();
        let mut early = watch.reader();
        assert_eq!(next_events(&mut early), Vec::<String>::new(), "nothing is known yet");
        publish(&watch, &[alert(1, "a"), alert(1, "b"), alert(2, "c")]);
        assert_eq!(next_events(&mut early), ["1 fires 2", "2 fires 1", "2 in all"]);
        publish(&watch, &[alert(1, "a"), alert(1, "b"), alert(2, "c")]);
        assert_eq!(next_events(&mut early), Vec::<String>::new());
        let mut late = watch.reader();
        publish(&watch, &[alert(2, "c"), alert(2, "d")]);
        publish(&watch, &[alert(2, "c"), alert(2, "d"), alert(3, "e")]);
        assert_eq!(next_events(&mut early), ["1 is over", "2 fires 2", "3 fires 1"]);
        assert_eq!(next_events(&mut late), ["2 fires 2", "3 fires 1", "2 in all"]);
        assert!(watch.has_readers());
        drop((early, late));
        assert!(!watch.has_readers());
        watch.forget();
        assert_eq!(next_events(&mut watch.reader()), Vec::<String>::new());
    }

    #[test]
    fn many_groups_are_shown_in_steps_and_what_changes_meanwhile_after_them() {
        let watch = AnnouncedWatch::default();
        let all: Vec<_> = (1..=STEP_GROUPS as u64 * 2 + 1).map(|key| alert(key, "a")).collect();
        publish(&watch, &all);
        let mut reader = watch.reader();
        assert_eq!(reader.take().len(), STEP_GROUPS);
        publish(&watch, &all[1..]);
        let rest = next_events(&mut reader);
        assert_eq!(rest.len(), STEP_GROUPS + 3);
        assert_eq!(rest[rest.len() - 2..], [format!("{} in all", all.len()), "1 is over".to_owned()]);
    }

    #[test]
    fn a_group_names_fifty_alerts_and_counts_all() {
        let announced: Vec<_> = (0..60).map(|number| alert(7, &number.to_string())).collect();
        let groups = groups(&announced, &RuleSet::default());
        let about = &groups[&7].about;
        assert_eq!((about.firing.len(), about.firing_total), (ALERTS_NAMED_MAX, 60));
    }
}
