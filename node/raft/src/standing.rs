//! Whether a key may speak for a node: the replicated records say which key is whose, and whose was revoked.
//!
//! Not for how the key was proved (the daemon's TLS) nor for what the caller may do then.
//!
//! A record is written before its node becomes a member, but a node that was away may have the membership
//! and not yet the record, and one that is joining has neither. So a member without a record may speak with
//! any key that the cluster's authority has signed, and so may anybody towards a node that is no member yet.

use crate::handle::RaftNode;
use bannkreis_core::ban_list::{BanView, NodeEntry};
use bannkreis_core::ids::NodeId;

/// What a key is to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may speak for the node.
    Member,
    /// The cluster knows neither: it may ask to join, and nothing else.
    Stranger,
    /// It may not, and why, as a sentence.
    Refused(String),
}

/// What the key `fingerprint` is to `node`, by these records. `is_member`: whether the membership names the
/// node, or this node itself is not named yet.
pub(crate) fn judge(
    view: &BanView,
    is_member: impl FnOnce() -> bool,
    node: NodeId,
    fingerprint: &[u8; 32],
) -> Standing {
    let known = view.node(node);
    if known.is_some_and(|entry| entry.revoked) {
        return Standing::Refused(format!(
            "the node {node} was revoked: to join again its host needs a new key, which `bannkreis cluster leave --force` \
             there makes"
        ));
    }
    let bound = known.map(|entry| &entry.record.key_fingerprint[..]).filter(|bound| !bound.is_empty());
    match bound {
        Some(bound) if bound == fingerprint => return Standing::Member,
        Some(_) => {
            return Standing::Refused(format!("the key of this connection is not the node {node}'s"));
        }
        None => {}
    }
    let is_revoked = |entry: &NodeEntry| entry.revoked && entry.record.key_fingerprint == fingerprint;
    // A host that came back under a new id has two records with one key until the old one is forgotten.
    let is_good = |entry: &NodeEntry| !entry.revoked && entry.record.key_fingerprint == fingerprint;
    if let Some((of, _)) = view.nodes().find(|(_, entry)| is_revoked(entry))
        && !view.nodes().any(|(_, entry)| is_good(entry))
    {
        return Standing::Refused(format!(
            "the key of this connection was revoked with the node {of}: to join again its host needs a new one, which \
             `bannkreis cluster leave --force` there makes"
        ));
    }
    if is_member() { Standing::Member } else { Standing::Stranger }
}

impl RaftNode {
    /// What the key with this fingerprint (SHA-256 of its SubjectPublicKeyInfo) is to `node`, as this node
    /// knows the cluster at this moment.
    #[must_use]
    pub fn standing(&self, node: NodeId, fingerprint: &[u8; 32]) -> Standing {
        let is_member = || {
            let metrics = self.inner.metrics();
            let membership = metrics.membership_config.membership();
            let is_named = |node: NodeId| membership.get_node(&node.0).is_some();
            is_named(node) || !is_named(self.node_id())
        };
        judge(&self.inner.views.borrow(), is_member, node, fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bannkreis_core::ban_list::BanList;
    use bannkreis_core::command::{Command, Op};
    use bannkreis_core::ids::{CommandId, Operator, Position};
    use bannkreis_core::node_record::NodeRecord;
    use bannkreis_core::settings::Settings;

    #[test]
    fn a_key_speaks_for_its_own_node_until_it_is_revoked() {
        let mut bans = BanList::new(Settings::at_birth([1; 16]));
        let record = |node, key: u8| {
            let key_fingerprint = vec![key; 32];
            Op::NodeSeen(NodeRecord { node: NodeId(node), key_fingerprint, ..NodeRecord::default() })
        };
        let mut index = 0;
        let mut apply = |bans: &mut BanList, ops| {
            index += 1;
            let position = Position { generation: 1, index };
            bans.apply(position, &Command { ops, level: 1, ..Command::default() });
        };
        apply(&mut bans, vec![record(1, 1), record(2, 2)]);
        let of = |bans: &BanList, node, key, is_member| {
            judge(&bans.view(), || is_member, NodeId(node), &[key; 32])
        };
        assert_eq!(of(&bans, 1, 1, true), Standing::Member);
        assert!(matches!(of(&bans, 1, 2, true), Standing::Refused(why) if why.contains("not the node")));
        assert_eq!(of(&bans, 3, 3, false), Standing::Stranger);
        assert_eq!(of(&bans, 3, 3, true), Standing::Member);

        let operator = Operator {
            command_id: CommandId(1),
            node: NodeId(1),
            author: "root".to_string(),
            reason: "stolen".to_string(),
        };
        let revoke = |node, keeps_key| {
            let command_id = CommandId(u128::from(node));
            let operator = Operator { command_id, ..operator.clone() };
            Op::Revoke { operator, node: NodeId(node), keeps_key }
        };
        apply(&mut bans, vec![revoke(2, false), revoke(1, true)]);
        assert!(matches!(of(&bans, 2, 2, true), Standing::Refused(why) if why.contains("was revoked")));
        // Who went in peace comes back under another id, and only so.
        assert!(matches!(of(&bans, 1, 1, true), Standing::Refused(_)));
        assert_eq!(of(&bans, 9, 1, false), Standing::Stranger);
        // The key of one that was thrown out does not.
        assert!(matches!(of(&bans, 9, 2, true), Standing::Refused(why) if why.contains("was revoked with")));

        // A host that has lost its log keeps its key: its first id is forgotten, its second is lost too.
        apply(&mut bans, vec![record(4, 4), record(5, 4)]);
        apply(&mut bans, vec![revoke(4, false)]);
        assert_eq!(of(&bans, 6, 4, false), Standing::Stranger);
        apply(&mut bans, vec![revoke(5, false)]);
        assert!(matches!(of(&bans, 6, 4, false), Standing::Refused(_)));
    }
}
