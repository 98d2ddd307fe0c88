//! From core types to the words and messages of answers: names, ends, commands to type, and the state that
//! every answer begins with.

use super::{About, ClusterFacts, Inspection, MemberFacts, NodeApi, NodeFacts};
use bannkreis_core::ban::Ban;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::change::BanKey;
use bannkreis_core::event::OverrideKind;
use bannkreis_core::ids::NodeId;
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{MINUTE_MS, Now, SECOND_MS, Until};
use bannkreis_proto::v1;
use std::collections::BTreeMap;
use tonic::Status;

/// Nodes by name, for people.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeNames(BTreeMap<NodeId, String>);

impl NodeNames {
    /// The names of all nodes that the ban list or the cluster knows.
    pub(super) fn of(view: &BanList, cluster: &ClusterFacts) -> NodeNames {
        let recorded = view.nodes().map(|(node, entry)| (node, entry.record.name.clone()));
        let members = cluster.members.iter().map(|member| (member.node, member.name.clone()));
        NodeNames(recorded.chain(members).filter(|(_, name)| !name.is_empty()).collect())
    }

    /// Whether a node has a name.
    pub(super) fn knows(&self, node: NodeId) -> bool {
        self.0.contains_key(&node)
    }

    /// A node's name; its id when it has none.
    pub(super) fn name(&self, node: NodeId) -> String {
        self.0.get(&node).cloned().unwrap_or_else(|| node.to_string())
    }

    /// The node that `text` names or numbers.
    pub(super) fn resolve(&self, text: &str) -> Result<NodeId, Status> {
        let known = |node: &NodeId| node.to_string() == text;
        if let Some(node) = self.0.keys().find(|node| known(node)) {
            return Ok(*node);
        }
        let named: Vec<NodeId> =
            self.0.iter().filter(|(_, name)| *name == text).map(|(node, _)| *node).collect();
        let all = self.0.iter().map(|(node, name)| format!("{name} ({node})")).collect::<Vec<_>>().join(", ");
        match named.as_slice() {
            [node] => Ok(*node),
            [] => Err(Status::not_found(format!(
                "no node `{}` in this cluster; there are: {all}",
                text.escape_debug()
            ))),
            _ => Err(Status::invalid_argument(format!(
                "several nodes are called `{}`: name one by its id; there are: {all}",
                text.escape_debug()
            ))),
        }
    }
}

/// What an answer is made from, taken once per call so that its parts agree.
pub(super) struct Snapshot {
    pub(super) node: NodeFacts,
    pub(super) cluster: ClusterFacts,
    pub(super) names: NodeNames,
    pub(super) inspection: Inspection,
    pub(super) now: Now,
    pub(super) view: bannkreis_core::ban_list::BanView,
}

impl Snapshot {
    /// Everything at this moment; of the warden's knowledge what is `about` somebody asked for.
    pub(super) async fn take(api: &dyn NodeApi, about: About) -> Result<Snapshot, Status> {
        let inspection = api.inspect(about).await;
        let inspection = inspection
            .ok_or_else(|| Status::unavailable("bannkreisd is stopping: ask again when it runs"))?;
        let (view, cluster) = (api.view(), api.cluster());
        let names = NodeNames::of(&view, &cluster);
        Ok(Snapshot { node: api.node(), cluster, names, inspection, now: api.now(), view })
    }

    /// Everything but what the warden knows of single offenders.
    pub(super) async fn take_counts(api: &dyn NodeApi) -> Result<Snapshot, Status> {
        Snapshot::take(api, About::Nobody).await
    }

    /// Whether what the warden wants blocked is really blocked on this host.
    pub(super) fn is_blocking(&self) -> bool {
        !self.node.observe && self.node.backend != "none"
    }

    /// Who leads. Without a quorum nobody does: a leader that lost it goes on trying, and decides nothing.
    pub(super) fn leader(&self) -> Option<NodeId> {
        self.cluster.leader.filter(|_| self.cluster.no_quorum_since.is_none())
    }

    /// How many decisions of operators for its host alone a member has.
    pub(super) fn n_overrides(&self, member: &MemberFacts) -> u64 {
        let is_self = member.node == self.node.node;
        if is_self { self.inspection.n_overrides as u64 } else { member.n_overrides }
    }

    /// That everybody is let through here, and how that ends.
    fn paused(&self) -> Option<String> {
        let until = self.inspection.paused_until?;
        let how_long = match until.remaining_ms(self.now.cluster) {
            Some(ms) if ms < 2 * MINUTE_MS => format!("for {} s more", ms.div_ceil(SECOND_MS)),
            Some(ms) => format!("for {} min more", ms.div_ceil(MINUTE_MS)),
            None => "until that is taken back".to_owned(),
        };
        Some(format!(
            "PAUSED: an operator has everybody let through on this host, {how_long}; `bannkreis pause --end` blocks again"
        ))
    }

