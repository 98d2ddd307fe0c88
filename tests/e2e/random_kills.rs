//! Any node, or two of the three, is killed at any moment while operators ban, also while it is just starting: what was
//! acknowledged is there.

use std::time::Duration;

use bannkreis_tests::failed::Result;
use bannkreis_tests::lab::Lab;

use crate::chance::{Chance, number};
use crate::inside::{in_lab, three_quiet_hosts};
use crate::operators_load::{Load, has_every};

/// How many nodes are killed, when the environment does not say.
const N_KILLS: u64 = 20;
const N_KILLS_VARIABLE: &str = "BANNKREIS_KILLS";
/// Bans that must come about between two rounds, so that the load is there when the next one hits.
const ACKNOWLEDGED_BETWEEN_KILLS: usize = 5;
const MOMENT_MAX: Duration = Duration::from_millis(300);
const AFTER_ELECTION: Duration = Duration::from_secs(30);

#[test]
fn whoever_is_killed_whenever_no_acknowledged_ban_is_lost() -> Result<()> {
    let name = "random_kills::whoever_is_killed_whenever_no_acknowledged_ban_is_lost";
    in_lab(name, three_quiet_hosts, |lab| {
        let mut chance = Chance::new()?;
        let n_kills = number(N_KILLS_VARIABLE)?.unwrap_or(N_KILLS);
        lab.form_cluster()?;
        let acknowledged = Load::during(lab, |lab, load| {
            let mut n_killed = 0;
            while n_killed < n_kills {
                load.wait_acknowledged(load.n_acknowledged() + ACKNOWLEDGED_BETWEEN_KILLS, AFTER_ELECTION)
                    .map_err(|failed| failed.while_doing(&format!("after {n_killed} kills")))?;
                chance.let_pass(MOMENT_MAX);
                n_killed += kill_some(lab, &mut chance)?;
            }
            Ok(())
        })?;
        lab.wait_whole()?;
        println!("{n_kills} kills, {} bans acknowledged", acknowledged.len());
        lab.hosts().iter().try_for_each(|host| has_every(host, &acknowledged, AFTER_ELECTION))
    })
}

/// Kills one node or two and starts them again; now and then once more before they are up. How many kills that were.
fn kill_some(lab: &mut Lab, chance: &mut Chance) -> Result<u64> {
    let n_hosts = lab.hosts().len();
    let first = usize::try_from(chance.of(0..=n_hosts as u64 - 1)).unwrap_or(0);
    let n_victims = if chance.of(1..=4) == 1 { 2 } else { 1 };
    let mut n_killed = 0;
    loop {
        for n in 0..n_victims {
            let host = &mut lab.hosts_mut()[(first + n) % n_hosts];
            host.kill_9();
            host.launch()?;
            n_killed += 1;
        }
        if chance.of(1..=4) != 1 {
            return Ok(n_killed);
        }
        chance.let_pass(MOMENT_MAX);
    }
}
