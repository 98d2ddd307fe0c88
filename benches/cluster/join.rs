//! How long it takes from the command until a host that has just joined enforces all bans of the cluster.

use std::path::Path;
use std::time::{Duration, Instant};

use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::lab::wait::wait_for;

use crate::{JOIN_MAX, ban_thousand, judge, say, with_lab};

/// Thousands of bans that are there before.
const N_THOUSANDS: u32 = 100;
/// Whoever does not enforce them by then will not.
const ENFORCED_MAX: Duration = Duration::from_secs(60);

/// Measures and says it.
pub(crate) fn measure(directory: &Path) -> Result<()> {
    with_lab(directory, "join", &["kopano", "kerio"], "", |lab| {
        for host in lab.hosts_mut() {
            host.start()?;
        }
        let [kopano, kerio] = ["kopano", "kerio"].map(|name| lab.host(name));
        for n in 0..N_THOUSANDS {
            ban_thousand(kopano, n)?;
        }
        let token = kopano.token()?;
        let began = Instant::now();
        kerio.cli(&["cluster", "join", &kopano.cluster_address(), "--token", &token])?.expect_success()?;
        let joined = began.elapsed();
        wait_for("the host that joined enforces everything", ENFORCED_MAX, || {
            let n_blocked = kerio.cli(&["--output", "json", "status"])?.number_at("/n_blocked")?;
            expect(n_blocked >= u64::from(N_THOUSANDS) * 1_000, || format!("{n_blocked} are blocked"))
        })?;
        let enforced = began.elapsed();
        judge(&format!("a host joins a cluster of {N_THOUSANDS},000 bans"), joined, JOIN_MAX);
        judge("and enforces all of them", enforced, JOIN_MAX);
        say("");
        Ok(())
    })
}
