//! Whether anybody may have changed rules since the last look, without starting a program: cheap enough for twice a second.
//!
//! The kernel counts the changes of nftables, which includes those of the iptables that writes nftables; of the old tables
//! it tells how many rules they have and how long they are. Not for what has changed, nor proof that nothing has: a rule
//! that takes the place of another one of the same length is not seen.

use super::Hook;
use crate::netlink::socket::Socket;
use crate::nftables;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `IPT_SO_GET_INFO` and `IP6T_SO_GET_INFO`, linux/netfilter_ipv4/ip_tables.h.
const GET_INFO: libc::c_int = 64;
/// `XT_TABLE_MAXNAMELEN`, linux/netfilter/x_tables.h.
const TABLE_NAME_BYTES: usize = 32;

/// `struct ipt_getinfo`, linux/netfilter_ipv4/ip_tables.h; IPv6's is the same.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    name: [u8; TABLE_NAME_BYTES],
    valid_hooks: u32,
    hook_entry: [u32; 5],
    underflow: [u32; 5],
    n_entries: u32,
    size: u32,
}

/// What is the same while nobody has changed anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hint {
    nftables: Option<u32>,
    /// Of the old tables, IPv4 and IPv6: number of rules and bytes.
    old: [Option<(u32, u32)>; 2],
}

/// Asks the kernel for hints.
pub(crate) struct Hints {
    hook: Hook,
    nftables: Option<Socket>,
    old: [Option<OwnedFd>; 2],
}

impl Hints {
    /// In this thread's network namespace. What the kernel has not got is not asked.
    pub(crate) fn open(hook: Hook) -> Hints {
        let old = [libc::AF_INET, libc::AF_INET6].map(|family| {
            // SAFETY: socket(2) takes three numbers and returns a number.
            let fd = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
            // SAFETY: the number is a descriptor that was opened just now and that nobody else knows.
            (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
        });
        Hints { hook, nftables: nftables::socket().ok(), old }
    }

    /// As it is now.
    pub(crate) fn now(&mut self) -> Hint {
        let nftables = self.nftables.as_mut().and_then(nftables::change_number);
        let levels = [libc::IPPROTO_IP, libc::IPPROTO_IPV6];
        let mut old = [None; 2];
        for ((fd, level), found) in self.old.iter().zip(levels).zip(&mut old) {
            *found = fd.as_ref().and_then(|fd| info(fd, level, self.hook.table()).ok());
        }
        Hint { nftables, old }
    }
}

fn info(fd: &OwnedFd, level: libc::c_int, table: &str) -> io::Result<(u32, u32)> {
    let mut info = Info {
        name: [0; TABLE_NAME_BYTES],
        valid_hooks: 0,
        hook_entry: [0; 5],
        underflow: [0; 5],
        n_entries: 0,
        size: 0,
    };
    info.name[..table.len()].copy_from_slice(table.as_bytes());
    let mut length = size_of::<Info>() as libc::socklen_t;
    // SAFETY: the pointers describe `info` and its length, which outlive the call.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, GET_INFO, (&raw mut info).cast(), &raw mut length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok((info.n_entries, info.size)) }
}
