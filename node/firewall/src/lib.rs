//! Makes this host's firewall hold what the ruleset says.
//!
//! A tour, in reading order:
//! - this file: [`Firewall`], the contract that every implementation keeps, and [`open`];
//! - [`error`]: what can go wrong, sorted by what the caller can do about it;
//! - [`lease`]: how an end in cluster time becomes a timeout that a kernel runs down by itself;
//! - [`memory`]: the firewall that blocks nothing and remembers everything: for `backend = "none"`,
//!   for the simulator, and the yardstick in `tests/suite`;
//! - [`nftables`]: over a raw netlink socket (`netlink`);
//! - [`iptables`]: ipset over the same, and rules through the host's own programs.
//!
//! Not here: why an element is there (that is decided in `bannkreis-core`), when to repair (the
//! caller asks [`Firewall::intact`]), and any text from a log line: only a `Subnet`, and the name of
//! a jail with its strange characters replaced, ever reach a kernel.

mod classes;
mod counts;
pub mod error;
pub mod iptables;
pub mod lease;
pub mod memory;
mod netlink;
pub mod nftables;

pub use error::FirewallError;
pub use iptables::Hook;
pub use lease::PERMANENT_LEASE_MS;
pub use memory::MemoryFirewall;

use bannkreis_core::ruleset::{Chain, FirewallDelta, Ruleset};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;

/// At most so many elements change in one transaction; a longer list is cut into several. The kernel
/// holds a lock for about a millisecond for that many.
pub const ELEMENTS_PER_TRANSACTION_MAX: usize = 1_000;

/// At most so many different [`Chain`]s can be in use between two calls of [`Firewall::replace`],
/// which clears out those that no element uses any more. Beyond: [`FirewallError::Full`].
pub const CHAINS_MAX: usize = 4_096;

/// At most so many elements in one map or set, of which a prefix length has one or, with nftables and very many bans,
/// sixteen. Beyond: [`FirewallError::Full`].
pub const ELEMENTS_MAX: u32 = 4_000_000;

/// A packet filter that can be told what to block.
///
/// # What it holds
/// A [`Ruleset`]: *elements* (a subnet, the [`Chain`] that says which ports are closed to it and
/// whose the drops are, and an end) and *protected* subnets. A packet that arrives on any interface
/// but loopback is dropped when some element contains its source, is not over, and closes the port
/// it goes to, unless a protected subnet contains its source. Elements are independent of each
/// other: a /32 and the /24 around it each have their own ports and their own end, and the packet is
/// dropped when either says so. Established connections are no exception. A chain whose ports are
/// empty drops nothing.
///
/// # Time
/// `now` and every `until` are cluster time. The difference becomes a timeout that runs down inside
/// the firewall, by itself, also when this process is dead: see [`lease`]. Something blocked for
/// ever is blocked for [`PERMANENT_LEASE_MS`], and the caller blocks it again before that is over.
///
/// # What a caller may rely on
/// - **Order**: deltas take effect in the order given. Of several for one key the last counts.
/// - **Idempotence**: applying a list twice equals applying it once; releasing what is not there is
///   no error; blocking what is there changes its chain and its end, be it earlier or later.
/// - **Atomicity**: no packet that the state before *and* the state after an upsert would drop
///   passes in between. [`Firewall::replace`] keeps this for the whole ruleset.
/// - **Failure**: after an error any prefix of the deltas may have taken effect. Nothing else has:
///   calling again with the same list, or `replace`, is always right. After an error of `replace`
///   either the old state or the new one is in force, never a mixture.
/// - **Leaving**: dropping the value changes nothing in the firewall. What is blocked stays blocked
///   until its timeout, and the next `open` adopts it, elements included.
///
/// # Threads
/// Calls wait for the kernel, microseconds to some milliseconds; `replace` of a million elements
/// takes about a second. One thread at a time.
pub trait Firewall: Send {
    /// The name in the configuration: `nftables`, `iptables`, `none`.
    fn name(&self) -> &'static str;

    /// Where its rules are and what it uses of this kernel, found out when it was opened: for people, no sentence.
    fn about(&self) -> String;

    /// Executes `deltas` in order, in transactions of at most [`ELEMENTS_PER_TRANSACTION_MAX`], each
    /// acknowledged before the next. Returns when all are in force.
    ///
    /// # Errors
    /// Any [`FirewallError`]; some first part of `deltas` may be in force then.
    fn apply(&mut self, now: Timestamp, deltas: &[FirewallDelta]) -> Result<(), FirewallError>;

    /// Makes the firewall hold exactly `wanted`, whatever it held before, without looking at that:
    /// builds everything anew beside it, then changes over in one transaction, then clears the old
    /// away. Elements of `wanted` that are over are left out. Works also when a stranger deleted
    /// or damaged everything.
    ///
    /// # Errors
    /// Any [`FirewallError`] but [`FirewallError::Lost`]; the old or the new state is in force then.
    fn replace(&mut self, now: Timestamp, wanted: &Ruleset) -> Result<(), FirewallError>;

