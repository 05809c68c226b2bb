//! The resources of the HTTP API (`api`) and the platform's own API (`platform`). Reads the registry, never writes it. What
//! is between the network and the resources is the crate `serving`.
//!
//! Which module may name which is in the table of `tools/tree-rules/tests/layers.rs`.

mod api;
mod context;
mod describe;
mod fast_lookup;
mod openapi;
mod platform;
mod router;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use presence::Status;
use presence::history::HistoryRow;
use serde_json::value::RawValue;
use server::registry::Snapshot;
use serving::api::{Api, ApiParts};
use serving::middleware::guard::Guard;
use serving::network::direct::{App, Direct};

use self::api::devices::retained::retained_device;
use self::api::{events, summary};
use self::context::Context;
use self::fast_lookup::FastLookup;

/// The whole API.
pub fn api(parts: ApiParts) -> Arc<dyn Api> {
    Arc::new(Context::new(parts))
}

impl Api for Context {
    fn app(&self, guard: &Arc<Guard>, cors_origins: &[String]) -> App {
        let fast_lookup = FastLookup::new(self, guard, cors_origins);
        let direct = fast_lookup.map(|lookup| Arc::new(lookup) as Arc<dyn Direct>);
        App { router: router::router(self.clone(), Arc::clone(guard), cors_origins), direct }
    }

    fn change_data(
        &self,
        device: &Snapshot,
        previous: Option<Status>,
        refusal: Option<&HistoryRow>,
    ) -> Box<RawValue> {
        events::change_data(self, device, previous, refusal)
    }

    fn retained_device(&self, device: &Snapshot) -> Vec<u8> {
        retained_device(self, device)
    }

    fn summary(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(summary::summary_text(self))
    }
}

#[cfg(test)]
mod tests;
