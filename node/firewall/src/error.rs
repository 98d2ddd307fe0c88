//! What can go wrong with a firewall, sorted by what the caller can do about it.
//!
//! Not for why the kernel thinks so: that is in `doing` and in the kernel's own words, for people.

use std::io;

/// Why a call to the firewall failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FirewallError {
    /// Trying again will not help: this process may not change the firewall.
    #[error(
        "not permitted while {doing}: changing the firewall needs the capability CAP_NET_ADMIN; run as \
         root, or give the unit `AmbientCapabilities=CAP_NET_ADMIN`, or set `backend = \"none\"` for a \
         node that only watches"
    )]
    NotPermitted {
        /// What was being done.
        doing: String,
    },
    /// Trying again will not help: this kernel can not do it.
    #[error(
        "this kernel refused {doing} ({}): what is needed is nftables with the inet family (Linux 5.10 or later, \
         CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET), or ipset (CONFIG_IP_SET_HASH_NET, \
         CONFIG_NETFILTER_XT_SET) and iptables; otherwise set `backend = \"none\"` for a node that \
         only watches", describe(*errno)
    )]
    NotSupported {
        /// What was being done.
        doing: String,
        /// What the kernel answered, errno(3).
        errno: i32,
    },
    /// Trying again will not help before somebody has installed it.
    #[error(
        "the program `{program}` is not there: install the package iptables, or use `backend = \"nftables\"`, \
         which needs no programs"
    )]
    Missing {
        /// Its name.
        program: String,
    },
    /// A program of the host did not do what it was asked: tell people.
    #[error("{doing} failed: {said}")]
    Refused {
        /// What was being done.
        doing: String,
        /// The program's own words.
        said: String,
    },
    /// The same call may succeed in a moment.
    #[error("the firewall is busy while {doing}: {why}; it will be tried again")]
    Busy {
        /// What was being done.
        doing: String,
        /// What stands in the way.
        why: String,
    },
    /// A stranger removed or damaged what this process relies on: call `replace`.
    #[error(
        "while {doing}: a part of our table is gone (a foreign `nft flush ruleset`?); it has to be rebuilt"
    )]
    Lost {
        /// What was being done.
        doing: String,
    },
    /// A bound is reached. `replace` clears out what is unused; releasing elements makes room.
    #[error(
        "while {doing}: the firewall's bound of {bound} is reached; release some bans, or ban wider prefixes"
    )]
    Full {
        /// What was being done.
        doing: String,
        /// The bound.
        bound: u64,
    },
    /// Anything else: tell people. The same call may or may not succeed later.
    #[error("the kernel refused {doing}: {} (errno {errno})", describe(*errno))]
    Kernel {
        /// What was being done, with the kernel's own words when it gave some.
        doing: String,
        /// What it answered, errno(3).
        errno: i32,
    },
}

/// The C library's sentence for an error number, without Rust's decoration.
fn describe(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_thing_the_cause_and_the_remedy() {
        let doing = "opening nftables".to_owned();
        let text = FirewallError::NotPermitted { doing: doing.clone() }.to_string();
        assert!(text.contains("opening nftables") && text.contains("CAP_NET_ADMIN"), "{text}");
        let text = FirewallError::Kernel { doing, errno: libc::EINVAL }.to_string();
        assert_eq!(text, "the kernel refused opening nftables: Invalid argument (errno 22)");
    }
}
