//! The resources of the HTTP API (`api`) and the platform's own API (`platform`). Reads the registry, never writes it. What
//! the resources have in common is the crate `http-views`; what is between the network and them, `serving`.
//!
//! Which module may name which is in the table of `tools/tree-rules/tests/layers.rs`.

mod api;
mod describe;
mod fast_lookup;
mod openapi;
mod platform;
mod router;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http_views::context::Context;
use http_views::devices::retained::retained_device;
use http_views::events;
use presence::Status;
use presence::history::HistoryRow;
use serde_json::value::RawValue;
use server::registry::Snapshot;
use serving::api::{Api, ApiParts};
use serving::middleware::guard::Guard;
use serving::network::direct::{App, Direct};

use self::api::summary;
use self::fast_lookup::FastLookup;

/// The whole API.
pub fn api(parts: ApiParts) -> Arc<dyn Api> {
    Arc::new(Resources(Context::new(parts)))
}

/// The resources, with what their answers are made from.
struct Resources(Context);

impl Api for Resources {
    fn app(&self, guard: &Arc<Guard>, cors_origins: &[String]) -> App {
        let fast_lookup = FastLookup::new(&self.0, guard, cors_origins);
        let direct = fast_lookup.map(|lookup| Arc::new(lookup) as Arc<dyn Direct>);
        App { router: router::router(self.0.clone(), Arc::clone(guard), cors_origins), direct }
    }

    fn change_data(
        &self,
        device: &Snapshot,
        previous: Option<Status>,
        refusal: Option<&HistoryRow>,
    ) -> Box<RawValue> {
        events::change_data(&self.0, device, previous, refusal)
    }

    fn retained_device(&self, device: &Snapshot) -> Vec<u8> {
        retained_device(&self.0, device)
    }

    fn summary(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(summary::summary_text(&self.0))
    }
}

#[cfg(test)]
mod tests;
