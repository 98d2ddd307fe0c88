//! What a ban closes on the nodes that did not see the attack: told from what these nodes say of their jails.
//!
//! Not for what is really closed there, which only their kernels know.

use super::answers::Snapshot;
use bannkreis_core::ban::Ban;
use bannkreis_core::change::BanKey;
use bannkreis_proto::v1;
use std::collections::BTreeMap;

/// The ports, each with the names of the nodes that close them. Nodes that block nothing are left out.
pub(super) fn elsewhere(snapshot: &Snapshot, key: &BanKey, ban: &Ban) -> Vec<v1::Closing> {
    let reach = snapshot.view.reach_of(&key.jail, &ban.origins);
    let is_origin = |node| ban.origins.iter().any(|origin| origin.node == node);
    let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in snapshot.cluster.members.iter().filter(|member| member.is_enforcing) {
        if is_origin(member.node) {
            continue;
        }
        let closes = snapshot.view.elsewhere(member.node).closes(key, ban);
        nodes.entry(closes.to_string()).or_default().push(snapshot.names.name(member.node));
    }
    let closing = |(ports, mut nodes): (String, Vec<String>)| {
        nodes.sort();
        v1::Closing { ports, nodes, reach: reach.as_str().to_owned() }
    };
    nodes.into_iter().map(closing).collect()
}
