//! The story that the demonstration tells, sentence by sentence; the end-to-end tests check the same
//! one. It is the promise of the product in order: an attacker on one host is dropped on all of them.
//!
//! Every sentence is true only if it was seen from outside, by packets, or read from the operator's
//! tool. The story stops at the first sentence that does not hold.

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::failed::{Failed, Result, expect};
use crate::lab::Lab;
use crate::lab::answers::committed;
use crate::lab::host::{Host, HostPlan};
use crate::lab::listeners::SERVICE_PORTS;
use crate::lab::syn_probe::SynProbe;
use crate::lab::wait::wait_for;
use crate::seeds;

/// Mail in, mail submission with and without TLS from the first byte on.
const MAIL_PORTS: [u16; 3] = [25, 465, 587];
/// HTTPS: Kopano's WebApp.
const WEB_PORT: u16 = 443;
/// What no jail here is about.
const SSH_PORT: u16 = 22;
/// Kopano's jail has no maxretry of its own: fail2ban's default counts.
const KOPANO_MAX_RETRY: usize = 5;
/// A packet so often while the block is waited for.
const PROBE_PACE: Duration = Duration::from_micros(500);
/// For everything that takes milliseconds, on a machine that is busy.
const SOON: Duration = Duration::from_secs(3);
/// For everything that needs an election.
const AFTER_ELECTION: Duration = Duration::from_secs(20);

/// The address of the article on Kopano that tries passwords on kopano.
const WEB_ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 10, 10, 101));
/// The spammer that Kerio complains about.
const MAIL_ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 10));
/// The spammer that comes while a node is dead.
const LATE_ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 31));
/// Somebody who does nothing wrong, from the same provider as the others.
const CUSTOMER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 200));
/// The same roles in IPv6, each in a /64 of its own: that is what a ban of one address closes.
const WEB_ATTACKER_V6: IpAddr = v6(1);
const MAIL_ATTACKER_V6: IpAddr = v6(2);
const CUSTOMER_V6: IpAddr = v6(9);

const fn v6(network: u16) -> IpAddr {
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xbad, network, 0, 0, 0, 9))
}

/// The sentences, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sentence {
    /// The cluster is there.
    Formed,
    /// Nothing is closed to begin with.
    AllOpen,
    /// The jail on kopano has seen the lines.
    WebRecognised,
    /// kopano is closed.
    WebClosed,
    /// So are the others.
    MailClosed,
    /// Nothing else is.
    RestOpen,
    /// The same by IPv6.
    SixToo,
    /// The ban is on every node's list.
    Committed,
    /// The jail on kerio has seen its line, and kopano is closed.
    SpammerClosed,
    /// Bans stay without their leader.
    LeaderKilled,
    /// New ones come.
    GoesOn,
    /// A follower lifts a ban.
    Lifted,
    /// The dead node comes back and catches up.
    Returned,
}

impl fmt::Display for Sentence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Sentence::Formed => "kopano, kerio and mx1 have formed one cluster",
            Sentence::AllOpen => "the attacker reaches every service on every host, by IPv4 and IPv6",
            Sentence::WebRecognised => "five failed logins in Apache's error log on kopano make a ban",
            Sentence::WebClosed => "443 is dropped on kopano",
            Sentence::MailClosed => "25, 465 and 587 are dropped on kerio and mx1",
            Sentence::RestOpen => "22 stays open on all three, and everything does for everyone else",
            Sentence::SixToo => "the same holds for IPv6",
            Sentence::Committed => "the ban is committed on all three nodes",
            Sentence::SpammerClosed => "after a line in the mail log of kerio, 443 is dropped on kopano",
            Sentence::LeaderKilled => "the leader is killed with -9, and every ban stays",
            Sentence::GoesOn => "without it new bans go on",
            Sentence::Lifted => "an unban through a follower opens every node that can be reached",
            Sentence::Returned => "the killed node starts again and knows what it missed",
        })
    }
}

/// Where the story broke.
pub struct Broken {
    /// The first sentence that did not hold.
    pub sentence: Sentence,
    /// Why not.
    pub reason: Failed,
}

/// The three hosts of the story.
#[must_use]
pub fn hosts(environment: &[(String, String)]) -> Vec<HostPlan> {
    [("kopano", seeds::kopano()), ("kerio", seeds::kerio()), ("mx1", seeds::mail_relay())]
        .into_iter()
        .map(|(name, tree)| HostPlan {
            name,
            tree,
            settings: String::new(),
            environment: environment.to_vec(),
        })
        .collect()
}

