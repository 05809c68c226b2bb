//! What a broker says of itself: when it started, how many clients it has, and which nodes of a cluster run.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Ingest;
use super::other::MessageContext;
use super::standing::{DeviceAndParent, HeldDevice};
use super::walks::{BrokerStart, Purpose};
use crate::metrics::SourceNameLabel;
use crate::registry::Applied;
use formats::catalog::IOT_PLATFORM;
use formats::order::{self, Resolution, Transmission};
use formats::{BrokerEvent, DeviceName, Event, EventKind, Session, UnixNanos, emqx};
use presence::Device;

/// The broker tells its uptime at intervals, so its start is known less exactly than that.
const UPTIME_ERROR_NANOS: i64 = 30 * 1_000_000_000;
/// A broker that says for how many seconds it has been running dates its start a second earlier or later each time, and the
/// message may wait.
const BROKER_START_ERROR_NANOS: u64 = 60 * 1_000_000_000;

/// A live message that tells the uptime comes so soon after it was written, counted with the seconds that it rounds off.
const DELIVERY_ERROR_NANOS: i64 = 2 * 1_000_000_000;
/// Subscriptions that are remembered beside the latest, on a link that is lost again and again.
const SUBSCRIPTIONS_MAX: usize = 16;

/// What is known of a broker.
#[derive(Clone, Debug, Default)]
pub(super) struct BrokerFacts {
    /// When it was started, at the latest.
    started: Option<UnixNanos>,
    /// A live message has dated that.
    is_dated: bool,
    uptime_seconds: Option<u64>,
    /// When the subscriptions were asked for that have told of it, from the latest on which its start was dated.
    subscribed: Vec<UnixNanos>,
}

impl BrokerFacts {
    /// The broker was started then and runs since before this subscription: up to when has everything ended that was
    /// received? Whatever was received on a subscription to the broker as it runs now has not.
    fn ended_before(&self, started: UnixNanos, subscribed: UnixNanos) -> UnixNanos {
        let is_after = |at: &&UnixNanos| at.0 >= started.0.saturating_sub(DELIVERY_ERROR_NANOS);
        self.subscribed.iter().skip(1).find(is_after).map_or(subscribed, |at| (*at).min(subscribed))
    }
}

