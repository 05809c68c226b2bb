//! The alerts as they are shown.

use super::Engine;
use crate::alert::{Alert, AlertState, SuppressedAlerts};
use crate::clock::{Now, WallMillis};
use crate::dispatch;
use crate::inhibition::AlertRef;
use crate::instances::{AlertInstance, InstanceAbout, Phase, Subject};
use crate::pending::PendingAlert;

impl Engine {
    /// What is pending and what fires, by rule except for devices that are pending, in any order.
    pub fn alerts(&self, now: Now) -> impl Iterator<Item = Alert> {
        let of_rule = move |rule| {
            let instances = self.instances.of_rule(rule).iter();
            instances.map(move |(subject, instance)| self.of_instance((rule, subject), instance, now))
        };
        let pending = self.pending.alerts(&self.coverage).map(move |pending| self.of_pending(&pending, now));
        let of_service = self.outages.alerts().chain(self.failing_outputs.alerts());
        (0..self.rules.rules.len()).flat_map(of_rule).chain(pending).chain(of_service)
    }

    fn of_instance(&self, (rule, subject): (usize, &Subject), instance: &AlertInstance, now: Now) -> Alert {
        let about = &instance.about;
        let (state, suppressed_by) = match instance.phase {
            Phase::Pending { .. } => {
                (AlertState::Pending, self.coverage.stopped_by(instance.scope, now.ticks))
            }
            Phase::Firing | Phase::Recovering { .. } => {
                let alert = AlertRef { rule, subject, about };
                let held = self.inhibition.holds_back(&self.rules, &self.instances, now, alert);
                (AlertState::Firing, held)
            }
        };
        let further_devices = match subject {
            Subject::Device(_) => 0,
            Subject::Group(group) => self.instances.further_devices(rule, group),
        };
        let alert = dispatch::alert(&self.rules.rules[rule], subject, about, (state, suppressed_by));
        Alert { acknowledged_until: self.acknowledged_until(rule, about, now), further_devices, ..alert }
    }

    fn of_pending(&self, pending: &PendingAlert, now: Now) -> Alert {
        let rule = &self.rules.rules[pending.rule];
        let about = pending.place().about(rule.group_by);
        let stopped = self.coverage.stopped_by(pending.scope, now.ticks);
        let subject = Subject::Device(pending.device.clone());
        let alert = dispatch::alert(rule, &subject, &about, (AlertState::Pending, stopped));
        Alert { acknowledged_until: self.acknowledged_until(pending.rule, &about, now), ..alert }
    }

    fn acknowledged_until(&self, rule: usize, about: &InstanceAbout, now: Now) -> Option<WallMillis> {
        self.dispatch.acknowledged_until(rule, &about.group).filter(|until| *until > now.wall)
    }

    /// How many alerts were held back so far, by rule and reason.
    pub fn suppressed(&self) -> impl Iterator<Item = SuppressedAlerts<'_>> {
        self.dispatch.suppressed().map(|((rule, reason), alerts)| SuppressedAlerts {
            rule: &self.rules.rules[*rule].name,
            reason: *reason,
            alerts: *alerts,
        })
    }
}
