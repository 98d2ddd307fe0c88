//! From a line in kerio's mail log until a host is silent to the offender, seen by packets.

use std::time::Duration;

use bannkreis_benches::sample::Sample;
use bannkreis_tests::failed::Result;
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::syn_probe::SynProbe;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds;

use crate::Offenders;

const N_LINES: usize = 200;
/// The resolution: a packet so often.
const PACE: Duration = Duration::from_micros(100);
const PROBE_MAX: Duration = Duration::from_secs(3);
const SMTP: u16 = 25;

/// For each of many offenders: a line on kerio, and when `name` fell silent.
pub(crate) fn until_silent(lab: &Lab, name: &str, offenders: &mut Offenders) -> Result<Sample> {
    let measured = (0..N_LINES).map(|_| {
        let offender = offenders.next();
        let destination = lab.host(name).port(SMTP, offender);
        let probe = SynProbe::start(lab.attacker.netns(), offender, destination, PACE, PROBE_MAX)?;
        wait_for("an answer", PROBE_MAX, || probe.expect_answered())?;
        let line = seeds::kerio_harvest(offender);
        let written = lab.host("kerio").append_log(seeds::KERIO_LOG, &[line])?;
        probe.finish()?.silent_after(written)
    });
    Ok(Sample::new(measured.collect::<Result<Vec<Duration>>>()?))
}
