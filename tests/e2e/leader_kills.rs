//! The leader is killed again and again while operators ban: what was acknowledged is there.

use std::time::Duration;

use bannkreis_tests::failed::Result;
use bannkreis_tests::lab::Lab;

use crate::inside::{in_lab, three_quiet_hosts};
use crate::operators_load::{Load, has_every};

const N_KILLS: usize = 20;
const ACKNOWLEDGED_MIN: usize = 1_000;
/// Bans that must come about between two kills, so that the load is there when the next one hits.
const ACKNOWLEDGED_BETWEEN_KILLS: usize = 25;
const AFTER_ELECTION: Duration = Duration::from_secs(30);
const AFTER_LAST_KILL: Duration = Duration::from_secs(120);

#[test]
fn no_acknowledged_ban_is_lost() -> Result<()> {
    let name = "leader_kills::no_acknowledged_ban_is_lost";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        let acknowledged = Load::during(lab, |lab, load| {
            kill_leaders(lab, load)?;
            load.wait_acknowledged(ACKNOWLEDGED_MIN, AFTER_LAST_KILL)
        })?;
        lab.hosts().iter().try_for_each(|host| has_every(host, &acknowledged, AFTER_ELECTION))
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
