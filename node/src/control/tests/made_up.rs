//! A node whose cluster answers as a test wants it.

use crate::control::{
    About, BackupFacts, CertificateFacts, ClusterFacts, ColdRecord, Committed, FirewallFacts, HistoryFact,
    HistoryFound, HistoryWish, Inspection, IssuedCertificate, KeyFacts, MemberFacts, MemberOrder, NewLife,
    NewToken, NodeApi, NodeFacts, OrderFailure, Peer, ProposeFailure, RecoverWish, Role,
};
use bannkreis_core::ban::Cause;
use bannkreis_core::ban_list::{BanList, BanView};
use bannkreis_core::command::{Command, LEVEL, Op};
use bannkreis_core::event::Override;
use bannkreis_core::history::{HistoryEntry, entries};
use bannkreis_core::ids::{ClusterId, NodeId, Operator, Position};
use bannkreis_core::jail::{JailName, Ports};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::ruleset::Chain;
use bannkreis_core::settings::Settings;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{HOUR_MS, Now, Timestamp};
use bannkreis_firewall::ChainCounter;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::Mutex;

/// This node.
pub(super) const HERE: NodeId = NodeId(1);
/// The time on every clock.
pub(super) const NOW: Timestamp = Timestamp(1_000 * HOUR_MS);

/// What becomes of one call of `propose`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Written, and nobody learns of it.
    WrittenUnheard,
    /// Not written, and nobody learns of it.
    LostUnheard,
    /// Not written: no leader.
    NoLeader,
}

pub(super) struct MadeUp {
    state: Mutex<State>,
    inspection: Inspection,
    backend: &'static str,
    halted: Option<String>,
    /// So much has passed since everything was written.
    ahead_ms: u64,
}

struct State {
    list: BanList,
    cold: BTreeMap<Cause, ColdRecord>,
    /// The oldest first.
    history: Vec<HistoryFact>,
    members: Vec<MemberFacts>,
    fates: VecDeque<Fate>,
    n_proposals: usize,
    n_tokens: u8,
    /// What was decided here, beside what the inspection says.
    overrides: BTreeMap<Subnet, Override>,
    /// What becomes of the next orders; those after them are carried out.
    order_failures: VecDeque<OrderFailure>,
    leader: NodeId,
    no_quorum_since: Option<Timestamp>,
    /// Member, and how many looks at the cluster it takes until it enforces everything.
    catching_up: Vec<(NodeId, u32)>,
}

impl MadeUp {
    /// A node `kopano` with the peers `kerio` and `mx1`, all of which enforce at once.
    pub(super) fn new() -> MadeUp {
        MadeUp::knowing(Inspection::default())
    }

    /// The same, whose warden knows this.
    pub(super) fn knowing(inspection: Inspection) -> MadeUp {
        let mut list = BanList::new(Settings::at_birth([7; 16]));
        let names = [(HERE, "kopano"), (NodeId(2), "kerio"), (NodeId(3), "mx1")];
        let ops = names.map(|(node, name)| {
            let own = vec![format!("198.51.100.{}", node.0).parse().unwrap()];
            Op::NodeSeen(NodeRecord {
                node,
                name: name.to_owned(),
                own,
                level_max: LEVEL,
                ..NodeRecord::default()
            })
        });
        let readings = vec![(HERE, NOW)];
        let ops = [Op::Tick { readings }].into_iter().chain(ops).collect();
        list.apply(
            Position { generation: 1, index: 1 },
            &Command { at: NOW, level: LEVEL, ops, ..Command::default() },
        );
        let member = |(node, name): (NodeId, &str)| MemberFacts {
            node,
            name: name.to_owned(),
            address: format!("{name}:7420"),
            is_voter: true,
            is_reachable: true,
            heard_ms_ago: (node != HERE).then_some(40),
            applied: None,
            enforced: None,
            is_enforcing: true,
            clock_ahead_ms: Some(0),
            n_overrides: 0,
        };
        let state = State {
            list,
            cold: BTreeMap::new(),
            history: Vec::new(),
            members: names.map(member).to_vec(),
            fates: VecDeque::new(),
            n_proposals: 0,
            n_tokens: 0,
            overrides: BTreeMap::new(),
            order_failures: VecDeque::new(),
            leader: NodeId(2),
            no_quorum_since: None,
            catching_up: names.map(|(node, _)| (node, 0)).to_vec(),
        };
        MadeUp { state: Mutex::new(state), inspection, backend: "nftables", halted: None, ahead_ms: 0 }
    }

