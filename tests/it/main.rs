//! The whole service from outside: the real binary, real brokers, brokers with scripted faults, HTTP.

mod rig;
mod rig_brokers;