    /// What is held for exactly this subnet; wider and narrower ones are not looked at. Protection
    /// is not looked at either.
    ///
    /// # Errors
    /// Any [`FirewallError`] but [`FirewallError::Lost`]: in a lost table nothing is held.
    fn lookup(&mut self, subnet: Subnet) -> Result<Option<Held>, FirewallError>;

    /// Whether an earlier process may have left something for exactly this subnet: `false` when nothing of its prefix length
    /// was there when this value was opened, and after [`Firewall::replace`]. Does not ask the kernel.
    fn inherits(&self, subnet: Subnet) -> bool;

    /// Whether an earlier process may have left anything at all, protection included.
    fn inherits_any(&self) -> bool;

    /// What each chain has dropped since this value was opened, or longer when a chain was adopted.
    /// Never goes down while this value lives, except for chains that are in use no more.
    ///
    /// # Errors
    /// Any [`FirewallError`] but [`FirewallError::Lost`].
    fn counters(&mut self) -> Result<Vec<ChainCounter>, FirewallError>;

    /// Whether what this value set up still stands, as far as can be seen without looking at every
    /// element: cheap enough for once a second. `false` means that a stranger was at it, and the
    /// remedy is `replace`. Own changes are no damage.
    ///
    /// # Errors
    /// Any [`FirewallError`] but [`FirewallError::Lost`].
    fn intact(&mut self) -> Result<bool, FirewallError>;
}

/// One element as the firewall has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where its packets go. `None` when an earlier process made the chain and its ports were too
    /// many to be written down beside it.
    pub chain: Option<Chain>,
    /// What is left of its timeout in milliseconds.
    pub remaining_ms: u64,
}

/// What one chain has dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainCounter {
    /// The chain.
    pub chain: Chain,
    /// Dropped packets.
    pub packets: u64,
    /// Their bytes, from the network header on.
    pub bytes: u64,
}

/// Has a firewall that is empty made what is `wanted`, protection first, so many changes at once as fit into one
/// transaction.
fn in_transactions(
    wanted: &Ruleset,
    mut apply: impl FnMut(&[FirewallDelta]) -> Result<(), FirewallError>,
) -> Result<(), FirewallError> {
    let protect = wanted.protected.iter().map(|&subnet| FirewallDelta::Protect { subnet });
    let block = wanted.elements.iter().map(|(&subnet, element)| FirewallDelta::Block {
        subnet,
        element: element.clone(),
        is_new: true,
    });
    let mut deltas = protect.chain(block).peekable();
    while deltas.peek().is_some() {
        let some: Vec<FirewallDelta> = deltas.by_ref().take(ELEMENTS_PER_TRANSACTION_MAX).collect();
        apply(&some)?;
    }
    Ok(())
}

/// Which firewall to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendChoice {
    /// The kernel's nftables.
    Nftables,
    /// ipset, and the rules of the host's iptables, with their chains there.
    Iptables(Hook),
    /// None: everything is counted, shared and shown, and nothing is blocked here.
    None,
}

/// Opens the chosen firewall. What an earlier process left in it is kept and adopted; what is
/// missing is made; nothing is released.
///
/// # Errors
/// [`FirewallError::NotPermitted`], [`FirewallError::NotSupported`], [`FirewallError::Missing`],
/// [`FirewallError::Refused`], [`FirewallError::Busy`] when another process owns the table, or
/// [`FirewallError::Kernel`].
pub fn open(choice: BackendChoice) -> Result<Box<dyn Firewall>, FirewallError> {
    Ok(match choice {
        BackendChoice::Nftables => Box::new(nftables::Nftables::open()?),
        BackendChoice::Iptables(hook) => Box::new(iptables::Iptables::open(hook)?),
        BackendChoice::None => Box::new(MemoryFirewall::new()),
    })
}

/// Deletes everything that any backend has left on this host: nobody is blocked by it any more. For when no daemon runs.
/// `false` when there is nothing.
///
/// # Errors
/// As [`nftables::emergency::delete_table`] and [`iptables::emergency::delete_everything`].
pub fn flush() -> Result<bool, FirewallError> {
    let (tables, rules) = (nftables::emergency::delete_table(), iptables::emergency::delete_everything());
    both(tables, rules)
}

/// Lets packets from `subnet` pass, whatever any backend has left on this host. For when no daemon runs. `false` when there
/// is nothing.
///
/// # Errors
/// As [`flush`].
pub fn let_pass(subnet: Subnet) -> Result<bool, FirewallError> {
    let (tables, rules) = (nftables::emergency::let_pass(subnet), iptables::emergency::let_pass(subnet));
    both(tables, rules)
}

/// A kernel that has not got one of them has nothing of it.
fn both(
    tables: Result<bool, FirewallError>,
    rules: Result<bool, FirewallError>,
) -> Result<bool, FirewallError> {
    let is_there = |result| match result {
        Err(FirewallError::NotSupported { .. }) => Ok(false),
        result => result,
    };
    let (tables, rules) = (is_there(tables)?, is_there(rules)?);
    Ok(tables || rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_needs_nothing() {
        assert_eq!(open(BackendChoice::None).unwrap().name(), "none");
    }
}