impl Ingest {
    pub(super) fn broker_event(&mut self, event: &BrokerEvent<'_>, context: &MessageContext<'_>) {
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
            BrokerEvent::Nodes(nodes) => {
                self.nodes_run(context.source, nodes);
                self.clusters.running.insert(context.source.into(), nodes.as_ref().into());
            }
        }
    }

    fn broker_runs_for(&mut self, seconds: u64, context: &MessageContext<'_>) {
        let nanos = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
        let started = UnixNanos(context.delivery.received.0.saturating_sub(nanos));
        let (Transmission::Live { subscribed } | Transmission::Retained { subscribed }) =
            context.delivery.origin;
        let mut facts = self.brokers.remove(context.source).unwrap_or_default();
        let is_less = facts.uptime_seconds.is_some_and(|before| seconds < before);
        facts.uptime_seconds = Some(seconds);
        // The link was lost with the broker, so only the first date of a subscription can tell of a start.
        let is_new_subscription = facts.subscribed.first() != Some(&subscribed);
        if is_new_subscription
            && facts.subscribed.len() < SUBSCRIPTIONS_MAX
            && facts.subscribed.last() != Some(&subscribed)
        {
            facts.subscribed.push(subscribed);
        }
        // What the broker repeats is as old as the interval at which it tells, so it says no more than that the broker was started
        // before.
        let is_date = matches!(context.delivery.origin, Transmission::Live { .. });
        let differs = |known: UnixNanos| started.0.abs_diff(known.0) > BROKER_START_ERROR_NANOS;
        let is_later = is_date
            && is_new_subscription
            && facts.started.is_some_and(|known| differs(known) && started > known);
        if is_less {
            // The uptime that was more was told on an earlier subscription, as each is told it at once.
            self.end_sessions(started, subscribed, context);
        } else if is_later {
            self.end_sessions(started, facts.ended_before(started, subscribed), context);
        } else if is_date && !facts.is_dated {
            let surely_before = UnixNanos(started.0.saturating_sub(UPTIME_ERROR_NANOS));
            self.end_sessions(started, surely_before, context);
        }
        let is_clock_set = is_date && facts.started.is_some_and(differs);
        facts.started = match facts.started {
            // The earliest of the dates is the nearest.
            Some(known) if !is_less && !is_later && !is_clock_set => Some(known.min(started)),
            _ => Some(started),
        };
        if is_less || is_date {
            facts.subscribed = vec![subscribed];
        }
        facts.is_dated |= is_date;
        self.brokers.insert(context.source.into(), facts);
    }

    /// Ends the connections of which nothing was received since that moment.
    fn end_sessions(&mut self, started: UnixNanos, ended_before: UnixNanos, context: &MessageContext<'_>) {
        let start = BrokerStart::new(started, ended_before, context);
        self.walks.begin(Purpose::EndSession(Arc::new(start)));
    }

    /// Ends the connection of a device if it was one of the broker that has started.
    pub(super) fn end_session(&mut self, device: Device<'_>, start: &BrokerStart) {
        let context = start.context();
        let map = Arc::clone(&self.map);
        let locked = map.lock(device);
        let Some(held) = locked.read(HeldDevice::of) else { return };
        if held.source() != Some(context.source) {
            return;
        }
        let standing = DeviceAndParent::of(Some(&held), None);
        let ended =
            standing.decide(|held, _| order::ended_by_restart(held?, start.started, start.ended_before));
        let Some(key) = ended else { return };
        let event = Event {
            device: DeviceName { device_type: device.device_type.into(), id: device.id.into() },
            kind: EventKind::Disconnect,
            session: Session::Connection(None),
            time: Some(key.time),
            cause: Some(formats::Cause::Server),
            reason: Some(Cow::Borrowed("the broker was restarted")),
            address: None,
            protocol: None,
            parent: None,
        };
        let showing = self.resolved(&event, Resolution::Apply(key), &standing, &context);
        self.show(&event, showing, locked.knowing(Some(held.into_state())), &context);
    }

    /// The clients of a node that no longer runs are in an unknown state: nobody tells of their ends.
    pub(super) fn nodes_run(&mut self, source: &str, nodes: &str) {
        let is_running = |id: &str| nodes.split(',').any(|node| node.trim() == id);
        let gone = self.clusters.gone.entry(source.into()).or_default();
        for node in self.families.parents_of_type(emqx::NODE_TYPE) {
            if is_running(&node.id) {
                gone.remove(&node);
            } else if gone.insert(node.clone()) {
                self.families.parent_changed(node.device());
            }
        }
    }

    /// Does the same anew, for which nodes run may have been known before whose clients there are.
    pub(super) fn known_nodes_run(&mut self) {
        self.clusters.gone.clear();
        for (source, nodes) in self.clusters.running.clone() {
            self.nodes_run(&source, &nodes);
        }
    }

    /// Marks a client of a node that has gone from the cluster of its source; `false`: the parent is no such node.
    pub(super) fn silence_client(&self, client: Device<'_>, source: Option<&str>, node: Device<'_>) -> bool {
        let is_gone = self.clusters.has_lost(source.unwrap_or(IOT_PLATFORM), node);
        if is_gone {
            self.map.silence_then(client, |record| self.publish(record, Applied::Refined, false));
        }
        is_gone
    }
}

/// The nodes of clusters, by source: two clusters may have nodes of the same name.
#[derive(Default)]
pub(super) struct Clusters {
    /// Those that run, as it was last told.
    running: BTreeMap<Box<str>, Box<str>>,
    /// Nodes that are not among them. A node of another cluster is, too, which no client of this source is at.
    gone: BTreeMap<Box<str>, BTreeSet<presence::DeviceName>>,
}

impl Clusters {
    fn has_lost(&self, source: &str, node: Device<'_>) -> bool {
        self.gone.get(source).is_some_and(|gone| gone.contains(&presence::DeviceName::of(node)))
    }
}
