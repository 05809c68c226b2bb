//! The order of events against models that know the truth, with the merge rule that the stores implement.

mod arrival;
mod instance;
mod matched;
mod named;
mod parents;
mod shown;
mod versioned;