    /// The next proposals end like this; those after them are committed.
    pub(super) fn fated(self, fates: &[Fate]) -> MadeUp {
        self.with(|state| state.fates.extend(fates));
        self
    }

    /// The next orders end like this; those after them are carried out.
    pub(super) fn reluctant(self, failures: &[OrderFailure]) -> MadeUp {
        self.with(|state| state.order_failures.extend(failures.iter().cloned()));
        self
    }

    /// Another one leads now.
    pub(super) fn lead(&self, node: NodeId) {
        self.with(|state| state.leader = node);
    }

    /// A member is reached elsewhere.
    pub(super) fn with_address(&self, node: NodeId, address: &str) {
        self.with(|state| {
            let member = state.members.iter_mut().find(|member| member.node == node).unwrap();
            member.address = address.to_owned();
        });
    }

    /// A majority was heard for the last time at `since`.
    pub(super) fn lose_quorum(&self, since: Timestamp) {
        self.with(|state| state.no_quorum_since = Some(since));
    }

    /// This node has no firewall.
    pub(super) fn without_firewall(mut self) -> MadeUp {
        self.backend = "none";
        self
    }

    /// This node can not follow the Raft log any further.
    pub(super) fn halted_by(mut self, why: &str) -> MadeUp {
        self.halted = Some(why.to_owned());
        self
    }

    /// So much later than everything that is written.
    pub(super) fn ahead_by(mut self, ms: u64) -> MadeUp {
        self.ahead_ms = ms;
        self
    }

    /// Only the first members, of which the first ones vote.
    pub(super) fn reduced_to(self, n_members: usize, n_voters: usize) -> MadeUp {
        self.with(|state| {
            state.members.truncate(n_members);
            state.catching_up.truncate(n_members);
            state.members.iter_mut().skip(n_voters).for_each(|member| member.is_voter = false);
        });
        self
    }

    /// A member that is not heard, and enforces nothing new.
    pub(super) fn without(self, node: NodeId) -> MadeUp {
        self.with(|state| {
            let member = state.members.iter_mut().find(|member| member.node == node).unwrap();
            (member.is_reachable, member.heard_ms_ago) = (false, Some(90_000));
            state.catching_up.retain(|(other, _)| *other != node);
        });
        self
    }

    /// A member that enforces what is new only when the cluster was looked at so often.
    pub(super) fn slow(self, node: NodeId, n_looks: u32) -> MadeUp {
        self.with(|state| {
            state.catching_up.retain(|(other, _)| *other != node);
            state.catching_up.push((node, n_looks));
        });
        self
    }

    /// Commits operations, as any node may at any time.
    pub(super) fn apply(&self, ops: Vec<Op>) -> Committed {
        self.with(|state| state.apply(ops))
    }

    /// This node has nothing more of what is over than the ban list.
    pub(super) fn forget_history(&self) {
        self.with(|state| state.history.clear());
    }

    /// What is kept of the first operation of an entry is another one.
    pub(super) fn mistake_evidence(&self, position: Position, op: Op) {
        self.with(|state| state.cold.insert(Cause::new(position, 0), ColdRecord { at: NOW, op }));
    }

    pub(super) fn n_proposals(&self) -> usize {
        self.with(|state| state.n_proposals)
    }

    pub(super) fn is_banned(&self, subnet: &str, jail: &str) -> bool {
        let key = bannkreis_core::change::BanKey {
            subnet: subnet.parse().unwrap(),
            jail: JailName::new(jail).unwrap(),
        };
        self.view().live(&key, NOW).is_some()
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap())
    }
}

