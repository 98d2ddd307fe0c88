//! One stream to each peer, over which notices go at once, reports in batches, and a heartbeat every second.
//!
//! Messages are one-way and may be lost. Of what a lost notice says, the Raft log brings the ban; what a lost report
//! says does not count with the peer's own failures, until it is reached anew. A link that breaks is made again for as
//! long as its peer is a member.

use super::heartbeat::{HEARTBEAT_INTERVAL, SelfFacts, decisions_to_wire};
use super::{NOTICES_PER_MESSAGE_MAX, REPORTS_PER_MESSAGE_MAX};
use bannkreis_core::ids::{NodeId, Position};
use bannkreis_core::proposal::{Notice, Report};
use bannkreis_proto::v1;
use bannkreis_proto::v1::peers_client::PeersClient;
use bannkreis_raft::{Connect, RaftNode, rhythm};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

/// Messages that wait for a slow peer; what comes when it is full is dropped for that peer.
const QUEUE_MAX: usize = 1_024;
/// Of these, reports take so many at most: notices always find room, and a peer that has stopped reading holds some
/// megabytes at the most.
const REPORTS_QUEUED_MAX: usize = 64;
/// Messages on their way to the transport.
const STREAM_MAX: usize = 16;
/// So long after the firewall has got further this is told, so that much progress is one message. Nothing else waits
/// for that.
const NEWS_PAUSE: Duration = Duration::from_millis(2);
/// Pause before a broken link is made again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(300);

/// A peer as the membership has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// `host:port`.
    pub address: String,
}

struct Link {
    address: String,
    queue: mpsc::Sender<v1::PeerMessage>,
    task: JoinHandle<()>,
}

/// Called, and never waited for, when a peer can be told something again.
pub(crate) type OnReached = Arc<dyn Fn(NodeId) + Send + Sync>;

/// Links to all peers.
pub struct Links {
    connect: Arc<dyn Connect>,
    facts: Arc<dyn Fn() -> SelfFacts + Send + Sync>,
    enforced: watch::Receiver<Position>,
    raft: RaftNode,
    on_reached: OnReached,
    runtime: tokio::runtime::Handle,
    links: Mutex<BTreeMap<NodeId, Link>>,
}

impl Links {
    /// No links yet. `facts` is asked for every heartbeat; there is an extra one when `enforced` moves on.
    pub fn new(
        raft: RaftNode,
        connect: Arc<dyn Connect>,
        facts: Arc<dyn Fn() -> SelfFacts + Send + Sync>,
        enforced: watch::Receiver<Position>,
        on_reached: OnReached,
        runtime: tokio::runtime::Handle,
    ) -> Links {
        Links { connect, facts, enforced, raft, on_reached, runtime, links: Mutex::default() }
    }

    /// Makes links to these peers, and ends those to others.
    pub fn set_members(&self, members: &[Member]) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|node, link| {
            let stays = members.iter().any(|member| member.node == *node && member.address == link.address);
            if !stays {
                link.task.abort();
            }
            stays
        });
        for member in members.iter().filter(|member| member.node != self.raft.node_id()) {
            links.entry(member.node).or_insert_with(|| self.open(member));
        }
    }

    /// Tells every peer, without waiting.
    pub fn notify(&self, notices: &[Notice]) {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        for part in notices.chunks(NOTICES_PER_MESSAGE_MAX) {
            let notices = v1::Notices { notices: part.iter().map(v1::Notice::from).collect() };
            let message = v1::PeerMessage { message: Some(v1::peer_message::Message::Notices(notices)) };
            for link in links.values() {
                // A peer that is too slow hears of it from the Raft log.
                let _ = link.queue.try_send(message.clone());
            }
        }
    }

    /// Tells one peer, or every one, of failures, without waiting.
    pub fn report(&self, to: Option<NodeId>, reports: &[Report]) {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        for part in reports.chunks(REPORTS_PER_MESSAGE_MAX) {
            let reports = v1::Reports { reports: part.iter().map(v1::Report::from).collect() };
            let message = v1::PeerMessage { message: Some(v1::peer_message::Message::Reports(reports)) };
            for (_, link) in links.iter().filter(|(node, _)| to.is_none_or(|only| only == **node)) {
                // A peer that is too slow counts what it has seen itself.
                if link.queue.capacity() > QUEUE_MAX - REPORTS_QUEUED_MAX {
                    let _ = link.queue.try_send(message.clone());
                }
            }
        }
    }

    /// Ends all links.
    pub fn stop(&self) {
        self.set_members(&[]);
    }

    fn open(&self, member: &Member) -> Link {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let runner = LinkRunner {
            member: member.clone(),
            connect: self.connect.clone(),
            facts: self.facts.clone(),
            enforced: self.enforced.clone(),
            raft: self.raft.clone(),
            on_reached: self.on_reached.clone(),
        };
        let task = self.runtime.spawn(runner.run(messages));
        Link { address: member.address.clone(), queue, task }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.stop();
    }
}

struct LinkRunner {
    member: Member,
    connect: Arc<dyn Connect>,
    facts: Arc<dyn Fn() -> SelfFacts + Send + Sync>,
    enforced: watch::Receiver<Position>,
    raft: RaftNode,
    on_reached: OnReached,
}

impl LinkRunner {
    async fn run(self, mut messages: mpsc::Receiver<v1::PeerMessage>) {
        loop {
            if let Ok(channel) = self.connect.connect(&self.member.address, Some(self.member.node)).await {
                // What was meant for a peer that could not be reached is old when it can.
                while messages.try_recv().is_ok() {}
                (self.on_reached)(self.member.node);
                self.stream(PeersClient::new(channel), &mut messages).await;
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    /// Feeds one stream until it breaks.
    async fn stream(
        &self,
        mut client: PeersClient<tonic::transport::Channel>,
        messages: &mut mpsc::Receiver<v1::PeerMessage>,
    ) {
        let (out, stream) = mpsc::channel(STREAM_MAX);
        let request = self.raft.sign(ReceiverStream::new(stream), Some(self.member.node));
        let call = client.tell(request);
        let feed = async {
            let mut beat = rhythm::every(HEARTBEAT_INTERVAL);
            let mut enforced = self.enforced.clone();
            let mut news_at = None;
            loop {
                let message = tokio::select! {
                    // Whoever waits for an unban to be enforced here should not wait for the next beat.
                    Ok(()) = enforced.changed(), if news_at.is_none() => {
                        news_at = Some(Instant::now() + NEWS_PAUSE);
                        continue;
                    }
                    () = sleep_until(news_at.unwrap_or_else(Instant::now)), if news_at.is_some() => {
                        news_at = None;
                        self.heartbeat(&mut enforced)
                    }
                    _ = beat.tick() => self.heartbeat(&mut enforced),
                    message = messages.recv() => match message {
                        Some(message) => message,
                        None => return,
                    },
                };
                if out.send(message).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            _ = call => {}
            () = feed => {}
        }
    }

    /// What this node says about itself now; of `enforced`, the newest has been told then.
    fn heartbeat(&self, enforced: &mut watch::Receiver<Position>) -> v1::PeerMessage {
        enforced.mark_unchanged();
        let decisions = decisions_to_wire(self.raft.status().decisions);
        let heartbeat = v1::Heartbeat { decisions, ..(self.facts)().to_wire() };
        v1::PeerMessage { message: Some(v1::peer_message::Message::Heartbeat(heartbeat)) }
    }
}
