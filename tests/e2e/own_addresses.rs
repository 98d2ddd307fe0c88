//! A host whose addresses and routes change while its daemon runs: the cluster follows, and an address that is banned
//! waits for an operator.

use std::net::IpAddr;
use std::time::Duration;

use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::lab::Lab;
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::wait::wait_for;

use crate::inside::{in_lab, three_quiet_hosts};

/// For what takes milliseconds.
const SOON: Duration = Duration::from_secs(5);
/// A node looks at itself every 30 s.
const LOOKED: Duration = Duration::from_secs(45);

const BANNED: &str = "203.0.113.50";
const FREE: &str = "203.0.113.60";

fn says(host: &Host, arguments: &[&str], part: &str) -> Result<()> {
    let told = host.cli(arguments)?;
    let words: Vec<&str> = told.stdout.split_whitespace().collect();
    expect(words.join(" ").contains(part), || format!("no {part:?} in: {}{}", told.stdout, told.stderr))
}

/// Asked without a ban, which would make it wait again.
fn wait_known(lab: &Lab, address: &str, what: &str) -> Result<()> {
    wait_for("the cluster knows it", LOOKED, || {
        says(lab.host("kopano"), &["why", address], &format!("it is {what} of kerio"))
    })
}

#[test]
fn an_address_that_comes_while_it_runs_is_protected_and_one_that_is_banned_waits() -> Result<()> {
    let name = "own_addresses::an_address_that_comes_while_it_runs_is_protected_and_one_that_is_banned_waits";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        let (kopano, kerio) = (lab.host("kopano"), lab.host("kerio"));
        kopano.cli(&["ban", BANNED, "--for", "1h"])?.expect_success()?;
        kerio.netns().ip(&format!("addr add {BANNED}/32 dev eth0\naddr add {FREE}/32 dev eth0\n"))?;
        wait_for("kerio's address waits", LOOKED, || {
            says(kopano, &["cluster", "status"], "own addresses to be confirmed: 203.0.113.50")
        })?;
        says(
            kopano,
            &["cluster", "status"],
            "kerio says that 203.0.113.50 is its own, but it is banned. If kerio is right: `bannkreis unban \
             203.0.113.50`",
        )?;
        // What was not banned is protected everywhere; what is banned only where it belongs.
        says(kopano, &["ban", FREE, "--force"], "203.0.113.60 is an address of kerio: never banned")?;
        let address: IpAddr = BANNED.parse().unwrap_or(IpAddr::from([0; 4]));
        wait_for("kerio does not block itself", SOON, || {
            let is_blocked = [kerio.why(address)?.is_blocked_here, kopano.why(address)?.is_blocked_here];
            expect(is_blocked == [false, true], || format!("blocked on kerio and kopano: {is_blocked:?}"))
        })?;

        kopano.cli(&["unban", BANNED])?.expect_success()?;
        wait_known(lab, BANNED, "an address")?;
        wait_for("nothing waits", SOON, || {
            let told = kopano.cli(&["cluster", "status"])?.stdout;
            expect(!told.contains("to be confirmed"), || told)
        })?;

        // What goes is not protected any more, and another router is.
        kerio.netns().ip(&format!("addr del {FREE}/32 dev eth0\nroute replace default via 10.77.0.98\n"))?;
        wait_known(lab, "10.77.0.98", "a router")?;
        kopano.cli(&["ban", FREE])?.expect_success()?;
        wait_for("kerio blocks who has its former address", SOON, || {
            let address: IpAddr = FREE.parse().unwrap_or(IpAddr::from([0; 4]));
            expect(kerio.why(address)?.is_blocked_here, || "not blocked on kerio".to_owned())
        })
    })
}