/// Tells the story to `out`, sentence by sentence.
///
/// # Errors
/// The first sentence that does not hold.
pub fn tell(lab: &mut Lab, out: &mut dyn Write) -> std::result::Result<(), Broken> {
    let mut story = Story { lab, out };
    story.say(Sentence::Formed, |lab| {
        let took = lab.form_cluster()?;
        Ok(format!("in {}; {} leads", ms(took), lab.leader()?))
    })?;
    story.say(Sentence::AllOpen, |lab| {
        for source in [WEB_ATTACKER, MAIL_ATTACKER, LATE_ATTACKER, WEB_ATTACKER_V6, MAIL_ATTACKER_V6] {
            lab.attacker.expect_open(&everything(lab, source))?;
        }
        Ok(String::new())
    })?;
    story.web_attack()?;
    story.spam()?;
    let dead = story.leader_dies()?;
    story.goes_on_without(&dead)
}

struct Story<'a> {
    lab: &'a mut Lab,
    out: &'a mut dyn Write,
}

impl Story<'_> {
    /// Says a sentence with what `check` found, or breaks off with why it does not hold.
    fn say(
        &mut self,
        sentence: Sentence,
        check: impl FnOnce(&mut Lab) -> Result<String>,
    ) -> std::result::Result<(), Broken> {
        let found = check(self.lab);
        let (mark, detail) = match &found {
            Ok(detail) => ('✓', detail.clone()),
            Err(reason) => ('✗', reason.to_string()),
        };
        // Whether anybody reads along changes nothing about what is true.
        let _ = writeln!(self.out, "{mark} {sentence}");
        for line in detail.lines() {
            let _ = writeln!(self.out, "    {line}");
        }
        let _ = self.out.flush();
        found.map(drop).map_err(|reason| Broken { sentence, reason })
    }

    /// Failed logins on kopano, seen from outside on all three.
    fn web_attack(&mut self) -> std::result::Result<(), Broken> {
        // Measured while it happens, told in order afterwards.
        let measured = measure(self.lab, WEB_ATTACKER, |lab| {
            let lines = vec![seeds::kopano_failure(WEB_ATTACKER, "bob"); KOPANO_MAX_RETRY];
            lab.host("kopano").append_log(seeds::APACHE_ERROR_LOG, &lines)
        });
        self.say(Sentence::WebRecognised, |lab| explain(lab.host("kopano"), WEB_ATTACKER, "kopano-webapp"))?;
        let times = measured.as_ref().map_err(|failed| Failed(failed.to_string()));
        self.say(Sentence::WebClosed, |lab| {
            let took = times?.of("kopano")?;
            lab.attacker.expect_silent(&ports(lab, "kopano", &[WEB_PORT], WEB_ATTACKER))?;
            Ok(format!("{} after the line was written", ms(took)))
        })?;
        let times = measured.as_ref().map_err(|failed| Failed(failed.to_string()));
        self.say(Sentence::MailClosed, |lab| {
            let times = times?;
            let (kerio, mx1) = (times.of("kerio")?, times.of("mx1")?);
            for name in ["kerio", "mx1"] {
                lab.attacker.wait_silent(&ports(lab, name, &MAIL_PORTS, WEB_ATTACKER), SOON)?;
            }
            Ok(format!("kerio {}, mx1 {} after the line was written on kopano", ms(kerio), ms(mx1)))
        })?;
        self.say(Sentence::RestOpen, |lab| {
            for host in lab.hosts() {
                lab.attacker.expect_open(&ports(lab, host.name(), &[SSH_PORT], WEB_ATTACKER))?;
            }
            lab.attacker.expect_open(&everything(lab, CUSTOMER))?;
            lab.attacker.expect_open(&everything(lab, CUSTOMER_V6))?;
            Ok(String::new())
        })?;
        self.say(Sentence::SixToo, |lab| {
            let times = measure(lab, WEB_ATTACKER_V6, |lab| {
                let lines = vec![seeds::kopano_failure(WEB_ATTACKER_V6, "alice"); KOPANO_MAX_RETRY];
                lab.host("kopano").append_log(seeds::APACHE_ERROR_LOG, &lines)
            })?;
            lab.attacker.expect_silent(&ports(lab, "kopano", &[WEB_PORT], WEB_ATTACKER_V6))?;
            for name in ["kerio", "mx1"] {
                lab.attacker.wait_silent(&ports(lab, name, &MAIL_PORTS, WEB_ATTACKER_V6), SOON)?;
            }
            for host in lab.hosts() {
                lab.attacker.expect_open(&ports(lab, host.name(), &[SSH_PORT], WEB_ATTACKER_V6))?;
            }
            lab.attacker.expect_open(&everything(lab, CUSTOMER_V6))?;
            Ok(format!("{WEB_ATTACKER_V6}: {}", times.told()?))
        })?;
        self.say(Sentence::Committed, |lab| {
            let began = Instant::now();
            for host in lab.hosts() {
                wait_on_list(host, WEB_ATTACKER, SOON)?;
            }
            Ok(format!("seen on every node's list {} after looking", ms(began.elapsed())))
        })
    }

    /// A spammer on kerio, dropped on kopano.
    fn spam(&mut self) -> std::result::Result<(), Broken> {
        self.say(Sentence::SpammerClosed, |lab| {
            let times = measure(lab, MAIL_ATTACKER, |lab| {
                let line = seeds::kerio_listed_sender(MAIL_ATTACKER);
                lab.host("kerio").append_log(seeds::KERIO_LOG, &[line])
            })?;
            let explained = explain(lab.host("kerio"), MAIL_ATTACKER, "spam-blacklisted")?;
            lab.attacker.expect_silent(&ports(lab, "kopano", &[WEB_PORT], MAIL_ATTACKER))?;
            for name in ["kerio", "mx1"] {
                lab.attacker.expect_silent(&ports(lab, name, &MAIL_PORTS, MAIL_ATTACKER))?;
            }
            for host in lab.hosts() {
                lab.attacker.expect_open(&ports(lab, host.name(), &[SSH_PORT], MAIL_ATTACKER))?;
                wait_on_list(host, MAIL_ATTACKER, SOON)?;
            }
            let line = seeds::kerio_harvest(MAIL_ATTACKER_V6);
            lab.host("kerio").append_log(seeds::KERIO_LOG, &[line])?;
            lab.attacker.wait_silent(&ports(lab, "kopano", &[WEB_PORT], MAIL_ATTACKER_V6), SOON)?;
            Ok(format!("{explained}\n{}\nand by IPv6 as well", times.told()?))
        })
    }

    /// The leader dies; who that was.
    fn leader_dies(&mut self) -> std::result::Result<String, Broken> {
        let mut dead = String::new();
        self.say(Sentence::LeaderKilled, |lab| {
            let leader = lab.leader()?;
            lab.host_mut(&leader).kill_9();
            // The dead node's host too: its kernel goes on without it.
            lab.attacker.expect_silent(&closed(lab, WEB_ATTACKER))?;
            lab.attacker.expect_silent(&closed(lab, MAIL_ATTACKER))?;
            lab.attacker.expect_silent(&closed(lab, WEB_ATTACKER_V6))?;
            let began = Instant::now();
            let next = lab.leader()?;
            lab.attacker.expect_silent(&closed(lab, WEB_ATTACKER))?;
            dead = leader;
            Ok(format!("{dead} is dead; {next} leads {} later", ms(began.elapsed())))
        })?;
        Ok(dead)
    }

    /// What happens without the dead node, and after it is back.
    fn goes_on_without(&mut self, dead: &str) -> std::result::Result<(), Broken> {
        self.say(Sentence::GoesOn, |lab| {
            // Whichever of the two is alive saw it.
            if dead == "kerio" {
                let lines = vec![seeds::kopano_failure(LATE_ATTACKER, "bob"); KOPANO_MAX_RETRY];
                lab.host("kopano").append_log(seeds::APACHE_ERROR_LOG, &lines)?;
            } else {
                let line = seeds::kerio_harvest(LATE_ATTACKER);
                lab.host("kerio").append_log(seeds::KERIO_LOG, &[line])?;
            }
            for host in lab.running() {
                wait_on_list(host, LATE_ATTACKER, AFTER_ELECTION)?;
                lab.attacker.wait_silent(&closed_on(host, LATE_ATTACKER), SOON)?;
            }
            Ok(format!("{LATE_ATTACKER} is banned and dropped on the other two"))
        })?;
        self.say(Sentence::Lifted, |lab| {
            let leader = lab.leader()?;
            let follower = lab
                .running()
                .find(|host| host.name() != leader)
                .ok_or_else(|| Failed("there is no follower left".to_owned()))?;
            let began = Instant::now();
            let told = follower.cli(&["--output", "json", "unban", &WEB_ATTACKER.to_string()])?;
            let took = began.elapsed();
            // It has returned: so every reachable node is open now, without any waiting.
            for host in lab.running() {
                lab.attacker.expect_open(&closed_on(host, WEB_ATTACKER))?;
            }
            let missed = told.nodes_that_do_not_enforce()?;
            expect(missed == [dead], || {
                format!(
                    "the answer should name {dead} as the one that does not know yet, and names {missed:?}"
                )
            })?;
            Ok(format!("through {} in {}; it names {dead} as out of reach", follower.name(), ms(took)))
        })?;
        self.say(Sentence::Returned, |lab| {
            let began = Instant::now();
            lab.host_mut(dead).start()?;
            let host = lab.host(dead);
            lab.attacker.wait_open(&closed_on(host, WEB_ATTACKER), AFTER_ELECTION)?;
            wait_on_list(host, LATE_ATTACKER, AFTER_ELECTION)?;
            lab.attacker.wait_silent(&closed_on(host, LATE_ATTACKER), SOON)?;
            lab.attacker.expect_silent(&closed(lab, MAIL_ATTACKER))?;
            lab.wait_whole()?;
            Ok(format!("{dead} is up to date after {}", ms(began.elapsed())))
        })
    }
}

