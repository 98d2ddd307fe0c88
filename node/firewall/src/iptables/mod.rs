//! ipset and iptables, for hosts whose administrators look there: elements in sets, over netlink; a handful of rules
//! through the host's own iptables programs.
//!
//! Reading order: `rules.rs` (the chains, drawn), `names.rs`, `generation.rs` (sets and what is in them), `record.rs` (what
//! this process remembers), `sets.rs` and `kernel.rs` (ipset), `program.rs`, `hint.rs`, `refusal.rs`. Here: the contract's functions,
//! and the change of generations behind `replace`.
//!
//! What differs from nftables: timeouts are whole seconds, rounded up, and of at most 24.8 days, so what lasts longer is
//! told to the kernel again by `intact`; every (jail, ports) has a set of its own, which costs each packet a lookup; and
//! IPv4 and IPv6 change over one after the other. Not for deciding when to repair.

pub mod emergency;
mod generation;
mod hint;
mod kernel;
mod names;
mod program;
mod record;
mod refusal;
mod rules;
mod sets;

use crate::counts::{Count, Counts, add};
use crate::lease::lease_ms;
use crate::{ChainCounter, ELEMENTS_MAX, ELEMENTS_PER_TRANSACTION_MAX, Firewall, FirewallError, Held};
use bannkreis_core::ruleset::{Chain, FirewallDelta, Ruleset};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;
use generation::{Generation, add_classes, adopt, change, fill, halves, make_protection};
use hint::{Hint, Hints};
use names::GenerationNumber;
use program::Program;
pub use program::Variant;
use record::timeout_s;
use refusal::{not_offered, sort};
use sets::{Member, Sets};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Our rules are looked at so often by the programs, although the kernel hints at no change.
const LOOK_INTERVAL: Duration = Duration::from_secs(20);

/// Where packets are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// Before connection tracking and before they are sent on to containers: everything, as soon as it comes.
    #[default]
    Raw,
    /// Where fail2ban's chains are: what is for this host, and what it forwards, under the port that it was sent on to.
    Input,
}

impl Hook {
    /// The table of the chains.
    fn table(self) -> &'static str {
        match self {
            Hook::Raw => "raw",
            Hook::Input => "filter",
        }
    }

    /// The chains from which ours are reached. Docker keeps one in which others may stand before its own.
    fn entrances(self, saved: &str) -> &'static [&'static str] {
        match self {
            Hook::Raw => &["PREROUTING"],
            Hook::Input if saved.lines().any(|line| line.starts_with(":DOCKER-USER ")) => {
                &["INPUT", "DOCKER-USER"]
            }
            Hook::Input => &["INPUT", "FORWARD"],
        }
    }
}

/// Our sets and rules in the kernel.
pub struct Iptables {
    sets: Sets,
    programs: [Program; 2],
    hook: Hook,
    room: u32,
    began: Instant,
    generation: Generation,
    /// Our rules of both families as the programs give them back, when they were last as they should be.
    standing: BTreeMap<bool, Vec<String>>,
    hints: Hints,
    /// Whether this kernel gives any.
    is_hinted: bool,
    /// The kernel's hint when our rules were last found in order, and when that was.
    in_order: Option<(Hint, Instant)>,
    /// Which programs, and from where their rules are reached.
    version: String,
    entrances: &'static [&'static str],
    counts: Counts,
}

impl Iptables {
    /// Opens the firewall of this thread's network namespace. What an earlier process has left is kept, elements
    /// included; what is missing is made.
    ///
    /// # Errors
    /// [`FirewallError::NotPermitted`], [`FirewallError::NotSupported`], [`FirewallError::Missing`],
    /// [`FirewallError::Refused`], or [`FirewallError::Kernel`].
    pub fn open(hook: Hook) -> Result<Iptables, FirewallError> {
        Iptables::open_as(hook, Variant::Hosts, ELEMENTS_MAX)
    }

