//! The daemon from start to stop: one operator's door, and behind it one life of the node after another.
//!
//! Usually there is one life. Joining or leaving a cluster ends it and begins the next, while the kernel keeps every
//! block.

use crate::borders::Clock;
use crate::by_lease;
use crate::config::NodeConfig;
use crate::control::{ControlSocket, Groups, NodeApi};
use crate::disk_failure;
use crate::disk_room;
use crate::door::Door;
use crate::host::HostFacts;
use crate::joining;
use crate::kubernetes::LeaseName;
use crate::notify::{Notifier, SOCKET_VARIABLE};
use crate::pki::{JoinToken, PkiError, keyring};
use crate::readiness;
use crate::running::{Lasting, Running};
use crate::security;
use crate::startup::{self, StartupError};
use crate::way_in::{self, WayIn};
use crate::wire::Security;
use bannkreis_core::ids::Operator;
use bannkreis_raft::{Order, OrderError, RaftNode, with_log_tail};
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, MutexGuard, watch};

/// How long a join may take before the operator is told that it goes on in the background.
const JOIN_WAIT: Duration = Duration::from_secs(30);
/// Pause before the cluster in the configuration is asked again.
const CONFIGURED_JOIN_PAUSE: Duration = Duration::from_secs(3);
/// The cluster is asked to let this node go for so long: an election and a change of the leader are within it.
const LEAVE_WAIT: Duration = Duration::from_secs(15);
/// Pause before it is asked again.
const LEAVE_PAUSE: Duration = Duration::from_millis(300);
/// How often a joining node looks whether it is a member.
const JOIN_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The node's lives: the one that is, and the way to the next.
pub struct Lives {
    config: NodeConfig,
    host: HostFacts,
    lasting: Lasting,
    current: RwLock<Arc<Running>>,
    /// One change of lives at a time; a stop waits for it.
    changing: Mutex<()>,
    /// Why this node is not where its configuration wants it, while it is not.
    not_joined: RwLock<Option<String>>,
    /// Why the process must end although nobody asked it to.
    broken: watch::Sender<Option<StartupError>>,
}

