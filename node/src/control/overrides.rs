//! `ban --local` and `unban --local`: what an operator decides for this host only, whatever the cluster says.
//!
//! Nothing of it is replicated or merged: it needs no leader, and other nodes only count it. What it means for packets is
//! the warden's.

use super::answers::{Snapshot, end_command, until_ms};
use super::commands;
use super::guards::{Guards, Objection};
use super::{About, NodeApi, Peer};
use bannkreis_core::event::{Override, OverrideKind};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{DAY_MS, Until};
use bannkreis_core::warden::OVERRIDES_MAX;
use bannkreis_proto::v1::override_request::Length;
use bannkreis_proto::v1::{self, OverrideOrder};
use tonic::Status;

/// How long it holds when nobody says.
const OVERRIDE_MS_DEFAULT: u64 = DAY_MS;

/// The decisions for this host of `kind` that stand against what a command to the cluster has done about `target`
/// (`None`: everybody), as a sentence.
pub(super) fn standing_against(
    snapshot: &Snapshot,
    target: Option<Subnet>,
    kind: OverrideKind,
) -> Option<String> {
    let about = |subnet: &Subnet| target.is_none_or(|target| target.intersects(*subnet));
    let overrides = snapshot.inspection.overrides.iter();
    let mut standing =
        overrides.filter(|(subnet, held)| held.kind == kind && about(subnet)).map(|(subnet, _)| *subnet);
    let first = standing.next()?;
    let name = &snapshot.node.name;
    let what = match kind {
        OverrideKind::Block => format!("{first} stays blocked on {name}"),
        OverrideKind::Release => format!("{first} is let through on {name}"),
    };
    let others = match standing.count() {
        0 => String::new(),
        n => format!(", and {n} more: `bannkreis bans` lists them"),
    };
    let command = end_command(first, kind);
    Some(format!("{what} by an operator's decision for that host only, which `{command}` takes back{others}"))
}

/// What becomes of one target.
enum Fate {
    Refused(String),
    Decided(OverrideKind),
    Ended(OverrideKind),
}

/// Executes `ban --local` and `unban --local`.
pub(super) async fn decide(
    api: &dyn NodeApi,
    peer: &Peer,
    request: v1::OverrideRequest,
) -> Result<v1::OverrideResponse, Status> {
    let typed = commands::targets(&request.targets)?;
    if typed.is_empty() {
        return Err(Status::invalid_argument("nobody is named: name an address or a prefix"));
    }
    commands::bounded("reason", &request.reason)?;
    // The table is bounded, and what it holds already counts.
    let before = Snapshot::take(api, About::Decisions).await?;
    let until = match request.length {
        Some(Length::OverrideMs(0)) => {
            return Err(Status::invalid_argument("a decision of no length decides nothing"));
        }
        Some(Length::OverrideMs(ms)) => Until::at(before.now.cluster.plus_ms(ms)),
        Some(Length::ForEver(_)) => Until::FOREVER,
        None => Until::at(before.now.cluster.plus_ms(OVERRIDE_MS_DEFAULT)),
    };
    let guards = Guards::of(&before, &request.works_from, peer.from)?;
    let deciding = Deciding { before: &before, guards, order: request.order(), force: request.force };
    let mut n_held = before.inspection.n_overrides;
    let mut fates: Vec<(Subnet, Fate)> = Vec::with_capacity(typed.len());
    for target in typed {
        let target = deciding.meant(target);
        let mut fate = deciding.fate(target).await?;
        if matches!(fate, Fate::Decided(_)) && deciding.held(target).is_none() {
            n_held += 1;
            if n_held > OVERRIDES_MAX {
                fate = Fate::Refused(format!(
                    "this host has {OVERRIDES_MAX} overrides already, and more are not kept: `bannkreis ban` on the \
                     cluster's list has room"
                ));
            }
        }
        fates.push((target, fate));
    }
    let decision = |kind| Override {
        kind,
        author: peer.author.clone(),
        reason: request.reason.clone(),
        until,
        estimated: false,
    };
    let decisions: Vec<(Subnet, Option<Override>)> = fates
        .iter()
        .filter_map(|(target, fate)| match fate {
            Fate::Refused(_) => None,
            Fate::Decided(kind) => Some((*target, Some(decision(*kind)))),
            Fate::Ended(_) => Some((*target, None)),
        })
        .collect();
    for (target, decision) in &decisions {
        let what = match decision.as_ref().map(|decision| decision.kind) {
            Some(OverrideKind::Block) => "blocks it",
            Some(OverrideKind::Release) => "lets it through",
            None => "takes back what was decided about it",
        };
        tracing::info!("{target}: {} {what} on this host only", peer.author.escape_debug());
    }
    if !decisions.is_empty() {
        api.override_here(decisions).await.map_err(Status::failed_precondition)?;
    }
    let after = Snapshot::take_counts(api).await?;
    let results = fates.iter().map(|(target, fate)| result(&deciding, *target, fate, until));
    Ok(v1::OverrideResponse { state: Some(after.state()), results: results.collect() })
}

