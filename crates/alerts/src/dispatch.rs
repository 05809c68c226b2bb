//! From alerts that begin and end to notifications: groups, their waits and repetitions, and alerts that are held back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use presence::StableHash;

use crate::alert::{ALERTS_NAMED_MAX, Alert, AlertState, Notification, NotificationStatus, Suppression};
use crate::clock::{Now, WallMillis, millis};
use crate::instances::{InstanceAbout, Subject, Transition};
use crate::rule::Rule;

/// Which group: the place of the rule, and what the alerts have in common.
type GroupId = (usize, Arc<str>);

/// All groups with alerts that fire.
#[derive(Debug)]
pub(crate) struct Dispatch {
    /// Alerts that a notification names.
    pub named_max: usize,
    groups: BTreeMap<GroupId, Group>,
    /// When each group is looked at next, by ticks.
    due: BTreeSet<(u64, GroupId)>,
    /// How many alerts were held back, by rule and reason.
    suppressed: BTreeMap<(usize, Suppression), u64>,
}

#[derive(Debug, Default)]
struct Group {
    /// Of the first alert that was announced.
    key: Option<u64>,
    /// Alerts that are not announced yet.
    fresh: BTreeMap<Subject, InstanceAbout>,
    /// Alerts that were due to be announced and are held back.
    muted: BTreeMap<Subject, InstanceAbout>,
    announced: BTreeMap<Subject, InstanceAbout>,
    /// Announced alerts that ended and whose end is not announced yet.
    ended: BTreeMap<Subject, InstanceAbout>,
    due: Option<u64>,
    last_sent: Option<u64>,
    acknowledged_until: Option<WallMillis>,
}

/// What a notification says that the one before did not.
struct GroupChanges {
    begun: Vec<(Subject, InstanceAbout)>,
    ended: Vec<(Subject, InstanceAbout)>,
    named_max: usize,
}

/// An alert that was announced, or whose end is to be announced.
pub(crate) struct AnnouncedInstance<'a> {
    pub rule: usize,
    pub subject: &'a Subject,
    pub about: &'a InstanceAbout,
    pub key: u64,
    pub acknowledged_until: Option<WallMillis>,
}

/// Why an alert is held back now.
pub(crate) type Mute<'a> = dyn Fn(usize, &Subject, &InstanceAbout) -> Option<Suppression> + 'a;

impl Default for Dispatch {
    fn default() -> Self {
        Self {
            named_max: ALERTS_NAMED_MAX,
            groups: BTreeMap::new(),
            due: BTreeSet::new(),
            suppressed: BTreeMap::new(),
        }
    }
}

impl Dispatch {
    /// An alert began or ended.
    pub fn take(&mut self, transition: Transition, rules: &[Rule], ticks: u64) {
        let Transition { rule, subject, is_firing, about } = transition;
        let settings = &rules[rule];
        let id = (rule, about.group.clone());
        let group = self.groups.entry(id.clone()).or_default();
        if is_firing {
            // Its end was never announced, so for the receivers nothing has changed.
            if let Some(before) = group.ended.remove(&subject) {
                group.announced.insert(subject, before);
            } else {
                group.fresh.insert(subject, about);
                let wait = group.next_time(settings, ticks, millis(settings.group_wait));
                self.schedule(&id, wait);
            }
            return;
        }
        let was_unannounced =
            group.fresh.remove(&subject).is_some() || group.muted.remove(&subject).is_some();
        if was_unannounced {
            self.drop_if_empty(&id);
        } else if let Some(before) = group.announced.remove(&subject) {
            group.ended.insert(subject, before);
            let wait = group.next_time(settings, ticks, 0);
            self.schedule(&id, wait);
        }
    }

