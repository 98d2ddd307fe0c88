//! Two hosts on one wire: two network namespaces without names, joined by a veth pair.
//!
//! Without names nothing is left behind, whatever happens to the test: a namespace lives as long as
//! this process has a descriptor of it. The firewall under test lives on *host*; packets come from
//! *peer*, which may send with any source address. Not for what is sent.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, io, thread};

/// Where host is on the wire.
pub(crate) const HOST_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Where host is on the wire.
pub(crate) const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// Where containers are, but for the last number.
const CONTAINERS: &str = "10.77.0.";

/// Tells the process that it runs inside a user namespace of our making.
const INSIDE: &str = "BANNKREIS_FIREWALL_SUITE_INSIDE";

/// A veth pair is up within this, on however busy a machine.
const WIRE_MAX: Duration = Duration::from_secs(20);

/// A network namespace.
pub(crate) struct Namespace(File);

impl Namespace {
    fn new() -> io::Result<Namespace> {
        thread::spawn(|| {
            // SAFETY: unshare(2) takes a number and changes this thread only, which ends right after.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            File::open("/proc/thread-self/ns/net").map(Namespace)
        })
        .join()
        .expect("the thread does not panic")
    }

    /// Runs `f` on a thread inside. Sockets that it opens stay inside.
    pub(crate) fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            // SAFETY: setns(2) takes a descriptor, which `self` keeps open, and changes this thread only.
            let entered = unsafe { libc::setns(self.0.as_fd().as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(entered, 0, "entering a namespace: {}", io::Error::last_os_error());
            f()
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a program inside, with arguments that have no blanks in them: what it prints.
    pub(crate) fn run(&self, program: &str, arguments: &str) -> String {
        let output = self.enter(|| Command::new(program).args(arguments.split_whitespace()).output());
        let output = output.unwrap_or_else(|error| panic!("{program} can not be started: {error}"));
        assert!(
            output.status.success(),
            "{program} {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn ip(&self, arguments: &str) {
        self.run("ip", arguments);
    }
}

/// The two hosts.
pub(crate) struct Lab {
    /// Where the firewall is.
    pub(crate) host: Namespace,
    /// Where packets come from.
    pub(crate) peer: Namespace,
}

impl Lab {
    /// Two fresh hosts.
    pub(crate) fn new() -> Lab {
        let lab = Lab {
            host: Namespace::new().expect("may_run was asked before"),
            peer: Namespace::new().expect("may_run was asked before"),
        };
        let peer = format!("/proc/{}/fd/{}", std::process::id(), lab.peer.0.as_raw_fd());
        lab.host.ip("link set lo up");
        lab.peer.ip("link set lo up");
        lab.host.ip(&format!(
            "link add bk-fw-host address 02:00:00:00:00:01 type veth \
             peer name bk-fw-peer address 02:00:00:00:00:02 netns {peer}"
        ));
        for (namespace, interface, last) in [(&lab.host, "bk-fw-host", 1), (&lab.peer, "bk-fw-peer", 2)] {
            namespace.ip(&format!("addr add 192.0.2.{last}/30 dev {interface}"));
            namespace.ip(&format!("addr add 2001:db8::{last}/64 dev {interface} nodad"));
            namespace.ip(&format!("link set {interface} up"));
            // Known neighbours: asking for them takes the kernel up to seconds on a fresh wire.
            let other = 3 - last;
            for network in ["192.0.2.", "2001:db8::"] {
                namespace.ip(&format!(
                    "neigh add {network}{other} lladdr 02:00:00:00:00:0{other} dev {interface} nud permanent"
                ));
            }
        }
        // Answers go back to whatever address peer has taken.
        lab.host.ip("route add default via 192.0.2.2");
        lab.host.ip("route add default via 2001:db8::2");
        for network in ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"] {
            lab.peer.ip(&format!("route add local {network} dev lo table 77"));
        }
        lab.peer.ip("rule add iif bk-fw-peer table 77");
        lab.peer.ip("-6 rule add iif bk-fw-peer table 77");
        lab.wait_for_the_wire();
        lab
    }

    /// The kernel notices a moment later that the wire is plugged in, and makes its routes then.
    fn wait_for_the_wire(&self) {
        let deadline = Instant::now() + WIRE_MAX;
        let has_routes = |from: &Namespace, to: IpAddr| {
            from.enter(|| {
                let any: IpAddr = if to.is_ipv4() { [0_u8; 4].into() } else { [0_u8; 16].into() };
                UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((to, 9))).is_ok()
            })
        };
        for to in [HOST_V4.into(), HOST_V6.into()] {
            while !has_routes(&self.peer, to) || !has_routes(&self.host, far_away(to)) {
                assert!(Instant::now() < deadline, "no route to {to} after {WIRE_MAX:?}");
                thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// A third namespace behind host, as a container has one: what comes to `port` of host goes to port 80 there.
    pub(crate) fn container(&self, port: u16) -> Namespace {
        let container = Namespace::new().expect("may_run was asked before");
        let inside = format!("/proc/{}/fd/{}", std::process::id(), container.0.as_raw_fd());
        self.host.ip(&format!("link add bk-fw-bridge type veth peer name bk-fw-inside netns {inside}"));
        for (namespace, interface, last) in [(&self.host, "bk-fw-bridge", 1), (&container, "bk-fw-inside", 2)]
        {
            namespace.ip(&format!("addr add {CONTAINERS}{last}/30 dev {interface}"));
            namespace.ip(&format!("link set {interface} up"));
        }
        container.ip(&format!("route add default via {CONTAINERS}1"));
        self.host.enter(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")).expect("our own namespace");
        self.host.run("nft", "add table ip container");
        self.host.run(
            "nft",
            "add chain ip container prerouting { type nat hook prerouting priority -100 ; policy accept ; }",
        );
        let rule = format!("ip daddr {HOST_V4} tcp dport {port} dnat to {CONTAINERS}2:80");
        self.host.run("nft", &format!("add rule ip container prerouting {rule}"));
        container
    }

    /// Deletes every table on host that a stranger may delete, as `nft flush ruleset` does.
    pub(crate) fn flush_like_a_stranger(&self) {
        // One transaction: begin, delete all tables, end. Written out, for here nobody else's code
        // may be at work, and the nft program need not be there.
        let message = |kind: u16, family: u8, resource: u16, sequence: u32, flags: u16| {
            let mut bytes = 20_u32.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(flags.to_ne_bytes());
            bytes.extend(sequence.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend([family, 0]);
            bytes.extend(resource.to_be_bytes());
            bytes
        };
        let (request, acknowledge) = (1, 4);
        let (begin, end, delete_table) = (0x10, 0x11, 0x0a02);
        let batch = [
            message(begin, 0, 10, 1, request),
            message(delete_table, 0, 0, 2, request | acknowledge),
            message(end, 0, 10, 3, request),
        ]
        .concat();
        self.host.enter(|| {
            // SAFETY: socket(2) takes three numbers; the descriptor is ours alone; `batch` and `answer`
            // outlive the calls that read and write them.
            unsafe {
                let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER);
                assert!(fd >= 0);
                let sent = libc::send(fd, batch.as_ptr().cast(), batch.len(), 0);
                assert_eq!(usize::try_from(sent), Ok(batch.len()));
                let mut answer = [0_u8; 64];
                let received = libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0);
                assert!(received >= 20 && answer[16..20] == [0; 4], "refused: {answer:?}");
                libc::close(fd);
            }
        });
    }

    /// Where host is for a packet from `source`.
    pub(crate) fn host_for(source: IpAddr) -> IpAddr {
        if source.is_ipv4() { HOST_V4.into() } else { HOST_V6.into() }
    }
}

/// An address of the same family that only the default route leads to.
fn far_away(address: IpAddr) -> IpAddr {
    if address.is_ipv4() {
        [198, 51, 100, 1].into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1).into()
    }
}

/// Whether the test may make namespaces. If only a user namespace of its own would allow it, the
/// test runs itself inside one, and what that says is what counts: `false` is the answer then, as
/// it is when nothing helps, which is said on the terminal.
pub(crate) fn may_run(test: &str) -> bool {
    let why = match Namespace::new() {
        Ok(_) if Command::new("ip").arg("-V").output().is_ok() => return true,
        Ok(_) => "the program `ip` (iproute2) is missing".to_owned(),
        Err(error) if env::var_os(INSIDE).is_some() => {
            format!("no network namespace even inside a user namespace: {error}")
        }
        Err(error) => match again_inside(test) {
            Ok(()) => return false,
            Err(why) => format!("no network namespace: {error}; {why}"),
        },
    };
    skipped(test, &why);
    false
}

/// Whether the test may use this program of others.
pub(crate) fn has_program(test: &str, program: &str) -> bool {
    let is_there = Command::new(program).arg("-V").output().is_ok();
    if !is_there {
        skipped(test, &format!("the program `{program}` is missing"));
    }
    is_there
}

/// Says that a test did not run. Where nobody reads that, it is a failure.
#[expect(clippy::print_stderr, reason = "a person wants to know that nothing was tested")]
fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED: {test}: {why}");
    assert!(env::var_os("CI").is_none_or(|ci| ci != "1"), "{test} was skipped: {why}");
}

/// Runs one test of this program again, as root of a user namespace.
fn again_inside(test: &str) -> Result<(), String> {
    let probe = Command::new("unshare").args(["--user", "--map-root-user", "--net", "true"]).output();
    match probe {
        Err(error) => return Err(format!("the program `unshare` (util-linux) can not be started: {error}")),
        Ok(output) if !output.status.success() => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(format!("and no user namespace: {why}"));
        }
        Ok(_) => {}
    }
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--"])
        .arg(program)
        .args(["--exact", "--nocapture", test])
        .env(INSIDE, "1")
        .status()
        .map_err(|error| error.to_string())?;
    assert!(status.success(), "{test} failed inside a user namespace, see above");
    Ok(())
}
