//! Nothing: the package has tests alone, apart from the crates they check, so that a change of those does not build them again.
