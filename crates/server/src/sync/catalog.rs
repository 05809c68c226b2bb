//! Devices that stand in a store where the registry holds only some: which types and names the population asks the broker for,
//! though nothing of them is in memory. Which store that is, and how it is read, is not known here.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;

/// Says which devices are stored. `None` where that cannot be told at present.
pub trait DeviceCatalog: Send + Sync {
    /// How many devices there are of each type; what was heard just now may be missing.
    fn by_type(&self) -> BoxFuture<'_, Option<BTreeMap<String, u64>>>;

    /// The ids of a type in order, behind one of them, at most so many; fewer, if no more follow.
    fn ids_of<'a>(
        &'a self,
        device_type: &'a str,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'a, Option<Vec<String>>>;
}
