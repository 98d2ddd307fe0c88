//! What keeps operators from shutting themselves out, or everybody in: looks at whom a command's target holds, before
//! anything is done.
//!
//! It decides nothing that the nodes must agree on, and `--force` passes it by. What must never be blocked whatever
//! anybody says is protected elsewhere: by the ban list when it applies a command, and by the kernel's own rules.

use super::answers::{Snapshot, lift_command};
use bannkreis_core::change::BanKey;
use bannkreis_core::judge::Protection;
use bannkreis_core::settings::{Settings, customer_prefix};
use bannkreis_core::subnet::Subnet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use tonic::Status;

/// So many addresses that a target holds are named.
const NAMED_MAX: usize = 5;
/// From so many addresses an operator may work at once; more are refused.
const WORKS_FROM_MAX: usize = 16;

/// What speaks against banning a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    /// `--force` changes nothing about it.
    Never(String),
    /// `--force` passes it by.
    UnlessForced(String),
}

/// Everything that is known about whom a ban must not hit.
pub(super) struct Guards<'s> {
    snapshot: &'s Snapshot,
    /// From where the operator works.
    works_from: Vec<Subnet>,
    /// Addresses of nodes, their routers and name servers: what they are, and whose. Their packets pass whatever is
    /// banned.
    protected: BTreeMap<Subnet, (&'static str, Vec<String>)>,
    /// Where nodes are reached, if that is none of their own addresses.
    reached_at: BTreeMap<Subnet, String>,
}

