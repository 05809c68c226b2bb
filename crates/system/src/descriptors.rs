//! How many files and sockets the process may have open, and how many of them are left for clients.
//!
//! Most systems start a process with room for a thousand, for the sake of programs that call `select`, and let it have more
//! if it asks. Nothing here calls `select`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is open beside the connections of clients: 64 connections of health checks, up to 64 readings of the population, connections to each server of a
/// cluster or to a database, the store's files, and those of the process itself.
const RESERVE: u64 = 320;

/// Raises how many the process may have open as far as it is allowed to, and returns that; `None`: as many as it likes.
pub fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        // It is no loss: what there is, is what there was.
        Err(_refused) => current,
    }
}

/// How many of so many are left for clients: of few, half.
pub fn for_clients(most: u64) -> usize {
    let left = most.saturating_sub(RESERVE).max(most / 2).max(1);
    usize::try_from(left).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptor_limit_is_raised_and_enough_are_reserved() {
        let most = raise();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!((current, most), (maximum, maximum));
        for (most, left) in [(1_048_576, 1_048_256), (1_024, 704), (300, 150), (1, 1), (0, 1)] {
            assert_eq!(for_clients(most), left, "of {most}");
        }
    }
}
