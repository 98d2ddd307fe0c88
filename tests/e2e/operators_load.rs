//! Operators who ban one address after the other, each through all nodes in turn, while a test does its worst; and what
//! they were told is done.
//!
//! Not for what may happen meanwhile: the tests know that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::{Told, committed};
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::wait::wait_for;

/// So many ask at the same time.
const N_OPERATORS: usize = 8;

/// What the operators do, and what they were told is done.
pub(crate) struct Load {
    sockets: Vec<PathBuf>,
    next: AtomicU32,
    is_stopping: AtomicBool,
    /// Read for a moment before each ban: whoever writes holds the operators up.
    gate: RwLock<()>,
    acknowledged: Mutex<BTreeSet<String>>,
}

impl Load {
    /// Runs `body` under load from these hosts' operators, and hands over what was acknowledged.
    pub(crate) fn during(
        lab: &mut Lab,
        body: impl FnOnce(&mut Lab, &Load) -> Result<()>,
    ) -> Result<BTreeSet<String>> {
        let load = Load {
            sockets: lab.hosts().iter().map(|host| host.file("run/control.sock")).collect(),
            next: AtomicU32::new(0),
            is_stopping: AtomicBool::new(false),
            gate: RwLock::default(),
            acknowledged: Mutex::default(),
        };
        std::thread::scope(|scope| {
            for operator in 0..N_OPERATORS {
                let load = &load;
                scope.spawn(move || load.ban_until_stopped(operator));
            }
            let done = body(lab, &load);
            load.is_stopping.store(true, Ordering::Relaxed);
            done
        })?;
        Ok(load.acknowledged.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `body` while no operator begins a ban: nobody is there who could answer.
    pub(crate) fn held_up<T>(&self, body: impl FnOnce() -> T) -> T {
        let _held = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        body()
    }

    /// How many bans were acknowledged until now.
    pub(crate) fn n_acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What was acknowledged until now.
    pub(crate) fn acknowledged(&self) -> BTreeSet<String> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many are acknowledged.
    pub(crate) fn wait_acknowledged(&self, wanted: usize, at_most: Duration) -> Result<()> {
        wait_for("bans are acknowledged", at_most, || {
            let n_acknowledged = self.n_acknowledged();
            expect(n_acknowledged >= wanted, || format!("{n_acknowledged} of {wanted}"))
        })
    }

    fn ban_until_stopped(&self, operator: usize) {
        let mut turn = operator;
        while !self.is_stopping.load(Ordering::Relaxed) {
            drop(self.gate.read().unwrap_or_else(PoisonError::into_inner));
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
}

/// Waits until the host lists every one of these bans.
pub(crate) fn has_every(host: &Host, acknowledged: &BTreeSet<String>, at_most: Duration) -> Result<()> {
    wait_for(&format!("{} has every acknowledged ban", host.name()), at_most, || {
        let listed = committed(&host.bans()?);
        let lost: Vec<&String> = acknowledged.difference(&listed).collect();
        expect(lost.is_empty(), || format!("{} of {} are lost: {lost:?}", lost.len(), acknowledged.len()))
    })
}
