//! Memory that will be read soon, fetched while something else is done: one of millions of devices is in no cache of the processor.

/// Has the processor fetch the beginning of this value. It changes nothing but how long the next look at it takes.
#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "The instruction reads and writes nothing that a program can see: it is a hint, which may name any address, and this one \
              is of a value that is borrowed meanwhile. All processors of this kind have it (SSE)."
)]
pub fn prefetch<T>(value: &T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) }
}

/// Other processors are given no hint.
#[cfg(not(target_arch = "x86_64"))]
pub fn prefetch<T>(_value: &T) {}