    /// The notifications that are due.
    pub fn flush(&mut self, rules: &[Rule], now: Now, mute: &Mute<'_>) -> Vec<Notification> {
        let named_max = self.named_max;
        let mut notifications = Vec::new();
        while let Some((at, id)) = self.due.first().cloned().filter(|(at, _)| *at <= now.ticks) {
            self.due.remove(&(at, id.clone()));
            let Some(group) = self.groups.get_mut(&id) else { continue };
            group.due = None;
            let (rule, settings) = (id.0, &rules[id.0]);
            let fresh = std::mem::take(&mut group.fresh);
            let mut begun = Vec::new();
            for (subject, about) in fresh {
                match mute(rule, &subject, &about) {
                    Some(reason) => {
                        *self.suppressed.entry((rule, reason)).or_default() += 1;
                        group.muted.insert(subject, about);
                    }
                    None => begun.push((subject, about)),
                }
            }
            let ended = std::mem::take(&mut group.ended);
            let (held, ended): (Vec<_>, Vec<_>) =
                ended.into_iter().partition(|(subject, about)| mute(rule, subject, about).is_some());
            group.ended.extend(held);
            let repeats = begun.is_empty() && ended.is_empty();
            if !repeats || group.repeats(rule, settings, now, mute) {
                notifications.push(group.notification(
                    settings,
                    &id.1,
                    now,
                    GroupChanges { begun, ended, named_max },
                ));
            }
            if let Some(repeat) = settings.repeat_interval.filter(|_| !group.announced.is_empty()) {
                let last = group.last_sent.unwrap_or(now.ticks);
                // What is held back or acknowledged is looked at again after as long a time.
                let next = last.saturating_add(millis(repeat));
                let next = if next <= now.ticks { now.ticks.saturating_add(millis(repeat)) } else { next };
                self.schedule(&id, next);
            }
            self.drop_if_empty(&id);
        }
        notifications
    }

    /// Something that held alerts back may have ended: what is held back no longer is announced now.
    pub fn look_again(&mut self, rules: &[Rule], ticks: u64, mute: &Mute<'_>) {
        let mut released = Vec::new();
        for (id, group) in &mut self.groups {
            let is_muted =
                |(subject, about): (&Subject, &InstanceAbout)| mute(id.0, subject, about).is_some();
            let free: Vec<_> = group
                .muted
                .iter()
                .filter(|one| !is_muted(*one))
                .map(|(subject, _)| subject.clone())
                .collect();
            let has_free_end = group.ended.iter().any(|one| !is_muted(one));
            for subject in &free {
                if let Some(about) = group.muted.remove(subject) {
                    group.fresh.insert(subject.clone(), about);
                }
            }
            if !free.is_empty() || has_free_end {
                released.push((id.clone(), group.next_time(&rules[id.0], ticks, 0)));
            }
        }
        for (id, at) in released {
            self.schedule(&id, at);
        }
    }

    /// Until then a group is not announced again because nothing has changed; `None` ends that. `false`: nothing of the group
    /// was announced.
    pub fn acknowledge(&mut self, rule: usize, group: &str, until: Option<WallMillis>) -> bool {
        let group = self.groups.get_mut(&(rule, group.into()));
        let Some(group) = group.filter(|group| !group.announced.is_empty()) else { return false };
        group.acknowledged_until = until;
        true
    }

    /// Until when a group is acknowledged.
    pub fn acknowledged_until(&self, rule: usize, group: &Arc<str>) -> Option<WallMillis> {
        self.groups.get(&(rule, group.clone()))?.acknowledged_until
    }

    /// How many alerts were held back so far, by rule and reason.
    pub fn suppressed(&self) -> impl Iterator<Item = (&(usize, Suppression), &u64)> {
        self.suppressed.iter()
    }

    /// What was announced, with the key of its group and until when the group is acknowledged.
    pub fn announced(&self) -> impl Iterator<Item = AnnouncedInstance<'_>> {
        self.groups.iter().flat_map(|((rule, _), group)| {
            let of_group = group.announced.iter().chain(&group.ended);
            let (rule, key) = (*rule, group.key.unwrap_or_default());
            let acknowledged_until = group.acknowledged_until;
            of_group.map(move |(subject, about)| AnnouncedInstance {
                rule,
                subject,
                about,
                key,
                acknowledged_until,
            })
        })
    }

    /// An alert that was announced by an earlier process.
    pub fn restore(
        &mut self,
        rules: &[Rule],
        (rule, subject): (usize, Subject),
        about: InstanceAbout,
        (key, acknowledged_until): (u64, Option<WallMillis>),
        ticks: u64,
    ) {
        let id = (rule, about.group.clone());
        let group = self.groups.entry(id.clone()).or_default();
        group.key = Some(key);
        group.acknowledged_until = acknowledged_until;
        group.last_sent = Some(ticks);
        group.announced.insert(subject, about);
        if let Some(repeat) = rules[rule].repeat_interval {
            self.schedule(&id, ticks.saturating_add(millis(repeat)));
        }
    }

    /// Gives the groups of each rule to the rule at the place that `place_of` says, and drops those of others.
    pub fn move_rules(&mut self, place_of: impl Fn(usize) -> Option<usize>) {
        for ((rule, name), group) in std::mem::take(&mut self.groups) {
            if let Some(rule) = place_of(rule) {
                self.groups.insert((rule, name), group);
            }
        }
        let due = std::mem::take(&mut self.due).into_iter();
        self.due = due.filter_map(|(at, (rule, name))| Some((at, (place_of(rule)?, name)))).collect();
        let suppressed = std::mem::take(&mut self.suppressed).into_iter();
        self.suppressed = suppressed
            .filter_map(|((rule, reason), times)| Some(((place_of(rule)?, reason), times)))
            .collect();
    }

    /// The earlier of two times counts.
    fn schedule(&mut self, id: &GroupId, at: u64) {
        let Some(group) = self.groups.get_mut(id) else { return };
        if let Some(due) = group.due {
            if due <= at {
                return;
            }
            self.due.remove(&(due, id.clone()));
        }
        group.due = Some(at);
        self.due.insert((at, id.clone()));
    }

    fn drop_if_empty(&mut self, id: &GroupId) {
        let is_empty = self.groups.get(id).is_some_and(|group| {
            [&group.fresh, &group.muted, &group.announced, &group.ended].iter().all(|each| each.is_empty())
        });
        if is_empty && let Some(due) = self.groups.remove(id).and_then(|group| group.due) {
            self.due.remove(&(due, id.clone()));
        }
    }
}

