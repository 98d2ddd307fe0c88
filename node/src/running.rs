//! One life of a node: all its parts, started in the order in which they need each other, and stopped in
//! the order in which clients should feel it.
//!
//! A node that joins a cluster ends one life and begins another in the same process; the kernel keeps every
//! block in between. Not for the operator's door, which outlives both (`app.rs`).

use crate::admissions::Admissions;
use crate::ban_ends::BanEnds;
use crate::borders::{Clock, Names};
use crate::clock::SystemClock;
use crate::config::{NodeConfig, Role};
use crate::configuring::Configuring;
use crate::control::remote::{self, LateApi};
use crate::event_loop::{EventLoop, LoopHandle};
use crate::filter_sink::FilterSink;
use crate::firewall_worker::FirewallWorker;
use crate::given_up::GivenUp;
use crate::host::HostFacts;
use crate::housekeeping::{self, OwnCounts};
use crate::ignored_names::IgnoredNames;
use crate::joining;
use crate::local_store::LocalStore;
use crate::open_sources::OpenSources;
use crate::outlets::NodeOutlets;
use crate::raft_observer::RaftObserver;
use crate::redating;
use crate::retention::NewlyKept;
use crate::second_look::{SecondLook, SystemNames};
use crate::security;
use crate::source::Sources;
use crate::spectating;
use crate::startup::{self, OpenFirewall, StartupError};
use crate::stored;
use crate::wire::{Links, Listener, PeerTable, PeersService, Security, SelfFacts, serve};
use bannkreis_core::ban_list::BanList;
use bannkreis_core::event::{Configuration, Event};
use bannkreis_core::ids::NodeId;
use bannkreis_core::settings::Settings;
use bannkreis_core::time::Timestamp;
use bannkreis_core::warden::Warden;
use bannkreis_raft::{Connect, RaftNode, RaftOptions, Release, Store, Timing};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// How long stopping waits for peers' open calls before it goes on without them.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What outlives every life of the node.
#[derive(Clone)]
pub struct Lasting {
    /// What survives a restart.
    pub store: Arc<LocalStore>,
    /// Whether somebody comes while this node goes.
    pub admissions: Arc<Admissions>,
    /// The operator's door, as soon as it is there.
    pub door: LateApi,
    /// Whether the kernel holds what it should.
    pub is_whole: watch::Sender<bool>,
}

