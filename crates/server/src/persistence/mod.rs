//! What runs over a store: the write-behind, loading at the start, following other instances, retention, forgetting.

mod batches;
pub mod instances;
mod maintenance;
mod pace;
pub mod peers;
mod refused;
mod removal;
mod restore;
pub mod writer;

pub use maintenance::Maintenance;
pub use restore::{RestoreReport, restore};
