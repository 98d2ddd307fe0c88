//! What the operator's service asks of the daemon, answered from the running node.
//!
//! It outlives a join: between two lives of the node, questions are answered by the one that was.

use crate::app::Lives;
use crate::borders::Clock;
use crate::control::{
    About, BackupFacts, ClusterFacts, ColdRecord, Committed, DecisionFacts, FirewallFacts, HistoryFound,
    HistoryWish, Inspection, IssuedCertificate, KeyFacts, MemberFacts, MemberOrder, NewLife, NewToken,
    NodeApi, NodeFacts, OrderFailure, ProposeFailure, RecoverWish, Role, SourceFacts,
};
use crate::disk_failure;
use crate::disk_room;
use crate::evidence;
use crate::firewall_worker::WorkerState;
use crate::history;
use crate::pki::JoinToken;
use crate::recovering;
use crate::running::Running;
use crate::security;
use crate::source::SourcesHandle;
use crate::spectating;
use crate::startup::Reader;
use crate::wire::Security;
use bannkreis_core::ban::Cause;
use bannkreis_core::ban_list::BanView;
use bannkreis_core::command::Op;
use bannkreis_core::event::{Event, Override};
use bannkreis_core::ids::{NodeId, Operator};
use bannkreis_core::node_record::NodeRole;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{Now, Timestamp};
use bannkreis_raft::{Decided, MemberStatus, Order, OrderError, ProposeError};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// The door of this daemon.
pub struct Door {
    /// Gives the running node, and begins a new life.
    pub lives: Arc<Lives>,
    /// When the daemon was started.
    pub started: Instant,
}

impl Door {
    fn running(&self) -> Arc<Running> {
        self.lives.current()
    }
}

#[tonic::async_trait]
impl NodeApi for Door {
    fn view(&self) -> BanView {
        self.running().raft.view()
    }

    fn now(&self) -> Now {
        self.running().clock.now()
    }

