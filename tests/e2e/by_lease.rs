//! Pods that start at once, by one Lease: in any order, through restarts, with a holder that is dead or has lost
//! its store. Never two clusters of several, never a lost ban.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::answers::committed;
use bannkreis_tests::lab::host::{Host, HostPlan};
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::Tree;

use crate::api_server::ApiServer;
use crate::inside::{QUICK_RAFT, in_lab, plan};

const NAMES: [&str; 3] = ["kopano", "kerio", "mx1"];
const LEASE: &str = "mail/bannkreis";
const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(60);

/// Where the attacker's network has a place for the API server.
fn api_address() -> SocketAddr {
    SocketAddr::from(([10, 77, 0, 99], 6443))
}

/// Without certificates, no token is needed.
fn plans(_: &Path) -> Vec<HostPlan> {
    let plan = |name| HostPlan { settings: alone(), ..plan(name, Tree::empty()) };
    NAMES.map(plan).into()
}

fn alone() -> String {
    format!("{QUICK_RAFT}[tls]\nmode = \"insecure\"\n")
}

fn own_ban(n: usize) -> IpAddr {
    IpAddr::from([203, 0, 113, u8::try_from(n + 61).unwrap_or(u8::MAX)])
}

fn lists(host: &Host, wanted: &BTreeSet<String>) -> Result<()> {
    let listed = committed(&host.bans()?);
    expect(listed.is_superset(wanted), || format!("{} lists {listed:?}", host.name()))
}

/// Each host has lived alone and has banned somebody; then its configuration names the Lease.
fn set_up(lab: &mut Lab) -> Result<(ApiServer, BTreeSet<String>)> {
    let directory = lab.hosts()[0].file("..");
    let api = ApiServer::start(lab.attacker.netns(), api_address(), &directory)?;
    let mut wanted = BTreeSet::new();
    for (n, host) in lab.hosts_mut().iter_mut().enumerate() {
        host.start()?;
        host.cli(&["ban", &own_ban(n).to_string(), "--for", "1h"])?.expect_success()?;
        host.stop()?;
        host.change_settings(&format!("{}{}", alone(), api.settings(LEASE)))?;
        wanted.insert(own_ban(n).to_string());
    }
    Ok((api, wanted))
}

fn cluster_of(host: &Host) -> Result<String> {
    host.cli(&["--output", "json", "cluster", "status"])?.text_at("/cluster_id")
}

/// All are one cluster, the one in the Lease, which was created once; every ban is known and enforced everywhere.
fn expect_one(lab: &Lab, api: &ApiServer, wanted: &BTreeSet<String>) -> Result<String> {
    lab.wait_whole()?;
    let (_, cluster, members, n_created) =
        api.lease().ok_or_else(|| Failed("there is no Lease".to_owned()))?;
    expect(n_created == 1, || format!("{n_created} Leases were created"))?;
    for host in lab.hosts() {
        wait_for("nothing is amiss any more", SOON, || {
            let told = host.cli(&["--output", "json", "status"])?;
            expect(told.text_at("/state/warnings/0").is_err(), || told.stdout.clone())
        })?;
        let own = cluster_of(host)?;
        expect(own == cluster, || format!("{} is in {own}, the Lease names {cluster}", host.name()))?;
        expect(members.contains(&host.cluster_address()), || {
            format!("{} is not in {members:?}", host.name())
        })?;
        wait_for("every ban is known", SOON, || lists(host, wanted))?;
        for address in wanted {
            let address: IpAddr = address.parse().context(|| "an address".to_owned())?;
            lab.attacker.wait_silent(&[(address, host.port(25, address))], SOON)?;
        }
    }
    Ok(cluster)
}