/// A node at work.
pub struct Running {
    /// The replicated log.
    pub raft: RaftNode,
    /// The warden's queue.
    pub events: LoopHandle,
    /// The firewall's thread.
    pub firewall: FirewallWorker,
    /// What peers say of themselves.
    pub peers: Arc<PeerTable>,
    /// What survives a restart.
    pub store: Arc<LocalStore>,
    /// Counts what people may ask about later, as it is put there.
    pub newly_kept: Arc<NewlyKept>,
    /// What time it is.
    pub clock: Arc<SystemClock>,
    /// The sources that were opened.
    pub sources: Arc<OpenSources>,
    /// Which jail reads which log.
    pub readers: Vec<startup::Reader>,
    /// What its filters gave up.
    pub given_up: Arc<GivenUp>,
    /// What the configuration warns of.
    pub warnings: Vec<String>,
    /// It counts and shows, but blocks nothing.
    pub observe: bool,
    /// It votes and stores only.
    pub is_witness: bool,
    /// What the heartbeats tell of this node's warden.
    pub counts: Arc<OwnCounts>,
    /// How it and its peers know each other.
    pub security: Security,
    /// While it is a spectator, or joins: what came of asking to be taken in.
    pub last_answer: Arc<Mutex<String>>,
    links: Arc<Links>,
    stop: watch::Sender<bool>,
    /// The port's first, then the housekeeping.
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Running {
    /// Starts everything.
    ///
    /// # Errors
    /// The first thing that keeps the node from running, as one sentence with its remedy.
    pub async fn start(
        config: &NodeConfig,
        host: &HostFacts,
        lasting: &Lasting,
    ) -> Result<Running, StartupError> {
        // Since the daemon's start it may have got another address.
        let host = &host.read_again();
        let store = lasting.store.clone();
        let clock = Arc::new(SystemClock::new());
        let listener = Listener::bind(config.listen)
            .await
            .map_err(|why| StartupError(format!("{}: {why}", config.places.of("listen"))))?;
        let mut setup = startup::read_jails(config)?;
        let OpenFirewall { firewall, why, mut warnings } = startup::open_firewall(config)?;
        warnings.append(&mut setup.warnings);
        let mut kept = stored::read(&store).map_err(|error| StartupError(error.to_string()))?;
        redating::redate_kept(&config.state_dir, &mut kept, &store).map_err(StartupError)?;
        clock.resume(kept.time.as_ref(), Timestamp::ZERO, &host.boot_id);

        // The first event in the queue is the configuration: before it the warden blocks nobody.
        let (events, queue) = LoopHandle::new();
        let observe = setup.observe;
        let names: Arc<dyn Names> = Arc::new(SystemNames);
        let configuration = Configuration {
            jails: setup.jails.iter().map(|jail| jail.jail.clone()).collect(),
            own: host.protected(),
            peers: Vec::new(),
            observe,
        };
        let ignored_names =
            Arc::new(IgnoredNames::new(configuration, setup.names_in_ignoreip(), names.clone()));
        ignored_names.look_up_at_start().await;
        let configuring = Arc::new(Configuring::new(host.protected(), ignored_names, events.clone()));
        configuring.tell();

        joining::move_aside(&config.state_dir).map_err(StartupError)?;
        match joining::brought_along(&config.state_dir) {
            Ok(Some((former, formerly))) => events.send(Event::BroughtAlong { former, formerly }),
            Ok(None) => {}
            Err(why) => warnings.push(format!("what this node brings along can not be read: {why}")),
        }
        // Replaying the log fills the queue behind it.
        let peers = Arc::new(PeerTable::default());
        let newly_kept = Arc::new(NewlyKept::default());
        let observer = RaftObserver {
            events: events.clone(),
            clock: clock.clone(),
            store: store.clone(),
            newly_kept: newly_kept.clone(),
        };
        let own = Arc::new(OnceLock::new());
        let security = security::of(config);
        let connect = security::connect(&security);
        let options = raft_options(config, connect.clone(), &clock, &peers, &own, observer);
        let raft = RaftNode::start(options, Settings::at_birth).await.map_err(StartupError::of)?;
        security::open(&security, &raft, config, clock.wall()).await?;
        own.get_or_init(|| raft.node_id());
        warnings.extend(spectating::damaged_snapshots(&config.state_dir));
        joining::rebase_kept(&config.state_dir, &mut kept.outbox, &store).map_err(StartupError)?;
        clock.resume(kept.time.as_ref(), raft.view().now(), &host.boot_id);

        let damaged = events.clone();
        let on_damage = Box::new(move || damaged.damaged());
        let (firewall, firewall_thread) =
            FirewallWorker::start(firewall, &why, clock.clone(), on_damage, lasting.is_whole.clone())
                .map_err(StartupError::of)?;
        let counts = Arc::new(OwnCounts::default());
        let facts = self_facts(&raft, &firewall, &clock, &counts, observe, &security);
        let links = Arc::new(Links::new(
            raft.clone(),
            connect.clone(),
            facts,
            firewall.watch_enforced(),
            {
                let events = events.clone();
                Arc::new(move |peer| events.offer(Event::PeerReached(peer)))
            },
            tokio::runtime::Handle::current(),
        ));
        let sources = Arc::new(OpenSources::default());
        let outlets = NodeOutlets {
            raft: raft.clone(),
            links: links.clone(),
            events: events.clone(),
            sources: sources.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        let settings = *raft.view().settings();
        let warden = Warden::new(raft.node_id(), BanList::new(settings).view(), kept.outbox, kept.overrides);
        let event_loop = EventLoop {
            warden,
            clock: clock.clone(),
            firewall: firewall.clone(),
            store: store.clone(),
            outlets: Box::new(outlets),
            boot_id: host.boot_id.clone(),
            is_clock_shifted: clock.offset_file().is_some(),
            time_stored_ms: None,
            ban_ends: config.log.fail2ban.as_ref().map(|_| BanEnds::default()),
        };
        let warden_thread = event_loop.start(queue).map_err(StartupError::of)?;

        let (stop, stopped) = watch::channel(false);
        let on_notice = {
            let events = events.clone();
            // Called on the async runtime, which must never wait for the warden.
            Arc::new(move |notice| events.offer(Event::Noticed(notice)))
        };
        let on_reports = {
            let events = events.clone();
            Arc::new(move |reports| events.offer(Event::Reported(reports)))
        };
        let service = PeersService {
            raft: raft.clone(),
            table: peers.clone(),
            on_notice,
            on_reports,
            clock: clock.clone(),
            security: security.clone(),
            connect: connect.clone(),
            admissions: lasting.admissions.clone(),
        };
        let operators = remote::routes(lasting.door.clone());
        let mut tasks = vec![tokio::spawn({
            let raft = raft.clone();
            async move {
                if let Err(error) = serve(listener, &raft, service, operators, stopped).await {
                    tracing::error!("the port for peers is closed: {error}");
                }
            }
        })];

        let mut running = Running {
            raft,
            events,
            firewall,
            peers,
            store,
            newly_kept,
            clock,
            sources,
            readers: Vec::new(),
            given_up: Arc::default(),
            warnings,
            observe,
            is_witness: config.role == Role::Witness,
            counts,
            security,
            last_answer: Arc::default(),
            links,
            stop,
            tasks: Mutex::default(),
            threads: Mutex::new(vec![warden_thread, firewall_thread]),
        };
        // Kept bans and unanswered blocks are in the kernel before the first line is read.
        running.settle_kernel().await;
        let questions = setup.questions();
        let reading = startup::logs_of(setup.jails, setup.of_low_trust, &running.store, config.catch_up);
        running.readers = reading.readers;
        running.given_up = Arc::new(GivenUp::new(reading.filter_names));
        let tell = running.events.clone();
        let second_look =
            SecondLook::new(questions, names, Arc::new(move |event| tell.send(event)), running.clock.clone());
        let sink = FilterSink::new(
            reading.filters,
            running.given_up.clone(),
            second_look,
            running.events.clone(),
            running.clock.clone(),
        );
        let handle = Sources::start(
            reading.logs,
            startup::syslog_plan(&config.syslog),
            reading.beginnings,
            Box::new(sink),
            running.clock.clone(),
        )
        .map_err(StartupError::of)?;
        startup::store_beginnings(&handle, &running.store)?;
        running.sources.open(handle);
        tasks.extend(housekeeping::start(&running, config, host, configuring.clone()).await);
        tasks.push(tokio::spawn(configuring.follow_names()));
        *running.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        Ok(running)
    }

    /// Since when there is no quorum, in ms of this host's CLOCK_BOOTTIME: as far as this node can tell, or by the word
    /// of the leader that it hears.
    #[must_use]
    pub fn no_quorum_since_ms(&self) -> Option<u64> {
        housekeeping::no_quorum_since_ms(&self.raft, &self.peers, &self.clock)
    }

    /// Waits until everything that is queued for the warden and the kernel is done.
    async fn settle_kernel(&self) {
        let (events, firewall) = (self.events.clone(), self.firewall.clone());
        let settled = tokio::task::spawn_blocking(move || {
            events.ask(|_, _| ());
            firewall.flush();
        });
        let _ = settled.await;
    }

    /// The links to the peers.
    pub(crate) fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// Stops everything but the kernel: no new lines, then no new calls, then what is queued is finished
    /// and stored. Every block stays.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for housekeeping in tasks.iter().skip(1) {
            housekeeping.abort();
        }
        let sources = self.sources.clone();
        // Only a panic in it could fail, and that has been said.
        let _ = tokio::task::spawn_blocking(move || sources.close()).await;
        self.links.stop();
        self.stop.send_replace(true);
        if let Some(serving) = tasks.first_mut()
            && tokio::time::timeout(DRAIN_TIMEOUT, &mut *serving).await.is_err()
        {
            serving.abort();
            // The port is free only when its task has ended.
            let _ = serving.await;
        }
        self.raft.save_snapshot().await;
        self.raft.shutdown().await;
        let (events, firewall, store) = (self.events.clone(), self.firewall.clone(), self.store.clone());
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let finishing = tokio::task::spawn_blocking(move || {
            events.stop();
            let mut threads = threads.into_iter();
            let joined = threads.next().map(JoinHandle::join);
            firewall.stop();
            // A thread that panicked has said so already.
            drop(joined);
            threads.for_each(|thread| drop(thread.join()));
            if let Err(error) = store.flush() {
                tracing::error!("{error}");
            }
        });
        let _ = finishing.await;
    }
}

