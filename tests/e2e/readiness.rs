//! What the service manager hears of a node that comes up alone: that it is ready, at once, and stays so, quorum or
//! not, while it keeps its bans and blocks who is new.

use std::fs;
use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};

use crate::inside::{in_lab, plan};

const KEPT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 51));
const NEW: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 52));
const LATER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 53));
/// What is promised: a node booted alone is active within this time, and blocks within it.
const PROMISED: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(10);
const HOUR_MS: u64 = 3_600_000;
/// Every second at least, says the manager.
const WATCHDOG_USEC: &str = "2000000";

/// The service manager of one daemon: keeps what it was told.
struct Supervisor {
    socket: UnixDatagram,
    heard: String,
}

impl Supervisor {
    fn at(path: &Path) -> Result<Supervisor> {
        let socket = UnixDatagram::bind(path).context(|| format!("cannot bind {}", path.display()))?;
        socket.set_nonblocking(true).context(|| "cannot set up a socket".to_owned())?;
        Ok(Supervisor { socket, heard: String::new() })
    }

    /// Everything that has come since it was forgotten.
    fn heard(&mut self) -> &str {
        let mut datagram = [0; 2_048];
        while let Ok(n_bytes) = self.socket.recv(&mut datagram) {
            self.heard.push_str(&String::from_utf8_lossy(&datagram[..n_bytes]));
            self.heard.push('\n');
        }
        &self.heard
    }

    fn forget(&mut self) {
        self.heard();
        self.heard.clear();
    }

    fn wait(&mut self, part: &str, at_most: Duration) -> Result<()> {
        wait_for(&format!("the manager hears {part:?}"), at_most, || {
            let heard = self.heard().to_owned();
            expect(heard.contains(part), || format!("it has heard: {heard}"))
        })
    }
}

#[test]
fn a_node_booted_alone_is_ready_at_once_and_an_hour_later() -> Result<()> {
    let hosts = |directory: &Path| {
        let clock = ("BANNKREIS_CLOCK_FILE".to_owned(), directory.join("clock").display().to_string());
        let mut hosts: Vec<_> = ["kopano", "kerio", "mx1"].map(|name| plan(name, Tree::empty())).into();
        hosts[1].tree = seeds::kerio();
        for host in &mut hosts {
            host.environment.push(clock.clone());
        }
        let supervisor = directory.join("notify").display().to_string();
        hosts[1].environment.push(("NOTIFY_SOCKET".to_owned(), supervisor));
        hosts[1].environment.push(("WATCHDOG_USEC".to_owned(), WATCHDOG_USEC.to_owned()));
        hosts
    };
    in_lab("readiness::a_node_booted_alone_is_ready_at_once_and_an_hour_later", hosts, |lab| {
        let at = |name: &str| -> PathBuf { lab.hosts()[0].file(&format!("../{name}")) };
        let (clock, notify) = (at("clock"), at("notify"));
        let set_clock = |ms: u64| {
            let new = clock.with_extension("new");
            let write = || fs::write(&new, ms.to_string()).and_then(|()| fs::rename(&new, &clock));
            write().context(|| "cannot set the clock".to_owned())
        };
        set_clock(0)?;
        let mut supervisor = Supervisor::at(&notify)?;
        lab.form_cluster()?;
        supervisor.wait("READY=1", SOON)?;
        supervisor.wait("STATUS=kerio: one of 3 nodes", SOON)?;
        lab.host("kopano").cli(&["ban", &KEPT.to_string(), "--for", "1d"])?.expect_success()?;
        let kept = (KEPT, lab.host("kerio").port(25, KEPT));
        lab.attacker.wait_silent(&[kept], SOON)?;
        for host in lab.hosts_mut() {
            host.kill_9();
        }
        supervisor.forget();

        // Alone, as after a power cut that the others have not survived.
        let began = Instant::now();
        lab.host_mut("kerio").launch()?;
        supervisor.wait("READY=1", PROMISED)?;
        println!("ready {} ms after the start, without a quorum", began.elapsed().as_millis());
        lab.attacker.expect_silent(&[kept])?;
        let mail =
            |offender: IpAddr| [25, 465, 587].map(|port| (offender, lab.host("kerio").port(port, offender)));
        lab.host("kerio").append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(NEW)])?;
        lab.attacker.wait_silent(&mail(NEW), PROMISED)?;
        supervisor.wait("STATUS=no quorum since ", SOON)?;
        supervisor.wait("kopano and mx1 are not reachable; blocking locally, 1 ban waiting", SOON)?;
        let first = lab.host("kerio").cli(&["status"])?.expect_success()?.stdout;
        let first = first.split_whitespace().collect::<Vec<_>>().join(" ");
        expect(first.starts_with("no quorum since "), || first.clone())?;
        expect(first.contains("kopano and mx1 are not reachable; blocking locally, 1 ban waiting"), || {
            first.clone()
        })?;

        // An hour without anybody: the watchdog is served, nothing is said of an end, and both are blocked.
        set_clock(HOUR_MS)?;
        supervisor.forget();
        supervisor.wait("WATCHDOG=1\nWATCHDOG=1\nWATCHDOG=1", SOON)?;
        expect(!supervisor.heard().contains("STOPPING"), || "it stops".to_owned())?;
        lab.attacker.expect_silent(&[kept])?;
        lab.attacker.expect_silent(&mail(NEW))?;
        lab.host("kerio").append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(LATER)])?;
        lab.attacker.wait_silent(&mail(LATER), PROMISED)?;

        // A daemon that is stopped in its tracks pings no more, and goes on when it is let go.
        let pid = lab.host("kerio").pid().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid
            .and_then(rustix::process::Pid::from_raw)
            .ok_or_else(|| Failed("no daemon runs".to_owned()))?;
        let signal =
            |signal| rustix::process::kill_process(pid, signal).context(|| "cannot signal it".to_owned());
        signal(rustix::process::Signal::STOP)?;
        supervisor.forget();
        lab.attacker.expect_silent(&mail(LATER))?;
        expect(!supervisor.heard().contains("WATCHDOG"), || "a stopped daemon pings".to_owned())?;
        signal(rustix::process::Signal::CONT)?;
        supervisor.wait("WATCHDOG=1", SOON)?;
        lab.host_mut("kerio").stop()?;
        supervisor.wait("STOPPING=1", SOON)
    })
}