    /// Like [`Iptables::open`], but with these programs, and with room for so many elements in one set: it can be tested
    /// what happens when there is none.
    ///
    /// # Errors
    /// As [`Iptables::open`].
    pub fn open_as(hook: Hook, variant: Variant, room: u32) -> Result<Iptables, FirewallError> {
        let programs = Program::both(variant)?;
        let mut sets = Sets::open().map_err(|error| not_offered(&error))?;
        sets.greet().map_err(|refusal| match sort(refusal) {
            FirewallError::Kernel { doing, errno } => FirewallError::NotSupported { doing, errno },
            error => error,
        })?;
        let mut saved = BTreeMap::new();
        for program in &programs {
            saved.insert(program.is_v4(), program.save(hook.table(), false)?);
        }
        let began = Instant::now();
        let generation = match adopt(&mut sets, &saved)? {
            Some(generation) => generation,
            None => {
                let sizes = sets.sizes().map_err(sort)?;
                let newest = sizes.keys().filter_map(|name| GenerationNumber::of_set(name)).max();
                Generation::new(newest.map_or(GenerationNumber(1), GenerationNumber::next))
            }
        };
        let mut hints = Hints::open(hook);
        let is_hinted = hints.now() != Hint::default();
        let mut iptables = Iptables {
            sets,
            programs,
            hook,
            room,
            began,
            generation,
            standing: BTreeMap::new(),
            hints,
            is_hinted,
            in_order: None,
            version: rules::version(&saved[&true]),
            entrances: hook.entrances(&saved[&true]),
            counts: Counts::default(),
        };
        if rules::generation(hook, &saved[&true]) != Some(iptables.generation.number)
            || rules::generation(hook, &saved[&false]) != Some(iptables.generation.number)
        {
            make_protection(&mut iptables.sets, iptables.generation.number, room)?;
            iptables.write_rules()?;
        } else {
            iptables.standing = saved.iter().map(|(v4, saved)| (*v4, rules::ours(hook, saved))).collect();
        }
        Ok(iptables)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets packets be asked by the generation as it is, from one packet to the next in each family.
    fn write_rules(&mut self) -> Result<(), FirewallError> {
        for program in &self.programs {
            let saved = program.save(self.hook.table(), false)?;
            let (number, classes) = (self.generation.number, &self.generation.classes);
            program.restore(&rules::whole(self.hook, number, classes, program.is_v4(), &saved))?;
        }
        self.note_rules()
    }

    /// Notes how our rules look after they were written. What a stranger has done meanwhile is damage, not ours: packets
    /// must come to the living generation.
    fn note_rules(&mut self) -> Result<(), FirewallError> {
        for program in &self.programs {
            let saved = program.save(self.hook.table(), false)?;
            if rules::generation(self.hook, &saved) != Some(self.generation.number) {
                return Err(FirewallError::Lost { doing: "looking at our rules".to_owned() });
            }
            self.standing.insert(program.is_v4(), rules::ours(self.hook, &saved));
        }
        Ok(())
    }

    /// The same after rules were added: those of before must all be there.
    fn note_more_rules(&mut self) -> Result<(), FirewallError> {
        let before = self.standing.clone();
        self.note_rules()?;
        let is_there = |v4: &bool, rule: &String| self.standing.get(v4).is_some_and(|now| now.contains(rule));
        if before.iter().all(|(v4, rules)| rules.iter().all(|rule| is_there(v4, rule))) {
            return Ok(());
        }
        // It goes on being looked for.
        self.standing = before;
        Err(FirewallError::Lost { doing: "adding rules".to_owned() })
    }

    /// Gives these chains classes, with sets, and with rules if packets are asked by the generation already.
    fn make_classes(&mut self, deltas: &[FirewallDelta], now: Timestamp) -> Result<(), FirewallError> {
        let new: BTreeSet<&Chain> = deltas
            .iter()
            .filter_map(|delta| match delta {
                FirewallDelta::Block { element, .. } => lease_ms(element.until, now).map(|_| &element.chain),
                _ => None,
            })
            .filter(|chain| self.generation.classes.number_of(chain).is_none())
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let made = add_classes(&mut self.sets, &mut self.generation, self.room, &new).and_then(|numbered| {
            let number = self.generation.number;
            self.programs.iter().try_for_each(|program| {
                program.restore(&rules::more(self.hook, number, &numbered, program.is_v4()))
            })
        });
        match made {
            Ok(()) => self.note_more_rules(),
            Err(error) => {
                new.iter().for_each(|chain| self.generation.classes.forget(chain));
                Err(error)
            }
        }
    }

    /// Keeps the counts of chains that packets are no longer asked by, and deletes these.
    fn carry(&mut self, old: &Generation) -> Result<(), FirewallError> {
        see(&mut self.counts, &self.programs, self.hook, old)?;
        self.counts.carry(|chain| self.generation.classes.number_of(chain).is_some());
        let (number, classes) = (self.generation.number, &self.generation.classes);
        for program in &self.programs {
            let saved = program.save(self.hook.table(), false)?;
            if let Some(text) = rules::without_old(self.hook, number, classes, &saved) {
                program.restore(&text)?;
            }
        }
        Ok(())
    }

    /// Tells the kernel again what lasts longer than it can count.
    fn renew(&mut self, due: Vec<Subnet>) -> Result<(), FirewallError> {
        let now_ms = self.now_ms();
        for subnet in due {
            let Some(entry) = self.generation.record.get(subnet, now_ms) else { continue };
            let set = self.generation.number.blocked(entry.class, subnet.is_v4());
            let timeout = timeout_s(entry.end_ms.saturating_sub(now_ms));
            let members: Vec<Member> = halves(subnet).map(|half| (half, Some(timeout))).collect();
            self.sets.add(&set, &members).map_err(sort)?;
            self.generation.record.put(subnet, entry.class, entry.end_ms, now_ms);
        }
        Ok(())
    }

    /// Deletes sets that are ours and not of the living generation. One that is in use stays until the next time.
    fn clear_away(&mut self) -> Result<(), FirewallError> {
        let living = self.generation.number;
        for name in self.sets.sizes().map_err(sort)?.into_keys() {
            if GenerationNumber::of_set(&name).is_some_and(|number| number != living) {
                match self.sets.destroy(&name) {
                    Err(refusal) if refusal.errno == kernel::IPSET_ERR_BUSY => {}
                    destroyed => destroyed.map_err(sort)?,
                }
            }
        }
        Ok(())
    }
}

impl Firewall for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
    }

    fn about(&self) -> String {
        let (table, entrances) = (self.hook.table(), self.entrances.join(" and "));
        let looking = match self.is_hinted {
            true => "looked at when the kernel hints at a change".to_owned(),
            false => {
                format!("looked at every {} s, for this kernel hints at no change", LOOK_INTERVAL.as_secs())
            }
        };
        let (chain, version) = (names::BASE_CHAIN, &self.version);
        format!("chain {chain} in {table} {entrances}, {looking}; sets bannkreis*, {version}")
    }

    fn apply(&mut self, now: Timestamp, deltas: &[FirewallDelta]) -> Result<(), FirewallError> {
        for some in deltas.chunks(ELEMENTS_PER_TRANSACTION_MAX) {
            self.make_classes(some, now)?;
            let now_ms = self.now_ms();
            change(&mut self.sets, &mut self.generation, now, now_ms, some)?;
        }
        Ok(())
    }

    fn replace(&mut self, now: Timestamp, wanted: &Ruleset) -> Result<(), FirewallError> {
        let sizes = self.sets.sizes().map_err(sort)?;
        let newest = sizes.keys().filter_map(|name| GenerationNumber::of_set(name)).max();
        let ours = self.generation.number;
        let mut fresh = Generation::new(newest.unwrap_or(ours).max(ours).next());
        let now_ms = self.now_ms();
        let filled = fill(&mut self.sets, &mut fresh, self.room, now, now_ms, wanted);
        if let Err(error) = filled {
            // Nobody asks them, so nothing is in the way.
            let _ = self.clear_away();
            return Err(error);
        }
        let old = std::mem::replace(&mut self.generation, fresh);
        if let Err(error) = self.write_rules() {
            self.generation = old;
            return Err(error);
        }
        self.carry(&old)?;
        self.note_rules()?;
        self.clear_away()
    }

    fn lookup(&mut self, subnet: Subnet) -> Result<Option<Held>, FirewallError> {
        let now_ms = self.now_ms();
        let Some(entry) = self.generation.record.get(subnet, now_ms) else { return Ok(None) };
        let set = self.generation.number.blocked(entry.class, subnet.is_v4());
        let first = halves(subnet).next().unwrap_or(subnet);
        if !self.sets.has(&set, first).map_err(sort)? {
            return Ok(None);
        }
        let chain = self.generation.classes.chain_of(entry.class).cloned();
        Ok(Some(Held { chain, remaining_ms: entry.end_ms.saturating_sub(now_ms) }))
    }

    fn inherits(&self, subnet: Subnet) -> bool {
        self.generation.adopted.contains(&subnet)
    }

    fn inherits_any(&self) -> bool {
        !self.generation.adopted.is_empty() || self.generation.adopted_protection
    }

    fn counters(&mut self) -> Result<Vec<ChainCounter>, FirewallError> {
        see(&mut self.counts, &self.programs, self.hook, &self.generation)?;
        Ok(self.counts.totals())
    }

    fn intact(&mut self) -> Result<bool, FirewallError> {
        // It is asked first: a change after that gives another hint, and the next call looks.
        let hint = self.hints.now();
        let is_in_order = |(known, at): (Hint, Instant)| known == hint && at.elapsed() < LOOK_INTERVAL;
        if !self.in_order.is_some_and(is_in_order) {
            for program in &self.programs {
                let saved = program.save(self.hook.table(), false)?;
                if self.standing.get(&program.is_v4()) != Some(&rules::ours(self.hook, &saved)) {
                    self.in_order = None;
                    return Ok(false);
                }
            }
            self.in_order = Some((hint, Instant::now()));
        }
        let now_ms = self.now_ms();
        let look = self.generation.record.look(now_ms);
        let sizes = self.sets.sizes().map_err(sort)?;
        let number = self.generation.number;
        for (class, _) in self.generation.classes.iter() {
            for v4 in [true, false] {
                let wanted = look.sizes.get(&(class, v4)).copied().unwrap_or_default();
                let Some(n) = sizes.get(&number.blocked(class, v4)) else { return Ok(false) };
                if !(wanted.least..=wanted.most).contains(n) {
                    return Ok(false);
                }
            }
        }
        for v4 in [true, false] {
            let wanted = self.generation.protected.iter().filter(|subnet| subnet.is_v4() == v4);
            // Everybody and a half of them share an element.
            let wanted = wanted.flat_map(|subnet| halves(*subnet)).collect::<BTreeSet<Subnet>>().len();
            if sizes.get(&number.protected(v4)).map(|n| usize::try_from(*n)) != Some(Ok(wanted)) {
                return Ok(false);
            }
        }
        self.renew(look.due)?;
        Ok(true)
    }
}

/// Notes what the chains of a generation have counted until now, in both families together.
fn see(
    counts: &mut Counts,
    programs: &[Program; 2],
    hook: Hook,
    generation: &Generation,
) -> Result<(), FirewallError> {
    let mut sums: BTreeMap<&Chain, Count> = BTreeMap::new();
    for program in programs {
        let saved = program.save(hook.table(), true)?;
        for (class, chain) in generation.classes.iter() {
            let Some(chain) = chain else { continue };
            let name = names::class_chain(generation.number, class, &chain.jail);
            add(sums.entry(chain).or_default(), rules::dropped(&saved, &name));
        }
    }
    sums.into_iter().for_each(|(chain, count)| counts.see(chain, count));
    Ok(())
}