/// When each host fell silent, after the line was written.
struct Times(Vec<(&'static str, Result<Duration>)>);

impl Times {
    fn of(&self, name: &str) -> Result<Duration> {
        let (_, time) = self.0.iter().find(|(known, _)| *known == name).expect("every host was measured");
        time.as_ref().copied().map_err(|failed| Failed(failed.to_string()))
    }

    fn told(&self) -> Result<String> {
        let times = self.0.iter().map(|(name, _)| Ok(format!("{name} {}", ms(self.of(name)?))));
        Ok(times.collect::<Result<Vec<String>>>()?.join(", "))
    }
}

/// Sends packets from `source` to all hosts while `attack` writes its lines, until they are silent.
fn measure(lab: &Lab, source: IpAddr, attack: impl FnOnce(&Lab) -> Result<Instant>) -> Result<Times> {
    let probes = lab
        .hosts()
        .iter()
        .map(|host| {
            let port = if host.name() == "kopano" { WEB_PORT } else { MAIL_PORTS[0] };
            let probe =
                SynProbe::start(lab.attacker.netns(), source, host.port(port, source), PROBE_PACE, SOON)?;
            Ok((host.name(), probe))
        })
        .collect::<Result<Vec<(&'static str, SynProbe)>>>()?;
    for (name, probe) in &probes {
        wait_for(&format!("{name} answers"), SOON, || probe.expect_answered())?;
    }
    let written = attack(lab)?;
    let times = probes
        .into_iter()
        .map(|(name, probe)| (name, probe.finish().and_then(|trace| trace.silent_after(written))));
    Ok(Times(times.collect()))
}

/// Which jail banned the source, because of which line, as the node on that host tells.
fn explain(host: &Host, source: IpAddr, jail: &str) -> Result<String> {
    wait_for(&format!("{} knows why {source} is banned", host.name()), SOON, || {
        let why = host.why(source)?;
        let explained = why.bans.iter().find(|explained| explained.ban.jail == jail);
        let explained =
            explained.ok_or_else(|| Failed(format!("jail {jail} has banned nothing: {:?}", why.bans)))?;
        let line = explained
            .lines
            .iter()
            .find(|line| line.contains(&source.to_string()))
            .ok_or_else(|| Failed(format!("no line stands behind it: {explained:?}")))?;
        expect(explained.node == host.name(), || format!("{:?} is said to have seen it", explained.node))?;
        Ok(format!("{source}, by jail {jail} on {}, because of\n{line}", host.name()))
    })
}

fn wait_on_list(host: &Host, source: IpAddr, at_most: Duration) -> Result<()> {
    let wanted = subnet(source);
    wait_for(&format!("{} lists {wanted}", host.name()), at_most, || {
        let listed = committed(&host.bans()?);
        expect(listed.contains(&wanted), || format!("it lists {listed:?}"))
    })
}

/// How a ban of this address stands on the list: IPv6 is counted by /64.
fn subnet(source: IpAddr) -> String {
    match source {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

fn ports(lab: &Lab, name: &str, ports: &[u16], source: IpAddr) -> Vec<(IpAddr, SocketAddr)> {
    ports.iter().map(|port| (source, lab.host(name).port(*port, source))).collect()
}

fn everything(lab: &Lab, source: IpAddr) -> Vec<(IpAddr, SocketAddr)> {
    lab.hosts().iter().flat_map(|host| ports(lab, host.name(), &SERVICE_PORTS, source)).collect()
}

/// What a ban of the story closes on a host, whoever saw the attack: 443 on kopano, mail elsewhere.
fn closed_on(host: &Host, source: IpAddr) -> Vec<(IpAddr, SocketAddr)> {
    let closed: &[u16] = if host.name() == "kopano" { &[WEB_PORT] } else { &MAIL_PORTS };
    closed.iter().map(|port| (source, host.port(*port, source))).collect()
}

fn closed(lab: &Lab, source: IpAddr) -> Vec<(IpAddr, SocketAddr)> {
    lab.hosts().iter().flat_map(|host| closed_on(host, source)).collect()
}

/// Milliseconds with one decimal place: the pace of the packets allows no more.
fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}
