//! Processes that stand still.

use std::fs;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, poll};

/// Keeps a process from doing anything, without ending it, or lets it go on. A signal stops one thread after the other, and on a
/// busy machine the last still answers after the first has stopped: so this waits until all have.
pub fn freeze(child: &Child, frozen: bool) {
    let signal = if frozen { Signal::STOP } else { Signal::CONT };
    kill_process(Pid::from_child(child), signal).expect("a child of ours takes signals");
    if frozen {
        let stopped = poll(PATIENCE, || all_threads_are_stopped(child.id()).then_some(()));
        stopped.expect("a process can be stopped");
    }
}

fn all_threads_are_stopped(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("a child of ours has threads");
    let is_stopped = |thread: fs::DirEntry| {
        // A thread that has ended meanwhile does nothing either.
        let Ok(stat) = fs::read_to_string(thread.path().join("stat")) else { return true };
        // The state follows the name, which is in parentheses.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    threads.flatten().all(is_stopped)
}