impl Lives {
    /// The running node.
    #[must_use]
    pub fn current(&self) -> Arc<Running> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether one life ends and another begins.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.changing.try_lock().is_err()
    }

    /// Why this node is not in the cluster that its configuration names, as a sentence, while it is not.
    #[must_use]
    pub fn not_joined(&self) -> Option<String> {
        self.not_joined.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says why not, once for what does not change; `None`: it is there.
    pub(crate) fn set_not_joined(&self, why: Option<String>) {
        let mut held = self.not_joined.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = why.as_ref().filter(|why| held.as_ref() != Some(why)) {
            tracing::warn!("{why}");
        }
        *held = why;
    }

    /// The configuration that all lives share.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Joins the cluster that `host_port` belongs to, by `token` where one is needed; returns when this node is a
    /// member.
    ///
    /// # Errors
    /// A sentence with cause and remedy. Before anything was changed, or, when it says so, after.
    pub async fn join(&self, host_port: &str, token: Option<&JoinToken>) -> Result<(), String> {
        self.join_cluster(host_port, token, None).await
    }

    /// The same with the token that the configuration names, and only if that is the cluster `wanted`.
    ///
    /// # Errors
    /// As [`Lives::join`].
    pub async fn join_configured(&self, host_port: &str, wanted: Option<&str>) -> Result<(), String> {
        let token = read_token(self.config.token_file.as_deref()).await?;
        self.join_cluster(host_port, token.as_ref(), wanted).await
    }

    async fn join_cluster(
        &self,
        host_port: &str,
        token: Option<&JoinToken>,
        wanted: Option<&str>,
    ) -> Result<(), String> {
        let only_one = self.changing.lock().await;
        let solo = self.current();
        let way =
            way_in::find(&solo, &self.config, &self.lasting.admissions, host_port, token, wanted).await?;
        tracing::info!("joining the cluster {} by {host_port}", way.info.cluster);
        // Only when it has stopped: what was acknowledged until the end comes along. When it can not be prepared,
        // the directory still is the solo node's, and it lives on.
        self.begin_anew(&solo, self.prepare(&solo, &way, host_port)).await?;
        drop(way);
        // Only watching from here: a stop need not wait, and a second join is refused by its cluster.
        drop(only_one);
        self.await_membership(host_port).await
    }

    /// Until this is dropped, no other life begins.
    pub(crate) async fn only_one(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// This host, as it was found at the start.
    pub(crate) fn host(&self) -> &HostFacts {
        &self.host
    }

    /// Ends the life `former`, has the directory prepared for the next one, and begins that.
    ///
    /// # Errors
    /// When it could not be prepared, and the node lives on as it was; or can not start again.
    pub(crate) async fn begin_anew(
        &self,
        former: &Running,
        prepare: impl Future<Output = Result<(), String>>,
    ) -> Result<(), String> {
        former.stop().await;
        let prepared = prepare.await;
        self.begin_next().await?;
        prepared
    }

    /// Leaves the cluster and goes on alone, with all bans; returns when this node has taken them over. `force`: also
    /// when the cluster does not let it go, because it can not be asked or has thrown this node out.
    ///
    /// # Errors
    /// A sentence with cause and remedy. Before anything was changed, or, when it says so, after.
    pub async fn leave(&self, by: &Operator, force: bool) -> Result<(), String> {
        let only_one = self.changing.lock().await;
        let member = self.current();
        if member.raft.is_alone() {
            return Err("this node is alone already: there is nobody to leave; `bannkreis cluster join HOST:PORT --token \
                        TOKEN` makes it a member"
                .to_owned());
        }
        let is_joining = joining::is_open(&self.config.state_dir);
        let asked = match is_joining {
            true => {
                Err("this node is still joining: wait until `bannkreis cluster status` lists it".to_owned())
            }
            false => match check_authority(&member).await {
                Ok(()) => ask_to_go(&member.raft, by).await,
                Err(why) => Err(why),
            },
        };
        let is_let_go = match asked {
            Ok(()) => true,
            Err(why) if force => {
                tracing::warn!("leaving without the cluster's word: {why}");
                false
            }
            Err(why) => {
                return Err(format!(
                    "the cluster does not let this node go: {why}. `bannkreis cluster leave --force` goes without \
                     asking; the others then remove it by `bannkreis cluster remove`"
                ));
            }
        };
        tracing::info!("leaving the cluster {}", member.raft.cluster_id());
        member.stop().await;
        let (state_dir, view, node) =
            (self.config.state_dir.clone(), member.raft.view(), member.raft.node_id());
        let prepared = tokio::task::spawn_blocking(move || {
            // What its leader may have acknowledged, and not have told it to apply yet.
            let view = with_log_tail(&state_dir, view.clone()).unwrap_or_else(|error| {
                tracing::warn!("leaving without the end of the Raft log, which can not be read: {error}");
                view
            });
            joining::prepare_alone(&state_dir, &view, node)?;
            // A cluster that throws this node out believes its key no more.
            if is_let_go {
                Ok(())
            } else {
                keyring::forget_key(&state_dir).map_err(|error| error.to_string())
            }
        });
        let prepared = prepared.await.unwrap_or_else(|error| Err(error.to_string()));
        self.lasting.admissions.forget();
        self.begin_next().await?;
        prepared?;
        drop(only_one);
        self.await_membership("this node's own log").await
    }

    /// Starts the next life in the directory as it is now.
    async fn begin_next(&self) -> Result<(), String> {
        match Running::start(&self.config, &self.host, &self.lasting).await {
            Ok(running) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(running);
                Ok(())
            }
            Err(error) => {
                self.broken.send_replace(Some(error.clone()));
                Err(format!("this node can not start again: {error}"))
            }
        }
    }

    /// Asks again whether it may join, for others may have joined it meanwhile, and prepares the directory.
    async fn prepare(&self, solo: &Arc<Running>, way: &WayIn<'_>, target: &str) -> Result<(), String> {
        solo.raft.may_join(&way.info).map_err(|error| error.to_string())?;
        way.leaving.check()?;
        let identity = way.identity;
        let (state_dir, target) = (self.config.state_dir.clone(), target.to_owned());
        let (view, node) = (solo.raft.view(), solo.raft.node_id());
        let prepared = tokio::task::spawn_blocking(move || {
            // What its former leader may have acknowledged before it died.
            let view = with_log_tail(&state_dir, view)
                .map_err(|error| format!("the Raft log can not be read to its end: {error}"))?;
            joining::prepare(&state_dir, &view, node, &identity, &target)
        });
        prepared.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Joins the cluster that the configuration names, as long as this node is alone. Never returns before it is not.
    async fn join_as_configured(self: Arc<Self>, target: String) {
        while self.current().raft.is_alone() {
            // A task of its own: this one may be aborted, a join must not be.
            let (lives, to) = (self.clone(), target.clone());
            let joining = tokio::spawn(async move { lives.join_configured(&to, None).await });
            match joining.await.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(()) => break,
                Err(why) => self.set_not_joined(Some(format!(
                    "join = \"{target}\": not joined yet: {why}; it is tried again"
                ))),
            }
            tokio::time::sleep(CONFIGURED_JOIN_PAUSE).await;
        }
        self.set_not_joined(None);
    }

    async fn await_membership(&self, host_port: &str) -> Result<(), String> {
        let running = self.current();
        let deadline = Instant::now() + JOIN_WAIT;
        let mut look = tokio::time::interval(JOIN_LOOK_INTERVAL);
        loop {
            look.tick().await;
            let is_handed_over = !joining::is_open(&self.config.state_dir);
            if running.raft.status().is_member && is_handed_over {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "{host_port} has not taken this node in within {} s; it goes on asking, see `bannkreis \
                     cluster status`",
                    JOIN_WAIT.as_secs()
                ));
            }
        }
    }
}

