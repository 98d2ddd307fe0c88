//! What becomes of a panic on a thread without which the node only looks alive: the process ends, loudly, and whoever started
//! it starts it again. The kernel goes on blocking meanwhile.
//!
//! Not for panics elsewhere: a call that panics costs that call.

use std::panic;
use std::thread;

/// Reads the logs; decides; tells the kernel.
const VITAL: [&str; 3] = ["source", "warden", "firewall"];

/// From now on a panic on one of those threads ends the process.
pub fn end_with_the_process() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        usual(panicked);
        let thread = thread::current();
        if let Some(name) = thread.name().filter(|name| VITAL.contains(name)) {
            tracing::error!(
                "the thread {name} has panicked, so this process ends; blocked addresses stay blocked: start bannkreisd \
                 again, and please report this"
            );
            std::process::abort();
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    const THREAD: &str = "BANNKREIS_TEST_PANICS_ON";

    /// Runs this test once more, in a process of its own that has a panic on one thread.
    fn panics_on(thread: &str) -> std::process::ExitStatus {
        let own = std::env::current_exe().expect("this program");
        let name = "vital_threads::tests::a_panic_on_a_vital_thread_ends_the_process";
        let mut again = Command::new(own);
        again.args([name, "--exact", "--nocapture"]).env(THREAD, thread);
        again.output().expect("it runs").status
    }

    #[test]
    fn a_panic_on_a_vital_thread_ends_the_process() {
        if let Ok(name) = std::env::var(THREAD) {
            end_with_the_process();
            let panicking = thread::Builder::new().name(name).spawn(|| panic!("as this test wants"));
            assert!(panicking.expect("started").join().is_err());
            return;
        }
        for vital in VITAL {
            assert_eq!(panics_on(vital).signal(), Some(libc::SIGABRT), "{vital}");
        }
        assert!(panics_on("some other").success());
    }
}
