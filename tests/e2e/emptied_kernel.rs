//! Who asks the health service of a node hears that it is not ready while the kernel does not hold its bans, whoever took
//! them away, and that it is as soon as they are back.
//!
//! Not for what the service manager hears (`readiness.rs`).

use std::fs;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bannkreis_core::ruleset::Ruleset;
use bannkreis_core::time::Timestamp;
use bannkreis_firewall::{BackendChoice, Firewall};
use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::Tree;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::inside::{in_lab, plan};

const SOON: Duration = Duration::from_secs(10);
/// NETLINK_NETFILTER in linux/netlink.h.
const NETFILTER: &str = "12";

/// What the health service of a host's daemon says now.
fn health(host: &Host) -> Result<ServingStatus> {
    let socket = host.file("run/control.sock");
    let asking = async move {
        let connect = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        });
        let endpoint = tonic::transport::Endpoint::from_static("http://control.sock");
        let channel = endpoint.connect_with_connector(connect).await.map_err(|error| error.to_string())?;
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        answer.map(|answer| answer.into_inner().status()).map_err(|status| status.to_string())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context(|| "cannot ask".to_owned())?;
    let answer = runtime.block_on(async { tokio::time::timeout(SOON, asking).await });
    answer.unwrap_or_else(|_| Err("no answer".to_owned())).map_err(Failed)
}

fn wait_health(host: &Host, wanted: ServingStatus) -> Result<()> {
    wait_for(&format!("the health service says {wanted:?}"), SOON, || {
        let says = health(host)?;
        expect(says == wanted, || format!("it says {says:?}"))
    })
}

/// The sockets by which the daemon talks with nftables. A table that it owns takes orders from nobody else.
fn own_sockets(host: &Host) -> Result<Vec<OwnedFd>> {
    let pid = host.pid().ok_or_else(|| Failed("no daemon runs".to_owned()))?;
    let read = || -> std::io::Result<Vec<OwnedFd>> {
        let table = fs::read_to_string(format!("/proc/{pid}/net/netlink"))?;
        // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
        let inodes: Vec<String> = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|fields| fields.get(1) == Some(&NETFILTER))
            .filter_map(|fields| fields.get(9).map(|inode| format!("socket:[{inode}]")))
            .collect();
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::NotFound)?;
        let process = pidfd_open(process, PidfdFlags::empty())?;
        let mut found = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let entry = entry?;
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let (true, Some(number)) = (inodes.contains(&target.display().to_string()), number) {
                found.push(pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?);
            }
        }
        Ok(found)
    };
    read().context(|| "cannot take the daemon's sockets".to_owned())
}

/// One transaction without an answer: delete every table.
fn delete_tables(socket: &OwnedFd) -> Result<()> {
    let message = |kind: u16, resource: u16, sequence: u32| {
        let (length, is_request) = (20_u32, 1_u16);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(is_request.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 6]);
        bytes.extend(resource.to_be_bytes());
        bytes
    };
    let (begin, end, delete_table, nftables) = (0x10, 0x11, 0x0a02, 10);
    let batch =
        [message(begin, nftables, 1), message(delete_table, 0, 2), message(end, nftables, 3)].concat();
    let sent = rustix::net::send(socket, &batch, rustix::net::SendFlags::empty());
    let sent = sent.context(|| "cannot speak with nftables".to_owned())?;
    expect(sent == batch.len(), || format!("only {sent} bytes were sent"))
}

/// Takes the daemon's table away, and puts an empty one in its place that only the caller may change.
fn take_the_table(host: &Host) -> Result<Box<dyn Firewall>> {
    let sockets = own_sockets(host)?;
    expect(!sockets.is_empty(), || "the daemon does not talk with nftables".to_owned())?;
    host.netns().run(|| {
        // The daemon may be quicker, and put its own back in between.
        wait_for("the table is another's", SOON, || {
            sockets.iter().try_for_each(delete_tables)?;
            bannkreis_firewall::open(BackendChoice::Nftables)
                .context(|| "the table is the daemon's".to_owned())
        })
    })
}

#[test]
fn a_node_whose_kernel_was_emptied_is_not_ready_until_its_bans_are_back() -> Result<()> {
    let name = "emptied_kernel::a_node_whose_kernel_was_emptied_is_not_ready_until_its_bans_are_back";
    in_lab(
        name,
        |_| vec![plan("kopano", Tree::empty())],
        |lab| {
            lab.host_mut("kopano").start()?;
            let banned: IpAddr = [203, 0, 113, 61].into();
            let kopano = lab.host("kopano");
            let pair = [(banned, kopano.port(25, banned))];
            kopano.cli(&["ban", &banned.to_string(), "--for", "1h"])?.expect_success()?;
            lab.attacker.wait_silent(&pair, SOON)?;
            wait_health(kopano, ServingStatus::Serving)?;

            let taken = take_the_table(kopano)?;
            wait_health(kopano, ServingStatus::NotServing)?;
            lab.attacker.wait_open(&pair, SOON)?;
            let said = kopano.cli(&["status"])?.expect_success()?.stdout;
            expect(said.contains("firewall") || said.contains("table"), || said.clone())?;
            expect(health(kopano)? == ServingStatus::NotServing, || "ready without its bans".to_owned())?;

            drop(taken);
            wait_health(kopano, ServingStatus::Serving)?;
            lab.attacker.expect_silent(&pair)
        },
    )
}

#[test]
fn a_node_that_starts_is_ready_only_with_its_bans_in_the_kernel() -> Result<()> {
    let name = "emptied_kernel::a_node_that_starts_is_ready_only_with_its_bans_in_the_kernel";
    in_lab(
        name,
        |_| vec![plan("kopano", Tree::empty())],
        |lab| {
            lab.host_mut("kopano").start()?;
            let banned: Vec<IpAddr> = (1..=40).map(|n| IpAddr::from([203, 0, 113, n])).collect();
            let kopano = lab.host("kopano");
            for address in &banned {
                kopano.cli(&["ban", &address.to_string(), "--for", "1h"])?.expect_success()?;
            }
            let pairs: Vec<_> = banned.iter().map(|address| (*address, kopano.port(25, *address))).collect();
            lab.attacker.wait_silent(&pairs, SOON)?;
            lab.host_mut("kopano").kill_9();
            lab.host("kopano").netns().run(|| {
                let refused = || "cannot empty the kernel's table".to_owned();
                let mut kernel = bannkreis_firewall::open(BackendChoice::Nftables).context(refused)?;
                kernel.replace(Timestamp::ZERO, &Ruleset::default()).context(refused)
            })?;
            lab.attacker.wait_open(&pairs, SOON)?;

            lab.host_mut("kopano").launch()?;
            wait_health(lab.host("kopano"), ServingStatus::Serving)?;
            lab.attacker.expect_silent(&pairs)
        },
    )
}