    fn node(&self) -> NodeFacts {
        let running = self.running();
        NodeFacts {
            node: running.raft.node_id(),
            name: self.lives.config().name.clone(),
            observe: running.observe,
            is_witness: running.is_witness,
            backend: running.firewall.name(),
            firewall: running.firewall.about().to_owned(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            enforced: running.firewall.enforced(),
            warnings: [
                disk_failure::warning(&self.lives).into_iter().collect(),
                disk_warning(&running, &self.lives.config().state_dir).into_iter().collect(),
                warnings(&running),
                self.lives.not_joined().into_iter().collect(),
            ]
            .concat(),
            halted: running.raft.status().halted,
            sources: sources(&running),
            given_up: running.given_up.by_jail(),
            apart: spectating::apart(&running, &self.lives.config().state_dir),
        }
    }

    fn cluster(&self) -> ClusterFacts {
        let running = self.running();
        let status = running.raft.status();
        let now = running.clock.now().cluster;
        let lost_ms =
            running.no_quorum_since_ms().map(|since_ms| running.clock.boottime_ms().saturating_sub(since_ms));
        let members = |members: &[MemberStatus], is_voter| {
            members.iter().map(|member| member_facts(&running, member, is_voter, now)).collect::<Vec<_>>()
        };
        ClusterFacts {
            cluster: running.raft.cluster_id(),
            generation: running.raft.generation(),
            term: status.term,
            leader: running.raft.leader().map(|(node, _)| node),
            no_quorum_since: lost_ms.map(|ms| now.minus_ms(ms)),
            decisions: decisions(&running, status.leader, &status.decisions),
            members: [members(&status.voters, true), members(&status.learners, false)].concat(),
        }
    }

    async fn inspect(&self, about: About) -> Option<Inspection> {
        let events = self.running().events.clone();
        let asked = tokio::task::spawn_blocking(move || {
            events.ask(move |warden, now| Inspection::of(warden, now, about))
        });
        asked.await.ok().flatten()
    }

    async fn firewall(&self) -> Result<FirewallFacts, String> {
        let worker = self.running().firewall.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let WorkerState { error, n_repairs } = worker.state();
            worker.counters().map(|chains| FirewallFacts { n_repairs, error, chains })
        });
        let answer = asked.await.map_err(|error| format!("the answer was lost: {error}"))?;
        answer.map_err(|error| error.to_string())
    }

    async fn override_here(&self, decisions: Vec<(Subnet, Option<Override>)>) -> Result<(), String> {
        let running = self.running();
        let carried_out = tokio::task::spawn_blocking(move || {
            for (subnet, decision) in decisions {
                running.events.send(Event::Override { subnet, decision });
            }
            // What was sent is done when the warden answers: it has told the kernel and the store.
            running.events.ask(|_, _| ()).ok_or("bannkreisd is stopping: ask again when it runs")?;
            running.firewall.flush();
            running.store.flush().map_err(|error| format!("{error}; it holds until the next restart"))
        });
        carried_out.await.unwrap_or_else(|error| Err(format!("the warden does not answer ({error})")))
    }

    async fn propose(&self, ops: Vec<Op>) -> Result<Committed, ProposeFailure> {
        match self.running().raft.propose(ops).await {
            Ok(proposed) => Ok(Committed { position: proposed.position, results: proposed.results }),
            Err(ProposeError::Unknown { why }) => Err(ProposeFailure::Unknown { why }),
            Err(ProposeError::NoLeader { why } | ProposeError::Busy { why }) => {
                Err(ProposeFailure::NotNow { why })
            }
            Err(ProposeError::Refused { why }) => Err(ProposeFailure::Refused { why }),
        }
    }

    async fn cold_record(&self, cause: Cause) -> Option<ColdRecord> {
        let store = self.running().store.clone();
        let read = tokio::task::spawn_blocking(move || evidence::find(&store, cause).ok().flatten());
        read.await.ok().flatten()
    }

    async fn history(&self, wish: HistoryWish) -> Result<HistoryFound, String> {
        let store = self.running().store.clone();
        let read = tokio::task::spawn_blocking(move || history::find(&store, &wish));
        let found = read.await.map_err(|error| format!("the answer was lost: {error}"))?;
        found.map_err(|error| error.to_string())
    }

    async fn join(&self, host_port: &str, token: &str) -> Result<(), String> {
        let token = match token {
            "" => None,
            text => Some(text.parse::<JoinToken>().map_err(|error| error.to_string())?),
        };
        // A task of its own: a client that hangs up must not leave the node between two lives.
        let (lives, target) = (self.lives.clone(), host_port.to_owned());
        let joined = tokio::spawn(async move { lives.join(&target, token.as_ref()).await }).await;
        joined.unwrap_or_else(|error| Err(format!("joining has failed ({error}); restart bannkreisd")))
    }

    fn keys(&self) -> Result<KeyFacts, String> {
        security::key_facts(&self.running().security)
    }

    async fn renew_certificate(&self) -> Result<(), String> {
        let running = self.running();
        match &running.security {
            Security::Insecure => Err(security::NO_CERTIFICATES.to_owned()),
            Security::Tls(tls) => security::renew(tls, &running.raft, running.clock.wall()).await,
        }
    }

    async fn issue_certificate(
        &self,
        role: Role,
        name: String,
        request: Vec<u8>,
        days: u32,
    ) -> Result<IssuedCertificate, String> {
        let running = self.running();
        security::issue(&running.security, role, name, request, days, running.clock.wall()).await
    }

    async fn order(&self, order: MemberOrder, by: &Operator) -> Result<(), OrderFailure> {
        let order = match order {
            MemberOrder::Remove(node) => Order::Remove(node),
            MemberOrder::Promote(node) => Order::Promote(node),
            MemberOrder::Demote(node) => Order::Demote(node),
            MemberOrder::Lead { to, .. } => Order::Lead(to),
        };
        self.running().raft.order(&order, by).await.map_err(|error| match error {
            OrderError::NotNow(why) => OrderFailure::NotNow { why },
            OrderError::Refused(why) => OrderFailure::Refused { why },
        })
    }

    async fn leave(&self, by: Operator, force: bool) -> Result<(), String> {
        // A task of its own, as for a join.
        let lives = self.lives.clone();
        let left = tokio::spawn(async move { lives.leave(&by, force).await }).await;
        left.unwrap_or_else(|error| Err(format!("leaving has failed ({error}); restart bannkreisd")))
    }

    fn make_token(&self) -> Result<NewToken, String> {
        let authority = security::authority(&self.running().security)?;
        let token = JoinToken::make(authority).map_err(|error| error.to_string())?;
        Ok(NewToken { text: token.to_string(), hash: token.hash() })
    }

    async fn back_up(&self, with_keys: bool) -> Result<(BackupFacts, File), String> {
        recovering::back_up(self.running(), with_keys).await
    }

    fn spool(&self) -> Result<File, String> {
        recovering::spool(self.lives.config())
    }

    async fn check_backup(&self, file: File) -> Result<BackupFacts, String> {
        recovering::read(file).await.map(|backup| backup.facts())
    }

    async fn restore(&self, file: File, is_confirmed: bool) -> Result<(BackupFacts, NewLife), String> {
        // A task of its own, as for joining.
        let lives = self.lives.clone();
        let done = tokio::spawn(async move { recovering::restore(&lives, file, is_confirmed).await }).await;
        done.unwrap_or_else(|error| Err(format!("the restore has failed ({error}); restart bannkreisd")))
    }

    async fn recover(&self, wish: RecoverWish) -> Result<NewLife, String> {
        let lives = self.lives.clone();
        let done = tokio::spawn(async move { recovering::recover(&lives, wish).await }).await;
        done.unwrap_or_else(|error| Err(format!("the recovery has failed ({error}); restart bannkreisd")))
    }
}

