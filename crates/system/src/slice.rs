//! How long the kernel lets a thread compute before others have their turn. A thread that asks for a short slice is let in at once when
//! it wakes, although another one that computes has not used up its own slice. Its share of the processor stays the same.

use std::io;
use std::time::Duration;

/// The shortest slice that Linux gives, for threads that answer lookups. A lookup takes a few hundredths of a millisecond.
pub const SHORTEST: Duration = Duration::from_micros(100);

/// For threads that give way after [turns](crate::turn): one that does loses what is left of its slice, which is some milliseconds
/// otherwise. A thread with the shortest slice still goes first.
pub const SHORT: Duration = Duration::from_micros(300);

/// Asks for a slice for the calling thread, and the threads that it starts. It lasts as long as they do. Linux has slices from
/// 6.12 on; before, this changes nothing.
#[cfg(target_os = "linux")]
pub fn shorten(slice: Duration) -> io::Result<()> {
    // Niceness and policy stay as they are.
    let niceness = rustix::process::getpriority_process(None)?;
    let mut wanted = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).expect("some fifty bytes"),
        sched_policy: 0,
        sched_flags: libc::SCHED_FLAG_KEEP_POLICY as u64,
        sched_nice: niceness,
        sched_priority: 0,
        sched_runtime: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
        sched_deadline: 0,
        sched_period: 0,
    };
    let (this_thread, no_flags) = (0, 0);
    if set(this_thread, &mut wanted, no_flags) == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The system call, which neither rustix nor the C library of Debian 12 offers.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "The kernel reads `size` bytes from the pointer and writes to its field `size` at most. Both are within \
              the struct, which the caller has borrowed to us alone, and the kernel keeps no pointer. The call changes how \
              the thread is scheduled and none of its memory."
)]
fn set(thread: libc::pid_t, wanted: &mut libc::sched_attr, flags: libc::c_uint) -> libc::c_long {
    debug_assert_eq!(usize::try_from(wanted.size), Ok(size_of::<libc::sched_attr>()));
    unsafe { libc::syscall(libc::SYS_sched_setattr, thread, std::ptr::from_mut(wanted), flags) }
}

/// Other systems have no slices to ask for.
#[cfg(not(target_os = "linux"))]
pub fn shorten(_slice: Duration) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// The calling thread's slice in nanoseconds, where the kernel gives slices and shows them.
    fn shown_slice() -> Option<u64> {
        let shown = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
        let line = shown.lines().find_map(|line| line.strip_prefix("se.slice"))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Linux 6.12 or later.
    fn has_slices() -> bool {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        numbers.next().zip(numbers.next()) >= Some((6, 12))
    }

    #[test]
    fn a_thread_gets_a_slice_as_those_that_it_starts_do_and_keeps_its_niceness() {
        let asking = thread::spawn(|| {
            rustix::process::setpriority_process(None, 3).unwrap();
            shorten(SHORT).unwrap();
            let inheriting = thread::spawn(shown_slice).join().unwrap();
            shorten(SHORTEST).unwrap();
            let slices = [inheriting, shown_slice()];
            (slices, rustix::process::getpriority_process(None).unwrap())
        });
        let (slices, niceness) = asking.join().unwrap();
        assert_eq!(niceness, 3);
        if has_slices() {
            let shown = slices.into_iter().flatten().collect::<Vec<_>>();
            assert!(shown.is_empty() || shown == [300_000, 100_000], "{shown:?}");
        }
    }
}
