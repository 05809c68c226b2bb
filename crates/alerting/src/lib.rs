//! Alert rules while the service runs. One instance, which holds a lease, feeds the pure engine of `alerts` with every change and
//! the time, keeps what it announces, and sends it to the endpoints of webhooks.
//!
//! ```text
//! feed -changes-> Evaluator [Engine] -notifications-> Outbox -saved-> Senders -> endpoints
//! health -observed?--^                                   `-> store <- position of each endpoint
//! ```
//!
//! What was announced and the notifications that are to be sent are one value in the store. A notification is sent once that value
//! is saved, and how far an endpoint is, is saved once it has accepted: so a crash may repeat a message with its id, and neither
//! loses nor invents one.

mod data;
pub mod desk;
mod evaluator;
mod kept;
mod lead;
pub mod metrics;
mod outbox;
mod sender;
mod service;
mod silences;
mod standing;
pub mod stream;

pub use self::service::{AlertService, LeaseHolder};
