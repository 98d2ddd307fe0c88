//! What an operator should do about the cluster, one sentence each. Not for what is wrong with this node by
//! itself: those are its warnings.

use super::MemberFacts;
use super::answers::Snapshot;
use bannkreis_core::node_record::NodeRole;
use bannkreis_core::subnet::Subnet;
use bannkreis_proto::v1;

/// What an operator should do; nothing while all is well. `members` as they are shown.
pub(super) fn of(snapshot: &Snapshot, members: &[v1::MemberStatus]) -> Vec<String> {
    let mut advice: Vec<String> = for_lost_quorum(snapshot).into_iter().chain(for_a_pair(snapshot)).collect();
    advice.extend(for_an_even_number(snapshot));
    let skew_max_ms = snapshot.view.settings().skew_max_ms;
    let level = snapshot.view.level();
    for member in &snapshot.cluster.members {
        let level_max = snapshot.view.node(member.node).map_or(level, |entry| entry.record.level_max);
        if level_max < level {
            advice.push(format!(
                "{} reads the log up to level {level_max}, and the cluster is at level {level}: install the release of \
                 the other nodes on it.",
                snapshot.names.name(member.node)
            ));
        }
    }
    for member in members {
        let name = &member.name;
        if member.clock_ahead_ms.is_some_and(|ahead| ahead.unsigned_abs() > skew_max_ms) {
            advice.push(format!("The clock of {name} is wrong: set it, for example with chrony."));
        }
        if member.is_untrusted {
            advice
                .push(format!(
                    "{name} is not trusted since its bans were undone: nothing of it is shared. When it is right again: \
                     `bannkreis cluster trust {name}`."
                ));
        }
        advice.extend(for_pending(snapshot, member));
    }
    advice
}

/// Addresses that a node announced while they were banned: what an operator types if they are its own.
fn for_pending(snapshot: &Snapshot, member: &v1::MemberStatus) -> Option<String> {
    let (view, name) = (&snapshot.view, &member.name);
    let pending = member.pending.iter().filter_map(|text| text.parse::<Subnet>().ok());
    // An unban of the address does not lift a wider ban; an entry on the allow list does without that.
    let is_lifted_alone = |subnet: &Subnet| {
        let counted = view.settings().counting_subnet(*subnet);
        subnet.is_host() && view.bans_holding(*subnet).all(|(key, _)| counted.contains(key.subnet))
    };
    let (lifted, allowed): (Vec<Subnet>, Vec<Subnet>) = pending.partition(is_lifted_alone);
    let command = |verb: &str, subnets: &[Subnet]| {
        let subnets: Vec<String> = subnets.iter().map(ToString::to_string).collect();
        (!subnets.is_empty()).then(|| format!("`bannkreis {verb} {}`", subnets.join(" ")))
    };
    let commands: Vec<String> =
        [command("unban", &lifted), command("allow add", &allowed)].into_iter().flatten().collect();
    (!commands.is_empty()).then(|| {
        format!(
            "{name} says that {} is its own, but it is banned. If {name} is right: {}; until then only {name} lets it \
             pass.",
            member.pending.join(", "),
            commands.join(" and ")
        )
    })
}

fn voters(snapshot: &Snapshot) -> impl Iterator<Item = &MemberFacts> {
    snapshot.cluster.members.iter().filter(|member| member.is_voter)
}

fn for_lost_quorum(snapshot: &Snapshot) -> Option<String> {
    snapshot.cluster.no_quorum_since?;
    let (n_voters, n_reachable) =
        (voters(snapshot).count(), voters(snapshot).filter(|voter| voter.is_reachable).count());
    Some(format!(
        "No quorum: {n_reachable} of {n_voters} voters can be reached, and {} must agree. Bring one back; until then \
         every node goes on blocking what its own logs and its peers say, and keeps its bans.",
        n_voters / 2 + 1
    ))
}

/// Two nodes, and no third vote: what the loss of one means, and how to add a witness.
pub(super) fn for_a_pair(snapshot: &Snapshot) -> Option<String> {
    let members = &snapshot.cluster.members;
    let is_full = |member: &MemberFacts| {
        snapshot.view.node(member.node).is_none_or(|entry| entry.record.role == NodeRole::Full)
    };
    let [_, _] = &members[..] else { return None };
    if !members.iter().all(is_full) {
        return None;
    }
    let mut deciding = voters(snapshot).map(|voter| snapshot.names.name(voter.node));
    let lost = match (deciding.next(), deciding.next()) {
        (Some(only), None) => format!("{only} alone decides: while it is down"),
        _ => "both must agree: while either is down".to_owned(),
    };
    let own = members.iter().find(|member| member.node == snapshot.node.node);
    let address = own.map_or("HOST:7420", |own| &own.address);
    Some(format!(
        "This is a pair, and {lost}, nothing can be agreed on; each host goes on blocking by its own logs. A witness \
         gives the third vote: a small host without logs and firewall. There, install bannkreis and set \
         `role = \"witness\"` in /etc/bannkreis/bannkreis.toml; then `bannkreis token create` here, and `bannkreis \
         cluster join {address} --token TOKEN` there."
    ))
}

/// An even number of voters, which only an operator makes: it is no stronger than one less.
fn for_an_even_number(snapshot: &Snapshot) -> Option<String> {
    let n_voters = voters(snapshot).count();
    if !n_voters.is_multiple_of(2) || snapshot.cluster.members.len() <= 2 {
        return None;
    }
    Some(format!(
        "{n_voters} voters survive the loss of no more than {} do. The leader gives the next node that has caught up a \
         vote; let another host join, or take a vote away.",
        n_voters - 1
    ))
}
