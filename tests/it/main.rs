//! The whole service from outside: the real binary, real brokers, brokers with scripted faults, HTTP.

mod acknowledging;
mod answers;
mod crash;
mod devices;
mod events;
mod events_load;
mod exchange;
mod fleet;
mod grid;
mod history;
mod keeping;
mod lists;
mod metrics;
mod openapi;
mod population;
mod reconnect;
mod refusals;
mod rig;
mod rig_brokers;
mod start;
mod stop;
mod transports;
mod two_hours;
mod undecodable;
