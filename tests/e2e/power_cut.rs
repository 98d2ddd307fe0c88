//! The power fails for a majority at once, at any moment while operators ban, also while the nodes are just starting:
//! what was acknowledged is on every node. And the proof that this test can fail: without our fdatasync it does.
//!
//! Everybody dies; two nodes, or all three, lose what was not synced. Where it is two, the third one stays away until
//! those two have shown every ban by themselves: they are the majority that must not forget.

use std::fs;
use std::time::Duration;

use bannkreis_tests::failed::{Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::disk::Disk;
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::strace::{self, Strace};

use crate::chance::{Chance, number};
use crate::inside::{on_disks, skip};
use crate::operators_load::{Load, has_every};

/// How often the power fails, when the environment does not say.
const N_ROUNDS: u64 = 5;
const N_ROUNDS_VARIABLE: &str = "BANNKREIS_POWER_CUT_ROUNDS";
/// Bans that must come about before a cut, so that it hits while bans are being written.
const ACKNOWLEDGED_BEFORE_CUT: usize = 25;
const MOMENT_MAX: Duration = Duration::from_millis(700);
/// From the start of a daemon on: it is open by then, or still reads.
const START_MOMENT_MAX: Duration = Duration::from_millis(400);
const AFTER_ELECTION: Duration = Duration::from_secs(30);
/// For those that are known to forget.
const FORGETFUL_PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn what_was_acknowledged_survives_power_cuts_of_a_majority() -> Result<()> {
    let name = "power_cut::what_was_acknowledged_survives_power_cuts_of_a_majority";
    on_disks(name, |lab, disks| {
        let mut cuts = Cuts::new(disks, AFTER_ELECTION, Box::new(|_| Ok(())))?;
        let acknowledged = Load::during(lab, |lab, load| cuts.again_and_again(lab, load))?;
        println!("{} power cuts, {} bans acknowledged", cuts.n_cuts, acknowledged.len());
        for host in lab.hosts() {
            has_every(host, &acknowledged, AFTER_ELECTION)?;
            let words = host.words_since(0)?;
            let bad =
                words.lines().find(|line| line.contains("panicked at") || line.contains("as a spectator"));
            expect(bad.is_none(), || format!("{}: {bad:?}", host.name()))?;
        }
        Ok(())
    })
}

#[test]
fn without_our_fdatasync_a_power_cut_loses_bans() -> Result<()> {
    let name = "power_cut::without_our_fdatasync_a_power_cut_loses_bans";
    if let Some(why) = strace::is_missing() {
        return skip(name, &why);
    }
    on_disks(name, |lab, disks| {
        // The planted bug: what we call fdatasync(2) for does nothing and says yes. For the node's own store too: on the
        // same file system its sync takes along what the Raft log has written, a quarter of a second late.
        let mut forgetful: Vec<Strace> = Vec::new();
        let started = move |host: &Host| {
            let [raft, local] =
                ["state/raft/db", "state/local/db"].map(|name| host.file(name).display().to_string());
            let options =
                ["-P", &raft, "-P", &local, "-e", "trace=fdatasync", "-e", "inject=fdatasync:retval=0"];
            let pid = host.pid().ok_or_else(|| Failed(format!("{} does not run", host.name())))?;
            forgetful.push(Strace::attach(pid, &options, &host.file("strace"))?);
            Ok(())
        };
        let mut cuts = Cuts::new(disks, FORGETFUL_PATIENCE, Box::new(started))?;
        lab.hosts().iter().try_for_each(|host| (cuts.started)(host))?;
        let lost = Load::during(lab, |lab, load| cuts.again_and_again(lab, load)).map(drop).err();
        let n_taken_out: usize = lab.hosts().iter().map(n_taken_out).sum();
        expect(n_taken_out > 0, || "no fdatasync was taken out".to_owned())?;
        let Some(lost) = lost else {
            return Err(Failed(format!("{} power cuts have lost nothing", cuts.n_cuts)));
        };
        expect(lost.0.contains(" are lost"), || format!("something else went wrong: {lost}"))?;
        println!("caught at power cut {}, with {n_taken_out} calls taken out: {lost}", cuts.n_cuts);
        Ok(())
    })
}

fn n_taken_out(host: &Host) -> usize {
    let traced = fs::read_to_string(host.file("strace")).unwrap_or_default();
    traced.lines().filter(|line| line.contains("(INJECTED)")).count()
}

/// Called with a host whose daemon was started.
type Started<'a> = Box<dyn FnMut(&Host) -> Result<()> + 'a>;

/// Power cuts, one after the other.
struct Cuts<'a> {
    chance: Chance,
    disks: Vec<Disk>,
    patience: Duration,
    started: Started<'a>,
    n_cuts: u64,
}

impl<'a> Cuts<'a> {
    fn new(disks: Vec<Disk>, patience: Duration, started: Started<'a>) -> Result<Cuts<'a>> {
        Ok(Cuts { chance: Chance::new()?, disks, patience, started, n_cuts: 0 })
    }

    fn again_and_again(&mut self, lab: &mut Lab, load: &Load) -> Result<()> {
        for round in 0..number(N_ROUNDS_VARIABLE)?.unwrap_or(N_ROUNDS) {
            // The first time it is everybody, then mostly two.
            let spared = if round == 0 { 3 } else { self.chance.of(0..=3) };
            self.round(lab, load, usize::try_from(spared).unwrap_or(3))
                .map_err(|failed| failed.while_doing(&format!("round {round}, spared {spared}")))?;
        }
        Ok(())
    }

    /// `spared`: the one that does not lose its power, if there is one of that number.
    fn round(&mut self, lab: &mut Lab, load: &Load, spared: usize) -> Result<()> {
        load.wait_acknowledged(load.n_acknowledged() + ACKNOWLEDGED_BEFORE_CUT, AFTER_ELECTION)?;
        self.chance.let_pass(MOMENT_MAX);
        self.cut(lab, spared)?;
        load.held_up(|| {
            self.launch(lab, spared)?;
            while self.chance.of(1..=3) == 1 {
                self.chance.let_pass(START_MOMENT_MAX);
                self.cut(lab, spared)?;
                self.launch(lab, spared)?;
            }
            Ok::<(), Failed>(())
        })?;
        let acknowledged = load.acknowledged();
        for n in self.hit(spared) {
            lab.hosts_mut()[n].wait_ready()?;
            has_every(&lab.hosts()[n], &acknowledged, self.patience)?;
        }
        if let Some(host) = lab.hosts_mut().get_mut(spared) {
            host.start()?;
            (self.started)(host)?;
        }
        lab.wait_whole()
    }

    fn hit(&self, spared: usize) -> Vec<usize> {
        (0..self.disks.len()).filter(|n| *n != spared).collect()
    }

    fn cut(&mut self, lab: &mut Lab, spared: usize) -> Result<()> {
        let hit = self.hit(spared);
        hit.iter().try_for_each(|n| self.disks[*n].cut_power())?;
        lab.hosts_mut().iter_mut().for_each(Host::kill_9);
        self.n_cuts += 1;
        hit.iter().try_for_each(|n| self.disks[*n].give_power())
    }

    fn launch(&mut self, lab: &mut Lab, spared: usize) -> Result<()> {
        for n in self.hit(spared) {
            let host = &mut lab.hosts_mut()[n];
            host.launch()?;
            (self.started)(host)?;
        }
        Ok(())
    }
}
