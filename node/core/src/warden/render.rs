//! From everything that holds an address to the one element the firewall gets for it.
//!
//! Each element is recomputed from all its sources every time one of them changes, so a delta that got
//! lost is healed by the next one. The order is: protected, then an override that releases, then one
//! that blocks, then bans, this node's own blocks, and peers' notices together.

use super::{LocalProtection, Warden};
use crate::ban::Origin;
use crate::event::{Effect, OverrideKind};
use crate::jail::{JailName, Ports};
use crate::ruleset::{Chain, Element, FirewallDelta};
use crate::subnet::Subnet;
use crate::time::{DAY_MS, Timestamp, Until};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Permanent elements are written again this often; the firewall holds them for twice as long.
const PERMANENT_RENEWAL_MS: u64 = 15 * DAY_MS;

/// Chains that elements share; when there are more, sharing begins anew.
const CHAINS_MAX: usize = 4_096;

/// What one source wants of an element.
struct Want {
    jail: JailName,
    ports: Ports,
    until: Until,
}

impl Warden {
    /// Makes the firewall's element of exactly `subnet` what its sources say. `is_unknown`: release it
    /// even if this process never blocked it, for an earlier one may have.
    pub(super) fn render(
        &mut self,
        now: Timestamp,
        subnet: Subnet,
        is_unknown: bool,
        effects: &mut Vec<Effect>,
    ) {
        let wanted =
            self.element(now, subnet).map(|(element, look_again)| (self.shared(element), look_again));
        self.set_element_timer(subnet, wanted.as_ref());
        let held = self.ruleset.elements.get(&subnet);
        let is_permanent = wanted.as_ref().is_some_and(|(element, _)| element.until == Until::FOREVER);
        let delta = match &wanted {
            // A permanent one is a lease that is renewed whenever it is looked at.
            Some((element, _)) if held != Some(element) || is_permanent => {
                FirewallDelta::Block { subnet, element: element.clone(), is_new: held.is_none() }
            }
            None if held.is_some() || is_unknown => FirewallDelta::Release { subnet },
            _ => return,
        };
        // A node that has just started replays a log whose end it does not know yet: the firewall may hold
        // what comes later in it. Until it has caught up only what must pass is released; the rest ends
        // by its timeout, or is swept out when the node has caught up.
        let is_withheld = matches!(delta, FirewallDelta::Release { .. })
            && !is_unknown
            && !self.caught_up
            && !self.observe
            && !self.is_protected_here(now, subnet)
            && !self.is_override_released(now, subnet);
        self.ruleset.apply(&delta);
        if is_withheld {
            self.has_withheld = true;
        } else {
            effects.push(Effect::Firewall(delta));
        }
    }

    fn is_override_released(&self, now: Timestamp, subnet: Subnet) -> bool {
        self.overrides
            .holding(subnet)
            .any(|(_, decision)| decision.kind == OverrideKind::Release && !decision.until.is_over(now))
    }

    /// The element with its chain shared, so that a million of them do not hold a million copies of their ports.
    fn shared(&mut self, element: Element) -> Element {
        if let Some(known) = self.chains.get(&element.chain) {
            return Element { chain: known.clone(), until: element.until };
        }
        if self.chains.len() >= CHAINS_MAX {
            self.chains.clear();
        }
        self.chains.insert(element.chain.clone());
        element
    }

    /// Has the element of `subnet`, which the ruleset still has as it was, looked at again when `wanted` says, and at
    /// no other time.
    pub(super) fn set_element_timer(&mut self, subnet: Subnet, wanted: Option<&(Element, Timestamp)>) {
        let held = self.ruleset.elements.get(&subnet);
        let before = self.odd_timers.remove(&subnet).or_else(|| held.and_then(end_of));
        if let Some(before) = before {
            self.element_timers.remove(&(before, subnet));
        }
        let Some((element, at)) = wanted else { return };
        self.element_timers.insert((*at, subnet));
        if end_of(element) != Some(*at) {
            self.odd_timers.insert(subnet, *at);
        }
    }

    pub(super) fn render_each(&mut self, now: Timestamp, subnets: &[Subnet], effects: &mut Vec<Effect>) {
        for subnet in subnets {
            self.render(now, *subnet, false, effects);
        }
    }

    /// Renders every address that anything holds, or held.
    pub(super) fn render_all(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for subnet in self.held_subnets() {
            self.render(now, subnet, false, effects);
        }
    }

    /// Renders every address inside `outer` that anything holds, or held.
    pub(super) fn render_inside(&mut self, now: Timestamp, outer: Subnet, effects: &mut Vec<Effect>) {
        for subnet in self.held_subnets().into_iter().filter(|subnet| outer.contains(*subnet)) {
            self.render(now, subnet, false, effects);
        }
    }

    /// In order, each once.
    fn held_subnets(&self) -> Vec<Subnet> {
        let mut subnets: Vec<Subnet> = self.view.bans().map(|(key, _)| key.subnet).collect();
        subnets.extend(self.ruleset.elements.keys());
        subnets.extend(self.outbox.entries().map(|entry| entry.key.subnet));
        subnets.extend(self.notices.subnets());
        subnets.extend(self.overrides.iter().map(|(subnet, _)| subnet));
        subnets.extend(self.brought_along_subnets());
        subnets.sort_unstable();
        subnets.dedup();
        subnets
    }