impl State {
    fn apply(&mut self, ops: Vec<Op>) -> Committed {
        let before = self.list.position();
        let position = Position { index: before.index + 1, ..before };
        for (n, op) in ops.iter().enumerate() {
            let cause = Cause::new(position, u32::try_from(n).unwrap());
            self.cold.insert(cause, ColdRecord { at: NOW, op: op.clone() });
        }
        let command = Command { at: NOW, level: LEVEL, ops, ..Command::default() };
        let applied = self.list.apply(position, &command);
        for (_, entry) in entries(position, self.list.now(), &command, &applied) {
            let evidence = match &entry {
                HistoryEntry::Ended(ended) => self.cold.get(&ended.cause).cloned(),
                HistoryEntry::Given(_) => None,
            };
            self.history.push(HistoryFact { entry, names: Vec::new(), evidence });
        }
        Committed { position, results: applied.results }
    }
}

/// Root, on this node.
pub(super) fn root() -> Peer {
    Peer { node_id: HERE, role: Role::Admin, author: "uid 0 (root)".to_owned(), from: None }
}

#[tonic::async_trait]
impl NodeApi for MadeUp {
    fn view(&self) -> BanView {
        self.with(|state| state.list.view())
    }

    fn now(&self) -> Now {
        let now = NOW.plus_ms(self.ahead_ms);
        Now::known(now, now)
    }

    fn node(&self) -> NodeFacts {
        NodeFacts {
            node: HERE,
            name: "kopano".to_owned(),
            observe: false,
            is_witness: false,
            backend: self.backend,
            firewall: format!("{} (as configured)", self.backend),
            uptime_ms: 60_000,
            enforced: self.view().position(),
            warnings: Vec::new(),
            halted: self.halted.clone(),
            sources: Vec::new(),
            given_up: vec![(JailName::new("kopano-webapp").expect("a name"), 3)],
            apart: None,
        }
    }

    fn cluster(&self) -> ClusterFacts {
        self.with(|state| {
            let position = state.list.position();
            for (node, n_looks) in &mut state.catching_up {
                let Some(member) = state.members.iter_mut().find(|member| member.node == *node) else {
                    continue;
                };
                if *n_looks == 0 {
                    (member.applied, member.enforced) = (Some(position), Some(position));
                } else {
                    *n_looks -= 1;
                }
            }
            ClusterFacts {
                cluster: ClusterId([3; 16]),
                generation: 1,
                term: 4,
                leader: Some(state.leader),
                no_quorum_since: state.no_quorum_since,
                members: state.members.clone(),
                decisions: Vec::new(),
            }
        })
    }

    async fn inspect(&self, _about: About) -> Option<Inspection> {
        let overrides = self.with(|state| state.overrides.clone());
        let told = self.inspection.overrides.iter().cloned();
        let overrides: Vec<_> = told.chain(overrides).collect();
        Some(Inspection { n_overrides: overrides.len(), overrides, ..self.inspection.clone() })
    }

    async fn firewall(&self) -> Result<FirewallFacts, String> {
        let chain = |jail: &str, ports| Chain { jail: JailName::new(jail).expect("a name"), ports };
        let counter = |jail, packets| ChainCounter {
            chain: chain(jail, Ports::tcp(&[443])),
            packets,
            bytes: packets * 60,
        };
        Ok(FirewallFacts { n_repairs: 2, error: None, chains: vec![counter("web", 7), counter("mail", 90)] })
    }

    async fn override_here(&self, decisions: Vec<(Subnet, Option<Override>)>) -> Result<(), String> {
        self.with(|state| {
            for (subnet, decision) in decisions {
                state.overrides.remove(&subnet);
                state.overrides.extend(decision.map(|decision| (subnet, decision)));
            }
        });
        Ok(())
    }

    async fn propose(&self, ops: Vec<Op>) -> Result<Committed, ProposeFailure> {
        self.with(|state| {
            state.n_proposals += 1;
            let why = || "the leader went away".to_owned();
            match state.fates.pop_front() {
                None => Ok(state.apply(ops)),
                Some(Fate::WrittenUnheard) => {
                    state.apply(ops);
                    Err(ProposeFailure::Unknown { why: why() })
                }
                Some(Fate::LostUnheard) => Err(ProposeFailure::Unknown { why: why() }),
                Some(Fate::NoLeader) => Err(ProposeFailure::NotNow { why: "no leader is known".to_owned() }),
            }
        })
    }

