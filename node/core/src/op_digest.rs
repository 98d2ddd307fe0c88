//! What an operator's command asks for, as a number that is kept with its outcome: so a retry is told from
//! another command that was given the same id by mistake.
//!
//! Not for who asks, through which node and why, nor for what a node fills in by itself: a retry through another
//! node is the same command. The number stands in snapshots and decides what apply does, so it must never change
//! within a level.

use crate::command::{Op, UnbanSelection};
use crate::jail::JailName;
use crate::judge::fnv1a;
use crate::settings::Setting;
use crate::subnet::Subnet;
use crate::time::{BanTime, Timestamp};
use alloc::vec::Vec;

/// The digest of what `op` asks for.
#[must_use]
pub(crate) fn of(op: &Op) -> u64 {
    let mut asked = Asked(Vec::new());
    match op {
        // The ports are the jail's, as the node knew it. So is the time when none was given, but that can not be told
        // from one that was: a retry belongs on the same node, or names the time.
        Op::OperatorBan { target, jail, ban_time, force, .. } => {
            asked.kind(1).subnet(*target).jail(Some(jail)).ban_time(*ban_time).number(u64::from(*force));
        }
        Op::Unban { selection, .. } => match selection {
            UnbanSelection::Target { target, jail } => {
                asked.kind(2).subnet(*target).jail(jail.as_ref());
            }
            UnbanSelection::All { jail } => {
                asked.kind(3).jail(jail.as_ref());
            }
            UnbanSelection::ByNode { node, since } => {
                asked.kind(4).number(node.0).number(since.0);
            }
        },
        // Its end is counted from when it was asked for, so that a retry has another one.
        Op::Allow { entry, .. } => {
            asked.kind(5).subnet(entry.subnet).bytes(entry.note.as_bytes());
        }
        Op::Disallow { subnet, .. } => {
            asked.kind(6).subnet(*subnet);
        }
        // No person gives it an id; what is over by then is not brought along again.
        Op::Import { .. } => {
            asked.kind(7);
        }
        Op::Trust { node, .. } => {
            asked.kind(8).number(node.0);
        }
        Op::Revoke { node, keeps_key, .. } => {
            asked.kind(9).number(node.0).number(u64::from(*keeps_key));
        }
        Op::Token { hash, expires, .. } => {
            asked.kind(10).bytes(hash).number(u64::from(*expires == Timestamp::ZERO));
        }
        Op::Settings { fields, .. } => {
            asked.kind(11);
            fields.iter().for_each(|field| asked.setting(field));
        }
        Op::Forget { target, .. } => {
            asked.kind(12).subnet(*target);
        }
        // Not an operator's.
        Op::Ban(_) | Op::Tick { .. } | Op::Sweep | Op::NodeSeen(_) | Op::RaiseLevel { .. } => {}
    }
    fnv1a(asked.0)
}

/// The parts of what is asked, one after the other, each with its length or of a fixed one.
struct Asked(Vec<u8>);

impl Asked {
    fn kind(&mut self, kind: u8) -> &mut Asked {
        self.0.push(kind);
        self
    }

    fn number(&mut self, number: u64) -> &mut Asked {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Asked {
        self.number(bytes.len() as u64).0.extend(bytes);
        self
    }

    fn subnet(&mut self, subnet: Subnet) -> &mut Asked {
        self.bytes(&subnet.octets()).number(u64::from(subnet.prefix_len()))
    }

    /// No jail is called the empty name.
    fn jail(&mut self, jail: Option<&JailName>) -> &mut Asked {
        self.bytes(jail.map_or("", JailName::as_str).as_bytes())
    }

    fn ban_time(&mut self, ban_time: BanTime) -> &mut Asked {
        match ban_time {
            BanTime::Ms(ms) => self.kind(1).number(ms),
            BanTime::Forever => self.kind(2),
        }
    }

    fn setting(&mut self, setting: &Setting) {
        match *setting {
            Setting::PrivateOffenders(v) => self.kind(1).number(v as u64),
            Setting::Reach(v) => self.kind(2).number(v as u64),
            Setting::CountingPrefixV4(v) => self.kind(3).number(v.into()),
            Setting::CountingPrefixV6(v) => self.kind(4).number(v.into()),
            Setting::WidestPrefixV4(v) => self.kind(5).number(v.into()),
            Setting::WidestPrefixV6(v) => self.kind(6).number(v.into()),
            Setting::QuotaPerMinute(v) => self.kind(7).number(v.into()),
            Setting::QuotaBurst(v) => self.kind(8).number(v.into()),
            Setting::DampedMs(v) => self.kind(9).number(v),
            Setting::DampedLiveMax(v) => self.kind(10).number(v.into()),
            Setting::TombstoneRetentionMs(v) => self.kind(11).number(v),
            Setting::HistoryRetentionMs(v) => self.kind(12).number(v),
            Setting::SkewMaxMs(v) => self.kind(13).number(v),
            Setting::EventKey(v) => self.kind(14).bytes(&v),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CommandId, NodeId, Operator};
    use crate::jail::Ports;
    use alloc::string::String;

    fn operator(node: u64) -> Operator {
        Operator {
            command_id: CommandId(1),
            node: NodeId(node),
            author: String::new(),
            reason: String::new(),
        }
    }

    fn ban(node: u64, target: &str, ms: u64, ports: &[u16]) -> Op {
        Op::OperatorBan {
            operator: operator(node),
            target: target.parse().unwrap(),
            jail: JailName::operator(),
            ban_time: BanTime::Ms(ms),
            ports: Ports::tcp(ports),
            force: false,
        }
    }

    /// It stands on disks: this number never changes.
    #[test]
    fn the_digest_is_the_one_that_is_stored() {
        assert_eq!(of(&ban(1, "192.0.2.7", 600_000, &[22])), 10_494_341_883_239_340_318);
    }

    #[test]
    fn it_is_about_what_was_asked_and_not_about_who_filled_in_what() {
        let asked = of(&ban(1, "192.0.2.7", 600_000, &[22]));
        assert_eq!(of(&ban(2, "192.0.2.7", 600_000, &[25])), asked);
        let target = "192.0.2.7".parse().unwrap();
        let unban = |jail: Option<JailName>| {
            of(&Op::Unban { operator: operator(1), selection: UnbanSelection::Target { target, jail } })
        };
        let others = [
            of(&ban(1, "192.0.2.8", 600_000, &[22])),
            of(&ban(1, "192.0.2.7", 600_001, &[22])),
            unban(None),
            unban(Some(JailName::operator())),
        ];
        for (n, other) in others.iter().enumerate() {
            assert_ne!(*other, asked);
            assert!(!others[..n].contains(other));
        }
    }
}
