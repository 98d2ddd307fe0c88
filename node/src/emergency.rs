//! `bannkreisd --flush` and `--release ADDRESS`: what opens this host when no daemon does it any more, because it is dead or
//! hangs. Needs no state, no configuration and no cluster.
//!
//! Not for a daemon that works: `bannkreis pause` and `bannkreis unban` are quicker, and last.

use crate::startup::StartupError;
use bannkreis_core::subnet::Subnet;
use bannkreis_firewall::FirewallError;
use bannkreis_firewall::nftables::emergency::owner_port;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// A process that is killed is gone within this.
const END_MAX: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// NETLINK_NETFILTER in linux/netlink.h.
const NETFILTER: &str = "12";

/// What is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Everything.
    All,
    /// What this subnet sends.
    Only(Subnet),
}

/// Opens this host's firewall; ends the process that keeps others from it first, if `kills`. Gives a sentence for people.
///
/// # Errors
/// When a process owns the table and is not to be ended, or the kernel refuses.
pub fn open(opening: Opening, kills: bool) -> Result<String, StartupError> {
    let mut ended = String::new();
    let owner = match owner_port() {
        // A kernel without nftables has no table of ours, and nobody owns it.
        Err(FirewallError::NotSupported { .. }) => None,
        owner => owner.map_err(|error| refused(&error))?,
    };
    if let Some(port) = owner {
        let pid = process_with_port(port);
        let who =
            pid.map_or_else(|| "a process of another namespace".to_owned(), |pid| format!("process {pid}"));
        let Some(pid) = pid.filter(|_| kills) else {
            return Err(StartupError(format!(
                "{who} has the table and would block again: `bannkreis pause` opens this host through it, and \
                 `bannkreis unban ADDRESS --local` lets one address through. If it does not answer, add --kill, which \
                 ends it first"
            )));
        };
        end(pid, port)?;
        ended = format!("{who} was ended; ");
    }
    let opened = match opening {
        Opening::All => bannkreis_firewall::flush(),
        Opening::Only(subnet) => bannkreis_firewall::let_pass(subnet),
    };
    match (opened, opening) {
        (Ok(false), _) => Ok(format!("{ended}there is nothing of bannkreis in this host's firewall")),
        (Ok(true), Opening::All) => Ok(format!(
            "{ended}nobody is blocked by bannkreis on this host any more; a bannkreisd that runs or starts blocks again \
             what the ban list says"
        )),
        (Ok(true), Opening::Only(subnet)) => Ok(format!(
            "{ended}{subnet} passes on this host, unless a bannkreisd runs, and until one starts; `bannkreis unban {subnet}` \
             lifts its bans for good"
        )),
        (Err(error), _) => Err(refused(&error)),
    }
}

fn refused(error: &FirewallError) -> StartupError {
    StartupError(format!("the firewall could not be opened: {error}"))
}

/// Ends a process at once, and waits until it owns the table no more.
fn end(pid: u32, port: u32) -> Result<(), StartupError> {
    let number = i32::try_from(pid).map_err(StartupError::of)?;
    // SAFETY: kill(2) takes two numbers.
    if unsafe { libc::kill(number, libc::SIGKILL) } != 0 {
        let why = std::io::Error::last_os_error();
        return Err(StartupError(format!("process {pid} can not be ended: {why}")));
    }
    let began = Instant::now();
    while owner_port().map_err(|error| refused(&error))? == Some(port) {
        if began.elapsed() > END_MAX {
            return Err(StartupError(format!("process {pid} does not end")));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

/// The process whose netlink socket to netfilter has this port.
fn process_with_port(port: u32) -> Option<u32> {
    let table = fs::read_to_string("/proc/net/netlink").ok()?;
    // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
    let inode = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1) == Some(&NETFILTER) && fields.get(2) == Some(&port.to_string().as_str());
        is_it.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]"))).flatten()
    })?;
    let processes =
        fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == Path::new(&inode))
    };
    let mut holding = processes.filter(holds);
    holding.next()
}