    async fn cold_record(&self, cause: Cause) -> Option<ColdRecord> {
        self.with(|state| state.cold.get(&cause).cloned())
    }

    async fn history(&self, wish: HistoryWish) -> Result<HistoryFound, String> {
        let is_asked_for = |entry: &HistoryEntry| {
            let about = |target: Subnet| entry.subnet().is_some_and(|subnet| subnet.intersects(target));
            wish.target.is_none_or(about) && wish.jail.as_ref().is_none_or(|only| entry.jail() == Some(only))
        };
        let mut facts = self.with(|state| state.history.clone());
        facts.reverse();
        facts.retain(|fact| is_asked_for(&fact.entry));
        let is_cut = facts.len() > wish.n_max;
        facts.truncate(wish.n_max);
        Ok(HistoryFound { facts, is_cut })
    }

    async fn join(&self, host_port: &str, _token: &str) -> Result<(), String> {
        Err(format!("nobody answers at {host_port}"))
    }

    fn keys(&self) -> Result<KeyFacts, String> {
        let (own, authorities) = (None, Vec::new());
        Ok(KeyFacts { mode: "insecure", has_authority: false, own, authorities, renew_at: None })
    }

    async fn renew_certificate(&self) -> Result<(), String> {
        Err("there are no certificates".to_owned())
    }

    async fn issue_certificate(
        &self,
        role: Role,
        name: String,
        _request: Vec<u8>,
        days: u32,
    ) -> Result<IssuedCertificate, String> {
        let facts = CertificateFacts {
            subject: name,
            role: role.name(),
            issuer: "the cluster".to_owned(),
            fingerprint: String::new(),
            serial: String::new(),
            names: Vec::new(),
            not_before: NOW,
            not_after: NOW.plus_ms(u64::from(days) * 24 * HOUR_MS),
        };
        Ok(IssuedCertificate { certificate_pem: String::new(), authority_pem: String::new(), facts })
    }

    async fn order(&self, order: MemberOrder, _by: &Operator) -> Result<(), OrderFailure> {
        self.with(|state| {
            if let Some(failure) = state.order_failures.pop_front() {
                return Err(failure);
            }
            match order {
                MemberOrder::Remove(node) => state.members.retain(|member| member.node != node),
                MemberOrder::Promote(node) | MemberOrder::Demote(node) => {
                    let member = state.members.iter_mut().find(|member| member.node == node).unwrap();
                    member.is_voter = matches!(order, MemberOrder::Promote(_));
                }
                MemberOrder::Lead { to, .. } => state.leader = to.unwrap_or(NodeId(3)),
            }
            Ok(())
        })
    }

    async fn leave(&self, _by: Operator, force: bool) -> Result<(), String> {
        if !force {
            return Err("the cluster does not let this node go".to_owned());
        }
        self.with(|state| state.members.retain(|member| member.node == HERE));
        Ok(())
    }

    fn make_token(&self) -> Result<NewToken, String> {
        self.with(|state| {
            state.n_tokens += 1;
            Ok(NewToken { text: format!("bkt1_{}", state.n_tokens), hash: vec![state.n_tokens; 32] })
        })
    }

    async fn back_up(&self, _with_keys: bool) -> Result<(BackupFacts, File), String> {
        Err("there is no disk here".to_owned())
    }

    fn spool(&self) -> Result<File, String> {
        Err("there is no disk here".to_owned())
    }

    async fn check_backup(&self, _file: File) -> Result<BackupFacts, String> {
        Err("there is no disk here".to_owned())
    }

    async fn restore(&self, _file: File, _is_confirmed: bool) -> Result<(BackupFacts, NewLife), String> {
        Err("there is no disk here".to_owned())
    }

    async fn recover(&self, wish: RecoverWish) -> Result<NewLife, String> {
        let view = self.view();
        Ok(NewLife {
            is_done: wish.is_confirmed,
            cluster: self.cluster().cluster,
            generation: self.cluster().generation + 1,
            position: view.position(),
            n_bans: view.n_bans() as u64,
            consequences: match wish.new_time {
                Some(_) => vec!["the clock is set".to_owned()],
                None => vec!["kerio is given up".to_owned()],
            },
        })
    }
}
