//! Chance and real time, made repeatable: while a world is lived, everything on its thread that asks the kernel for
//! random bytes gets them from the world's seed, and whoever asks what time it is gets the world's time. That is how
//! Raft's election times, the order of hash maps and `select!` come out the same for the same seed, and how HTTP/2
//! forgets a stream after the same second.
//!
//! This file stands in for getrandom(2) and clock_gettime(2) of the C library in the whole test binary; threads
//! without a world go on to the kernel. Not for what the world itself decides: it has generators of its own, and
//! tokio's clock.

use super::random::Random;
use std::cell::Cell;
use std::time::Duration;
use tokio::time::Instant;

thread_local! {
    static SEEDED: Cell<Option<u64>> = const { Cell::new(None) };
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// What the clocks show when a world begins; whoever subtracts a little from it must not get before their beginning.
const BEGINNING: Duration = Duration::from_hours(24 * 365);
/// The world's time is told to the clocks this often.
const TELLING: Duration = Duration::from_millis(50);

/// From here on, this thread's chance is `seed`'s.
pub(super) fn begin(seed: u64) {
    SEEDED.set(Some(seed));
}

/// Whether a world is lived on this thread.
pub(crate) fn is_here() -> bool {
    SEEDED.get().is_some()
}

/// Tells this thread's clocks the world's time, for ever.
pub(super) async fn tell_time() {
    let began = Instant::now();
    loop {
        NOW.set(began.elapsed());
        tokio::time::sleep(TELLING).await;
    }
}

/// Takes the place of the C library's function, as the linker prefers the program's own.
///
/// # Safety
/// As clock_gettime(2) says: `time` has room for a time.
#[unsafe(no_mangle)]
#[allow(unreachable_pub, reason = "other crates find it by its symbol")]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    if !is_here() {
        // SAFETY: the arguments are passed on as they came.
        let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
        return libc::c_int::try_from(result).unwrap_or(-1);
    }
    let now = BEGINNING + NOW.get();
    let now = libc::timespec {
        tv_sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(now.subsec_nanos()),
    };
    // SAFETY: the caller vouches for it.
    unsafe { time.write(now) };
    0
}

/// The same for chance.
///
/// # Safety
/// As getrandom(2) says: `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
#[allow(unreachable_pub, reason = "other crates find it by its symbol")]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
    let Some(mut state) = SEEDED.get() else {
        // SAFETY: the arguments are passed on as they came.
        let result = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
        return isize::try_from(result).unwrap_or(-1);
    };
    for n in 0..length {
        state = Random::new(state).next();
        // SAFETY: `n` is below the `length` that the caller vouches for.
        unsafe { buffer.add(n).write(state.to_le_bytes()[7]) };
    }
    SEEDED.set(Some(state));
    isize::try_from(length).unwrap_or(isize::MAX)
}
