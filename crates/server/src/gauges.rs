//! What `GET /metrics` reads off the state of the service at the moment of asking. What is counted is in `metrics`.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::feed::Feed;
use crate::health::{BrokerHealth, Health, PopulationState, StoreHealth};
use crate::registry::{DeviceRegistry, Totals};

/// Each type is two time series in Prometheus; an organization has a few dozen types.
const TYPES_MAX: usize = 200;

/// The state of the service as gauges.
pub struct Gauges {
    pub registry: Arc<DeviceRegistry>,
    pub health: Arc<Health>,
    pub feed: Arc<Feed>,
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The registry may hold millions of devices.
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}

impl Gauges {
    /// Only where there are several links: of the only one `devstatus_broker_connected` says the same.
    fn encode_links(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if self.health.links().is_empty() {
            return Ok(());
        }
        let help = "1 while the subscription of one of several sources holds";
        let name = "devstatus_source_connected";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for link in self.health.links() {
            let connected = i64::from(link.health.state().broker == BrokerHealth::Subscribed);
            ConstGauge::new(connected).encode(family.encode_family(&[("source", &*link.name)])?)?;
        }
        Ok(())
    }

    fn encode_types(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Devices by type and status; types beyond the first 200 by name together as other";
        let mut family =
            encoder.encode_descriptor("devstatus_type_devices", help, None, MetricType::Gauge)?;
        if self.registry.is_limited() {
            return Ok(());
        }
        let types = self.registry.totals_by_type(None, TYPES_MAX);
        let sum = |of: fn(&Totals) -> u64| types.iter().map(|(_, totals)| of(totals)).sum::<u64>();
        // The types are read while they are counted, so their sum can be ahead of the whole.
        let all = self.registry.totals();
        let other = Totals {
            connected: all.connected.saturating_sub(sum(|totals| totals.connected)),
            disconnected: all.disconnected.saturating_sub(sum(|totals| totals.disconnected)),
        };
        let other = (self.registry.types_total() > TYPES_MAX).then_some(("other", other));
        for (name, totals) in types.iter().map(|(name, totals)| (&**name, *totals)).chain(other) {
            encode_totals(&mut family, ("type", name), totals)?;
        }
        Ok(())
    }

    fn encode_sources(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Devices by source and status; sources beyond the first 100 together as other";
        let mut family =
            encoder.encode_descriptor("devstatus_source_devices", help, None, MetricType::Gauge)?;
        // With a limit, memory does not hold all devices, so their totals are not those of the fleet.
        let sources = if self.registry.is_limited() { Vec::new() } else { self.registry.totals_by_source() };
        for (name, totals) in &sources {
            encode_totals(&mut family, ("source", &**name), *totals)?;
        }
        Ok(())
    }
}