fn raft_options(
    config: &NodeConfig,
    connect: Arc<dyn Connect>,
    clock: &Arc<SystemClock>,
    peers: &Arc<PeerTable>,
    own: &Arc<OnceLock<NodeId>>,
    observer: RaftObserver,
) -> RaftOptions {
    let (boottime, wall) = (clock.clone(), clock.clone());
    let readings = {
        let (clock, peers, own) = (clock.clone(), peers.clone(), own.clone());
        move || {
            // Until this node's id is known, no readings mean its own clock.
            let Some(node) = own.get() else { return Vec::new() };
            let clocks = peers.clocks((*node, clock.wall()), clock.boottime_ms());
            // Without a majority's clocks, time goes on as it did: no single clock may move it.
            clocks.unwrap_or_else(|| vec![(*node, clock.known())])
        }
    };
    RaftOptions {
        dir: config.state_dir.clone(),
        advertise: config.advertised(),
        name: config.name.clone(),
        connect,
        clock: Arc::new(move || boottime.boottime_ms()),
        wall: Arc::new(move || wall.wall()),
        readings: Arc::new(readings),
        observer: Box::new(observer),
        timing: Timing {
            heartbeat_ms: config.raft.heartbeat_ms,
            election_min_ms: config.raft.election_min_ms,
            election_max_ms: config.raft.election_max_ms,
            ..Timing::default()
        },
        store: Store::Sled,
        release: Release::default(),
    }
}

fn self_facts(
    raft: &RaftNode,
    firewall: &FirewallWorker,
    clock: &Arc<SystemClock>,
    counts: &Arc<OwnCounts>,
    observe: bool,
    security: &Security,
) -> Arc<dyn Fn() -> SelfFacts + Send + Sync> {
    let (raft, firewall, security) = (raft.clone(), firewall.clone(), security.clone());
    let (clock, counts) = (clock.clone(), counts.clone());
    let no_quorum_ms = {
        let (raft, clock) = (raft.clone(), clock.clone());
        move || Some(clock.boottime_ms().saturating_sub(raft.status().no_quorum_since_ms?))
    };
    Arc::new(move || SelfFacts {
        no_quorum_ms: no_quorum_ms(),
        applied: raft.view().position(),
        enforced: firewall.enforced(),
        clock: clock.wall(),
        level_max: bannkreis_core::command::LEVEL,
        n_overrides: counts.n_overrides(),
        n_waiting: counts.n_waiting(),
        observe,
        has_authority: security::has_authority(&security),
    })
}
