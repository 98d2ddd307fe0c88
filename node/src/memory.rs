//! Gives memory that is no longer needed back to the system.
//!
//! Starting, joining and installing a snapshot need several megabytes for a moment. The C library keeps what was
//! freed for the next allocation, which on a mail host that sees three attackers a day never comes. Not for
//! limiting what is in use: each table has its own bound.

use std::time::Duration;

/// Starting and joining are over by then.
const FIRST_AFTER: Duration = Duration::from_secs(5);
/// How often afterwards. It takes a fraction of a millisecond.
const EVERY: Duration = Duration::from_mins(10);

/// Gives unused memory back soon after the start, and then now and again. Until the task is aborted.
pub(crate) async fn keep_small() {
    tokio::time::sleep(FIRST_AFTER).await;
    loop {
        give_back();
        tokio::time::sleep(EVERY).await;
    }
}

/// Gives back all pages that hold nothing: malloc_trim(3). Other C libraries than GNU's do so by themselves.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes no pointer, may be called at any time from any thread, and changes no allocation.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::give_back;

    /// Memory of this process that is not a file's, in KiB: proc_pid_status(5).
    fn anonymous_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn what_was_freed_goes_back_to_the_system() {
        let mut pieces: Vec<Box<[u8; 1024]>> = (0..32 * 1024).map(|n| Box::new([n as u8; 1024])).collect();
        // What lies behind the rest keeps the library from shortening the heap.
        let last = pieces.pop();
        drop(pieces);
        let kept_kib = anonymous_kib();
        give_back();
        assert!(kept_kib - anonymous_kib() > 24 * 1024, "of 32 MiB that were freed");
        drop(last);
    }
}
