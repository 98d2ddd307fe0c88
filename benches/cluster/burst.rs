//! Fifty thousand distinct offenders at one host at once, until all three hosts block all of them.

use std::path::Path;
use std::time::Duration;

use bannkreis_benches::sample::ms;
use bannkreis_tests::burst;
use bannkreis_tests::failed::{Failed, Result};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::host::HostPlan;
use bannkreis_tests::seeds::{self, Tree};

use crate::{judge, say};

const OFFENDERS: u32 = 50_000;
/// An attack that goes on for so long must not outrun the cluster.
const EVERYWHERE_MAX: Duration = Duration::from_secs(300);

/// Measures and says it.
pub(crate) fn measure(directory: &Path) -> Result<()> {
    let directory = directory.join("burst");
    std::fs::create_dir_all(&directory)
        .map_err(|error| Failed(format!("{}: {error}", directory.display())))?;
    let plan = |name, tree| HostPlan { name, tree, settings: String::new(), environment: Vec::new() };
    let hosts = vec![
        plan("kopano", Tree::empty()),
        plan("kerio", Tree::empty()),
        plan("mx1", seeds::strict_mail_relay("1d")),
    ];
    let mut lab = Lab::build(&directory, hosts)?;
    lab.form_cluster()?;
    let course = burst::of_offenders(&lab, "mx1", OFFENDERS, EVERYWHERE_MAX);
    if course.is_err() {
        say(&lab.last_words());
    }
    let course = course?;
    say(&format!("{OFFENDERS} offenders at one host at once; blocked there: {} ms", ms(course.here)));
    say(&format!("the slowest answer to `status` meanwhile: {} ms", ms(course.slowest_answer)));
    judge("committed and blocked on all three", course.everywhere, EVERYWHERE_MAX);
    say("");
    Ok(())
}
