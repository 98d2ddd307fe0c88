//! The kernel's nftables, spoken to over a raw netlink socket: no program is started, no library
//! needed.
//!
//! Reading order: `layout.rs` (the table, drawn), `names.rs`, `rule.rs`, `transaction.rs` (deltas),
//! `generation.rs` (what this process remembers), `inventory.rs` (what it can find out),
//! `opening.rs` and `refusal.rs`, `kernel.rs` (numbers); the bytes are `netlink`'s. Here: the contract's functions, and the change of generations behind `replace`. Not for deciding when
//! to repair.

pub mod emergency;
mod generation;
mod inventory;
mod kernel;
mod layout;
mod names;
mod opening;
mod refusal;
mod rule;
mod transaction;
mod watch;

use crate::counts::Counts;
use crate::netlink::Recipient;
use crate::netlink::kernel::NFPROTO_INET;
use crate::netlink::message::{attribute, attributes, long_number};
use crate::netlink::socket::{Answer, Refusal, Socket};
use crate::{ChainCounter, Firewall, FirewallError, Held, in_transactions};
use bannkreis_core::ruleset::{FirewallDelta, Ruleset};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;
use generation::Generation;
pub use generation::Sizes;
use inventory::Inventory;
use names::{BASE_CHAIN, GenerationNumber, Length, TABLE};
use opening::{adopt_or_make, can_destroy, claim_table, kernel_generation};
use refusal::{not_offered, sort, sort_first};
use std::io;
use transaction::{Deletion, Plan, key};
use watch::Watch;

/// An element can expire between being found and being deleted (only on kernels that can not delete
/// what may be missing): tried again so often, then reported as busy.
const EXPIRY_TRIES_MAX: u32 = 5;

/// Tables of this family see IPv4 and IPv6.
const NFTABLES: Recipient = Recipient { subsystem: kernel::NFNL_SUBSYS_NFTABLES, family: NFPROTO_INET };

/// A socket to nftables in this thread's network namespace.
pub(crate) fn socket() -> io::Result<Socket> {
    Socket::open(NFTABLES)
}

/// A number that every change of nftables in its namespace moves, if there is nftables.
pub(crate) fn change_number(socket: &mut Socket) -> Option<u32> {
    kernel_generation(socket).ok()
}

/// Our table in the kernel.
pub struct Nftables {
    socket: Socket,
    /// Whether owning the table is worth a try.
    may_own: bool,
    /// Whether elements can be deleted that may not be there.
    can_destroy: bool,
    generation: Generation,
    counts: Counts,
    /// The kernel's own generation id when everything was last found in order.
    intact_at: Option<u32>,
    /// Sees what strangers do, where they can do anything.
    watch: Option<Watch>,
}

impl Nftables {
    /// Opens the firewall of this thread's network namespace, in which it stays. Our table and its
    /// elements are kept if they are there; what is missing is made.
    ///
    /// # Errors
    /// [`FirewallError::NotPermitted`], [`FirewallError::NotSupported`], [`FirewallError::Busy`] when
    /// another process owns the table, or [`FirewallError::Kernel`].
    pub fn open() -> Result<Nftables, FirewallError> {
        Nftables::open_on(true, Sizes::default())
    }

    /// Like [`Nftables::open_with`], but uses nothing newer than Linux 5.10, so that the ways around what
    /// is missing there can be tested on a new kernel.
    ///
    /// # Errors
    /// As [`Nftables::open`].
    pub fn open_like_an_old_kernel(sizes: Sizes) -> Result<Nftables, FirewallError> {
        Nftables::open_on(false, sizes)
    }

    /// Like [`Nftables::open`], but with other sizes, so that it can be tested with few elements what happens with
    /// many.
    ///
    /// # Errors
    /// As [`Nftables::open`].
    pub fn open_with(sizes: Sizes) -> Result<Nftables, FirewallError> {
        Nftables::open_on(true, sizes)
    }

    fn open_on(new_kernel: bool, sizes: Sizes) -> Result<Nftables, FirewallError> {
        let mut socket = Socket::open(NFTABLES).map_err(|error| not_offered(&error))?;
        kernel_generation(&mut socket).map_err(|refusal| match refusal.errno {
            libc::EPERM | libc::EACCES => FirewallError::NotPermitted { doing: refusal.doing },
            errno => FirewallError::NotSupported { doing: refusal.doing, errno },
        })?;
        let can_destroy = new_kernel && can_destroy(&mut socket);
        let is_owned =
            claim_table(&mut socket, new_kernel).map_err(|refusal| sort_first(&mut socket, refusal))?;
        // Before anything is looked at, so that nothing is missed.
        let watch =
            (!is_owned).then(|| Watch::open(&socket)).transpose().map_err(|error| not_offered(&error))?;
        let generation =
            adopt_or_make(&mut socket, sizes).map_err(|refusal| sort_first(&mut socket, refusal))?;
        Ok(Nftables {
            socket,
            may_own: new_kernel,
            can_destroy,
            generation,
            counts: Counts::default(),
            intact_at: None,
            watch,
        })
    }

