//! Whether this daemon does its work, told to whoever looks after it: the service manager, and the health service
//! on the control socket.
//!
//! Ready means that every kept ban is in the kernel and the sources are open. When somebody empties the kernel's table,
//! or the kernel refuses, the health service says no until everything is back; the service manager goes on hearing that
//! the daemon lives, for a restart would help nobody. Whether there is a quorum is told
//! beside it and never part of it: a node that restarts because it is alone would protect nobody. Not for how
//! the manager is told (`notify.rs`).

use crate::app::Lives;
use crate::control::{ClusterFacts, NodeApi, NodeFacts};
use crate::notify::Notifier;
use bannkreis_raft::rhythm;
use jiff::tz::TimeZone;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the line for the service manager is looked at.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How often the parts are asked when no watchdog says so.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A part that has not answered for so long does not do its work.
const HUNG_AFTER: Duration = Duration::from_secs(10);

/// Keeps `do_answer` true while all parts answer, and tells the watchdog. A part that hangs ends both, until it
/// answers again. Until the task is aborted.
pub async fn look_after<F: Future<Output = bool>>(
    is_alive: impl Fn() -> F,
    notifier: Option<Arc<Notifier>>,
    do_answer: watch::Sender<bool>,
) {
    let every = notifier.as_ref().and_then(|notifier| notifier.ping_interval());
    let mut looks = rhythm::every(every.unwrap_or(LOOK_INTERVAL));
    loop {
        looks.tick().await;
        let asking = is_alive();
        tokio::pin!(asking);
        let alive = match tokio::time::timeout(HUNG_AFTER, &mut asking).await {
            Ok(alive) => alive,
            Err(_) => {
                let waited = HUNG_AFTER.as_secs();
                tracing::error!("the warden or the firewall has not answered for {waited} s");
                do_answer.send_replace(false);
                asking.await
            }
        };
        do_answer.send_if_modified(|answers| std::mem::replace(answers, alive) != alive);
        if let (true, Some(notifier)) = (alive, &notifier) {
            notifier.ping();
        }
    }
}

