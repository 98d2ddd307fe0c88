//! The disk of one node dies under it: it says so and what to do, keeps every block, ends when there is a disk again, and
//! then has everything. The others go on.

use std::net::IpAddr;
use std::time::Duration;

use bannkreis_tests::failed::{Failed, Result, expect};
use bannkreis_tests::lab::wait::wait_for;

use crate::inside::on_disks;
use crate::operators_load::{Load, has_every};

const ACKNOWLEDGED_BEFORE: usize = 25;
/// Whoever asks the dead one waits for nothing.
const ACKNOWLEDGED_AFTERWARDS: usize = 5;
const AFTER_ELECTION: Duration = Duration::from_secs(30);

#[test]
fn a_node_whose_disk_dies_says_so_and_comes_back_with_every_ban() -> Result<()> {
    let name = "dead_disk::a_node_whose_disk_dies_says_so_and_comes_back_with_every_ban";
    on_disks(name, |lab, disks| {
        let leader = lab.leader()?;
        let dead = lab.hosts().iter().position(|host| host.name() == leader).unwrap_or(0);
        let acknowledged = Load::during(lab, |lab, load| {
            load.wait_acknowledged(ACKNOWLEDGED_BEFORE, AFTER_ELECTION)?;
            disks[dead].cut_power()?;
            let host = &lab.hosts()[dead];
            wait_for("it says that it can not go on, why, and what to do", AFTER_ELECTION, || {
                let status = host.cli(&["--output", "json", "status"])?.text_at("/state/halted")?;
                expect(status.contains("Input/output error"), || status.clone())?;
                let warnings = host.cli(&["status"])?.expect_success()?.stdout;
                let parts = ["can not be written", "mend the"];
                expect(parts.iter().all(|part| warnings.contains(part)), || warnings.clone())
            })?;
            // The others are a majority and go on.
            load.wait_acknowledged(load.n_acknowledged() + ACKNOWLEDGED_AFTERWARDS, AFTER_ELECTION)
        })?;
        let host = &mut lab.hosts_mut()[dead];
        expect(!host.words_since(0)?.contains("panicked at"), || "it panicked".to_owned())?;
        let banned = acknowledged.iter().next().and_then(|address| address.parse().ok());
        let banned: IpAddr = banned.ok_or_else(|| Failed("nothing was acknowledged".to_owned()))?;
        let pair = [(banned, host.port(25, banned))];
        // As soon as something can be written there, it ends, to be started anew.
        let stand_in = disks[dead].stand_in()?;
        let ending = host.wait_end(AFTER_ELECTION)?;
        expect(ending.contains('1'), || format!("it ended with {ending}"))?;
        lab.attacker.expect_silent(&pair)?;
        drop(stand_in);
        let host = &mut lab.hosts_mut()[dead];
        disks[dead].give_power()?;
        host.start()?;
        lab.wait_whole()?;
        lab.hosts().iter().try_for_each(|host| has_every(host, &acknowledged, AFTER_ELECTION))
    })
}
