//! Our own configuration, compiled in: what is there when nothing of fail2ban is installed.
//!
//! The files in `base/` offer the names that users' files build on: `%(sshd_log)s`,
//! `%(apache_error_log)s`, `%(_apache_error_client)s`, `%(__prefix_line)s`, `%(action_)s`. The
//! user's tree lies on top of them, file by file (`tree::Layered`).

use crate::tree::MemoryTree;

/// The files of the base with their texts.
const FILES: [(&str, &str); 8] = [
    ("jail.conf", include_str!("base/jail.conf")),
    ("paths-debian.conf", include_str!("base/paths-debian.conf")),
    ("filter.d/common.conf", include_str!("base/filter.d/common.conf")),
    ("filter.d/apache-common.conf", include_str!("base/filter.d/apache-common.conf")),
    ("filter.d/apache-auth.conf", include_str!("base/filter.d/apache-auth.conf")),
    ("filter.d/sshd.conf", include_str!("base/filter.d/sshd.conf")),
    ("filter.d/postfix.conf", include_str!("base/filter.d/postfix.conf")),
    ("filter.d/dovecot.conf", include_str!("base/filter.d/dovecot.conf")),
];

/// How people are told that a file is one of these, in front of its path.
pub const SHOWN_AS: &str = "(built in) ";

/// The base as a tree.
#[must_use]
pub fn tree() -> MemoryTree {
    FILES.iter().fold(MemoryTree::new(SHOWN_AS), |tree, (path, text)| tree.with(path, text))
}
