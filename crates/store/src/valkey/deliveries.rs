//! The stored states of deliveries to other systems, and which instance holds the lease of each.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::RedisResult;

use super::connection::Call;
use super::{Grid, scripts};
use crate::{DeliveryLease, DeliveryState};

const STATES: &str = "webhooks";
const HOLDERS: &str = "webhook_holders";
const UNTIL: &str = "webhook_leases";

impl Grid {
    pub async fn delivery_states(&self) -> RedisResult<Vec<DeliveryState>> {
        let key = self.keys.of_all(STATES);
        let states: BTreeMap<String, String> =
            self.connection.ask(self.keys.slot_of_all(), redis::cmd("HGETALL").arg(key)).await?;
        let state =
            |(name, state): (String, String)| DeliveryState { name: name.into(), state: state.into() };
        Ok(states.into_iter().map(state).collect())
    }

    pub async fn delivery_states_of(&self, names: &[String]) -> RedisResult<Vec<DeliveryState>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.keys.of_all(STATES);
        let states: Vec<Option<String>> =
            self.connection.ask(self.keys.slot_of_all(), redis::cmd("HMGET").arg(key).arg(names)).await?;
        let kept = names.iter().zip(states).filter_map(|(name, state)| Some((name.as_str(), state?)));
        Ok(kept.map(|(name, state)| DeliveryState { name: name.into(), state: state.into() }).collect())
    }

    /// Sets or drops a state, if the lease holds; says whether it does.
    pub async fn set_delivery_state(
        &self,
        lease: &DeliveryLease,
        name: &str,
        state: Option<&str>,
    ) -> RedisResult<bool> {
        let mut call = Call::default();
        for key in [STATES, HOLDERS, UNTIL] {
            call.key(self.keys.of_all(key));
        }
        for argument in [&*lease.endpoint, &lease.holder, name].into_iter().chain(state) {
            call.argument(argument.as_bytes());
        }
        self.connection.run(self.keys.slot_of_all(), &scripts::SET_DELIVERY_STATE, &call).await
    }

    /// Takes, renews or, with no time at all, gives leases back.
    pub async fn lease_deliveries(
        &self,
        holder: &str,
        endpoints: &[String],
        lasts: Duration,
    ) -> RedisResult<Vec<String>> {
        let mut call = Call::default();
        call.key(self.keys.of_all(HOLDERS)).key(self.keys.of_all(UNTIL));
        call.argument(holder.as_bytes()).argument(lasts.as_millis().to_string());
        for endpoint in endpoints {
            call.argument(endpoint.as_bytes());
        }
        self.connection.run(self.keys.slot_of_all(), &scripts::LEASE_DELIVERIES, &call).await
    }
}
