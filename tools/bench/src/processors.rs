//! Which processor does what: a service and those who measure it on one, whoever else is busy on another, so that a difference of
//! latencies is the service's own.

use std::fs;
use std::process::Command;

use crate::Outcome;

/// Two of the processors that this process may use.
#[derive(Clone, Copy)]
pub struct Processors {
    measured: u32,
    others: u32,
}

impl Processors {
    /// `None`: there is one only, which all share.
    pub fn two() -> Outcome<Option<Self>> {
        let status = fs::read_to_string("/proc/self/status")?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let mut allowed = Vec::new();
        for span in list.ok_or("no line Cpus_allowed_list")?.trim().split(',') {
            let (first, last) = span.split_once('-').unwrap_or((span, span));
            allowed.extend(first.parse::<u32>()?..=last.parse::<u32>()?);
        }
        let two = allowed.first().zip(allowed.get(1));
        Ok(two.map(|(measured, others)| Self { measured: *measured, others: *others }))
    }

    /// Where what is measured runs, and this thread if it asks the questions.
    pub fn measured(self) -> String {
        self.measured.to_string()
    }

    /// Where everybody else runs.
    pub fn others(self) -> String {
        self.others.to_string()
    }

    pub fn both(self) -> String {
        format!("{},{}", self.measured, self.others)
    }
}

/// All threads of a process run there from now on, and those that it starts.
pub fn move_process(id: u32, processors: &str) -> Outcome<()> {
    set(&["-a", "-c", "-p", processors, &id.to_string()])
}

/// This thread runs there from now on, and the threads and processes that it starts.
pub fn move_thread(processors: &str) -> Outcome<()> {
    let link = fs::read_link("/proc/thread-self")?;
    let id = link.file_name().ok_or("a thread has an id")?.to_string_lossy().into_owned();
    set(&["-c", "-p", processors, &id])
}

fn set(arguments: &[&str]) -> Outcome<()> {
    let done =
        Command::new("taskset").args(arguments).output().map_err(|error| format!("taskset: {error}"))?;
    if !done.status.success() {
        return Err(format!("taskset {arguments:?}: {}", String::from_utf8_lossy(&done.stderr)).into());
    }
    Ok(())
}
