//! A host whose administrators look with iptables: whole daemons block there with ipset and the host's own iptables, in
//! one cluster with a host that has nftables. The command of the Kopano article shows its chains with counts, word for
//! word; a restart costs nothing; a firewall script that knows nothing of us is undone within a second.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::host::{Host, HostPlan};
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds;

use crate::emergency::daemon;
use crate::inside::{QUICK_RAFT, in_lab, plan, skip};

const SOON: Duration = Duration::from_secs(5);
/// A stranger's damage is repaired within this.
const REPAIR: Duration = Duration::from_secs(1);
/// The article's own line.
const ARTICLE: &str = "iptables -vnL | egrep \"f2b-kopano-webapp|apache-auth|sshd\"";
const BANNED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 61));
const LATER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 62));

/// Runs a line of shell on a host: what it prints.
fn shell(host: &Host, line: &str) -> Result<String> {
    let run = || Command::new("sh").args(["-c", line]).output().context(|| format!("cannot run `{line}`"));
    let output = host.netns().run(run)?;
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    expect(output.status.success(), || format!("`{line}` on {}: {error}", host.name()))?;
    Ok(out.into_owned())
}

pub(crate) fn missing_program() -> Option<&'static str> {
    ["iptables", "ipset"].into_iter().find(|program| Command::new(program).arg("-V").output().is_err())
}

fn hosts(hook: &str) -> Vec<HostPlan> {
    let settings = format!("backend = \"iptables\"\nhook = \"{hook}\"\n{QUICK_RAFT}");
    vec![HostPlan { settings, ..plan("kopano", seeds::kopano()) }, plan("kerio", seeds::kerio())]
}

fn web(lab: &Lab, address: IpAddr) -> [(IpAddr, SocketAddr); 1] {
    [(address, lab.host("kopano").port(443, address))]
}

fn mail(lab: &Lab, address: IpAddr) -> [(IpAddr, SocketAddr); 1] {
    [(address, lab.host("kerio").port(25, address))]
}

#[test]
fn the_articles_command_shows_chains_with_counts() -> Result<()> {
    let test = "iptables::the_articles_command_shows_chains_with_counts";
    if let Some(program) = missing_program() {
        return skip(test, &format!("the program `{program}` is missing"));
    }
    in_lab(
        test,
        |_| hosts("input"),
        |lab| {
            lab.form_cluster()?;
            let kopano = lab.host("kopano");
            kopano.append_log(seeds::APACHE_ERROR_LOG, &vec![seeds::kopano_failure(BANNED, "bob"); 5])?;
            lab.attacker.wait_silent(&web(lab, BANNED), SOON)?;
            lab.attacker.wait_silent(&mail(lab, BANNED), SOON)?;
            // What it tried after that has been counted in its jail's chain.
            let shown = shell(kopano, ARTICLE)?;
            let counts = |line: &str| line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok());
            let way_in = shown.lines().filter(|line| line.contains("match-set")).filter_map(counts).max();
            expect(shown.contains("Chain f2b-kopano-webapp") && shown.contains("(1 references)"), || {
                format!("no chain of the article's jail: {shown}")
            })?;
            expect(way_in > Some(0), || format!("nothing is counted: {shown}"))?;
            let status = kopano.cli(&["status"])?.stdout;
            expect(status.contains("iptables (as configured)") && status.contains("filter INPUT"), || {
                format!("status does not say how it blocks: {status}")
            })?;
            stays_through_a_kill(lab)?;
            is_repaired(lab, "filter")
        },
    )
}

#[test]
fn a_host_with_iptables_blocks_before_everything_else() -> Result<()> {
    let test = "iptables::a_host_with_iptables_blocks_before_everything_else";
    if let Some(program) = missing_program() {
        return skip(test, &format!("the program `{program}` is missing"));
    }
    in_lab(
        test,
        |_| hosts("raw"),
        |lab| {
            lab.form_cluster()?;
            // From the host with nftables to this one.
            let lines = [seeds::kerio_harvest(BANNED)];
            lab.host("kerio").append_log(seeds::KERIO_LOG, &lines)?;
            lab.attacker.wait_silent(&mail(lab, BANNED), SOON)?;
            lab.attacker.wait_silent(&web(lab, BANNED), SOON)?;
            stays_through_a_kill(lab)?;
            is_repaired(lab, "raw")?;
            lab.host("kopano").cli(&["unban", &BANNED.to_string()])?.expect_success()?;
            lab.attacker.wait_open(&web(lab, BANNED), SOON)?;
            is_opened_without_a_daemon(lab)
        },
    )
}

fn is_opened_without_a_daemon(lab: &mut Lab) -> Result<()> {
    lab.host_mut("kopano").kill_9();
    let kopano = lab.host("kopano");
    lab.attacker.expect_silent(&web(lab, LATER))?;
    let (is_done, said) = daemon(kopano, &["--release", &LATER.to_string()])?;
    expect(is_done && said.contains("passes on this host"), || said)?;
    lab.attacker.wait_open(&web(lab, LATER), SOON)?;
    let (is_done, said) = daemon(kopano, &["--flush"])?;
    expect(is_done && said.contains("nobody is blocked"), || said)?;
    let left = shell(kopano, "iptables-save; ip6tables-save; ipset list -n")?;
    expect(!left.contains("bannkreis") && !left.contains("f2b-"), || format!("something is left: {left}"))
}

fn stays_through_a_kill(lab: &mut Lab) -> Result<()> {
    lab.host_mut("kopano").kill_9();
    lab.attacker.expect_silent(&web(lab, BANNED))?;
    lab.host_mut("kopano").start()?;
    lab.attacker.expect_silent(&web(lab, BANNED))?;
    lab.host("kerio").cli(&["ban", &LATER.to_string()])?.expect_success()?;
    lab.attacker.wait_silent(&web(lab, LATER), SOON)
}

/// What a firewall script does that builds its own rules anew, and an `ipset flush`.
fn is_repaired(lab: &Lab, table: &str) -> Result<()> {
    let kopano = lab.host("kopano");
    let one =
        format!("for set in $(ipset list -n | grep ^bannkreis4); do ipset -exist del $set {BANNED}; done");
    for damage in [format!("iptables -t {table} -F"), "ipset flush".to_owned(), one] {
        shell(kopano, &damage)?;
        lab.attacker.wait_silent(&web(lab, BANNED), REPAIR)?;
        wait_for("the repair is counted", SOON, || {
            let told = kopano.cli(&["firewall"])?.stdout;
            expect(told.contains("damaged and repaired"), || told.clone())
        })?;
    }
    Ok(())
}
