//! Devices that are reached through another one: a device's own state and its parent's are kept apart, and the state that
//! is shown is derived from both.

use crate::{Cause, EventKind, UnixNanos};

use super::{Held, Key};

/// When the own state of a device counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParentRule {
    /// While the parent is connected: what the parent said of the device before it went away still holds when it is back.
    WhileConnected,
    /// While the parent is connected, and only if the device was born in this session of the parent: Sparkplug.
    SinceBirth,
    /// Unless the connection of the parent broke: Homie. A parent that ended or sleeps has said so of itself alone.
    UnlessLost,
}

impl ParentRule {
    /// The key of the parent, if it can hide devices.
    pub fn parent_key(self, parent: Option<&Held<'_>>) -> Option<Key> {
        let parent = parent?;
        let is_lost =
            || parent.identity.as_ref().is_some_and(|identity| identity.cause == Some(Cause::Connection));
        let counts = match self {
            ParentRule::WhileConnected | ParentRule::SinceBirth => true,
            ParentRule::UnlessLost => parent.key.is_connected() || is_lost(),
        };
        counts.then_some(parent.key)
    }
}

/// What is shown of a device with a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectiveState {
    pub is_connected: bool,
    /// [`Cause::ParentOffline`] if the device is not connected because of its parent, else `None`: its own cause holds.
    pub cause: Option<Cause>,
    pub since: UnixNanos,
}

/// Derives what is shown. A parent of which nothing is known hides nobody.
pub fn effective(own: &Key, parent: Option<&Key>, rule: ParentRule) -> EffectiveState {
    let own_state = EffectiveState { is_connected: own.is_connected(), cause: None, since: own.time };
    let Some(parent) = parent.filter(|_parent| own.is_connected()) else { return own_state };
    let is_of_earlier_session = match rule {
        ParentRule::WhileConnected | ParentRule::UnlessLost => false,
        ParentRule::SinceBirth => own.session < parent.session,
    };
    let both = own.time.max(parent.time);
    if !parent.is_connected() {
        EffectiveState { is_connected: false, cause: Some(Cause::ParentOffline), since: both }
    } else if is_of_earlier_session {
        // The parent was born again; its own state may be older than that.
        let since = both.max(parent.session);
        EffectiveState { is_connected: false, cause: Some(Cause::ParentOffline), since }
    } else {
        EffectiveState { since: both, ..own_state }
    }
}

/// The distance of the keys of two states that a parent's changes make of one session of a device: more than the second
/// within which the merge rule takes two sessions for simultaneous.
const STEP: i64 = 1_001_000_000;

/// The state that stores and answers have of a device, and beside it the device's own state where that is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub key: Key,
    pub own: Option<Own>,
    /// The device itself is connected, and is not shown so because of its parent.
    pub is_hidden: bool,
}

/// How the own state of a device differs from what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// By how much the session that is shown is later. It grows whenever a parent that is back begins another one.
    pub shift: i64,
    /// Since when the device has been in its own state.
    pub time: UnixNanos,
}

impl From<Key> for Shown {
    fn from(key: Key) -> Self {
        Self { key, own: None, is_hidden: false }
    }
}

impl Shown {
    /// The key of the device's own state.
    pub fn own_key(&self) -> Key {
        let Some(own) = self.own else { return self.key };
        let kind = if self.is_hidden { EventKind::Connect } else { self.key.kind };
        Key { session: self.key.session.later_by(own.shift.saturating_neg()), kind, time: own.time }
    }

    /// What is shown of a device whose own state is this one from now on. `is_same`: it is in the state that is held.
    #[must_use]
    pub fn of_own(
        own: &Key,
        is_same: IsSame,
        held: Option<&Shown>,
        parent: Option<&Key>,
        rule: ParentRule,
    ) -> Self {
        let held_shift = held.and_then(|held| held.own).map_or(0, |own| own.shift);
        let was_hidden = held.is_some_and(|held| held.is_hidden);
        let shift = if was_hidden { held_shift.saturating_add(STEP) } else { held_shift };
        let effective = effective(own, parent, rule);
        let is_hidden = own.is_connected() && !effective.is_connected;
        let kind = if is_hidden { EventKind::Disconnect } else { own.kind };
        let time = match held {
            Some(held) if is_same == IsSame::Yes && is_hidden == was_hidden => held.key.time,
            _ => effective.since,
        };
        let differs = is_hidden || shift != 0 || time != own.time;
        Self {
            key: Key { session: own.session.later_by(shift), kind, time },
            own: differs.then_some(Own { shift, time: own.time }),
            is_hidden,
        }
    }

    /// What is shown after a change of the parent; `None`: the same as before.
    pub fn after_parent(&self, parent: Option<&Key>, rule: ParentRule) -> Option<Self> {
        let own = self.own_key();
        let effective = effective(&own, parent, rule);
        let is_hidden = own.is_connected() && !effective.is_connected;
        if is_hidden == self.is_hidden {
            return None;
        }
        let shift = self.own.map_or(0, |own| own.shift);
        // The end of a session beats its beginning, so a device that is back needs another session.
        let (kind, shift) = if is_hidden {
            (EventKind::Disconnect, shift)
        } else {
            (EventKind::Connect, shift.saturating_add(STEP))
        };
        let key =
            Key { session: own.session.later_by(shift), kind, time: effective.since.max(self.key.time) };
        Some(Self { key, own: Some(Own { shift, time: own.time }), is_hidden })
    }
}

/// Whether an event leaves the state of its device as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsSame {
    Yes,
    No,
}
