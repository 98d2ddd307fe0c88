//! ipset's refusals, sorted by what the caller can do about them.
//!
//! Not for the sentences that people read (`error.rs` of the crate).

use super::kernel;
use crate::netlink::socket::Refusal;
use crate::{CHAINS_MAX, ELEMENTS_MAX, FirewallError};
use std::io;

/// Sorts a refusal by what the caller can do.
pub(super) fn sort(refusal: Refusal) -> FirewallError {
    let Refusal { errno, doing } = refusal;
    match errno {
        libc::EPERM | libc::EACCES => FirewallError::NotPermitted { doing },
        libc::ENOENT => FirewallError::Lost { doing },
        kernel::IPSET_ERR_HASH_FULL => FirewallError::Full { doing, bound: ELEMENTS_MAX.into() },
        kernel::IPSET_ERR_MAX_SETS => FirewallError::Full { doing, bound: CHAINS_MAX as u64 },
        libc::EAGAIN | libc::EINTR | libc::EBUSY | libc::ENOBUFS | libc::ENOMEM | kernel::IPSET_ERR_BUSY => {
            let why = io::Error::from_raw_os_error(libc::EBUSY).to_string();
            FirewallError::Busy { doing, why }
        }
        libc::EOPNOTSUPP
        | libc::EAFNOSUPPORT
        | libc::EPROTONOSUPPORT
        | libc::EINVAL
        | kernel::IPSET_ERR_FIND_TYPE
        | kernel::IPSET_ERR_PROTOCOL => FirewallError::NotSupported { doing, errno },
        _ => FirewallError::Kernel { doing, errno },
    }
}

pub(super) fn not_offered(error: &io::Error) -> FirewallError {
    let doing = "opening a netlink socket to ipset".to_owned();
    match error.raw_os_error().unwrap_or(libc::EIO) {
        libc::EPERM | libc::EACCES => FirewallError::NotPermitted { doing },
        errno => FirewallError::NotSupported { doing, errno },
    }
}