/// Keeps `is_ready` true while all parts answer and the kernel holds what it should. Until one of them is gone.
pub async fn follow(
    mut do_answer: watch::Receiver<bool>,
    mut is_whole: watch::Receiver<bool>,
    is_ready: watch::Sender<bool>,
) {
    loop {
        let now = *do_answer.borrow_and_update() && *is_whole.borrow_and_update();
        is_ready.send_if_modified(|ready| std::mem::replace(ready, now) != now);
        let changed = tokio::select! {
            changed = do_answer.changed() => changed,
            changed = is_whole.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Whether the warden and the firewall of the running node answer; that this is asked shows that the runtime does.
pub(crate) async fn is_alive(lives: Arc<Lives>) -> bool {
    let running = lives.current();
    let (events, firewall) = (running.events.clone(), running.firewall.clone());
    let asked = tokio::task::spawn_blocking(move || {
        let answered = events.ask(|_, _| ()).is_some();
        firewall.flush();
        answered
    });
    // Between two lives nobody is there to answer.
    asked.await.unwrap_or(false) || lives.is_changing()
}

/// Tells the service manager whenever the first line of `status` becomes another one. Until the task is aborted.
pub(crate) async fn tell_status(door: Arc<dyn NodeApi>, lives: Arc<Lives>, notifier: Arc<Notifier>) {
    let mut said = String::new();
    let mut looks = rhythm::every(STATUS_INTERVAL);
    loop {
        looks.tick().await;
        let line = first_line(&*door, &lives);
        if line != said {
            notifier.status(&line);
            said = line;
        }
    }
}

/// What the operator's tool says first, in the words that it uses.
pub(crate) fn first_line(door: &dyn NodeApi, lives: &Lives) -> String {
    line_of(&door.node(), &door.cluster(), lives.current().counts.n_waiting(), &TimeZone::system())
}

fn line_of(node: &NodeFacts, cluster: &ClusterFacts, n_waiting: u32, zone: &TimeZone) -> String {
    if let Some(halted) = &node.halted {
        return format!("{} does not follow the cluster: {halted}", node.name);
    }
    let mut gone: Vec<&str> =
        cluster.members.iter().filter(|member| !member.is_reachable).map(|member| &member.name[..]).collect();
    gone.sort_unstable();
    let gone = match &gone[..] {
        [] => None,
        [one] => Some(format!("{one} is not reachable")),
        [most @ .., last] => Some(format!("{} and {last} are not reachable", most.join(", "))),
    };
    if let Some(since) = cluster.no_quorum_since {
        let who = gone.map(|gone| format!(": {gone}")).unwrap_or_default();
        let bans = if n_waiting == 1 { "ban" } else { "bans" };
        let since = at(since.0, zone);
        return format!("no quorum since {since}{who}; blocking locally, {n_waiting} {bans} waiting");
    }
    if let Some(gone) = gone {
        return gone;
    }
    let name_of =
        |wanted| cluster.members.iter().find(|member| member.node == wanted).map(|member| &member.name[..]);
    let witness = if node.is_witness { "a witness, " } else { "" };
    let place = match (cluster.members.len(), cluster.leader) {
        (0 | 1, _) => "a cluster of one".to_owned(),
        (n, None) => format!("one of {n} nodes, no leader"),
        (n, Some(leader)) if leader == node.node => format!("one of {n} nodes, and their leader"),
        (n, Some(leader)) => format!("one of {n} nodes, led by {}", name_of(leader).unwrap_or("another")),
    };
    format!("{}: {witness}{place}", node.name)
}

fn at(ms: u64, zone: &TimeZone) -> String {
    let instant = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    instant.map_or("an unknown time".to_owned(), |instant| {
        instant.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::MemberFacts;
    use bannkreis_core::ids::{ClusterId, NodeId, Position};
    use bannkreis_core::time::Timestamp;
    use std::ffi::OsString;
    use std::os::unix::net::UnixDatagram;
    use std::sync::Mutex;
    use tokio::sync::Semaphore;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_part_that_hangs_ends_the_pings_until_it_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let supervisor = UnixDatagram::bind(&path).unwrap();
        supervisor.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let environment = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(path.clone().into_os_string()),
            // Pinged every 20 ms.
            "WATCHDOG_USEC" => Some(OsString::from("40000")),
            _ => None,
        };
        let notifier = Notifier::from_environment(&environment).unwrap().unwrap();
        let (is_ready, mut ready) = watch::channel(false);
        // Answers so often, and then hangs.
        let answers = Arc::new(Semaphore::new(3));
        let asked = Arc::new(Mutex::new(0));
        let is_alive = {
            let (answers, asked) = (answers.clone(), asked.clone());
            move || {
                let answers = answers.clone();
                *asked.lock().unwrap() += 1;
                async move {
                    answers.acquire().await.unwrap().forget();
                    true
                }
            }
        };
        let watching = tokio::spawn(look_after(is_alive, Some(Arc::new(notifier)), is_ready));
        let heard = || {
            let mut datagram = [0; 64];
            tokio::task::block_in_place(|| supervisor.recv(&mut datagram)).map(|n| datagram[..n].to_vec())
        };
        for _ in 0..3 {
            assert_eq!(heard().unwrap(), b"WATCHDOG=1");
        }
        ready.wait_for(|ready| *ready).await.unwrap();
        // Fifteen pings are missing, and it was not asked again meanwhile.
        assert!(heard().is_err());
        assert_eq!(*asked.lock().unwrap(), 4);
        answers.add_permits(1);
        assert_eq!(heard().unwrap(), b"WATCHDOG=1");
        watching.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_hangs_is_not_ready() {
        let (is_ready, mut ready) = watch::channel(true);
        let hung = Arc::new(Semaphore::new(0));
        let is_alive = {
            let hung = hung.clone();
            move || {
                let hung = hung.clone();
                async move { hung.acquire().await.is_ok() }
            }
        };
        let watching = tokio::spawn(look_after(is_alive, None, is_ready));
        ready.wait_for(|ready| !ready).await.unwrap();
        hung.add_permits(1);
        ready.wait_for(|ready| *ready).await.unwrap();
        watching.abort();
    }

    #[tokio::test]
    async fn a_node_is_ready_while_its_parts_answer_and_its_kernel_is_whole() {
        let (answers, do_answer) = watch::channel(true);
        let (whole, is_whole) = watch::channel(false);
        let (is_ready, mut ready) = watch::channel(false);
        let following = tokio::spawn(follow(do_answer, is_whole, is_ready));
        for (does_answer, has_all, expected) in [
            (true, true, true),
            (true, false, false),
            (true, true, true),
            (false, true, false),
            (true, true, true),
        ] {
            answers.send_replace(does_answer);
            whole.send_replace(has_all);
            ready.wait_for(|ready| *ready == expected).await.unwrap();
        }
        drop(answers);
        following.await.unwrap();
    }

    #[test]
    fn the_line_is_the_first_of_status() {
        let member = |n, name: &str, is_reachable| MemberFacts {
            node: NodeId(n),
            name: name.to_owned(),
            address: String::new(),
            is_voter: true,
            is_reachable,
            heard_ms_ago: None,
            applied: None,
            enforced: None,
            is_enforcing: true,
            clock_ahead_ms: None,
            n_overrides: 0,
        };
        let node = NodeFacts {
            node: NodeId(1),
            name: "kopano".to_owned(),
            observe: false,
            is_witness: false,
            backend: "nftables",
            firewall: String::new(),
            uptime_ms: 0,
            enforced: Position::default(),
            warnings: Vec::new(),
            halted: None,
            apart: None,
            sources: Vec::new(),
            given_up: Vec::new(),
        };
        let cluster = ClusterFacts {
            cluster: ClusterId([1; 16]),
            generation: 1,
            term: 1,
            leader: Some(NodeId(2)),
            no_quorum_since: None,
            members: vec![member(1, "kopano", true), member(2, "kerio", true), member(3, "mx1", true)],
            decisions: Vec::new(),
        };
        let line = |node: &NodeFacts, cluster: &ClusterFacts| line_of(node, cluster, 3, &TimeZone::UTC);
        assert_eq!(line(&node, &cluster), "kopano: one of 3 nodes, led by kerio");
        let mut alone = cluster.clone();
        alone.members.truncate(1);
        assert_eq!(line(&node, &alone), "kopano: a cluster of one");
        let mut lost = cluster.clone();
        lost.members[1].is_reachable = false;
        assert_eq!(line(&node, &lost), "kerio is not reachable");
        lost.members[2].is_reachable = false;
        lost.no_quorum_since = Some(Timestamp(1_772_366_400_000));
        assert_eq!(
            line(&node, &lost),
            "no quorum since 2026-03-01 12:00:00: kerio and mx1 are not reachable; blocking locally, 3 bans waiting"
        );
        let halted = NodeFacts { halted: Some("log entry 1.57".to_owned()), ..node };
        assert_eq!(line(&halted, &lost), "kopano does not follow the cluster: log entry 1.57");
    }
}