    /// Fills the generation beside the living one.
    fn fill(
        &mut self,
        fresh: &mut Generation,
        now: Timestamp,
        wanted: &Ruleset,
    ) -> Result<(), FirewallError> {
        let mut batch = self.socket.batch();
        layout::base_chain(&mut batch);
        layout::foundation(&mut batch, fresh.number);
        self.socket.execute(batch).map_err(|refusal| sort(&mut self.socket, refusal))?;
        let (socket, can_destroy) = (&mut self.socket, self.can_destroy);
        in_transactions(wanted, |some| apply_to(socket, fresh, can_destroy, now, some))
    }

    /// Lets packets be asked by `fresh` instead, from one packet to the next.
    fn change_over(&mut self, mut fresh: Generation) -> Result<(), Refusal> {
        let mut batch = self.socket.batch();
        layout::without_rules(&mut batch, BASE_CHAIN);
        layout::entrance(&mut batch, fresh.number);
        for &length in &fresh.blocked {
            fresh.write_rule(&mut batch, length);
        }
        self.socket.execute(batch)?;
        fresh.live = true;
        let old = std::mem::replace(&mut self.generation, fresh);
        let inventory = Inventory::take(&mut self.socket)?;
        self.carry(&old, &inventory);
        self.clear_away(&inventory)
    }

    /// Keeps the counts of chains that are about to go.
    fn carry(&mut self, old: &Generation, inventory: &Inventory) {
        see(&mut self.counts, old, inventory);
        self.counts.carry(|chain| self.generation.classes.number_of(chain).is_some());
    }

    /// Deletes everything in the table that is not of the living generation, whoever left it there.
    fn clear_away(&mut self, inventory: &Inventory) -> Result<(), Refusal> {
        let living = Some(self.generation.number);
        let is_old = |name: &&String| GenerationNumber::of_name(name) != living && *name != BASE_CHAIN;
        let mut batch = self.socket.batch();
        // Rules hold on to sets and chains, and maps to chains: in this order nothing is in use. (Before Linux 6.4 a map
        // that is deleted lets go of its chains too late.)
        for chain in inventory.chains.keys().filter(is_old) {
            layout::without_rules(&mut batch, chain);
        }
        for map in inventory.sets.iter().filter(is_old).filter(|name| names::leads_to_chains(name)) {
            layout::without_elements(&mut batch, map);
        }
        for set in inventory.sets.iter().filter(is_old) {
            layout::without_set(&mut batch, set);
        }
        for chain in inventory.chains.keys().filter(is_old) {
            layout::without_chain(&mut batch, chain);
        }
        self.socket.execute(batch)
    }
}

impl Firewall for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn about(&self) -> String {
        let whose = match self.watch {
            None => "which nobody else can change",
            Some(_) => "watched for what others change, for this kernel owns no tables (Linux 6.9)",
        };
        let deleting = if self.can_destroy { "" } else { "; asks before it deletes (Linux 6.3 need not)" };
        format!("table inet {TABLE} at prerouting, {whose}{deleting}")
    }

    fn apply(&mut self, now: Timestamp, deltas: &[FirewallDelta]) -> Result<(), FirewallError> {
        apply_to(&mut self.socket, &mut self.generation, self.can_destroy, now, deltas)
    }

    fn replace(&mut self, now: Timestamp, wanted: &Ruleset) -> Result<(), FirewallError> {
        self.intact_at = None;
        let replaced = claim_table(&mut self.socket, self.may_own)
            .and_then(|_| Inventory::take(&mut self.socket))
            .map_err(|refusal| sort(&mut self.socket, refusal))
            .and_then(|inventory| {
                let ours = self.generation.number;
                let number = inventory.newest().unwrap_or(ours).max(ours).next();
                let mut fresh = Generation::new(number, self.generation.sizes);
                fresh.divide(wanted.elements.keys().copied());
                self.fill(&mut fresh, now, wanted)?;
                self.change_over(fresh).map_err(|refusal| sort(&mut self.socket, refusal))
            });
        replaced.map_err(|error| match error {
            // Building does not rely on anything that was there before, so somebody is at it now.
            FirewallError::Lost { doing } => {
                FirewallError::Busy { doing, why: "somebody deletes what was made just now".to_owned() }
            }
            error => error,
        })
    }

    fn lookup(&mut self, subnet: Subnet) -> Result<Option<Held>, FirewallError> {
        let length = Length::of(subnet);
        if !self.generation.blocked.contains(&length) {
            return Ok(None);
        }
        let answers = match ask_element(&mut self.socket, &self.generation, subnet) {
            Err(refusal) if refusal.errno == libc::ENOENT => return Ok(None),
            answers => answers.map_err(|refusal| sort(&mut self.socket, refusal))?,
        };
        Ok(answers.first().and_then(|answer| held(&self.generation, answer)))
    }

    fn inherits(&self, subnet: Subnet) -> bool {
        self.generation.adopted.contains(&Length::of(subnet))
    }

    fn inherits_any(&self) -> bool {
        !self.generation.adopted.is_empty() || self.generation.adopted_protection
    }

    fn counters(&mut self) -> Result<Vec<ChainCounter>, FirewallError> {
        let inventory =
            Inventory::take(&mut self.socket).map_err(|refusal| sort(&mut self.socket, refusal))?;
        see(&mut self.counts, &self.generation, &inventory);
        Ok(self.counts.totals())
    }

    fn intact(&mut self) -> Result<bool, FirewallError> {
        if self.watch.as_mut().is_some_and(Watch::has_seen_strangers) {
            self.intact_at = None;
            return Ok(false);
        }
        // The id is read first: a change after that gives another one, and the next call looks.
        let id = kernel_generation(&mut self.socket).map_err(|refusal| sort(&mut self.socket, refusal))?;
        if self.intact_at == Some(id) {
            return Ok(true);
        }
        let inventory =
            Inventory::take(&mut self.socket).map_err(|refusal| sort(&mut self.socket, refusal))?;
        let stands = self.generation.stands(&inventory);
        self.intact_at = stands.then_some(id);
        Ok(stands)
    }
}

