//! From a line in kerio's mail log until every node has the ban on the cluster's list, as the nodes
//! themselves answer over connections that are already open.
//!
//! One node is asked after the other, each until it has it: the end is the last one's, and at most a
//! few questions late. How long a question takes stands in the table.

use std::time::{Duration, Instant};

use bannkreis_benches::sample::Sample;
use bannkreis_cli::client::{Client, connect};
use bannkreis_proto::v1::{BanKind, WhyRequest};
use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::seeds;

use crate::Offenders;

const N_LINES: usize = 200;
/// Whoever has it not by then will not have it.
const COMMIT_MAX: Duration = Duration::from_secs(5);
/// Between two lines, so that each is a batch of its own on the disk.
const LINE_INTERVAL: Duration = Duration::from_millis(20);
/// Between two questions to a node that does not have it yet: whoever asks without a pause takes a
/// processor away from those who are asked.
const QUESTION_PAUSE: Duration = Duration::from_micros(200);

/// What was measured.
pub(crate) struct Commits {
    /// From the line to the last node.
    pub(crate) all_three: Sample,
    /// One question and its answer.
    pub(crate) question: Sample,
}

/// For each of many offenders: a line on kerio, and when all three had the ban.
pub(crate) fn until_on_every_list(lab: &Lab, offenders: &mut Offenders) -> Result<Commits> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context(|| "cannot start a runtime".to_owned())?;
    runtime.block_on(async {
        let mut clients = Vec::new();
        for host in lab.hosts() {
            let client = connect(&host.file("run/control.sock")).await;
            clients.push(client.map_err(|failure| bannkreis_tests::failed::Failed(failure.to_string()))?);
        }
        let (mut all_three, mut question) = (Vec::new(), Vec::new());
        for _ in 0..N_LINES {
            tokio::time::sleep(LINE_INTERVAL).await;
            let offender = offenders.next().to_string();
            let line = seeds::kerio_harvest(offender.parse().context(|| "no address".to_owned())?);
            let written = lab.host("kerio").append_log(seeds::KERIO_LOG, &[line])?;
            for client in &mut clients {
                loop {
                    let asked = Instant::now();
                    let is_there = is_on_list(client, &offender).await?;
                    question.push(asked.elapsed());
                    if is_there {
                        break;
                    }
                    expect(written.elapsed() < COMMIT_MAX, || format!("{offender} is not on every list"))?;
                    std::thread::sleep(QUESTION_PAUSE);
                }
            }
            all_three.push(written.elapsed());
        }
        Ok(Commits { all_three: Sample::new(all_three), question: Sample::new(question) })
    })
}

async fn is_on_list(client: &mut Client, offender: &str) -> Result<bool> {
    let request = WhyRequest { target: offender.to_owned() };
    let answer = client.why(request).await.context(|| "a node does not answer".to_owned())?;
    let bans = answer.into_inner().bans;
    Ok(bans.iter().filter_map(|why| why.ban.as_ref()).any(|ban| ban.kind() == BanKind::Ban))
}
