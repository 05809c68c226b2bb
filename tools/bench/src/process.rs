//! Programs that a measurement starts, and what the system tells of them. They are also ended when the measurement is told to
//! end, so that one that is broken off leaves nothing running.

use std::fs;
use std::net::TcpListener;
use std::process::{self, Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use testkit::child::{self, ChildProcess};

use crate::Outcome;

/// How often a condition is looked at. Short against everything that is measured by it.
pub const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// A program that has been told to end and has not by then is killed.
const END_BOUND: Duration = Duration::from_secs(10);

/// In what `/proc` counts the time of a process, on every architecture that is measured on.
pub const CLOCK_TICKS_PER_SECOND: u64 = 100;

/// Ends the programs that run, and this one, with the signals by which a terminal, a time limit or a person ends it.
pub fn end_all_with_signals() -> Outcome<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut hangup, mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::spawn(move || {
        let ended_by = runtime.block_on(async {
            tokio::select! {
                _ = hangup.recv() => Signal::HUP,
                _ = interrupt.recv() => Signal::INT,
                _ = terminate.recv() => Signal::TERM,
            }
        });
        child::end_all(|| exit(128 + ended_by.as_raw()));
    });
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the measurement waits somewhere, and nothing can stop it")]
fn exit(code: i32) -> ! {
    process::exit(code)
}

/// A running program, whose faults end the measurement and no more.
pub struct Process {
    child: ChildProcess,
    name: String,
}

impl Process {
    pub fn start(command: &mut Command) -> Outcome<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child =
            ChildProcess::try_start(command).map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { child, name })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for its own end.
    pub fn finish(&mut self, bound: Duration) -> Outcome<ExitStatus> {
        let mut status = None;
        let name = self.name.clone();
        until(&format!("the end of {name}"), bound, || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        status.ok_or_else(|| format!("{name} has no exit status").into())
    }

    /// An error if it has ended already, which a server does only when it failed.
    pub fn check_runs(&mut self) -> Outcome<()> {
        match self.child.try_wait()? {
            Some(status) => Err(format!("{} ended with {status}", self.name).into()),
            None => Ok(()),
        }
    }

    /// Processor time used so far.
    pub fn processor_time(&self) -> Outcome<Duration> {
        let ProcessorTime { user, kernel } = processor_time(self.child.id())?;
        Ok(user + kernel)
    }

    /// Processor time used so far by it and by the processes that it started, which must not have started others.
    pub fn processor_time_of_all(&self) -> Outcome<ProcessorTime> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let mut sum = processor_time(id)?;
        for child in children.split_whitespace() {
            let ProcessorTime { user, kernel } = processor_time(child.parse()?)?;
            sum = ProcessorTime { user: sum.user + user, kernel: sum.kernel + kernel };
        }
        Ok(sum)
    }

    /// Bytes of memory: resident now, and at most so far.
    pub fn resident_bytes(&self) -> Outcome<Resident> {
        resident_bytes(&self.child.id().to_string())
    }
}

/// What this process takes now.
pub fn resident_bytes_of_this() -> Outcome<u64> {
    Ok(resident_bytes("self")?.now)
}

fn resident_bytes(process: &str) -> Outcome<Resident> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let bytes = |key: &str| -> Outcome<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no memory figures")?;
        Ok(kib.trim().parse::<u64>()? * 1024)
    };
    Ok(Resident { now: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
}

/// Time on a processor, by where it was spent.
#[derive(Clone, Copy)]
pub struct ProcessorTime {
    pub user: Duration,
    pub kernel: Duration,
}

fn processor_time(id: u32) -> Outcome<ProcessorTime> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name in parentheses may hold anything; the fields behind it are numbers.
    let (_, fields) = stat.rsplit_once(')').ok_or("no figures of the process")?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let (user, kernel) = (ticks.next().ok_or("no user time")??, ticks.next().ok_or("no system time")??);
    let duration = |ticks| Duration::from_millis(ticks * 1_000 / CLOCK_TICKS_PER_SECOND);
    Ok(ProcessorTime { user: duration(user), kernel: duration(kernel) })
}

#[derive(Clone, Copy, PartialEq)]
pub struct Resident {
    pub now: u64,
    pub peak: u64,
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM first: nginx ends its workers only then. What does not end by it is killed.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.signal(Signal::TERM);
            drop(self.finish(END_BOUND));
        }
    }
}

/// Looks at a condition until it holds; an error once `bound` has passed.
pub fn until(what: &str, bound: Duration, mut condition: impl FnMut() -> Outcome<bool>) -> Outcome<()> {
    let deadline = Instant::now() + bound;
    while !condition()? {
        if Instant::now() >= deadline {
            return Err(format!("waited {} s for {what}", bound.as_secs()).into());
        }
        pause(POLL_INTERVAL);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the one place of a program without a runtime where it waits")]
pub fn pause(duration: Duration) {
    thread::sleep(duration);
}

/// A port of the loopback interface that nobody listened on a moment ago.
pub fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Processor time that this process or this thread has used, as the clock says. Other work on the machine does not count.
pub fn own_processor_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
