//! The leader is killed again and again while operators ban: what was acknowledged is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::{Told, committed};
use bannkreis_tests::lab::wait::wait_for;

use crate::inside::{in_lab, three_quiet_hosts};

const N_KILLS: usize = 20;
const ACKNOWLEDGED_MIN: usize = 1_000;
/// Operators who ban one address after the other, each through all nodes in turn.
const N_OPERATORS: usize = 8;
/// Bans that must come about between two kills, so that the load is there when the next one hits.
const ACKNOWLEDGED_BETWEEN_KILLS: usize = 25;
const AFTER_ELECTION: Duration = Duration::from_secs(30);
const AFTER_LAST_KILL: Duration = Duration::from_secs(120);

#[test]
fn no_acknowledged_ban_is_lost() -> Result<()> {
    let name = "leader_kills::no_acknowledged_ban_is_lost";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        let load = Load::new(lab);
        std::thread::scope(|scope| {
            for operator in 0..N_OPERATORS {
                let load = &load;
                scope.spawn(move || load.ban_until_stopped(operator));
            }
            let killed = kill_leaders(lab, &load);
            let enough = killed.and_then(|()| load.wait_acknowledged(ACKNOWLEDGED_MIN, AFTER_LAST_KILL));
            load.is_stopping.store(true, Ordering::Relaxed);
            enough
        })?;
        let acknowledged = load.acknowledged.into_inner().unwrap_or_else(PoisonError::into_inner);
        for host in lab.hosts() {
            wait_for(&format!("{} has every acknowledged ban", host.name()), AFTER_ELECTION, || {
                let listed = committed(&host.bans()?);
                let lost: Vec<&String> = acknowledged.difference(&listed).collect();
                expect(lost.is_empty(), || {
                    format!("{} of {} are lost: {lost:?}", lost.len(), acknowledged.len())
                })
            })?;
        }
        Ok(())
    })
}

fn kill_leaders(lab: &mut Lab, load: &Load) -> Result<()> {
    for n_killed in 0..N_KILLS {
        load.wait_acknowledged(load.n_acknowledged() + ACKNOWLEDGED_BETWEEN_KILLS, AFTER_ELECTION)?;
        let leader = lab.leader()?;
        lab.host_mut(&leader).kill_9();
        lab.leader().map_err(|failed| failed.while_doing(&format!("after kill {n_killed} ({leader})")))?;
        lab.host_mut(&leader).start()?;
        lab.wait_whole()?;
    }
    Ok(())
}

/// What the operators do, and what they were told is done.
struct Load {
    sockets: Vec<PathBuf>,
    next: AtomicU32,
    is_stopping: AtomicBool,
    acknowledged: Mutex<BTreeSet<String>>,
}

impl Load {
    fn new(lab: &Lab) -> Load {
        Load {
            sockets: lab.hosts().iter().map(|host| host.file("run/control.sock")).collect(),
            next: AtomicU32::new(0),
            is_stopping: AtomicBool::new(false),
            acknowledged: Mutex::default(),
        }
    }

    fn ban_until_stopped(&self, operator: usize) {
        let mut turn = operator;
        while !self.is_stopping.load(Ordering::Relaxed) {
            turn += 1;
            let socket = &self.sockets[turn % self.sockets.len()];
            // What fails may be done or not: nobody was promised anything.
            if let Ok(Some(address)) = self.ban_one(socket) {
                self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(address);
            }
        }
    }

    fn ban_one(&self, socket: &Path) -> Result<Option<String>> {
        let [_, _, high, low] = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let address = format!("198.18.{high}.{low}");
        let told = Told::ask(socket, &["--output", "json", "ban", &address, "--for", "1h"])?;
        Ok(told.is_done().then_some(address))
    }

    fn n_acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn wait_acknowledged(&self, wanted: usize, at_most: Duration) -> Result<()> {
        wait_for("bans are acknowledged", at_most, || {
            let n_acknowledged = self.n_acknowledged();
            expect(n_acknowledged >= wanted, || format!("{n_acknowledged} of {wanted}"))
        })
    }
}
