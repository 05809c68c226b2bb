//! What a broker says of itself: when it started, how many clients it has, and which nodes of a cluster run.

use std::borrow::Cow;

use super::Ingest;
use super::other::Context;
use super::standing::Standing;
use crate::metrics::SourceNameLabel;
use crate::registry::{Applied, DeviceRegistry};
use formats::order::{self, Origin, Resolution};
use formats::{BrokerEvent, DeviceName, Event, EventKind, Session, UnixNanos, emqx};
use presence::Device;

/// The broker tells its uptime at intervals, so its start is known less exactly than that.
const UPTIME_ERROR_NANOS: i64 = 30 * 1_000_000_000;
/// A broker that says for how many seconds it has been running dates its start a second earlier or later each time, and the
/// message may wait.
const BROKER_START_ERROR_NANOS: i64 = 60 * 1_000_000_000;

/// What is known of a broker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BrokerFacts {
    started: Option<UnixNanos>,
    uptime_seconds: Option<u64>,
}

impl Ingest {
    pub(super) fn broker_event(&mut self, event: &BrokerEvent<'_>, context: &Context<'_>) {
        self.pass_over(context.source, "broker");
        match event {
            BrokerEvent::Started => {
                let now = context.delivery.received;
                self.end_sessions(now, now, context);
            }
            BrokerEvent::UptimeSeconds(seconds) => self.broker_runs_for(*seconds, context),
            BrokerEvent::Connected(clients) => {
                let label = SourceNameLabel { source: context.source.to_owned() };
                let clients = i64::try_from(*clients).unwrap_or(i64::MAX);
                self.metrics.source_broker_clients.get_or_create(&label).set(clients);
            }
            // Of several brokers nobody knows whose nodes the others are.
            BrokerEvent::Nodes(nodes) if self.formats.are_of_one_link() => self.nodes_run(nodes),
            BrokerEvent::Nodes(_) => {}
        }
    }

    fn broker_runs_for(&mut self, seconds: u64, context: &Context<'_>) {
        let nanos = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
        let started = UnixNanos(context.delivery.received.0.saturating_sub(nanos));
        let now = BrokerFacts { started: Some(started), uptime_seconds: Some(seconds) };
        let facts = self.brokers.insert(context.source.into(), now).unwrap_or_default();
        let is_less = facts.uptime_seconds.is_some_and(|before| seconds < before);
        let is_later = facts.started.is_some_and(|known| started.0 > known.0 + BROKER_START_ERROR_NANOS);
        if is_less || is_later {
            // The link was lost with the broker, so whatever was received before this subscription has ended.
            let (Origin::Live { subscribed } | Origin::Retained { subscribed }) = context.delivery.origin;
            self.end_sessions(started, subscribed, context);
        } else if facts.started.is_none() {
            let surely_before = UnixNanos(started.0.saturating_sub(UPTIME_ERROR_NANOS));
            self.end_sessions(started, surely_before, context);
        } else {
            // The earliest of the dates is the nearest.
            let earliest = BrokerFacts { started: facts.started.min(Some(started)), ..now };
            self.brokers.insert(context.source.into(), earliest);
        }
    }

    /// Ends the connections of which nothing was received since that moment.
    fn end_sessions(&mut self, started: UnixNanos, ended_before: UnixNanos, context: &Context<'_>) {
        for part in 0..DeviceRegistry::PARTS {
            for name in self.map.names_in_part(part, |_| true) {
                let Some(held) = self.held(name.device()) else { continue };
                if held.source.as_deref() != Some(context.source) {
                    continue;
                }
                let standing = Standing::of(Some(&held), None);
                let ended = standing.decide(|held, _| order::ended_by_restart(held?, started, ended_before));
                let Some(key) = ended else { continue };
                let event = Event {
                    device: DeviceName {
                        device_type: Cow::Borrowed(&name.device_type),
                        id: Cow::Borrowed(&name.id),
                    },
                    kind: EventKind::Disconnect,
                    session: Session::Connection(None),
                    time: Some(key.time),
                    cause: Some(formats::Cause::Server),
                    reason: Some(Cow::Borrowed("the broker was restarted")),
                    address: None,
                    protocol: None,
                    parent: None,
                };
                self.resolved(&event, Resolution::Apply(key), &standing, context);
            }
        }
    }

    /// The clients of a node that no longer runs are in an unknown state: nobody tells of their ends.
    fn nodes_run(&mut self, nodes: &str) {
        let is_running = |id: &str| nodes.split(',').any(|node| node.trim() == id);
        for node in self.families.parents_of_type(emqx::NODE_TYPE) {
            if !is_running(&node.id) {
                self.families.parent_changed(node.device());
                self.gone_nodes.insert(node);
            } else {
                self.gone_nodes.remove(&node);
            }
        }
    }

    /// Marks a client of a node that has gone; `false`: the parent is no such node.
    pub(super) fn silence_client(&self, client: Device<'_>, node: &presence::DeviceName) -> bool {
        let is_gone = self.gone_nodes.contains(node);
        if is_gone {
            self.map.silence_then(client, |record| self.publish(record, Applied::Refined, false));
        }
        is_gone
    }
}