    /// The element of exactly `subnet`, and when it must be looked at again.
    fn element(&self, now: Timestamp, subnet: Subnet) -> Option<(Element, Timestamp)> {
        if !self.configured || self.observe || self.is_protected_here(now, subnet) {
            return None;
        }
        if self.is_override_released(now, subnet) {
            return None;
        }
        let own_override = self.overrides.get(subnet).filter(|decision| !decision.until.is_over(now));
        let blocked = own_override.map(|decision| Want {
            jail: JailName::operator(),
            ports: Ports::whole_host(),
            until: decision.until,
        });
        let bans = self.view.bans_of(subnet).filter(|(_, ban)| !ban.until.is_over(now)).map(|(key, ban)| {
            Want { jail: key.jail.clone(), ports: self.reach_of_ban(key, ban), until: ban.until }
        });
        let provisional =
            self.outbox.of_subnet(subnet).filter(|entry| !entry.until.is_over(now)).map(|entry| Want {
                jail: entry.key.jail.clone(),
                ports: entry.ports.clone(),
                until: entry.until,
            });
        let noticed = self.notices.of_subnet(subnet, now).map(|(key, origin, ports, until)| {
            let until = Until::at(until);
            let reach = self.view.reach_of(&key.jail, &[Origin { node: origin, until }]);
            Want { jail: key.jail.clone(), ports: self.reach_elsewhere(reach, &key.jail, ports), until }
        });
        let brought = self.brought_along_of(now, subnet).map(|(key, ban)| Want {
            jail: key.jail.clone(),
            ports: self.reach_of_brought(key, ban),
            until: ban.until,
        });
        join(blocked.into_iter().chain(bans).chain(provisional).chain(noticed).chain(brought), now)
    }

    fn is_protected_here(&self, now: Timestamp, subnet: Subnet) -> bool {
        self.local_protection(subnet).is_some() || self.view.protection(subnet, now).is_some()
    }

    /// Makes the firewall's protected set equal to what protects now, releases of this host included, and drops
    /// what is newly protected.
    pub(super) fn refresh_protection(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut protected: BTreeSet<Subnet> = self.local_protected.iter().map(|(subnet, _)| subnet).collect();
        protected.extend(self.view.cluster_addresses().iter().map(|(subnet, _)| subnet));
        let allowed = self.view.allow_list().iter().filter(|(_, entry)| !entry.until.is_over(now));
        protected.extend(allowed.map(|(subnet, _)| subnet));
        // Whoever is let through on this host passes also where something wider is blocked.
        let released = self.overrides.iter().filter(|(_, held)| held.kind == OverrideKind::Release);
        protected.extend(released.filter(|(_, held)| !held.until.is_over(now)).map(|(subnet, _)| subnet));
        if protected == self.ruleset.protected {
            return;
        }
        let added: Vec<Subnet> = protected.difference(&self.ruleset.protected).copied().collect();
        let gone: Vec<Subnet> = self.ruleset.protected.difference(&protected).copied().collect();
        self.ruleset.protected = protected;
        for subnet in added {
            effects.push(Effect::Firewall(FirewallDelta::Protect { subnet }));
            let is_inside = |key: &Subnet| {
                subnet.contains(*key) || key.translated_v4().is_some_and(|v4| subnet.contains(v4))
            };
            let inside: Vec<Subnet> =
                self.ruleset.elements.keys().filter(|key| is_inside(key)).copied().collect();
            self.render_each(now, &inside, effects);
        }
        for subnet in &gone {
            effects.push(Effect::Firewall(FirewallDelta::Unprotect { subnet: *subnet }));
        }
        if !gone.is_empty() {
            self.render_all(now, effects);
        }
    }

    /// What protects `subnet` on this host only.
    #[must_use]
    pub fn local_protection(&self, subnet: Subnet) -> Option<LocalProtection> {
        let holding = |subnet| self.local_protected.holding(subnet).map(|(_, why)| *why).next();
        holding(subnet).or_else(|| subnet.translated_v4().and_then(holding))
    }

    /// Everything that protects `subnet` on this host, for people.
    #[must_use]
    pub fn protections_here(&self, subnet: Subnet) -> Vec<(Subnet, LocalProtection)> {
        self.local_protected.holding(subnet).map(|(outer, why)| (outer, *why)).collect()
    }
}

/// When an element that one source holds must be looked at again: just after its end.
fn end_of(element: &Element) -> Option<Timestamp> {
    element.until.end().map(|end| end.plus_ms(1))
}

/// One element for all wants: it jumps to the jail that ends last, closes all their ports, and is looked
/// at again when the first of them ends.
fn join(wants: impl Iterator<Item = Want>, now: Timestamp) -> Option<(Element, Timestamp)> {
    let mut joined: Option<(Want, Timestamp)> = None;
    for want in wants {
        let ends = want.until.end().map_or(now.plus_ms(PERMANENT_RENEWAL_MS), |end| end.plus_ms(1));
        joined = Some(match joined {
            None => (want, ends),
            Some((held, look_again)) => {
                let ports = held.ports.union(&want.ports);
                let last = if want.until > held.until { want } else { held };
                (Want { ports, ..last }, look_again.min(ends))
            }
        });
    }
    joined.map(|(want, look_again)| {
        (Element { chain: Chain { jail: want.jail, ports: want.ports }, until: want.until }, look_again)
    })
}
