//! What a node takes along when it leaves its own solo cluster for another one: its bans, allow entries
//! and history, as operations for the new cluster's log.

use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::{ImportedBan, ImportedHistory, Op};
use bannkreis_core::ids::{CommandId, Operator};
use bannkreis_core::jail::BanPolicy;
use bannkreis_core::time::BanTime;

/// An operation imports at most so many bans, or allow entries, or offenders' histories: so many fit an entry
/// of the log, however many ports they have and however long the notes are.
const IMPORT_MAX: usize = 100;
/// Shown where the evidence of an imported ban would be.
const NOTE: &str = "brought along when its node joined the cluster";

/// Everything in `view` that is worth keeping, as operations to propose. Bans that are over come as
/// history. `operator` is who does it; each operation gets a command id of its own, counted on from
/// the operator's, so that all of it can be proposed again.
#[must_use]
pub fn import_ops(view: &BanList, operator: &Operator) -> Vec<Op> {
    let now = view.now();
    let bans = view.bans().filter(|(_, ban)| !ban.until.is_over(now)).map(|(key, ban)| ImportedBan {
        subnet: key.subnet,
        jail: key.jail.clone(),
        since: ban.since,
        until: ban.until,
        count: ban.count,
        ports: ban.ports.clone(),
        // The list does not keep what the jail had said; the ban's own length is its effect.
        policy: BanPolicy::fixed(match ban.until.end() {
            Some(end) => BanTime::Ms(end.ms_since(ban.since)),
            None => BanTime::Forever,
        }),
        note: NOTE.to_string(),
    });
    let bans: Vec<ImportedBan> = bans.collect();
    let allow: Vec<_> = view
        .allow_list()
        .iter()
        .filter(|(_, entry)| !entry.until.is_over(now))
        .map(|(_, entry)| entry.clone())
        .collect();
    let ended = view.bans().filter(|(_, ban)| ban.until.is_over(now)).map(|(key, _)| key);
    let keys = view.pasts().map(|(key, _)| key).chain(ended);
    let history: Vec<_> = keys
        .filter_map(|key| {
            let past = view.past(key)?;
            Some(ImportedHistory { subnet: key.subnet, jail: key.jail.clone(), past })
        })
        .collect();

    let mut command_id = operator.command_id.0;
    let mut op = |bans: &[ImportedBan], allow: &[_], history: &[ImportedHistory]| {
        let operator = Operator { command_id: CommandId(command_id), ..operator.clone() };
        command_id = command_id.wrapping_add(1);
        Op::Import { operator, bans: bans.to_vec(), allow: allow.to_vec(), history: history.to_vec() }
    };
    // Allow entries first: what they protect is not imported.
    let mut ops: Vec<Op> = allow.chunks(IMPORT_MAX).map(|chunk| op(&[], chunk, &[])).collect();
    ops.extend(history.chunks(IMPORT_MAX).map(|chunk| op(&[], &[], chunk)));
    ops.extend(bans.chunks(IMPORT_MAX).map(|chunk| op(chunk, &[], &[])));
    ops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::empty_list;
    use bannkreis_core::allow_list::AllowEntry;
    use bannkreis_core::command::{Command, LEVEL};
    use bannkreis_core::ids::{NodeId, Position};
    use bannkreis_core::jail::{JailName, Ports};
    use bannkreis_core::subnet::Subnet;
    use bannkreis_core::time::{Timestamp, Until};
    use std::net::Ipv4Addr;

    fn operator(command_id: u128) -> Operator {
        let author = "me".to_string();
        Operator { command_id: CommandId(command_id), node: NodeId(1), author, reason: String::new() }
    }

    #[test]
    fn everything_arrives_and_importing_twice_is_importing_once() {
        let jail = JailName::new("sshd").unwrap();
        let ban = |n: u32| Op::OperatorBan {
            operator: operator(u128::from(n) + 1_000),
            target: Subnet::host(Ipv4Addr::from(0x0808_0000 + n).into()),
            jail: jail.clone(),
            ban_time: BanTime::Ms(if n < 10 { 1_000 } else { 600_000 }),
            ports: Ports::whole_host(),
            force: false,
        };
        let tick = |at| Op::Tick { readings: vec![(NodeId(1), Timestamp(at))] };
        let command = |at, ops| Command { at: Timestamp(at), level: LEVEL, ops, ..Command::default() };
        let mut old = empty_list();
        let ops = std::iter::once(tick(1_000_000)).chain((0..1_210).map(ban)).collect();
        old.apply(Position { generation: 1, index: 1 }, &command(1_000_000, ops));
        let entry = |octet: u8, until| AllowEntry {
            subnet: Subnet::host([192, 0, 2, octet].into()),
            note: "the office".to_string(),
            author: "me".to_string(),
            node: NodeId(1),
            until,
        };
        let allowed = [(1, Until::FOREVER), (2, Until::at(Timestamp(1_000_001)))];
        let allowed = allowed
            .map(|(n, until)| Op::Allow { operator: operator(10 + u128::from(n)), entry: entry(n, until) });
        old.apply(Position { generation: 1, index: 1 }, &command(1_000_000, allowed.into()));
        old.apply(Position { generation: 1, index: 2 }, &command(1_030_000, vec![tick(1_030_000)]));
        assert_eq!(old.n_bans(), 1_210);

        let ops = import_ops(&old, &operator(7));
        // One with the allow entry that holds, one with ten histories, twelve with 1,200 bans.
        assert_eq!(ops.len(), 14);
        let mut new = empty_list();
        let all = [vec![tick(1_040_000)], ops.clone(), ops].concat();
        new.apply(Position { generation: 1, index: 5 }, &command(1_040_000, all));
        assert_eq!(new.n_bans(), 1_200);
        assert_eq!(new.pasts().count(), 10);
        let found: Vec<_> = new.allow_list().iter().map(|(_, entry)| entry.clone()).collect();
        assert_eq!(found, [entry(1, Until::FOREVER)]);
        for (key, ban) in new.bans() {
            assert_eq!(old.ban(key).unwrap().until, ban.until);
        }
    }
}
