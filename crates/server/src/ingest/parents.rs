//! A change of a parent, taken to its children: each is shown again as its own state and the parent's say together.

use super::Ingest;
use super::families::Families;
use super::other::{core_event, device_of};
use super::standing::{Documented, HeldDevice};
use crate::clock;
use crate::registry::{Applied, DeviceRegistry};
use formats::catalog::IOT_PLATFORM;
use presence::{Device, DeviceName};

impl Ingest {
    /// Finds the families of what a store has kept, and shows again whoever a stop has left half done. Starts the clocks.
    pub(super) fn find_held(&mut self) {
        if !self.formats.have_parents() && !self.formats.have_timings() {
            return;
        }
        for part in 0..DeviceRegistry::PARTS {
            for name in self.map.names_in_part(part, |_| true) {
                let Some(held) = self.held(name.device()) else { continue };
                note_parent(&mut self.families, name.device(), &held);
                if let Some(source) = &held.source {
                    self.start_silence(name.device(), source);
                }
            }
        }
        self.families.all_changed();
    }

    /// Notes the parent of a device that another instance has found.
    pub(super) fn note_peer_family(&mut self, device: Device<'_>) {
        if self.formats.have_parents() {
            let held = self.held(device);
            held.iter().for_each(|held| note_parent(&mut self.families, device, held));
        }
    }

    /// Goes on with the passes, by a part of one.
    pub(super) fn advance_families(&mut self) {
        let Some((parent, children)) = self.families.next_children() else { return };
        for child in children {
            if self.show_again(&child, &parent) == IsChild::No {
                self.families.drop_child(&child, &parent);
            }
        }
    }

    fn show_again(&mut self, child: &DeviceName, parent: &DeviceName) -> IsChild {
        let Some(held) = self.held(child.device()) else { return IsChild::No };
        let held_parent = self.held(parent.device());
        let documented = Documented::of(&held);
        if documented.parent().as_ref().map(device_of) != Some(parent.device()) {
            return IsChild::No;
        }
        let source = held.source.as_deref().unwrap_or(IOT_PLATFORM);
        let rule = self.formats.parent_rule(source);
        let held_parent = held_parent.as_ref().map(Documented::of);
        let parent_key = rule.parent_key(held_parent.as_ref().map(Documented::own).as_ref());
        let Some(shown) = documented.shown().after_parent(parent_key.as_ref(), rule) else {
            return IsChild::Yes;
        };
        let Some(document) = documented.shown_again(&shown) else { return IsChild::No };
        let event = core_event(&shown.key, source, &document);
        let entry = event.clone();
        let at = clock::now();
        self.map.derive_then(child.device(), event, |record, applied| {
            let in_history = applied != Applied::Known && self.events.push(child.device(), entry, at);
            self.publish(record, applied, in_history);
        });
        IsChild::Yes
    }
}

fn note_parent(families: &mut Families, device: Device<'_>, held: &HeldDevice) {
    if let Some(parent) = Documented::of(held).parent() {
        families.note(device, device_of(&parent));
    }
}

/// Whether a device is reached through the parent whose children are shown again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IsChild {
    Yes,
    No,
}
