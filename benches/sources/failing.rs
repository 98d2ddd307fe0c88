//! A million addresses that have each failed once: what is remembered of them, and what it takes.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bannkreis_benches::process;
use bannkreis_core::event_id::LineDigest;
use bannkreis_core::failure::{Failure, SourceId, SourcePosition};
use bannkreis_core::jail::{BanPolicy, Jail, JailName, Ports, Scope};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::tally::{OFFENDERS_MAX, Tally};
use bannkreis_core::time::{BanTime, Timestamp};
use bannkreis_tests::failed::{Context, Result};

use crate::say;

/// What is aimed at, for each.
const BYTES_MAX: f64 = 300.0;

pub(crate) fn run() -> Result<()> {
    let gone = || "this process can not be looked at".to_owned();
    let jail = Jail {
        name: JailName::new("sshd").context(|| "no name".to_owned())?,
        max_retry: 5,
        find_time_ms: 600_000,
        policy: BanPolicy::fixed(BanTime::Ms(600_000)),
        ports: Ports::tcp(&[22]),
        max_matches: 5,
        scope: Scope::Cluster,
        counts_bans: false,
        reach: None,
        ignore: Vec::new(),
    };
    let n_addresses = u32::try_from(OFFENDERS_MAX).unwrap_or(u32::MAX);
    let failure = |n: u32| {
        let offender = Subnet::host(IpAddr::from((0x2d00_0000 + n).to_be_bytes()));
        Failure {
            jail: jail.name.clone(),
            offender,
            at: Timestamp(1_700_000_000_000 + u64::from(n)),
            evidence: format!(
                "Nov 22 05:30:08 mx1 sshd[1234]: Failed password for bob from {offender} port 51234 ssh2"
            ),
            line: LineDigest::default(),
            user: None,
            source: SourceId(0),
            position: SourcePosition(u64::from(n) * 90),
            replayed: false,
        }
    };
    let before = process::rss_bytes(std::process::id()).context(gone)?;
    let mut tally = Tally::default();
    let mut took = Duration::ZERO;
    for n in 0..n_addresses {
        let failure = failure(n);
        let began = Instant::now();
        tally.add(&jail, failure.offender, &failure, 1, Some(u64::from(n)));
        took += began.elapsed();
    }
    let bytes = process::rss_bytes(std::process::id()).context(gone)?.saturating_sub(before);
    let each = bytes as f64 / f64::from(n_addresses);
    let aim = if each <= BYTES_MAX { "met" } else { "MISSED" };
    say(&format!(
        "  {n_addresses} addresses that have each failed once, the most that are remembered: {each:.0} bytes each \
         (aim {BYTES_MAX}: {aim}), {:.2} us to count one",
        took.as_secs_f64() * 1e6 / f64::from(n_addresses),
    ));
    Ok(())
}
