//! A simulated organisation: devices that connect, drop, take over and time out, and the status messages that the
//! platform would send for them. Used by the demo, by `devstatus simulate` and, as the model that knows the truth, by tests.

pub mod settings;
