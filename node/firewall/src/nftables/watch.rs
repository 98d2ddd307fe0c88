//! Whether a stranger has changed our table, where the kernel can not keep strangers out.
//!
//! A table that is owned (Linux 6.9) can not be changed by anybody else. On older kernels everybody who may can delete
//! one element of it, and nobody can see that an element is missing: looking through a million of them is not possible
//! (`inventory.rs`). So there the kernel tells. Not for what is wrong afterwards: the whole table is made anew.

use super::kernel::{DELSETELEM, NEWSETELEM, NFNLGRP_NFTABLES, NFTA_SET_ELEM_LIST_TABLE, NFTA_TABLE_NAME};
use super::names::TABLE;
use crate::netlink::listener::{Heard, Listener};
use crate::netlink::message::text;
use crate::netlink::socket::Socket;
use std::io;

/// See the module.
pub(super) struct Watch(Listener);

impl Watch {
    /// Watches for changes by anybody but `own`.
    pub(super) fn open(own: &Socket) -> io::Result<Watch> {
        Listener::open(own, NFNLGRP_NFTABLES).map(Watch)
    }

    /// Whether anybody else has changed an element since the last time; what they do to rules and sets the inventory
    /// shows. More changes than could be listened to may have been anything, and so may those that could not be read.
    pub(super) fn has_seen_strangers(&mut self) -> bool {
        const { assert!(NFTA_SET_ELEM_LIST_TABLE == NFTA_TABLE_NAME, "both begin with the table's name") };
        let is_ours = |kind, attributes: &[u8]| {
            matches!(kind, NEWSETELEM | DELSETELEM)
                && text(attributes, NFTA_SET_ELEM_LIST_TABLE) == Some(TABLE)
        };
        !matches!(self.0.heard(is_ours), Ok(Heard::Nothing))
    }
}
