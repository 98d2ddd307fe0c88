//! How bans per second, and the time that one proposer waits, change with the number of voters and of learners.
//!
//! All of them are whole daemons on this one machine: what another member costs is mostly its own share of the processors.

use std::path::Path;

use bannkreis_benches::sample::ms;
use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::lab::whole_program::say;

use crate::{N_PROPOSERS, Node, PATIENCE, nothing, quiet_lab, run_on, start_nodes};

const NAMES: [&str; 25] = [
    "mx1", "mx2", "mx3", "mx4", "mx5", "mx6", "mx7", "mx8", "mx9", "mx10", "mx11", "mx12", "mx13", "mx14",
    "mx15", "mx16", "mx17", "mx18", "mx19", "mx20", "mx21", "mx22", "mx23", "mx24", "mx25",
];
/// Voters and learners; from five nodes on, five vote.
const SIZES: [(usize, usize); 6] = [(1, 0), (3, 0), (5, 0), (5, 5), (5, 10), (5, 20)];

/// Measures and says it.
pub(crate) fn measure(directory: &Path) -> Result<()> {
    say(&format!("\n{:<28} {:>22} {:>30}", "", "one proposer, leader", &format!("{N_PROPOSERS} proposers")));
    let heads = ["p50", "p99", "bans/s", "p50", "p99"];
    let [a, b, c, d, e] = heads;
    say(&format!("{:<28} {a:>11} {b:>10} {c:>9} {d:>10} {e:>10}", "members"));
    for (n_voters, n_learners) in SIZES {
        let directory = directory.join(format!("{n_voters}-{n_learners}"));
        std::fs::create_dir_all(&directory).context(|| format!("cannot make {}", directory.display()))?;
        let mut lab = quiet_lab(&directory, &NAMES[..n_voters + n_learners])?;
        let measured = measure_one(&mut lab, n_voters, n_learners);
        if measured.is_err() {
            say(&lab.last_words());
        }
        measured?;
    }
    Ok(())
}

fn measure_one(lab: &mut Lab, n_voters: usize, n_learners: usize) -> Result<()> {
    lab.form_cluster()?;
    wait_for("as many vote as may", PATIENCE, || {
        let found = lab.hosts()[0].cluster_status()?.nodes.iter().filter(|node| node.is_voter).count();
        expect(found == n_voters, || format!("{found} vote"))
    })?;
    let mut nodes = start_nodes(lab)?;
    let leader = leader(&mut nodes)?;
    let mut first = 1 << 24;
    let alone = run_on(&mut nodes[leader..=leader], 1, 1, &mut first)?;
    let many = run_on(&mut nodes, N_PROPOSERS, 1, &mut first)?;
    nodes.into_iter().try_for_each(Node::end)?;
    say(&format!(
        "{:<28} {:>11} {:>10} {:>9.0} {:>10} {:>10}",
        format!("{n_voters} voters, {n_learners} learners"),
        ms(alone.p50),
        ms(alone.p99),
        many.per_second,
        ms(many.p50),
        ms(many.p99)
    ));
    Ok(())
}

/// Which of them leads.
fn leader(nodes: &mut [Node]) -> Result<usize> {
    for (n, node) in nodes.iter_mut().enumerate() {
        node.tell("role")?;
        if node.hear()? == "leads" {
            return Ok(n);
        }
    }
    Err(nothing())
}