    /// What every answer begins with.
    pub(super) fn state(&self) -> v1::NodeState {
        let unreachable = self.cluster.members.iter().filter(|member| !member.is_reachable);
        let mut unreachable: Vec<String> = unreachable.map(|member| self.names.name(member.node)).collect();
        unreachable.sort();
        let mode = match (self.node.is_witness, self.node.observe) {
            (true, _) => v1::NodeMode::Witness,
            (false, true) => v1::NodeMode::Observe,
            (false, false) => v1::NodeMode::Enforce,
        };
        v1::NodeState {
            node_id: self.node.node.to_string(),
            name: self.node.name.clone(),
            now_ms: self.now.cluster.0,
            now_is_estimated: self.now.estimated,
            no_quorum_since_ms: self.cluster.no_quorum_since.map(|since| since.0),
            unreachable,
            n_waiting: self.inspection.n_waiting as u64,
            mode: mode.into(),
            backend: self.node.backend.to_owned(),
            applied: self.view.position().to_string(),
            enforced: self.node.enforced.to_string(),
            warnings: self.paused().into_iter().chain(self.node.warnings.iter().cloned()).collect(),
            halted: self.node.halted.clone().unwrap_or_default(),
            apart: self.node.apart.clone().unwrap_or_default(),
        }
    }

    /// Why packets of `subnet` pass although an operator had it blocked on this host, if so.
    pub(super) fn passes_here(&self, subnet: Subnet) -> String {
        match self.view.protection(subnet, self.now.cluster) {
            Some(protection) => format!("{subnet} {protection}"),
            None => self.not_blocked_here(subnet),
        }
    }

    /// Why this host does not block a ban of `subnet`, if so.
    pub(super) fn not_blocked_here(&self, subnet: Subnet) -> String {
        let release = self
            .inspection
            .overrides
            .iter()
            .any(|(outer, decision)| outer.contains(subnet) && decision.kind == OverrideKind::Release);
        if release {
            return "an operator lets it through on this host".to_owned();
        }
        match self.ignored_by(subnet).first() {
            Some(jail) => format!("ignoreip of jail {jail} on this host"),
            None => String::new(),
        }
    }

    /// This host's jails whose `ignoreip` holds `subnet`.
    pub(super) fn ignored_by(&self, subnet: Subnet) -> Vec<&JailName> {
        let jails = self.inspection.jails.iter().map(|inspected| &inspected.jail);
        jails
            .filter(|jail| jail.ignore.iter().any(|ignored| ignored.contains(subnet)))
            .map(|jail| &jail.name)
            .collect()
    }

    /// A ban of the cluster.
    pub(super) fn ban_info(&self, key: &BanKey, ban: &Ban) -> v1::BanInfo {
        let origins = ban.origins.iter().map(|origin| v1::BanOrigin {
            node_id: origin.node.to_string(),
            name: self.names.name(origin.node),
            until_ms: until_ms(origin.until),
        });
        v1::BanInfo {
            subnet: key.subnet.to_string(),
            jail: key.jail.to_string(),
            kind: v1::BanKind::Ban.into(),
            since_ms: Some(ban.since.0),
            until_ms: until_ms(ban.until),
            count: ban.count,
            ports: ban.ports.to_string(),
            origins: origins.collect(),
            damped_by: ban.damped_by.map(|node| self.names.name(node)).unwrap_or_default(),
            not_blocked_here: self.not_blocked_here(key.subnet),
            note: String::new(),
            lift_command: lift_command(key.subnet, Some(&key.jail)),
        }
    }
}

/// An end as answers carry it: absent means for ever.
pub(super) fn until_ms(until: Until) -> Option<u64> {
    until.end().map(|end| end.0)
}

/// What to type to lift the bans of `subnet`, in one jail or in all.
pub(super) fn lift_command(subnet: Subnet, jail: Option<&JailName>) -> String {
    match jail {
        Some(jail) => format!("bannkreis unban {subnet} --jail {}", quoted(jail.as_str())),
        None => format!("bannkreis unban {subnet}"),
    }
}

/// What to type to take back what was decided for this host only.
pub(super) fn end_command(subnet: Subnet, kind: OverrideKind) -> String {
    match kind {
        OverrideKind::Block => format!("bannkreis unban {subnet} --local"),
        OverrideKind::Release => format!("bannkreis unban {subnet} --local --end"),
    }
}

/// `word` as a shell takes it for one word that means nothing special.
fn quoted(word: &str) -> String {
    let is_plain =
        word.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && !word.starts_with('-');
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::{lift_command, quoted};
    use bannkreis_core::jail::JailName;

    #[test]
    fn commands_can_be_typed_as_they_are() {
        let subnet = "192.0.2.0/24".parse().unwrap();
        let jail = JailName::new("sshd").unwrap();
        assert_eq!(lift_command(subnet, Some(&jail)), "bannkreis unban 192.0.2.0/24 --jail sshd");
        assert_eq!(quoted("x;reboot"), "'x;reboot'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
