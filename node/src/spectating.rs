//! A node that takes no part in its cluster: it says why and what to type, and, when it has lost its log, asks the
//! members to be taken in again under its new id. Meanwhile it protects its host as ever.
//!
//! Not for losing the log and the new id (`bannkreis-raft`), nor for going on alone (`recovering.rs`).

use crate::borders::Clock;
use crate::clock::SystemClock;
use crate::config::NodeConfig;
use crate::joining;
use crate::pki::{Keyring, PkiError};
use crate::running::Running;
use crate::security;
use crate::wire::{Applicant, NotLetIn, Security, Tls, ask_to_be_let_in};
use bannkreis_raft::{Apart, JoinError, RaftNode, Spectator, damaged_snapshots as damaged_files};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A member is asked again and again for so long, before another one is.
const ASK_PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two rounds of asking.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// Why this node takes no part in its cluster, and what to type: a sentence.
#[must_use]
pub fn apart(running: &Running, state_dir: &Path) -> Option<String> {
    let raft = &running.raft;
    let last_answer = || running.last_answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(why) = joining::unfinished(state_dir, &last_answer()) {
        return Some(why);
    }
    if let Some(lost) = raft.spectator() {
        let position = raft.view().position();
        let addresses = members_known(raft, &lost);
        let next = if addresses.is_empty() {
            "there is nobody to ask: `bannkreis cluster recover` goes on from there".to_owned()
        } else {
            let answer = last_answer();
            let answer =
                if answer.is_empty() { String::new() } else { format!("; the last answer: {answer}") };
            format!(
                "it asks {} to be taken in again{answer}. If none of them comes back, `bannkreis cluster recover` goes \
                 on from there",
                addresses.into_iter().collect::<Vec<_>>().join(", ")
            )
        };
        return Some(format!(
            "spectator: {}; it goes on blocking by its snapshot of {position} and its own logs; {next}",
            lost.why
        ));
    }
    let join = |address: &str| {
        format!(
            "`bannkreis token create` on that host prints the command to run here (bannkreis cluster join {address} \
             --token TOKEN)"
        )
    };
    Some(match raft.apart()? {
        Apart::Superseded { generation, address } => format!(
            "the cluster was recovered without this node and is of generation {generation}, this node of {}: {}; its bans \
             come along",
            raft.generation(),
            join(&address)
        ),
        Apart::Refused { address, why } => {
            format!(
                "the cluster goes on without this node: {address} says that {why}. `bannkreis cluster leave --force` makes it \
                 a cluster of one with all its bans and a new key; then it can join again"
            )
        }
    })
}

/// What to say of snapshots that could not be read, each a sentence.
#[must_use]
pub fn damaged_snapshots(state_dir: &Path) -> Vec<String> {
    let sentence = |path: std::path::PathBuf| {
        format!(
            "a snapshot could not be read and was put aside, an older one serves: look at the disk, then remove {}",
            path.display()
        )
    };
    damaged_files(state_dir).into_iter().map(sentence).collect()
}

/// Where the other members are, as far as a node without a log knows.
fn members_known(raft: &RaftNode, lost: &Spectator) -> BTreeSet<String> {
    let status = raft.status();
    let is_other = |node| node != lost.former && node != raft.node_id();
    let members = status.voters.iter().chain(&status.learners);
    let members: BTreeSet<String> =
        members.filter(|member| is_other(member.node)).map(|member| member.address.clone()).collect();
    members.into_iter().filter(|address| !address.is_empty()).collect()
}

/// What a node needs to be taken in again.
pub struct Asking {
    raft: RaftNode,
    security: Security,
    clock: Arc<SystemClock>,
    name: String,
    /// Where peers reach it.
    address: String,
    last_answer: Arc<Mutex<String>>,
}

impl Asking {
    /// For this node.
    #[must_use]
    pub fn of(running: &Running, config: &NodeConfig) -> Asking {
        Asking {
            raft: running.raft.clone(),
            security: running.security.clone(),
            clock: running.clock.clone(),
            name: config.name.clone(),
            address: config.advertised(),
            last_answer: running.last_answer.clone(),
        }
    }

    /// Asks until the cluster has taken this node in, if it has lost its log. Where it was alone there is nobody to
    /// ask, and this never returns.
    pub async fn ask(&self) {
        let Some(lost) = self.raft.spectator() else { return };
        if self.raft.status().is_member {
            self.show_new_id();
        }
        let mut said = String::new();
        while !self.raft.status().is_member {
            for address in members_known(&self.raft, &lost) {
                let Err(why) = self.ask_at(&address, &lost).await else { break };
                if why != said {
                    tracing::warn!("this node is not taken in again yet: {why}; it is tried again");
                    said.clone_from(&why);
                }
                self.note(why);
            }
            tokio::time::sleep(ASK_PAUSE).await;
        }
    }

    /// Remembers what came of asking, for people.
    pub fn note(&self, why: String) {
        *self.last_answer.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    async fn ask_at(&self, address: &str, lost: &Spectator) -> Result<(), String> {
        if let Security::Tls(tls) = &self.security {
            self.be_certified(tls, address, lost).await?;
        }
        match self.raft.request_join_then(address, ASK_PATIENCE, || self.show_new_id()).await {
            Ok(()) => Ok(()),
            Err(JoinError::Refused { why } | JoinError::NotNow { why }) => Err(format!("{address}: {why}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Until now, peers have sent their notices to the node that they knew.
    fn show_new_id(&self) {
        if let Security::Tls(tls) = &self.security {
            tls.keyring().drop_former();
        }
    }

    /// A node that can not sign for itself gets a certificate for its new id by its old one: the key is the same.
    async fn be_certified(&self, tls: &Tls, address: &str, lost: &Spectator) -> Result<(), String> {
        let shown = tls.keyring().sessions().ok_or("this node's certificates are not open yet")?;
        if !tls.keyring().is_own() || shown.own.node() == Some(self.raft.node_id()) {
            return Ok(());
        }
        let request = security::on_keyring(tls, Keyring::request).await.map_err(|PkiError(why)| why)?;
        let applicant = Applicant {
            secret: Vec::new(),
            node: self.raft.node_id(),
            name: self.name.clone(),
            request: request.unwrap_or_default(),
            from_cluster: self.raft.cluster_id(),
            address: self.address.clone(),
            former: Some(lost.former),
        };
        let signed = ask_to_be_let_in(tls, address, &applicant).await;
        let signed = signed.map_err(|(NotLetIn::Refused(why) | NotLetIn::NotNow(why))| why)?;
        let now = self.clock.wall();
        let installed = security::on_keyring(tls, move |keyring| keyring.install(&signed, now)).await;
        installed.map_err(|PkiError(why)| why)?;
        // Under the new certificate from here on.
        tls.reconnect();
        Ok(())
    }

    /// The cluster knows this node again, and this node has all the cluster has.
    pub fn taken_in(&self) {
        if self.raft.spectator().is_none() {
            return;
        }
        match self.raft.is_taken_in() {
            Ok(()) => tracing::info!("the cluster has taken this node in again, as {}", self.raft.node_id()),
            Err(error) => {
                tracing::error!("the note that this node was a spectator can not be removed: {error}");
            }
        }
    }
}
