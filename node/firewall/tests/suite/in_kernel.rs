//! The suite against the kernel: asked with real packets.

use crate::cases::CASES;
use crate::lab::{Lab, has_program, may_run};
use crate::probe::Probe;
use bannkreis_core::time::Timestamp;
use bannkreis_firewall::iptables::{Hook, Iptables, Variant};
use bannkreis_firewall::nftables::{Nftables, Sizes};
use bannkreis_firewall::{ELEMENTS_MAX, Firewall};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::mem::size_of_val;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Sends from here are never blocked: they come after the packet in question and tell that it will
/// not come any more.
const FENCE_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
const FENCE_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));

/// Few are as many as a hundred thousand.
pub(crate) const SHARDED: Sizes = Sizes { room: ELEMENTS_MAX, undivided_max: 0 };

/// How many times slower than usual everything is: an emulated machine.
const SLOWNESS: &str = "BANNKREIS_FIREWALL_SUITE_SLOWNESS";

/// A packet that passes arrives within this, on however busy a machine.
const ARRIVAL_MAX: Duration = Duration::from_secs(10);

/// A connection that is not made in this time after a later one was made has been dropped.
const CONNECT_MAX: Duration = Duration::from_millis(100);

/// A firewall on a host of its own, and a peer that sends from anywhere.
pub(crate) struct Sent {
    pub(crate) lab: Lab,
    pub(crate) firewall: Box<dyn Firewall>,
    late_ms: u64,
    slowness: u64,
    receivers: BTreeMap<(bool, u16), UdpSocket>,
    listeners: BTreeMap<(bool, u16), TcpListener>,
}

impl Sent {
    /// Two fresh hosts and what `open` makes of the one with the firewall.
    pub(crate) fn new(open: impl FnOnce() -> Box<dyn Firewall> + Send) -> Sent {
        let lab = Lab::new();
        let firewall = lab.host.enter(open);
        let late_ms = if firewall.name() == "iptables" { 1_100 } else { 0 };
        let slowness = std::env::var(SLOWNESS).map_or(1, |times| times.parse().expect("a number"));
        Sent { lab, firewall, late_ms, slowness, receivers: BTreeMap::new(), listeners: BTreeMap::new() }
    }

    /// Opens nftables.
    pub(crate) fn nftables() -> Box<dyn Firewall> {
        Box::new(Nftables::open().unwrap())
    }

    /// Opens nftables with a map for each shard where others have one map.
    pub(crate) fn sharded() -> Box<dyn Firewall> {
        Box::new(Nftables::open_with(SHARDED).unwrap())
    }

    /// Opens ipset with the rules of the old iptables.
    pub(crate) fn legacy() -> Box<dyn Firewall> {
        Box::new(Iptables::open_as(Hook::Raw, Variant::Legacy, ELEMENTS_MAX).unwrap())
    }

    /// Opens ipset with the rules of the iptables that writes nftables.
    pub(crate) fn iptables_nft() -> Box<dyn Firewall> {
        Box::new(Iptables::open_as(Hook::Raw, Variant::Nft, ELEMENTS_MAX).unwrap())
    }

    /// Opens the same where fail2ban's chains are.
    pub(crate) fn input() -> Box<dyn Firewall> {
        Box::new(Iptables::open_as(Hook::Input, Variant::Nft, ELEMENTS_MAX).unwrap())
    }

    fn listen(&mut self, source: IpAddr, port: u16) {
        let v4 = source.is_ipv4();
        let address = SocketAddr::new(Lab::host_for(source), port);
        let host = &self.lab.host;
        self.receivers.entry((v4, port)).or_insert_with(|| {
            let socket = host.enter(|| UdpSocket::bind(address)).unwrap();
            socket.set_read_timeout(Some(ARRIVAL_MAX)).unwrap();
            socket
        });
    }
}

impl Probe for Sent {
    fn firewall(&mut self) -> &mut dyn Firewall {
        &mut *self.firewall
    }

    fn now(&self) -> Timestamp {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        Timestamp(u64::try_from(since.as_millis()).unwrap())
    }

    fn udp_passes(&mut self, source: IpAddr, port: u16) -> bool {
        let v4 = source.is_ipv4();
        self.listen(source, port);
        let receiver = &self.receivers[&(v4, port)];
        let to = SocketAddr::new(Lab::host_for(source), port);
        let fence = if v4 { FENCE_V4 } else { FENCE_V6 };
        // One thread sends both, so that they take the same way through the same queue.
        self.lab.peer.enter(|| {
            stay_on_this_processor();
            for from in [source, fence] {
                sender(from, libc::SOCK_DGRAM).and_then(|s| UdpSocket::from(s).send_to(b"?", to)).unwrap();
            }
        });
        let mut passes = false;
        loop {
            let (_, from) = receiver.recv_from(&mut [0; 16]).expect("the fence arrives");
            match from.ip() {
                ip if ip == fence => return passes,
                ip => passes |= ip == source,
            }
        }
    }

