//! TCP ports for servers that must be told their port before they bind it, and may bind it again after a restart.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::Path;

/// Below the ports that the kernel gives to outgoing connections, so that none of these can take the port of a
/// broker that is just restarting.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A port that no other test of this machine has while this value lives: a locked file says so.
pub struct Port {
    pub number: u16,
    _lock: File,
}

impl Port {
    pub fn take() -> Self {
        let locks = std::env::temp_dir().join("devstatus-test-ports");
        std::fs::create_dir_all(&locks).expect("the directory of the port locks can be made");
        // Tests start side by side as processes with neighbouring ids: a stride keeps them from the same ports.
        let start = std::process::id().wrapping_mul(97) as u16 % COUNT;
        (0..COUNT)
            .map(|step| FIRST + (start + step) % COUNT)
            .find_map(|number| Self::try_take(&locks, number))
            .expect("one of the ports is free")
    }

    fn try_take(locks: &Path, number: u16) -> Option<Self> {
        let path = locks.join(number.to_string());
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path).ok()?;
        lock.try_lock().ok()?;
        TcpListener::bind(("127.0.0.1", number)).ok()?;
        Some(Self { number, _lock: lock })
    }
}
