//! Syslog messages that others send to a node: real senders, the Kerio article's way with and without rsyslog in between, and
//! what is made of datagrams whose sender may be anybody.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::lab::host::HostPlan;
use bannkreis_tests::lab::rsyslog::{self, Rsyslog, log};
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::{self, Tree};

use crate::inside::{in_lab, plan, skip};

const SOON: Duration = Duration::from_secs(10);
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn client(last: u8) -> IpAddr {
    IpAddr::from([203, 0, 113, last])
}

/// What Kerio's jail spam-harvest bans for at once.
fn harvest(client: IpAddr) -> String {
    format!("Directory harvest attack from {client} detected")
}

fn with_syslog(name: &'static str, tree: Tree, syslog: &str) -> HostPlan {
    let usual = plan(name, tree);
    let settings = format!("{}[syslog]\n{syslog}", usual.settings);
    HostPlan { settings, ..usual }
}

#[test]
fn kerio_sends_to_the_node_as_the_article_has_it_send_to_syslog() -> Result<()> {
    let name = "syslog::kerio_sends_to_the_node_as_the_article_has_it_send_to_syslog";
    let syslog = "udp = \"127.0.0.1:514\"\nsave_to = \"/var/log/maillog\"\n";
    let hosts = |_: &_| vec![with_syslog("kerio", seeds::kerio(), syslog)];
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        let host = lab.host("kerio");
        let to = SocketAddr::new(HERE, 514);
        for (how, last) in [(&["-d", "--rfc3164"][..], 31), (&["-d"], 32)] {
            log(host.netns(), to, how, &harvest(client(last)))?;
            host.wait_banned(&[client(last)], SOON)?;
        }
        Ok(())
    })
}

#[test]
fn kerio_sends_to_rsyslog_and_that_writes_a_file_or_sends_on() -> Result<()> {
    let name = "syslog::kerio_sends_to_rsyslog_and_that_writes_a_file_or_sends_on";
    let unpacked = match rsyslog::unpacked() {
        Ok(unpacked) => unpacked,
        Err(why) => return skip(name, &why),
    };
    // The same filter once more, on what rsyslog sends on.
    let sent_on = "[sent-on]\nenabled = true\nfilter = spam-harvest\nport = 25\nmaxretry = 1\n\
                   logpath = syslog://?facility=mail&program=kerio*\n";
    let kerio = Tree::empty()
        .with("jail.local", sent_on)
        .with("filter.d/spam-harvest.conf", include_str!("../samples/kerio/filter.d/spam-harvest.conf"));
    let hosts = |_: &_| {
        vec![
            with_syslog("kerio", seeds::kerio(), ""),
            with_syslog("mx1", kerio, "tcp = \"127.0.0.1:1514\"\n"),
        ]
    };
    in_lab(name, hosts, |lab| {
        let here = SocketAddr::new(HERE, 514);
        // Its own lines first, then the article's, literally.
        let article = "# Provides UDP syslog reception\n$ModLoad imudp.so\n$UDPServerRun 514\n";
        let maillog = lab.host("kerio").file("log/maillog").display().to_string();
        let to_file = format!("{article}mail.* {maillog}\n");
        let writes = Rsyslog::start(
            &unpacked,
            Some(lab.host("kerio").netns()),
            &lab.host("kerio").file(""),
            &to_file,
        )?;
        let framed = "*.* action(type=\"omfwd\" target=\"127.0.0.1\" port=\"1514\" protocol=\"tcp\"\n  \
                      TCP_Framing=\"octet-counted\" action.resumeRetryCount=\"-1\" action.resumeInterval=\"1\")\n";
        let lines = framed.replace("octet-counted", "traditional");
        let sends = Rsyslog::start(
            &unpacked,
            Some(lab.host("mx1").netns()),
            &lab.host("mx1").file(""),
            &format!("{article}{framed}{lines}"),
        )?;
        lab.form_cluster()?;
        for (host, last) in [("kerio", 41), ("mx1", 42)] {
            let host = lab.host(host);
            // Until the node listens, rsyslog keeps it.
            log(host.netns(), here, &["-d", "--rfc3164"], &harvest(client(last)))?;
            host.wait_banned(&[client(last)], SOON)?;
        }
        // By both framings: each counts.
        wait_for("both came", SOON, || {
            let status = lab.host("mx1").cli(&["status", "sent-on"])?.stdout;
            expect(status.contains("failures        2 "), || status)
        })?;
        drop((writes, sends));
        Ok(())
    })
}

