//! The kernel's refusals, sorted by what the caller can do about them.
//!
//! Not for the sentences that people read (`error.rs` of the crate).

use super::opening::kernel_generation;
use crate::netlink::socket::{Refusal, Socket};
use crate::{ELEMENTS_MAX, FirewallError};
use std::io;

/// Sorts a refusal by what the caller can do.
pub(super) fn sort(socket: &mut Socket, refusal: Refusal) -> FirewallError {
    let Refusal { errno, doing } = refusal;
    match errno {
        libc::EPERM | libc::EACCES => match kernel_generation(socket) {
            // We may ask, so it is not us who lack the right: the table is somebody's.
            Ok(_) => FirewallError::Busy {
                doing,
                why: "another process owns the table `inet bannkreis` (is another bannkreisd running?)"
                    .to_owned(),
            },
            Err(_) => FirewallError::NotPermitted { doing },
        },
        libc::ENOENT => FirewallError::Lost { doing },
        libc::ENFILE => FirewallError::Full { doing, bound: ELEMENTS_MAX.into() },
        libc::EAGAIN | libc::EINTR | libc::EBUSY | libc::ENOBUFS | libc::ENOMEM => {
            FirewallError::Busy { doing, why: io::Error::from_raw_os_error(errno).to_string() }
        }
        libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT => {
            FirewallError::NotSupported { doing, errno }
        }
        _ => FirewallError::Kernel { doing, errno },
    }
}

/// Sorts a refusal of the very first things: what is missing then is missing in the kernel.
pub(super) fn sort_first(socket: &mut Socket, refusal: Refusal) -> FirewallError {
    match sort(socket, refusal) {
        FirewallError::Lost { doing } => FirewallError::NotSupported { doing, errno: libc::ENOENT },
        error => error,
    }
}

/// A socket that could not be opened.
pub(super) fn not_offered(error: &io::Error) -> FirewallError {
    let doing = "opening a netlink socket to netfilter".to_owned();
    match error.raw_os_error().unwrap_or(libc::EIO) {
        libc::EPERM | libc::EACCES => FirewallError::NotPermitted { doing },
        errno @ (libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => FirewallError::NotSupported { doing, errno },
        errno => FirewallError::Kernel { doing, errno },
    }
}
