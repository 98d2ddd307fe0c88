//! A flood from blocked addresses while the ruleset is replaced again and again: nothing passes.
//!
//! Counted by a socket on the host that takes whatever gets through. Only a kernel has this.

use crate::in_kernel::{Sent, sender};
use crate::lab::{Lab, has_program, may_run};
use crate::probe::{Probe, block, chain, ip};
use bannkreis_core::jail::Ports;
use bannkreis_core::ruleset::{FirewallDelta, Ruleset};
use bannkreis_core::time::{HOUR_MS, Until};
use bannkreis_firewall::Firewall;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const N_REPLACEMENTS: u32 = 20;
const N_PACKETS_MIN: u64 = 10_000;
const FLOOD_MAX: Duration = Duration::from_secs(600);
const SOURCES: [&str; 4] = ["198.51.100.1", "203.0.113.77", "2001:db8:1::1", "2001:db8:9::1"];
const PORT: u16 = 5_353;

#[test]
fn nothing_passes_while_the_ruleset_is_replaced() {
    if may_run("flood::nothing_passes_while_the_ruleset_is_replaced") {
        for open in [Sent::nftables, Sent::sharded] {
            nothing_passes_while_it_is_replaced(open);
        }
    }
}

#[test]
fn nothing_passes_while_sets_and_rules_are_replaced() {
    let test = "flood::nothing_passes_while_sets_and_rules_are_replaced";
    if may_run(test) && has_program(test, "iptables-nft") && has_program(test, "iptables-legacy") {
        for open in [Sent::legacy, Sent::iptables_nft] {
            nothing_passes_while_it_is_replaced(open);
        }
    }
}

#[expect(clippy::print_stderr, reason = "how much was sent tells what the test is worth")]
fn nothing_passes_while_it_is_replaced(open: fn() -> Box<dyn Firewall>) {
    let mut probe = Sent::new(open);
    let until = Until::at(probe.now().plus_ms(HOUR_MS));
    let whole = chain("sshd", Ports::whole_host());
    let mut wanted = Ruleset::default();
    for delta in [
        block("198.51.100.1", &whole, until),
        block("203.0.113.0/24", &chain("dns", crate::probe::udp(&[53, PORT])), until),
        block("2001:db8:1::/64", &whole, until),
        block("2001:db8:9::1", &whole, until),
    ] {
        wanted.apply(&delta);
    }
    for n in 0..3_000_u32 {
        wanted.apply(&block(&format!("10.1.{}.{}", n / 250, n % 250), &whole, until));
    }
    let now = probe.now();
    probe.firewall().replace(now, &wanted).unwrap();
    let receivers: Vec<UdpSocket> = ["198.51.100.1", "2001:db8:1::1"]
        .map(|source| {
            let socket = probe.lab.host.enter(|| UdpSocket::bind((Lab::host_for(ip(source)), PORT))).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .into();
    let senders: Vec<(UdpSocket, SocketAddr)> = SOURCES
        .map(|source| {
            let fd = probe.lab.peer.enter(|| sender(ip(source), libc::SOCK_DGRAM)).unwrap();
            (UdpSocket::from(fd), SocketAddr::new(Lab::host_for(ip(source)), PORT))
        })
        .into();
    let (stop, n_sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (socket, to) in &senders {
                    socket.send_to(b"flood", to).unwrap();
                    n_sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let deadline = Instant::now() + FLOOD_MAX;
        let mut n_replacements = 0;
        while n_replacements < N_REPLACEMENTS || n_sent.load(Ordering::Relaxed) < N_PACKETS_MIN {
            let now = probe.now();
            let replaced = probe.firewall().replace(now, &wanted).and_then(|()| {
                let upserts: Vec<FirewallDelta> = Ruleset::default().diff(&wanted);
                probe.firewall().apply(now, &upserts)
            });
            n_replacements += 1;
            if replaced.is_err() || Instant::now() > deadline {
                stop.store(true, Ordering::Relaxed);
                replaced.unwrap();
                panic!(
                    "only {} packets and {n_replacements} replacements in time",
                    n_sent.load(Ordering::Relaxed)
                );
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    // Everything sent has arrived or been dropped when a later packet from elsewhere has arrived.
    assert!(probe.udp_passes(ip("198.51.100.250"), PORT + 1));
    for receiver in &receivers {
        let received = receiver.recv_from(&mut [0; 16]).map_err(|error| error.kind());
        assert_eq!(received, Err(ErrorKind::WouldBlock), "a packet from a blocked address passed");
    }
    let counted: u64 = probe.firewall().counters().unwrap().iter().map(|counter| counter.packets).sum();
    let n_sent = n_sent.load(Ordering::Relaxed);
    assert!(counted >= n_sent * 9 / 10, "{counted} of {n_sent} counted");
    eprintln!("{n_sent} packets sent, {counted} dropped and counted, none passed");
}