#[test]
fn a_datagram_from_another_host_bans_here_for_an_hour_and_a_stream_everywhere() -> Result<()> {
    let name = "syslog::a_datagram_from_another_host_bans_here_for_an_hour_and_a_stream_everywhere";
    let jail = "[harvest]\nenabled = true\nfilter = spam-harvest\nport = 25\nmaxretry = 1\nbantime = 1d\n\
                logpath = syslog://?host=10.77.0.12\n\
                [saved]\nenabled = true\nfilter = spam-harvest\nport = 25\nmaxretry = 1\nbantime = 1d\n\
                logpath = /var/log/all.log*\n /var/log/all.log.udp\n";
    let tree = Tree::empty()
        .with("jail.local", jail)
        .with("filter.d/spam-harvest.conf", include_str!("../samples/kerio/filter.d/spam-harvest.conf"));
    let syslog =
        "udp = \"[::]:514\"\ntcp = \"[::]:514\"\nfrom = \"10.77.0.12\"\nsave_to = \"/var/log/all.log\"\n";
    let hosts = |_: &_| {
        vec![with_syslog("mx1", tree, syslog), plan("appliance", Tree::empty()), plan("mx2", Tree::empty())]
    };
    in_lab(name, hosts, |lab| {
        lab.form_cluster()?;
        let (mx1, appliance, mx2) = (lab.host("mx1"), lab.host("appliance"), lab.host("mx2"));
        let to = SocketAddr::new(mx1.addresses()[0], 514);
        let [foreign, told, sure, counted] = [51, 52, 53, 54].map(client);
        // Somebody whom nobody has named, who is nobody's business by either way.
        log(mx2.netns(), to, &["-d"], &harvest(foreign))?;
        log(appliance.netns(), to, &["-d", "--rfc3164"], &harvest(told))?;
        wait_for("it is blocked on this host", SOON, || {
            let bans = mx1.bans()?;
            let ban = bans.iter().find(|ban| ban.subnet == told.to_string() && !ban.is_committed);
            expect(ban.is_some(), || format!("{bans:?}"))
        })?;
        let mail = [(told, mx1.port(25, told))];
        lab.attacker.wait_silent(&mail, SOON)?;
        let shown = mx1.cli(&["bans"])?.stdout;
        expect(shown.contains("anybody may have sent"), || shown.clone())?;

        log(appliance.netns(), to, &["-T"], &harvest(sure))?;
        log(appliance.netns(), to, &["-T", "--octet-count"], &harvest(counted))?;
        for host in [mx1, mx2] {
            let banned = host.wait_banned(&[sure, counted], SOON)?;
            expect(!banned.contains(&told.to_string()) && !banned.contains(&foreign.to_string()), || {
                format!("{}: {banned:?}", host.name())
            })?;
        }
        lab.attacker.expect_open(&[(told, mx2.port(25, told))])?;
        // What is saved stands apart, and none of it is the stranger's.
        let banned_in = |client: IpAddr| -> Result<Vec<String>> {
            let bans = mx1.bans()?.into_iter().filter(|ban| ban.subnet == client.to_string());
            Ok(bans.map(|ban| ban.jail).collect())
        };
        wait_for("what is saved of streams is read", SOON, || {
            let jails = banned_in(counted)?;
            expect(jails.contains(&"saved".to_owned()), || format!("{jails:?}"))
        })?;
        expect(banned_in(told)? == ["harvest"], || {
            "what anybody may have sent was read from its file".to_owned()
        })?;
        let read = |name: &str| std::fs::read_to_string(mx1.file("log").join(name)).unwrap_or_default();
        let (of_streams, of_datagrams) = (read("all.log"), read("all.log.udp"));
        let has = |text: &str, client: IpAddr| text.contains(&harvest(client));
        expect(
            has(&of_streams, sure)
                && !has(&of_streams, told)
                && has(&of_datagrams, told)
                && !has(&of_datagrams, foreign),
            || format!("{of_streams}---\n{of_datagrams}"),
        )
    })
}
