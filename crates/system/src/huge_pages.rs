//! Transparent huge pages, which the allocator asks for. The kernel clears two megabytes when the first byte of one is written, often
//! after it has moved other memory to make room, which takes milliseconds.

use std::io;

/// Those that are there stay; the process gets no more.
#[cfg(target_os = "linux")]
pub fn disable() -> io::Result<()> {
    Ok(rustix::thread::disable_transparent_huge_pages(true)?)
}

/// On other systems nothing is known of them.
#[cfg(not(target_os = "linux"))]
pub fn disable() -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn a_process_gets_no_more_of_them() {
        // A sandbox may refuse it.
        if super::disable().is_ok() {
            assert!(rustix::thread::transparent_huge_pages_are_disabled().unwrap());
        }
    }
}
