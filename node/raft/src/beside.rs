//! What waits for a disk or computes for long, beside the tasks that must not wait: on a thread that may. Not for
//! the log, which has a writer of its own (`log_writer.rs`).

use std::io;

/// Runs `work` on a thread that may wait, and gives what comes of it. In the simulation there are no threads: there
/// it is done at once.
///
/// # Errors
/// When `work` panics, or the runtime ends meanwhile.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    #[cfg(test)]
    if crate::simulated::is_here() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
