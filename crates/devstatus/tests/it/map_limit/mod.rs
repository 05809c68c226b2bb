//! Instances that hold only some of the devices (`--map-limit`) beside one that holds all: the same answers for every device,
//! whatever is asked for, changes, is let go and comes back meanwhile, and whatever is away or lost.

mod answers;
mod brokers;
mod grid;
mod history;
mod instances;
mod site;
mod stores;
