//! A program that a test or a measurement starts: it is ended by its own id, at the latest when its value is dropped, so that
//! one that fails leaves nothing running.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, poll};

/// The ids of the programs that run and have not been waited for, so that nobody else can have them.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn running() -> MutexGuard<'static, BTreeSet<i32>> {
    // Whoever panicked with it has changed nothing by halves.
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells all programs that run to end, and then does `last`. Until that is done no other program is started.
pub fn end_all(last: impl FnOnce()) {
    let running = running();
    for pid in running.iter().filter_map(|id| Pid::from_raw(*id)) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::TERM);
    }
    last();
}

/// A running program. What a test wants of it beside, it asks the [`Child`] in it.
pub struct ChildProcess(Child);

impl ChildProcess {
    pub fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        Self::try_start(command).unwrap_or_else(|error| panic!("{program} cannot be started: {error}"))
    }

    pub fn try_start(command: &mut Command) -> io::Result<Self> {
        let mut running = running();
        let child = command.spawn()?;
        running.insert(child.id().cast_signed());
        Ok(Self(child))
    }

    /// How it has ended, if it has.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        // Its id is free as soon as it has been waited for, and may not be signalled from then on.
        let mut running = running();
        let ended = self.0.try_wait()?;
        if ended.is_some() {
            running.remove(&self.0.id().cast_signed());
        }
        Ok(ended)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("a child of ours takes signals");
    }

    /// Sends that signal, and waits until the program has ended.
    pub fn end(mut self, signal: Signal) {
        self.signal(signal);
        let ended = poll(PATIENCE, || self.try_wait().expect("a child can be waited for"));
        assert!(ended.is_some(), "the program does not end with {signal:?}");
    }

    /// Waits until it answers; `false` when it has ended instead, as a server does whose port somebody else has taken.
    pub fn wait_until(&mut self, mut answers: impl FnMut() -> bool) -> bool {
        let outcome = poll(PATIENCE, || match self.try_wait().expect("a child can be waited for") {
            Some(_) => Some(false),
            None => answers().then_some(true),
        });
        outcome.expect("the program answers or ends")
    }

    /// Waits until it listens on these ports of loopback; `false` as above.
    pub fn listens(&mut self, ports: &[u16]) -> bool {
        self.wait_until(|| ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()))
    }

    /// Keeps the program from doing anything, without ending it, or lets it go on. A signal stops one thread after the other,
    /// and on a busy machine the last still answers after the first has stopped: so this waits until all have.
    pub fn freeze(&self, frozen: bool) {
        self.signal(if frozen { Signal::STOP } else { Signal::CONT });
        if frozen {
            let stopped = poll(PATIENCE, || all_threads_are_stopped(self.id()).then_some(()));
            stopped.expect("a process can be stopped");
        }
    }
}

impl Deref for ChildProcess {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for ChildProcess {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        running().remove(&self.0.id().cast_signed());
        // It may have ended by itself; then there is nothing to end.
        self.0.kill().ok();
        self.0.wait().ok();
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