/// Executes deltas on one generation, transaction after transaction.
fn apply_to(
    socket: &mut Socket,
    generation: &mut Generation,
    can_destroy: bool,
    now: Timestamp,
    deltas: &[FirewallDelta],
) -> Result<(), FirewallError> {
    let mut rest = deltas;
    let mut n_tries = 0;
    let mut is_in_doubt = false;
    while !rest.is_empty() {
        let mut plan = Plan::of(rest, now, generation);
        if is_in_doubt {
            plan.doubt();
        }
        let deletion = if can_destroy {
            Deletion::Destroy
        } else {
            let present = present(socket, generation, plan.to_delete(generation));
            Deletion::Present(present.map_err(|refusal| sort(socket, refusal))?)
        };
        let mut batch = socket.batch();
        let made = plan.write(generation, &mut batch, &deletion)?;
        match socket.execute(batch) {
            Ok(()) => {
                rest = &rest[plan.n_deltas..];
                n_tries = 0;
                is_in_doubt = false;
            }
            Err(refusal) => {
                made.undo(generation);
                if plan.relies_on_new() && matches!(refusal.errno, libc::EEXIST | libc::EBUSY) {
                    is_in_doubt = true;
                    continue;
                }
                n_tries += 1;
                let expired_just_now = refusal.errno == libc::ENOENT && !can_destroy;
                if !expired_just_now || n_tries >= EXPIRY_TRIES_MAX {
                    return Err(sort(socket, refusal));
                }
            }
        }
    }
    Ok(())
}

/// Which of these have an element.
fn present(
    socket: &mut Socket,
    generation: &Generation,
    subnets: Vec<Subnet>,
) -> Result<Vec<Subnet>, Refusal> {
    let mut present = Vec::new();
    for subnet in subnets {
        match ask_element(socket, generation, subnet) {
            Ok(_) => present.push(subnet),
            Err(refusal) if refusal.errno == libc::ENOENT => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(present)
}

/// Asks for one element.
fn ask_element(socket: &mut Socket, generation: &Generation, subnet: Subnet) -> Result<Vec<Answer>, Refusal> {
    let map = generation.number.blocked(generation.map_of(subnet));
    socket.ask(kernel::GETSETELEM, false, "looking up an element", |a| {
        a.text(kernel::NFTA_SET_ELEM_LIST_TABLE, TABLE);
        a.text(kernel::NFTA_SET_ELEM_LIST_SET, &map);
        a.nest(kernel::NFTA_SET_ELEM_LIST_ELEMENTS, |a| {
            a.nest(kernel::NFTA_LIST_ELEM, |a| key(a, subnet));
        });
    })
}

/// Reads the answer to that.
fn held(generation: &Generation, answer: &[u8]) -> Option<Held> {
    let list = attribute(answer, kernel::NFTA_SET_ELEM_LIST_ELEMENTS)?;
    let (_, element) = attributes(list).next()?;
    let data = attribute(element, kernel::NFTA_SET_ELEM_DATA)?;
    let class = attribute(data, kernel::NFTA_DATA_VALUE)?.try_into().ok().map(u32::from_ne_bytes)?;
    Some(Held {
        chain: generation.classes.chain_of(class).cloned(),
        remaining_ms: long_number(element, kernel::NFTA_SET_ELEM_EXPIRATION).unwrap_or(0),
    })
}

/// Notes what the chains of a generation have counted until now.
fn see(counts: &mut Counts, generation: &Generation, inventory: &Inventory) {
    for (class, name) in generation.class_chains(inventory) {
        let Some(chain) = generation.classes.chain_of(class) else { continue };
        let rules = inventory.rules_of(name);
        let count = (rules.iter().map(|rule| rule.packets).sum(), rules.iter().map(|rule| rule.bytes).sum());
        counts.see(chain, count);
    }
}
