//! What can be done to our table without a daemon: delete it, let one address pass, and find out who keeps others from it.
//!
//! Not for anything that lasts: a daemon that starts makes the table as its ban list says.

use super::kernel::{DELTABLE, GETTABLE, NFTA_TABLE_NAME, NFTA_TABLE_OWNER};
use super::names::TABLE;
use super::refusal::{not_offered, sort};
use super::{NFTABLES, Nftables};
use crate::netlink::message::number;
use crate::netlink::socket::Socket;
use crate::{Firewall, FirewallError};
use bannkreis_core::ruleset::FirewallDelta;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;

/// Deletes our table with everything in it. `false` when there is none.
///
/// # Errors
/// [`FirewallError::Busy`] when a process owns the table, [`FirewallError::NotPermitted`], or
/// [`FirewallError::Kernel`].
pub fn delete_table() -> Result<bool, FirewallError> {
    let mut socket = Socket::open(NFTABLES).map_err(|error| not_offered(&error))?;
    let mut batch = socket.batch();
    batch.push(DELTABLE, 0, "deleting our table", |a| a.text(NFTA_TABLE_NAME, TABLE));
    match socket.execute(batch) {
        Ok(()) => Ok(true),
        Err(refusal) if refusal.errno == libc::ENOENT => Ok(false),
        Err(refusal) => Err(sort(&mut socket, refusal)),
    }
}

/// Lets packets from `subnet` pass, whatever in our table blocks them. `false` when there is no table.
///
/// # Errors
/// As [`delete_table`].
pub fn let_pass(subnet: Subnet) -> Result<bool, FirewallError> {
    if !has_table()? {
        return Ok(false);
    }
    // What is there is adopted as it is; no end is looked at, so no clock is needed.
    let deltas = [FirewallDelta::Protect { subnet }, FirewallDelta::Release { subnet }];
    Nftables::open()?.apply(Timestamp::ZERO, &deltas).map(|()| true)
}

/// The netlink port of the process that owns our table and keeps all others from it, while it lives.
///
/// # Errors
/// [`FirewallError::NotPermitted`] or [`FirewallError::Kernel`].
pub fn owner_port() -> Result<Option<u32>, FirewallError> {
    Ok(table()?.and_then(|answer| number(&answer, NFTA_TABLE_OWNER)).filter(|port| *port != 0))
}

fn has_table() -> Result<bool, FirewallError> {
    table().map(|answer| answer.is_some())
}

/// What the kernel says of our table.
fn table() -> Result<Option<Vec<u8>>, FirewallError> {
    let mut socket = Socket::open(NFTABLES).map_err(|error| not_offered(&error))?;
    let asked = socket.ask(GETTABLE, false, "asking for our table", |a| a.text(NFTA_TABLE_NAME, TABLE));
    match asked {
        Ok(answers) => Ok(answers.into_iter().next()),
        Err(refusal) if refusal.errno == libc::ENOENT => Ok(None),
        Err(refusal) => Err(sort(&mut socket, refusal)),
    }
}