impl<'s> Guards<'s> {
    /// As the cluster stands in `snapshot`. `told`: from where the operator works, as their command says; `seen`: as
    /// the connection says.
    pub(super) fn of(
        snapshot: &'s Snapshot,
        told: &[String],
        seen: Option<IpAddr>,
    ) -> Result<Guards<'s>, Status> {
        if told.len() > WORKS_FROM_MAX {
            let n = told.len();
            return Err(Status::invalid_argument(format!(
                "{n} addresses to work from are too many: name at most {WORKS_FROM_MAX}"
            )));
        }
        let told = told.iter().map(|text| super::commands::subnet(text)).collect::<Result<Vec<_>, _>>()?;
        let mut protected: BTreeMap<Subnet, (&str, Vec<String>)> = BTreeMap::new();
        for (node, entry) in snapshot.view.nodes().filter(|(_, entry)| !entry.revoked) {
            let record = &entry.record;
            let kinds = [
                ("an address", &record.own),
                ("a router", &record.gateways),
                ("a name server", &record.resolvers),
            ];
            for (what, subnet) in
                kinds.into_iter().flat_map(|(what, all)| all.iter().map(move |s| (what, *s)))
            {
                let (known, names) = protected.entry(subnet).or_insert((what, Vec::new()));
                if *known == what {
                    names.push(snapshot.names.name(node));
                }
            }
        }
        protected.values_mut().for_each(|(_, names)| names.sort());
        let reached_at = snapshot.cluster.members.iter().filter_map(|member| {
            let (host, _) = member.address.rsplit_once(':')?;
            let address: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
            Some((Subnet::host(address), snapshot.names.name(member.node)))
        });
        Ok(Guards {
            snapshot,
            works_from: told.into_iter().chain(seen.map(Subnet::host)).collect(),
            reached_at: reached_at.filter(|(address, _)| !protected.contains_key(address)).collect(),
            protected,
        })
    }

    /// What speaks against banning `target`.
    pub(super) fn objection(&self, target: Subnet) -> Option<Objection> {
        let mut reasons = Vec::new();
        let widest = widest(self.snapshot.view.settings(), target);
        if target.prefix_len() < widest {
            reasons.push(format!("{target} is wider than /{widest}"));
        }
        if let Some(never) = self.never(target) {
            reasons.push(never);
            return Some(Objection::Never(reasons.join("; ")));
        }
        let mut way_in = String::new();
        let own = self.works_from.iter().filter(|own| target.contains(**own) && !self.passes(**own));
        for own in own.take(1) {
            let working = match *own == target {
                true => format!("you work from {own}"),
                false => format!("{target} holds {own}, from which you work"),
            };
            reasons.push(format!("{working}: you would shut yourself out"));
            way_in = format!("`bannkreis allow add {own}` keeps you a way in; ");
        }
        if let Some(held) = self.held(target) {
            reasons.push(format!("{target} holds {held}; packets from there pass even then"));
        }
        let reached = self.reached_at.iter().filter(|(address, _)| target.contains(**address));
        for (address, name) in reached.filter(|(address, _)| !self.passes(**address)).take(NAMED_MAX) {
            reasons.push(match *address == target {
                true => format!("{address} is where the nodes reach {name}"),
                false => format!("{target} holds {address}, where the nodes reach {name}"),
            });
        }
        if reasons.is_empty() {
            return None;
        }
        let reasons = reasons.join("; ");
        Some(Objection::UnlessForced(format!("{reasons}; {way_in}--force if you mean it")))
    }

    /// What speaks against letting `target` through, where that is a whole network; `consequence` says what becomes of
    /// its bans.
    pub(super) async fn too_wide_to_pass(
        &self,
        target: Subnet,
        consequence: &str,
    ) -> Result<Option<String>, Status> {
        let widest = widest(self.snapshot.view.settings(), target);
        if target.prefix_len() >= widest {
            return Ok(None);
        }
        let (view, now) = (self.snapshot.view.clone(), self.snapshot.now.cluster);
        let count = move || view.bans_inside(target).filter(|(_, ban)| !ban.until.is_over(now)).count();
        let bans = match super::service::on_worker(count).await? {
            1 => "1 ban".to_owned(),
            n => format!("{n} bans"),
        };
        Ok(Some(format!(
            "{target} is wider than /{widest}: nobody in it would be blocked, and {bans} {consequence}; --force if you \
             mean it"
        )))
    }

    /// What speaks against taking away what lets `target` through: whoever works from there is banned. `without`: the
    /// entries of the allow list that go.
    pub(super) fn shuts_out(&self, target: Subnet, without: &[Subnet]) -> Option<String> {
        let (view, now) = (&self.snapshot.view, self.snapshot.now.cluster);
        let passes = |own: Subnet| match view.protection(own, now) {
            Some(Protection::AllowList) => view
                .allow_list()
                .holding(own)
                .any(|(entry, held)| !held.until.is_over(now) && !without.contains(&entry)),
            Some(_) => true,
            None => false,
        };
        let ban = |own: Subnet| view.bans_holding(own).find(|(_, ban)| !ban.until.is_over(now));
        let mut own = self.works_from.iter().copied().filter(|own| target.contains(*own) && !passes(*own));
        let (own, (key, _)) = own.find_map(|own| Some((own, ban(own)?)))?;
        let BanKey { subnet, jail } = key;
        Some(format!(
            "{own}, from which you work, is held by the ban of {subnet} in jail {jail}: you would shut yourself out; `{}` \
             first, or --force if you mean it",
            lift_command(*subnet, Some(jail))
        ))
    }

    /// Who of the cluster is in `target` and passes although it is banned, for people.
    pub(super) fn held(&self, target: Subnet) -> Option<String> {
        let mut held = self.protected.iter().filter(|(address, _)| target.contains(**address));
        let named: Vec<String> = held
            .by_ref()
            .take(NAMED_MAX)
            .map(|(address, (what, names))| format!("{address} ({what} of {})", names.join(", ")))
            .collect();
        let n_more = held.count();
        match (named.is_empty(), n_more) {
            (true, _) => None,
            (false, 0) => Some(named.join(", ")),
            (false, n) => Some(format!("{} and {n} more of the cluster's addresses", named.join(", "))),
        }
    }

    /// Why nobody may ban `target`, if so.
    fn never(&self, target: Subnet) -> Option<String> {
        let (view, now) = (&self.snapshot.view, self.snapshot.now.cluster);
        let protection = view.protection(target, now)?;
        let holding = |(address, _): &(&Subnet, _)| address.contains(target);
        Some(match protection {
            Protection::ClusterAddress => match self.protected.iter().find(holding) {
                Some((_, (what, names))) => {
                    format!("{target} is {what} of {}: never banned, with --force neither", names.join(", "))
                }
                None => format!("{target} {protection}: never banned, with --force neither"),
            },
            Protection::AllowList => {
                let live = |entry: &bannkreis_core::allow_list::AllowEntry| !entry.until.is_over(now);
                let mut entries = view.allow_list().holding(target).filter(|(_, entry)| live(entry));
                match entries.next() {
                    Some((entry, _)) => format!(
                        "{target} is on the allow list, and --force changes nothing about that: `bannkreis allow remove \
                         {entry}` first"
                    ),
                    None => format!("{target} {protection}"),
                }
            }
            Protection::NeverBannable | Protection::Lifted => {
                format!("{target} {protection}, with --force neither")
            }
        })
    }

    /// Whether packets from `address` pass whatever is banned around it.
    fn passes(&self, address: Subnet) -> bool {
        self.snapshot.view.protection(address, self.snapshot.now.cluster).is_some()
    }
}

/// Prefixes shorter than this are banned or let through by `--force` only. Where a whole network counts as one offender,
/// it is nothing special to ban one.
fn widest(settings: &Settings, target: Subnet) -> u8 {
    customer_prefix(target).min(settings.counting_prefix(target)).max(settings.widest_prefix(target))
}