#[test]
fn pods_that_start_at_once_are_one_cluster_and_stay_one() -> Result<()> {
    in_lab("by_lease::pods_that_start_at_once_are_one_cluster_and_stay_one", plans, |lab| {
        let (api, wanted) = set_up(lab)?;
        // Without an API server each one works alone.
        api.set_down(true);
        for host in lab.hosts_mut() {
            host.launch()?;
        }
        for (n, host) in lab.hosts_mut().iter_mut().enumerate() {
            host.wait_ready()?;
            lab_alone(host, n)?;
        }
        api.set_down(false);
        let cluster = expect_one(lab, &api, &wanted)?;

        // All are killed, and come back in another order.
        for host in lab.hosts_mut() {
            host.kill_9();
        }
        for name in ["mx1", "kopano", "kerio"] {
            lab.host_mut(name).launch()?;
        }
        expect(expect_one(lab, &api, &wanted)? == cluster, || "the cluster is another one".to_owned())?;

        // The holder loses its disk: it finds its own name with a cluster that it does not know, and comes back.
        let (holder, ..) = api.lease().ok_or_else(|| Failed("there is no Lease".to_owned()))?;
        let holder = lab.hosts().iter().find(|host| host.cluster_address() == holder).map(Host::name);
        let holder = holder.ok_or_else(|| Failed("the holder is nobody's".to_owned()))?;
        lab.host_mut(holder).kill_9();
        wipe(lab.host(holder))?;
        lab.host_mut(holder).start()?;
        wait_for("the holder is let in again", LATER, || {
            let own = cluster_of(lab.host(holder))?;
            expect(own == cluster, || format!("{holder} is in {own}"))
        })?;
        expect(expect_one(lab, &api, &wanted)? == cluster, || "the cluster is another one".to_owned())?;
        Ok(())
    })
}

/// It has its own ban, and nobody else.
fn lab_alone(host: &Host, n: usize) -> Result<()> {
    lists(host, &BTreeSet::from([own_ban(n).to_string()]))?;
    let n_nodes = host.cluster_status()?.nodes.len();
    expect(n_nodes == 1, || format!("{} is one of {n_nodes}", host.name()))
}

fn wipe(host: &Host) -> Result<()> {
    let state = host.file("state");
    std::fs::remove_dir_all(&state)
        .and_then(|()| std::fs::create_dir_all(&state))
        .context(|| format!("cannot wipe {}", state.display()))
}

#[test]
fn a_pod_waits_for_a_dead_holder_and_a_holder_begins_anew_only_alone() -> Result<()> {
    in_lab("by_lease::a_pod_waits_for_a_dead_holder_and_a_holder_begins_anew_only_alone", plans, |lab| {
        let (api, wanted) = set_up(lab)?;
        lab.host_mut("kopano").start()?;
        let holds = |lab: &Lab| {
            let (holder, cluster, ..) = api.lease().ok_or_else(|| Failed("there is no Lease".to_owned()))?;
            let own = cluster_of(lab.host("kopano"))?;
            expect(holder == lab.host("kopano").cluster_address() && cluster == own, || {
                format!("{holder} holds {cluster}, not {own}")
            })?;
            Ok(cluster)
        };
        let first = wait_for("the first one holds the Lease", SOON, || holds(lab))?;

        // Its store is lost before anybody has joined: it may name its new cluster.
        lab.host_mut("kopano").kill_9();
        wipe(lab.host("kopano"))?;
        lab.host_mut("kopano").start()?;
        let second = wait_for("it holds the Lease anew", SOON, || holds(lab))?;
        expect(first != second, || "a wiped node has its old cluster".to_owned())?;
        lab.host("kopano").cli(&["ban", &own_ban(0).to_string(), "--for", "1h"])?.expect_success()?;

        // Dead, it is waited for; nobody takes its place.
        lab.host_mut("kopano").kill_9();
        for name in ["kerio", "mx1"] {
            lab.host_mut(name).launch()?;
        }
        wait_for("both have written their names down", LATER, || {
            let (.., members, _) = api.lease().ok_or_else(|| Failed("there is no Lease".to_owned()))?;
            expect(members.len() == 3, || format!("the Lease names {members:?}"))
        })?;
        for (n, name) in [(1, "kerio"), (2, "mx1")] {
            let host = lab.host_mut(name);
            host.wait_ready()?;
            wait_for("it says what it waits for", LATER, || {
                let told = host.cli(&["--output", "json", "status"])?.text_at("/state/warnings/0")?;
                expect(told.contains("lets this node in by none of its members"), || told.clone())
            })?;
            lab_alone(host, n)?;
        }
        lab.host_mut("kopano").launch()?;
        expect(expect_one(lab, &api, &wanted)? == second, || "the cluster is another one".to_owned())?;
        Ok(())
    })
}
