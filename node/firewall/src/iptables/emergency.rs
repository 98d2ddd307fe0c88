//! What can be done to our sets and rules without a daemon: delete them, or let one address pass.
//!
//! Not for anything that lasts: a daemon that starts makes them as its ban list says.

use super::names::GenerationNumber;
use super::program::{Program, Variant};
use super::refusal::{not_offered, sort};
use super::sets::Sets;
use super::{Hook, halves, kernel, rules};
use crate::FirewallError;
use crate::netlink::socket::Refusal;
use bannkreis_core::subnet::Subnet;

/// Deletes everything of ours, wherever its chains are. `false` when there is nothing.
///
/// # Errors
/// Any [`FirewallError`] of [`super::Iptables::open`], but where there is no ipset there is nothing of ours.
pub fn delete_everything() -> Result<bool, FirewallError> {
    let Some((mut sets, ours)) = our_sets()? else { return Ok(false) };
    let programs = Program::both(Variant::Hosts)?;
    for hook in [Hook::Raw, Hook::Input] {
        for program in &programs {
            let saved = program.save(hook.table(), false)?;
            if let Some(text) = rules::nothing(hook, &saved) {
                program.restore(&text)?;
            }
        }
    }
    for name in &ours {
        sets.destroy(name).map_err(sort)?;
    }
    Ok(!ours.is_empty())
}

/// Lets packets from `subnet` pass, whatever of ours blocks them. `false` when there is nothing of ours.
///
/// # Errors
/// As [`delete_everything`].
pub fn let_pass(subnet: Subnet) -> Result<bool, FirewallError> {
    let Some((mut sets, ours)) = our_sets()? else { return Ok(false) };
    let numbers = ours.iter().filter_map(|name| GenerationNumber::of_set(name));
    let mut is_done = false;
    for name in numbers.map(|number| number.protected(subnet.is_v4())).filter(|name| ours.contains(name)) {
        let members: Vec<_> = halves(subnet).map(|half| (half, None)).collect();
        sets.add(&name, &members).map_err(sort)?;
        is_done = true;
    }
    Ok(is_done)
}

/// Our sets, where there is ipset.
fn our_sets() -> Result<Option<(Sets, Vec<String>)>, FirewallError> {
    let mut sets = Sets::open().map_err(|error| not_offered(&error))?;
    let is_missing = |refusal: &Refusal| {
        matches!(refusal.errno, libc::EINVAL | libc::EOPNOTSUPP | kernel::IPSET_ERR_PROTOCOL)
    };
    match sets.greet() {
        Ok(()) => {}
        Err(refusal) if is_missing(&refusal) => return Ok(None),
        Err(refusal) => return Err(sort(refusal)),
    }
    let names = sets.sizes().map_err(sort)?.into_keys();
    let ours = names.filter(|name| GenerationNumber::of_set(name).is_some()).collect();
    Ok(Some((sets, ours)))
}
