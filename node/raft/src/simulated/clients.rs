//! Clients: they ban and unban through whichever node runs, ask again what they got no answer to, and tell the oracle
//! what was acknowledged. Each has subnets of its own, so it knows what is to be expected of them.

use super::host::Host;
use super::oracle::{GOES_ON, Oracle, jail, subnet};
use super::random::Random;
use crate::handle::RaftNode;
use crate::proposer::ProposeError;
use bannkreis_core::change::{OpResult, Outcome};
use bannkreis_core::command::{Op, UnbanSelection};
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::jail::Ports;
use bannkreis_core::time::BanTime;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bans outlast every world.
const BAN_MS: u64 = 30 * 24 * 3_600_000;
/// A client has so many subnets.
pub(super) const SUBNETS: u32 = 60;
/// A client whose node does not answer asks another one after this long.
const PATIENCE: Duration = Duration::from_secs(6);

/// See the module.
pub(super) struct Client {
    pub(super) number: u32,
    pub(super) hosts: Arc<Vec<Host>>,
    pub(super) oracle: Arc<Oracle>,
    pub(super) random: Random,
    pub(super) is_over: Arc<AtomicBool>,
}

pub(super) fn operator(node: NodeId, command_id: u128) -> Operator {
    Operator { command_id: CommandId(command_id), node, author: "client".to_owned(), reason: String::new() }
}

pub(super) fn op(n: u32, is_ban: bool, operator: Operator) -> Op {
    if is_ban {
        Op::OperatorBan {
            operator,
            target: subnet(n),
            jail: jail(),
            ban_time: BanTime::Ms(BAN_MS),
            ports: Ports::whole_host(),
            force: false,
        }
    } else {
        let selection = UnbanSelection::Target { target: subnet(n), jail: None };
        Op::Unban { operator, selection }
    }
}

impl Client {
    /// Until it is over; then what it has begun is finished first.
    pub(super) async fn run(mut self) {
        let mut banned = vec![false; SUBNETS as usize];
        for command in 1u128.. {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let pause = Duration::from_millis(self.random.between(5, 400));
            tokio::time::sleep(pause).await;
            let own = self.random.index(banned.len());
            // Mostly bans, so that the list grows.
            let is_ban = !banned[own] || self.random.chance(300);
            let n = self.number * SUBNETS + u32::try_from(own).unwrap_or(0);
            self.oracle.unsettle(n);
            self.insist(n, is_ban, u128::from(self.number + 1) << 64 | command).await;
            banned[own] = is_ban;
        }
    }

    /// Asks until it is acknowledged.
    async fn insist(&mut self, n: u32, is_ban: bool, command_id: u128) {
        loop {
            let number = self.random.index(self.hosts.len());
            let Some(node) = self.hosts[number].node() else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let asked = node.propose(vec![op(n, is_ban, operator(node.node_id(), command_id))]);
            let answer = tokio::time::timeout(PATIENCE, asked).await;
            // The answer of a node that has died meanwhile has reached nobody.
            let is_gone = self.hosts[number].node().is_none_or(|now| !is_same(&now, &node));
            match answer {
                _ if is_gone => self.oracle.happened("client: its node died"),
                Err(_) => self.oracle.happened("client: no answer"),
                Ok(Err(ProposeError::Unknown { .. })) => self.oracle.happened("client: unknown outcome"),
                Ok(Err(ProposeError::NoLeader { .. })) => self.oracle.happened("client: no leader"),
                Ok(Err(error)) => {
                    self.oracle.happened("client: refused");
                    self.oracle.note(format_args!("host {number} refuses: {error}"));
                }
                Ok(Ok(proposed)) => {
                    match &proposed.results[..] {
                        [OpResult::Operator { outcome: Outcome::Done { .. }, .. }] => {}
                        other => self.oracle.broke(GOES_ON, format_args!("{n}: {other:?}")),
                    }
                    self.oracle.happened(if is_ban { "client: banned" } else { "client: unbanned" });
                    self.oracle.acknowledged(n, is_ban, proposed.position);
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn is_same(one: &RaftNode, other: &RaftNode) -> bool {
    Arc::ptr_eq(&one.inner, &other.inner)
}