impl Group {
    /// When what changed now is announced: after the wait, and after the interval since the last notification.
    fn next_time(&self, rule: &Rule, ticks: u64, wait: u64) -> u64 {
        match self.last_sent {
            None => ticks.saturating_add(wait),
            Some(last) => ticks.max(last.saturating_add(millis(rule.group_interval))),
        }
    }

    fn repeats(&self, rule: usize, settings: &Rule, now: Now, mute: &Mute<'_>) -> bool {
        let is_due = settings
            .repeat_interval
            .zip(self.last_sent)
            .is_some_and(|(repeat, last)| last.saturating_add(millis(repeat)) <= now.ticks);
        is_due
            && self.acknowledged_until.is_none_or(|until| until <= now.wall)
            && self.announced.iter().any(|(subject, about)| mute(rule, subject, about).is_none())
    }

    fn notification(
        &mut self,
        rule: &Rule,
        group: &Arc<str>,
        now: Now,
        GroupChanges { begun, ended, named_max }: GroupChanges,
    ) -> Notification {
        let is_repeated = begun.is_empty() && ended.is_empty();
        let first = begun.first().map_or(now.wall, |(_, about)| about.since);
        let key = *self.key.get_or_insert_with(|| key(&rule.name, group, first));
        let alert = |state| {
            move |(subject, about): (&Subject, &InstanceAbout)| alert(rule, subject, about, (state, None))
        };
        let pairs = |list: &[(Subject, InstanceAbout)], state| {
            let pairs = list.iter().map(|(subject, about)| (subject, about));
            pairs.take(named_max).map(alert(state)).collect::<Vec<_>>()
        };
        let mut firing = pairs(&begun, AlertState::Firing);
        let earlier = self.announced.iter().take(named_max - firing.len());
        firing.extend(earlier.map(alert(AlertState::Firing)));
        let resolved = pairs(&ended, AlertState::Resolved);
        let begun_total = begun.len();
        self.announced.extend(begun);
        let firing_total = self.announced.len();
        self.last_sent = Some(now.ticks);
        if firing_total == 0 {
            (self.key, self.acknowledged_until) = (None, None);
        }
        Notification {
            rule: rule.name.clone(),
            kind: rule.kind.word(),
            group: group.clone(),
            status: if firing_total == 0 { NotificationStatus::Resolved } else { NotificationStatus::Firing },
            key,
            at: now.wall,
            is_repeated,
            firing,
            begun_total,
            firing_total,
            further_devices: 0,
            resolved,
            resolved_total: ended.len(),
            webhooks: rule.webhooks.clone(),
        }
    }
}

/// An alert as it is shown.
pub(crate) fn alert(
    rule: &Rule,
    subject: &Subject,
    about: &InstanceAbout,
    (state, suppressed_by): (AlertState, Option<Suppression>),
) -> Alert {
    let device = match subject {
        Subject::Device(device) => Some(device.clone()),
        Subject::Group(_) => None,
    };
    Alert {
        rule: rule.name.clone(),
        kind: rule.kind.word(),
        device,
        group: about.group.clone(),
        state,
        since: about.since,
        suppressed_by,
        acknowledged_until: None,
        further_devices: 0,
    }
}

/// The same on every machine and in every version.
pub(crate) fn key(rule: &str, group: &str, since: WallMillis) -> u64 {
    let parts = [rule.as_bytes(), &[0], group.as_bytes(), &[0], &since.0.to_be_bytes()];
    parts.into_iter().fold(StableHash::default(), StableHash::with).value()
}