    fn tcp_passes(&mut self, source: IpAddr, port: u16) -> bool {
        let v4 = source.is_ipv4();
        let host = &self.lab.host;
        let to = SocketAddr::new(Lab::host_for(source), port);
        self.listeners.entry((v4, port)).or_insert_with(|| host.enter(|| TcpListener::bind(to)).unwrap());
        let fence = if v4 { FENCE_V4 } else { FENCE_V6 };
        let [asked, fence] = self.lab.peer.enter(|| {
            stay_on_this_processor();
            [source, fence].map(|from| {
                let socket = sender(from, libc::SOCK_STREAM).unwrap();
                connect(&socket, to).unwrap();
                TcpStream::from(socket)
            })
        });
        assert!(connected_within(&fence, ARRIVAL_MAX), "the fence arrives");
        connected_within(&asked, CONNECT_MAX)
    }

    fn late_ms(&self) -> u64 {
        self.late_ms
    }

    fn soon_ms(&self, ms: u64) -> u64 {
        ms * self.slowness
    }

    fn pass_time(&mut self, ms: u64) {
        thread::sleep(Duration::from_millis(ms));
    }
}

/// A socket of peer that sends from any address.
pub(crate) fn sender(source: IpAddr, kind: libc::c_int) -> io::Result<std::os::fd::OwnedFd> {
    let family = if source.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: socket(2) takes three numbers and returns one.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: opened just now, known to nobody else.
    let fd = unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) };
    let yes: libc::c_int = 1;
    let (level, option) = if source.is_ipv4() {
        (libc::SOL_IP, libc::IP_TRANSPARENT)
    } else {
        (libc::SOL_IPV6, libc::IPV6_TRANSPARENT)
    };
    // SAFETY: the pointer and the length describe `yes`.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const yes).cast(),
            size_of_val(&yes) as libc::socklen_t,
        )
    };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    with_address(SocketAddr::new(source, 0), |address, length| {
        // SAFETY: the pointer and the length describe a socket address.
        unsafe { libc::bind(fd.as_raw_fd(), address, length) }
    })?;
    Ok(fd)
}

/// Begins to connect, without waiting.
pub(crate) fn connect(socket: &std::os::fd::OwnedFd, to: SocketAddr) -> io::Result<()> {
    // SAFETY: fcntl(2) with a number as its argument.
    unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    let connecting = with_address(to, |address, length| {
        // SAFETY: the pointer and the length describe a socket address.
        unsafe { libc::connect(socket.as_raw_fd(), address, length) }
    });
    match connecting {
        Err(error)
            if error.raw_os_error() != Some(libc::EINPROGRESS) && error.kind() != ErrorKind::WouldBlock =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

pub(crate) fn connected_within(stream: &TcpStream, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    while stream.peer_addr().is_err() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

fn with_address(
    address: SocketAddr,
    call: impl FnOnce(*const libc::sockaddr, libc::socklen_t) -> libc::c_int,
) -> io::Result<()> {
    let result = match address {
        SocketAddr::V4(v4) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                sin_zero: [0; 8],
            };
            call((&raw const address).cast(), size_of_val(&address) as libc::socklen_t)
        }
        SocketAddr::V6(v6) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: 0,
            };
            call((&raw const address).cast(), size_of_val(&address) as libc::socklen_t)
        }
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Packets are queued by processor: those of a thread that stays put stay in order.
fn stay_on_this_processor() {
    // SAFETY: all zeros is an empty set; the calls read and write only that set and this thread.
    unsafe {
        let processor = libc::sched_getcpu();
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(usize::try_from(processor).unwrap_or(0), &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}

#[test]
fn keeps_every_promise() {
    if may_run("in_kernel::keeps_every_promise") {
        for (name, case) in CASES {
            eprintln!("{name}");
            case(&mut Sent::new(Sent::nftables));
        }
    }
}

#[test]
fn keeps_every_promise_in_shards() {
    if may_run("in_kernel::keeps_every_promise_in_shards") {
        for (name, case) in CASES {
            eprintln!("{name}");
            case(&mut Sent::new(Sent::sharded));
        }
    }
}

#[test]
fn keeps_every_promise_on_an_old_kernel() {
    if may_run("in_kernel::keeps_every_promise_on_an_old_kernel") {
        for (name, case) in CASES {
            eprintln!("{name}");
            let old = || Box::new(Nftables::open_like_an_old_kernel(Sizes::default()).unwrap()) as Box<_>;
            case(&mut Sent::new(old));
        }
    }
}

#[expect(clippy::print_stderr, reason = "a person wants to know which promise was broken")]
fn keeps_every_promise_with(test: &str, program: &str, open: fn() -> Box<dyn Firewall>) {
    if may_run(test) && has_program(test, program) {
        for (name, case) in CASES {
            eprintln!("{name}");
            case(&mut Sent::new(open));
        }
    }
}

#[test]
fn keeps_every_promise_with_the_old_iptables() {
    let test = "in_kernel::keeps_every_promise_with_the_old_iptables";
    keeps_every_promise_with(test, "iptables-legacy", Sent::legacy);
}

#[test]
fn keeps_every_promise_with_iptables_that_writes_nftables() {
    let test = "in_kernel::keeps_every_promise_with_iptables_that_writes_nftables";
    keeps_every_promise_with(test, "iptables-nft", Sent::iptables_nft);
}

#[test]
fn keeps_every_promise_in_the_input_chain() {
    let test = "in_kernel::keeps_every_promise_in_the_input_chain";
    keeps_every_promise_with(test, "iptables-nft", Sent::input);
}
