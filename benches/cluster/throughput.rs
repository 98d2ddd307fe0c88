//! Bans per second, committed and enforced on all three nodes, with TLS and without, in turn.

use std::path::Path;
use std::time::Instant;

use bannkreis_tests::failed::{Failed, Result};

use crate::{TLS_COST_MAX, ban_thousand, say, with_lab};

/// Commands of a thousand bans each.
const N_COMMANDS: u32 = 24;
/// So many of them at once.
const N_AT_ONCE: u32 = 4;
/// Each way so often, in turn; the best counts, because other work on the machine only ever slows down.
const N_ROUNDS: u32 = 3;

/// Measures and says it.
pub(crate) fn measure(directory: &Path) -> Result<()> {
    let (mut tls, mut insecure) = (0.0f64, 0.0f64);
    for round in 0..N_ROUNDS {
        tls = tls.max(bans_per_second(directory, &format!("tls-{round}"), "")?);
        let settings = "tls.mode = \"insecure\"\n";
        insecure = insecure.max(bans_per_second(directory, &format!("insecure-{round}"), settings)?);
    }
    say(&format!("{:<52} {:>9}", "bans per second, committed and enforced on all three", "best"));
    say(&format!("{:<52} {tls:>9.0}", "with TLS"));
    say(&format!("{:<52} {insecure:>9.0}", "insecure"));
    let cost = 1.0 - tls / insecure;
    say(&format!("TLS costs {:.1} %, the aim is at most {:.0} %\n", cost * 100.0, TLS_COST_MAX * 100.0));
    Ok(())
}

fn bans_per_second(directory: &Path, name: &str, settings: &str) -> Result<f64> {
    with_lab(directory, name, &["kopano", "kerio", "mx1"], settings, |lab| {
        lab.form_cluster()?;
        let hosts = lab.hosts();
        let began = Instant::now();
        let results: Vec<Result<()>> = std::thread::scope(|scope| {
            let asking = (0..N_AT_ONCE).map(|worker| {
                scope.spawn(move || {
                    let mine = (worker..N_COMMANDS).step_by(N_AT_ONCE as usize);
                    mine.into_iter().try_for_each(|n| ban_thousand(&hosts[worker as usize % hosts.len()], n))
                })
            });
            let asking: Vec<_> = asking.collect();
            let panicked = |_| Err(Failed("a thread has panicked".to_owned()));
            asking.into_iter().map(|asked| asked.join().unwrap_or_else(panicked)).collect()
        });
        results.into_iter().collect::<Result<Vec<()>>>()?;
        Ok(f64::from(N_COMMANDS * 1_000) / began.elapsed().as_secs_f64())
    })
}
