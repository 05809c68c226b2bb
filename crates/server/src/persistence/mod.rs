//! What runs over a store: the write-behind, loading at the start, following other instances, retention, forgetting.

pub mod instances;
mod maintenance;
pub mod peers;
mod readers;
mod refused;
mod removal;
mod restore;
mod watermark;
pub mod writer;

pub use maintenance::Maintenance;
pub use readers::{DevicesOf, HistoryOf};
pub use restore::{Restored, restore};