/// What the decisions are made from.
struct Deciding<'s> {
    before: &'s Snapshot,
    guards: Guards<'s>,
    order: OverrideOrder,
    force: bool,
}

impl Deciding<'_> {
    /// What was decided about exactly this.
    fn held(&self, target: Subnet) -> Option<&Override> {
        let mut overrides = self.before.inspection.overrides.iter();
        overrides.find(|(subnet, _)| *subnet == target).map(|(_, held)| held)
    }

    /// What holds all of `target` and more, and is let through.
    fn released_around(&self, target: Subnet) -> Option<Subnet> {
        let overrides = self.before.inspection.overrides.iter();
        let released = overrides.filter(|(_, held)| held.kind == OverrideKind::Release);
        released.map(|(outer, _)| *outer).find(|outer| *outer != target && outer.contains(target))
    }

    /// Whom an order about `typed` is about: a host of IPv6 is banned by its counting prefix, so it is let through by
    /// it too, unless something was decided about that host alone.
    fn meant(&self, typed: Subnet) -> Subnet {
        let is_release = matches!(self.order, OverrideOrder::Release | OverrideOrder::EndRelease);
        if is_release && typed.is_host() && self.held(typed).is_none() {
            return self.before.view.settings().counting_subnet(typed);
        }
        typed
    }

    async fn fate(&self, target: Subnet) -> Result<Fate, Status> {
        let held = self.held(target).map(|held| held.kind);
        Ok(match (self.order, held) {
            (OverrideOrder::Block, _) => match self.objection(target) {
                Some(why) => Fate::Refused(why),
                None => Fate::Decided(OverrideKind::Block),
            },
            (OverrideOrder::Release | OverrideOrder::EndBlock, Some(OverrideKind::Block)) => {
                Fate::Ended(OverrideKind::Block)
            }
            (OverrideOrder::Release, _) => {
                let objection = match self.force {
                    true => None,
                    false => self.guards.too_wide_to_pass(target, "inside it not enforced here").await?,
                };
                objection.map_or(Fate::Decided(OverrideKind::Release), Fate::Refused)
            }
            (OverrideOrder::EndRelease, Some(OverrideKind::Release)) => {
                let may_shut_out = !self.force && self.released_around(target).is_none();
                let objection = may_shut_out.then(|| self.guards.shuts_out(target, &[])).flatten();
                objection.map_or(Fate::Ended(OverrideKind::Release), Fate::Refused)
            }
            (OverrideOrder::EndBlock | OverrideOrder::EndRelease, Some(kind)) => Fate::Refused(format!(
                "what was decided about {target} on this host is the opposite; to take that back: `{}`",
                end_command(target, kind)
            )),
            (OverrideOrder::EndBlock | OverrideOrder::EndRelease, None) => Fate::Refused(format!(
                "nothing was decided about {target} on this host only; `bannkreis bans` lists what was"
            )),
            (OverrideOrder::Unspecified, _) => {
                return Err(Status::invalid_argument(
                    "the order is of a newer release: update this node first",
                ));
            }
        })
    }

    fn objection(&self, target: Subnet) -> Option<String> {
        if let Some(jail) = self.before.ignored_by(target).first() {
            return Some(format!(
                "{target} is in ignoreip of jail {jail}, and this host blocks nothing from there: take it out of \
                 ignoreip first"
            ));
        }
        match self.guards.objection(target)? {
            Objection::UnlessForced(why) => (!self.force).then_some(why),
            Objection::Never(why) => Some(why),
        }
    }

    /// What else there is to say when it is done.
    fn hint(&self, target: Subnet, fate: &Fate) -> String {
        let snapshot = self.before;
        let now = snapshot.now.cluster;
        let n_others = snapshot.cluster.members.len().saturating_sub(1);
        let has_quorum = snapshot.cluster.no_quorum_since.is_none();
        let banned = || {
            let mut bans = snapshot.view.bans_holding(target).filter(|(_, ban)| !ban.until.is_over(now));
            bans.next().map(|(key, _)| key.subnet)
        };
        match fate {
            Fate::Refused(_) => String::new(),
            Fate::Decided(OverrideKind::Block) => match self.released_around(target) {
                Some(outer) => format!(
                    "it passes all the same, because {outer} is let through on this host; to end that: `{}`",
                    end_command(outer, OverrideKind::Release)
                ),
                None => {
                    let passing = self.guards.held(target);
                    let passing = passing.map(|held| format!("it holds {held}: packets from there pass"));
                    let is_elsewhere = n_others > 0 && has_quorum && banned().is_none();
                    let elsewhere = is_elsewhere
                        .then(|| format!("`bannkreis ban {target}` bans it on the other nodes as well"));
                    passing.into_iter().chain(elsewhere).collect::<Vec<_>>().join("; ")
                }
            },
            Fate::Decided(OverrideKind::Release) => match banned() {
                Some(subnet) if n_others > 0 && has_quorum => {
                    format!(
                        "it stays banned on the other nodes; `bannkreis unban {subnet}` lifts that everywhere"
                    )
                }
                Some(_) if n_others > 0 => "it stays banned on the other nodes".to_owned(),
                Some(subnet) => format!("`bannkreis unban {subnet}` would have lifted the ban"),
                None => "nothing bans it at the moment; what will is not enforced here".to_owned(),
            },
            Fate::Ended(OverrideKind::Block) => match banned() {
                Some(subnet) => format!(
                    "it stays banned by the cluster; the same command again lets it through on this host, and `bannkreis \
                     unban {subnet}` everywhere"
                ),
                None => String::new(),
            },
            Fate::Ended(OverrideKind::Release) => match banned() {
                Some(_) => "it is banned by the cluster, and blocked here again".to_owned(),
                None => String::new(),
            },
        }
    }
}

fn result(deciding: &Deciding<'_>, target: Subnet, fate: &Fate, until: Until) -> v1::OverrideResult {
    let hint = deciding.hint(target, fate);
    let (did, until, why) = match fate {
        Fate::Refused(why) => ("", None, why.clone()),
        Fate::Decided(OverrideKind::Block) => ("block", until_ms(until), hint),
        Fate::Decided(OverrideKind::Release) => ("release", until_ms(until), hint),
        Fate::Ended(OverrideKind::Block) => ("end_block", None, hint),
        Fate::Ended(OverrideKind::Release) => ("end_release", None, hint),
    };
    let outcome = if did.is_empty() { v1::CommandOutcome::Refused } else { v1::CommandOutcome::Done };
    v1::OverrideResult {
        target: target.to_string(),
        outcome: outcome.into(),
        did: did.to_owned(),
        until_ms: until,
        why,
    }
}
