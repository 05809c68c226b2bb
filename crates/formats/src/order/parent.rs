//! Devices that are reached through another one: a device's own state and its parent's are kept apart, and the state that
//! is shown is derived from both.

use crate::{Cause, UnixNanos};

use super::Key;

/// When the own state of a device counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParentRule {
    /// While the parent is connected: what the parent said of the device before it went away still holds when it is back.
    WhileConnected,
    /// While the parent is connected, and only if the device was born in this session of the parent: Sparkplug.
    SinceBirth,
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
        ParentRule::WhileConnected => false,
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
