//! A change of a parent, taken to its children: each is shown again as its own state and the parent's say together.

use super::Ingest;
use super::other::{MessageContext, core_event, device_of};
use super::standing::{DeviceDocument, HeldDevice};
use super::walks::Purpose;
use crate::clock;
use crate::registry::Applied;
use formats::DeviceName as FormatName;
use formats::catalog::IOT_PLATFORM;
use formats::order::{Held, ParentRule};
use presence::Device;
use system::turn::give_way;

impl Ingest {
    /// Finds the families of what a store has kept, and shows again those that a stop has left half done. Starts the clocks.
    pub(super) fn find_held(&mut self) {
        if self.formats.have_parents() || self.formats.have_timings() {
            self.walks.begin(Purpose::Find);
        }
    }

    /// Finds the parent of one device, and starts its clock.
    pub(super) fn find(&mut self, device: Device<'_>) {
        let Some(held) = self.held(device) else { return };
        if let Some(source) = held.source() {
            self.start_silence_unless_it_runs(device, source);
        }
        let Some(parent) = DeviceDocument::of(&held).parent().map(FormatName::into_owned) else { return };
        let parent = device_of(&parent);
        self.families.note(device, parent);
        let held_parent = self.held(parent);
        let held_parent = held_parent.as_ref().map(DeviceDocument::of);
        self.show_again(device, parent, held_parent.as_ref().map(DeviceDocument::own).as_ref());
    }

    /// All families are found.
    pub(super) fn found_all(&mut self) {
        self.known_nodes_run();
    }

    /// Notes the parent of a device that another instance has found, and starts its clock. Nobody tells of its end if its node has
    /// gone.
    pub(super) fn note_peers_device(&mut self, device: Device<'_>) {
        if !self.formats.have_parents() && !self.formats.have_timings() {
            return;
        }
        let Some(held) = self.held(device) else { return };
        if let Some(source) = held.source() {
            self.start_silence_unless_it_runs(device, source);
        }
        if let Some(parent) = DeviceDocument::of(&held).parent() {
            let parent = device_of(&parent);
            self.families.note(device, parent);
            self.silence_client(device, held.source(), parent);
        }
    }

    /// Goes on with the passes, by a part of one.
    pub(super) fn advance_families(&mut self) {
        let Some((parent, children)) = self.families.next_children() else { return };
        let held_parent = self.held(parent.device());
        let held_parent = held_parent.as_ref().map(DeviceDocument::of);
        let parent_state = held_parent.as_ref().map(DeviceDocument::own);
        for child in children {
            give_way();
            if self.show_again(child.device(), parent.device(), parent_state.as_ref()) == IsChild::No {
                self.families.drop_child(&child, &parent);
            }
        }
    }

    /// Takes what a message says of the parent of a device.
    pub(super) fn name_parent(
        &mut self,
        child: &FormatName<'_>,
        parent: Option<&FormatName<'_>>,
        context: &MessageContext<'_>,
    ) {
        let (child, parent) = (device_of(child), parent.map(device_of));
        if !self.families.name_parent(child, parent) {
            return self.pass_over(context.source, "too_many_parents");
        }
        self.show_below(child, parent);
    }

    /// The parent of a device by what messages of their own have said, or by what is held of it.
    pub(super) fn named_parent(&self, child: &FormatName<'_>, source: &str) -> Option<FormatName<'static>> {
        if self.formats.parent_rule(source) != ParentRule::UnlessLost {
            return None;
        }
        match self.families.named_parent(device_of(child)) {
            Some(parent) => parent.map(format_name),
            None => {
                let held = self.held(device_of(child))?;
                DeviceDocument::of(&held).parent().map(FormatName::into_owned)
            }
        }
    }

    /// Shows a child of a parent that has changed, if it is one.
    fn show_again(
        &mut self,
        child: Device<'_>,
        parent: Device<'_>,
        parent_state: Option<&Held<'_>>,
    ) -> IsChild {
        let held = self.held(child);
        let documented = held.as_ref().map(DeviceDocument::of);
        let is_child = match self.families.named_parent(child) {
            Some(named) => named == Some(parent),
            None => documented
                .as_ref()
                .is_some_and(|documented| documented.parent().as_ref().map(device_of) == Some(parent)),
        };
        if !is_child {
            return IsChild::No;
        }
        let source = held.as_ref().and_then(HeldDevice::source);
        if !self.silence_client(child, source, parent)
            && let (Some(held), Some(documented)) = (&held, documented)
        {
            self.show_held_below(child, held, documented, Some(parent), parent_state);
        }
        IsChild::Yes
    }

    /// Shows a device as its own state and that of this parent say.
    fn show_below(&mut self, child: Device<'_>, parent: Option<Device<'_>>) {
        let Some(held) = self.held(child) else { return };
        let held_parent = parent.and_then(|parent| self.held(parent));
        let held_parent = held_parent.as_ref().map(DeviceDocument::of);
        let parent_state = held_parent.as_ref().map(DeviceDocument::own);
        self.show_held_below(child, &held, DeviceDocument::of(&held), parent, parent_state.as_ref());
    }

    fn show_held_below(
        &self,
        child: Device<'_>,
        held: &HeldDevice,
        document: DeviceDocument<'_>,
        parent: Option<Device<'_>>,
        parent_state: Option<&Held<'_>>,
    ) {
        let source = held.source().unwrap_or(IOT_PLATFORM);
        let rule = self.formats.parent_rule(source);
        let parent_key = rule.parent_key(parent_state);
        let Some(shown) = document.shown().after_parent(parent_key.as_ref(), rule) else { return };
        let parent = parent.map(format_name);
        let Some(payload) = document.shown_again(&shown, parent.as_ref()) else { return };
        let event = core_event(&shown.key, payload);
        let entry = event.clone();
        let at = clock::now();
        self.map.derive_then(child, event, |record, applied| {
            let in_history = applied != Applied::Known && self.events.push(child, entry, at);
            self.publish(record, applied, in_history);
        });
    }
}

fn format_name(device: Device<'_>) -> FormatName<'static> {
    FormatName { device_type: device.device_type.to_owned().into(), id: device.id.to_owned().into() }
}

/// Whether a device is reached through the parent whose children are shown again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IsChild {
    Yes,
    No,
}
