//! What the service needs of the machine that it runs on, and of every network connection. Knows nothing of devices.

pub mod backoff;
pub mod clock;
pub mod descriptors;
pub mod files;
pub mod huge_pages;
pub mod log_limit;
mod loopback;
pub mod period;
pub mod prefetch;
pub mod secret;
mod sentence;
pub mod slice;
pub mod tls;
pub mod turn;
mod unseen;

pub use loopback::is_loopback;
pub use sentence::{counted, sentence};
pub use unseen::is_unseen;
