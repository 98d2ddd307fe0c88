//! The kernel's netfilter, spoken to over a raw netlink socket: what is the same whichever part of it is meant.
//!
//! `message.rs` and `socket.rs` are bytes and their way to the kernel and back, `listener.rs` hears what others change,
//! `kernel.rs` has numbers. Not for what is said.

pub(crate) mod kernel;
pub(crate) mod listener;
pub(crate) mod message;
pub(crate) mod socket;

/// Which part of netfilter a message is for, and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recipient {
    /// nfnetlink's number of the part.
    pub(crate) subsystem: u16,
    /// The family of addresses, where the part makes a difference.
    pub(crate) family: u8,
}

impl Recipient {
    /// The type of a message of this kind to it.
    pub(crate) fn message(self, kind: u8) -> u16 {
        (self.subsystem << 8) | u16::from(kind)
    }
}