/// Whoever can sign for the cluster does not go before somebody else can.
async fn check_authority(member: &Running) -> Result<(), String> {
    if !security::has_authority(&member.security) {
        return Ok(());
    }
    let deadline = Instant::now() + LEAVE_WAIT;
    while !member.peers.has_authority_elsewhere(member.clock.boottime_ms()) {
        if Instant::now() + LEAVE_PAUSE >= deadline {
            return Err(
                "no other voter that answers has the key of the cluster's authority, and without it no \
                        host could join any more"
                    .to_owned(),
            );
        }
        tokio::time::sleep(LEAVE_PAUSE).await;
    }
    Ok(())
}

/// Asks the cluster to let this node go, while asking again may help.
async fn ask_to_go(raft: &RaftNode, by: &Operator) -> Result<(), String> {
    let deadline = Instant::now() + LEAVE_WAIT;
    loop {
        match raft.order(&Order::Leave(raft.node_id()), by).await {
            Ok(()) => return Ok(()),
            Err(OrderError::NotNow(_)) if Instant::now() + LEAVE_PAUSE < deadline => {
                tokio::time::sleep(LEAVE_PAUSE).await;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

async fn read_token(file: Option<&Path>) -> Result<Option<JoinToken>, String> {
    let Some(file) = file else { return Ok(None) };
    let failed = |why: &dyn std::fmt::Display| format!("token_file = \"{}\": {why}", file.display());
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || fs::read_to_string(path)).await;
    let text = read.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| failed(&error))?;
    text.parse().map(Some).map_err(|error: PkiError| failed(&error))
}

/// The way to the service manager, if one waits for this daemon.
fn notifier() -> Option<Arc<Notifier>> {
    match Notifier::from_environment(&|name| std::env::var_os(name)) {
        Ok(notifier) => notifier.map(Arc::new),
        Err(error) => {
            tracing::warn!("{SOCKET_VARIABLE}: {error}; the service manager is told nothing");
            None
        }
    }
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// The first thing that keeps it from running.
pub async fn run(config: NodeConfig) -> Result<(), StartupError> {
    let started = Instant::now();
    let notifier = notifier();
    let lease = config.kubernetes.lease.as_deref().map(LeaseName::from_str).transpose();
    let lease = lease.map_err(|why| StartupError(format!("kubernetes.lease: {why}")))?;
    let host = HostFacts::read();
    let groups = Groups {
        admin: config.control.admin_group.clone(),
        operator: config.control.operator_group.clone(),
        viewer: config.control.viewer_group.clone(),
    };
    let socket = ControlSocket::bind(&config.control_socket(), groups).map_err(StartupError::of)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(StartupError::of)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartupError::of)?;
    startup::close_state_dir(&config.state_dir)?;
    // Before anything is written there.
    match disk_room::look(&config.state_dir) {
        Ok(found) => found.given_up.into_iter().for_each(|given_up| tracing::error!("{given_up}")),
        Err(why) => tracing::warn!("{why}"),
    }
    let lasting = Lasting {
        store: Arc::new(startup::open_store(&config.state_dir)?),
        admissions: Arc::default(),
        door: Arc::default(),
        is_whole: watch::Sender::new(true),
    };
    let running = Running::start(&config, &host, &lasting).await?;
    tracing::info!(
        node = %running.raft.node_id(),
        cluster = %running.raft.cluster_id(),
        firewall = running.firewall.name(),
        bans = running.raft.view().n_bans(),
        "bannkreisd is ready"
    );
    if matches!(running.security, Security::Insecure) {
        tracing::warn!(
            "tls.mode = \"insecure\": whoever reaches {} can ban and unban; nothing is encrypted",
            config.listen
        );
    }
    if let Some(file) = running.clock.offset_file() {
        tracing::warn!("{}: the clocks are shifted by what is in this file, for tests", file.display());
    }
    let (broken, mut is_broken) = watch::channel(None);
    let lives = Arc::new(Lives {
        config,
        host,
        lasting,
        current: RwLock::new(Arc::new(running)),
        changing: Mutex::new(()),
        not_joined: RwLock::default(),
        broken,
    });
    let configured = match (lease, lives.config.join.clone()) {
        (Some(name), _) => Some(tokio::spawn(by_lease::follow(lives.clone(), name))),
        (None, Some(to)) => Some(tokio::spawn(lives.clone().join_as_configured(to))),
        (None, None) => None,
    };
    let (stop, mut stopped) = watch::channel(false);
    let door: Arc<dyn NodeApi> = Arc::new(Door { lives: lives.clone(), started });
    lives.lasting.door.get_or_init(|| door.clone());
    // The kept bans have been tried on the kernel once when a life begins.
    let (is_ready, ready) = watch::channel(*lives.lasting.is_whole.borrow());
    let serving = tokio::spawn(socket.serve(door.clone(), ready, async move {
        // An error means that the daemon is gone.
        let _ = stopped.wait_for(|stop| *stop).await;
    }));
    let alive = lives.clone();
    let is_alive = move || readiness::is_alive(alive.clone());
    let (answers, do_answer) = watch::channel(true);
    let is_whole = lives.lasting.is_whole.subscribe();
    let mut told = vec![
        tokio::spawn(readiness::look_after(is_alive, notifier.clone(), answers)),
        tokio::spawn(readiness::follow(do_answer, is_whole, is_ready)),
    ];
    if let Some(notifier) = &notifier {
        notifier.ready(&readiness::first_line(&*door, &lives));
        told.push(tokio::spawn(readiness::tell_status(door, lives.clone(), notifier.clone())));
    }
    let failure = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        _ = is_broken.wait_for(Option::is_some) => lives.broken.borrow().clone(),
        why = disk_failure::follow(lives.clone()) => Some(StartupError(why)),
    };
    tracing::info!("stopping; every block stays in the kernel");
    told.iter().for_each(tokio::task::JoinHandle::abort);
    if let Some(notifier) = &notifier {
        notifier.stopping();
    }
    stop.send_replace(true);
    if let Some(joining) = configured {
        joining.abort();
    }
    if let Ok(Err(error)) = serving.await {
        tracing::error!("{error}");
    }
    let _no_join = lives.changing.lock().await;
    if failure.is_none() {
        lives.current().stop().await;
    }
    failure.map_or(Ok(()), Err)
}