/// What is to be said of the room on the disk.
fn disk_warning(running: &Running, state_dir: &Path) -> Option<String> {
    running.raft.no_room().or_else(|| disk_room::warning(state_dir))
}

/// What the operator must know, the gravest first.
fn warnings(running: &Running) -> Vec<String> {
    let firewall = running.firewall.state();
    let refused = firewall.error.map(|why| format!("the firewall refuses: {why}"));
    let repaired = (firewall.n_repairs > 0).then(|| {
        format!(
            "the firewall was not as bannkreis had left it, and was repaired, {} times",
            firewall.n_repairs
        )
    });
    let found: Vec<String> = [refused, repaired].into_iter().flatten().collect();
    [found, running.warnings.clone()].concat()
}

/// This leader's own decisions, or what the leader has told.
fn decisions(running: &Running, leader: Option<NodeId>, own: &[Decided]) -> Vec<DecisionFacts> {
    let decided = match leader {
        Some(leader) if leader == running.raft.node_id() => own.to_vec(),
        Some(leader) => running.peers.decisions(leader),
        None => Vec::new(),
    };
    let facts = |Decided { about, step, why }| DecisionFacts { about, step, why };
    decided.into_iter().map(facts).collect()
}

fn sources(running: &Running) -> Vec<SourceFacts> {
    let known = running.sources.ask(SourcesHandle::status).unwrap_or_default();
    let of_reader = |reader: &Reader| {
        let found = known.iter().filter(|status| status.logs.contains(&reader.log));
        let mut facts: Vec<SourceFacts> = found
            .map(|status| SourceFacts {
                jail: reader.jail.clone(),
                name: status.name.clone(),
                n_lines: status.n_lines,
                error: status.error.clone(),
            })
            .collect();
        // Wildcards that lead nowhere yet.
        if facts.is_empty() {
            let name = reader.name.clone();
            facts.push(SourceFacts { jail: reader.jail.clone(), name, n_lines: 0, error: None });
        }
        facts
    };
    running.readers.iter().flat_map(of_reader).collect()
}

fn member_facts(running: &Running, member: &MemberStatus, is_voter: bool, now: Timestamp) -> MemberFacts {
    let boottime_ms = running.clock.boottime_ms();
    let view = running.raft.view();
    let record = view.node(member.node).map(|entry| &entry.record);
    // A node that has lost its log still stands there under its former id.
    let former = running.raft.spectator().map(|lost| lost.former);
    let is_self = member.node == running.raft.node_id() || former == Some(member.node);
    let told = running.peers.get(member.node);
    let is_witness = record.is_some_and(|record| record.role == NodeRole::Witness);
    let name = record.map(|record| record.name.clone()).filter(|name| !name.is_empty());
    let ahead_ms = |clock: Timestamp| {
        i64::try_from(clock.0).unwrap_or(i64::MAX).saturating_sub(i64::try_from(now.0).unwrap_or(i64::MAX))
    };
    let known = MemberFacts {
        node: member.node,
        name: name.unwrap_or_else(|| member.name.clone()),
        address: member.address.clone(),
        is_voter,
        is_reachable: is_self || told.is_some_and(|told| told.is_reachable(boottime_ms)),
        heard_ms_ago: None,
        applied: Some(view.position()),
        enforced: Some(running.firewall.enforced()),
        is_enforcing: !is_witness && !running.observe && running.firewall.name() != "none",
        clock_ahead_ms: Some(ahead_ms(running.clock.wall())),
        n_overrides: u64::from(running.counts.n_overrides()),
    };
    if is_self {
        return known;
    }
    MemberFacts {
        heard_ms_ago: told.map(|told| boottime_ms.saturating_sub(told.heard_at_ms)),
        applied: told.map(|told| told.facts.applied),
        enforced: told.map(|told| told.facts.enforced),
        is_enforcing: !is_witness && !told.is_some_and(|told| told.facts.observe),
        clock_ahead_ms: told.map(|told| ahead_ms(told.clock_now(boottime_ms))),
        n_overrides: told.map_or(0, |told| u64::from(told.facts.n_overrides)),
        ..known
    }
}
