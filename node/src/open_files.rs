//! Lets this process have as many open files as the system allows it: each log that is followed is one, and the limit that
//! processes begin with (1,024) is for programs that use select(2).
//!
//! Not for how many logs are followed (`source/`).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More are never needed, and some systems' limit is a billion, for which C libraries make tables.
const FILES_MAX: u64 = 65_536;

/// Raises the limit as far as it may be raised without asking anybody.
pub fn allow_many() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(FILES_MAX).min(FILES_MAX);
    if current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
    {
        tracing::warn!(
            "the limit of open files stays at {}: {error}; if logs are many, raise LimitNOFILE",
            current.unwrap_or(0)
        );
    }
}