/// Devices of one group by status.
fn encode_totals(family: &mut MetricEncoder<'_>, group: (&str, &str), totals: Totals) -> fmt::Result {
    for (status, devices) in [("connected", totals.connected), ("disconnected", totals.disconnected)] {
        let devices = i64::try_from(devices).unwrap_or(i64::MAX);
        ConstGauge::new(devices).encode(family.encode_family(&[group, ("status", status)])?)?;
    }
    Ok(())
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let (totals, state) = (self.registry.totals(), self.health.state());
        let devices = [("connected", totals.connected), ("disconnected", totals.disconnected)];
        // Of what is not all, there are no totals.
        let devices = if self.registry.is_limited() { &[][..] } else { &devices[..] };
        let help = "Devices by status";
        let mut family = encoder.encode_descriptor("devstatus_devices", help, None, MetricType::Gauge)?;
        for (status, devices) in devices {
            let devices = i64::try_from(*devices).unwrap_or(i64::MAX);
            ConstGauge::new(devices).encode(family.encode_family(&[("status", *status)])?)?;
        }
        self.encode_types(&mut encoder)?;
        self.encode_sources(&mut encoder)?;
        let help = "Ends of sessions that were received live, by the kind of cause";
        let mut family =
            encoder.encode_descriptor("devstatus_disconnects", help, None, MetricType::Counter)?;
        for (cause, disconnects) in self.registry.disconnects_by_cause() {
            ConstCounter::new(disconnects).encode(family.encode_family(&[("cause", cause)])?)?;
        }
        let held = i64::try_from(self.registry.held()).unwrap_or(i64::MAX);
        let help = "Devices held in memory";
        let name = "devstatus_map_devices_held";
        ConstGauge::new(held).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        let help = "Devices that were evicted because --map-limit was reached";
        let name = "devstatus_map_devices_evicted";
        let evicted = ConstCounter::new(self.registry.evicted());
        evicted.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        let help = "1 for the state that the population is in";
        let name = "devstatus_population_state";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for population in PopulationState::ALL {
            let is_it = i64::from(population == state.population);
            ConstGauge::new(is_it).encode(family.encode_family(&[("state", population.word())])?)?;
        }
        let report = state.report.as_ref();
        let (types, proven) = report.map_or((0, 0), |report| (report.types_total, report.types_proven));
        let help = "Device types, by whether all their devices are known";
        let name = "devstatus_population_types";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (label, types) in [("true", proven), ("false", types - proven)] {
            let types = i64::try_from(types).unwrap_or(i64::MAX);
            ConstGauge::new(types).encode(family.encode_family(&[("proven", label)])?)?;
        }
        let help = "Devices that were received in the latest round of the population";
        let name = "devstatus_population_devices_replayed";
        let replayed = ConstGauge::new(i64::try_from(self.registry.received_in_round()).unwrap_or(i64::MAX));
        replayed.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        let help = "How many changes the slowest stream is behind";
        let lag = encoder.encode_descriptor("devstatus_stream_lag_changes", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(self.feed.lag()).unwrap_or(i64::MAX)).encode(lag)?;
        let help = "1 while the store refuses changes or does not answer";
        let failing = i64::from(matches!(state.store, StoreHealth::Failing(_)));
        let name = "devstatus_store_failing";
        ConstGauge::new(failing).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        let help = "1 while statuses may be out of date: the broker is out of reach, or was and they are being read again";
        let stale = encoder.encode_descriptor("devstatus_stale", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::from(self.health.freshness().is_any_stale())).encode(stale)?;
        self.encode_links(&mut encoder)?;
        let help = "1 while the subscription to every device holds";
        let name = "devstatus_broker_connected";
        let connected = i64::from(state.broker == BrokerHealth::Subscribed);
        ConstGauge::new(connected).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::feed::settings::FeedSettings;
    use crate::freshness::RoundNumber;
    use crate::health::ReadyOn;
    use crate::metrics::Metrics;
    use crate::registry::{Arrival, Provenance};
    use presence::payload::Payload;
    use presence::{Device, EventKind, Moment, PresenceEvent, UnixSeconds};

    #[test]
    fn types_beyond_the_first_are_counted_together() {
        let registry = Arc::new(DeviceRegistry::default());
        let health = Arc::new(Health::new(ReadyOn::Unproven));
        let feed = Arc::new(Feed::new(FeedSettings::default(), Arc::clone(&health), Metrics::default()));
        let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
        for number in 0..TYPES_MAX + 3 {
            let at = Moment::from_nanos(1);
            let payload = Payload::pack(b"{}");
            let event =
                PresenceEvent { kind: EventKind::Connect, session: at, time: at, close_code: 0, payload };
            let device_type = &*format!("type-{number:04}");
            registry.apply(Device { device_type, id: "1" }, event, arrival);
        }
        let mut metrics = Registry::default();
        metrics.register_collector(Box::new(Gauges { registry, health, feed }));
        let mut text = String::new();
        encode(&mut text, &metrics).unwrap();
        let samples = text.lines().filter(|line| line.starts_with("devstatus_type_devices{")).count();
        assert_eq!(samples, 2 * (TYPES_MAX + 1), "two for each type, and two for the rest");
        assert!(text.contains("devstatus_type_devices{type=\"other\",status=\"connected\"} 3\n"), "{text}");
    }
}
