//! Signed webhooks. Each endpoint has a position in the ordered history. A worker reads on from there, sends the changes that the
//! endpoint selects, and saves the position in the store once the endpoint has accepted them. There is no queue of messages.
//! The newest events are read once for all endpoints; one that is behind reads the log, and the states of devices, for itself.
//! Where the store keeps no order, the log is the feed of changes in memory, and a new process begins with a gap.
//!
//! ```text
//! ChangeLog -page-> HistoryTail [DeviceStates] -> LogReader [Settle -> Selector] -Outbox [Message] -queues-> Client -> endpoint
//!      ^---- position, once the whole page was accepted ----'
//! ```
//!
//! Pure, without a clock or IO: `settings`, `signature`, `message`, `address`, `answer`, `progress`, `rotation`.

mod address;
mod answer;
mod client;
mod clock;
mod dead_letters;
pub mod desk;
mod failing;
mod feed_changes;
mod forms;
mod latest;
mod leases;
mod log;
mod message;
pub mod metrics;
mod orders;
mod outbox;
mod progress;
mod reader;
mod resync;
mod rotation;
mod service;
pub mod settings;
mod signature;
mod states;
mod tail;
mod worker;

pub use self::answer::{Failure, RETRY_FIRST, RETRY_LONGEST};
pub use self::client::{Client, OpenConnection};
pub use self::clock::{Clock, SystemClock};
pub use self::dead_letters::{DEAD_LETTERS_MAX, DeadLetter, EventPlace};
pub use self::leases::Leases;
pub use self::log::ChangeLog;
pub use self::message::{Envelope, WebhookMessage};
pub use self::rotation::{OVERLAP_DEFAULT, OVERLAP_MAX, RotationRefusal};
pub use self::service::{Describe, TLS_RETRY, Webhooks, rotation_of};
pub use self::tail::HistoryTail;
