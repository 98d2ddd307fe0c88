//! What an unban leaves: bans that still hold a target because they are wider, or in a jail that was not named.

use super::answers::{lift_command, until_ms};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::jail::JailName;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::subnet_map::SubnetMap;
use bannkreis_core::time::Timestamp;
use bannkreis_proto::v1;

/// So many bans that still hold a target are named.
const REMAINING_MAX: usize = 100;

/// A ban's subnet, jail and end.
type Held = (Subnet, JailName, Option<u64>);

/// The live bans that hold some of each target, the widest first, and how many there are; those inside a
/// target only when `looks_inside`: an unban without a jail leaves none there.
pub(super) fn of(
    view: &BanList,
    now: Timestamp,
    targets: &[Subnet],
    looks_inside: bool,
) -> Vec<(Vec<v1::RemainingBan>, u64)> {
    let mut found: Vec<Vec<Held>> = targets
        .iter()
        .map(|&target| {
            let wider = view.bans_holding(target).filter(|(key, _)| key.subnet != target);
            let live = wider.filter(|(_, ban)| !ban.until.is_over(now));
            live.map(|(key, ban)| (key.subnet, key.jail.clone(), until_ms(ban.until))).collect()
        })
        .collect();
    if looks_inside {
        let mut asked: SubnetMap<Vec<usize>> = SubnetMap::default();
        for (n, &target) in targets.iter().enumerate() {
            match asked.get_mut(target) {
                Some(same) => same.push(n),
                None => drop(asked.insert(target, vec![n])),
            }
        }
        for (key, ban) in view.bans().filter(|(_, ban)| !ban.until.is_over(now)) {
            for n in asked.holding(key.subnet).flat_map(|(_, same)| same) {
                found[*n].push((key.subnet, key.jail.clone(), until_ms(ban.until)));
            }
        }
    }
    let named = |(target, mut bans): (&Subnet, Vec<Held>)| {
        bans.sort_by(|a, b| (a.0.prefix_len(), a.0, &a.1).cmp(&(b.0.prefix_len(), b.0, &b.1)));
        let n_bans = bans.len() as u64;
        bans.truncate(REMAINING_MAX);
        let bans = bans.into_iter().map(|(subnet, jail, until_ms)| v1::RemainingBan {
            is_wider: subnet.prefix_len() < target.prefix_len(),
            lift_command: lift_command(subnet, Some(&jail)),
            subnet: subnet.to_string(),
            jail: jail.to_string(),
            until_ms,
        });
        (bans.collect(), n_bans)
    };
    targets.iter().zip(found).map(named).collect()
}
