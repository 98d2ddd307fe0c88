//! The details of the two articles that the configurations come from: who is banned, who is not, and
//! on which host an address is left alone.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bannkreis_tests::failed::{Result, expect};
use bannkreis_tests::lab::answers::committed;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds;

use crate::inside::{in_lab, plan};

const SOON: Duration = Duration::from_secs(5);

/// The addresses that the article on Kopano shows as banned. All of them are private.
const KOPANO_BANNED: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(10, 10, 10, 101)),
    IpAddr::V4(Ipv4Addr::new(172, 17, 88, 91)),
    IpAddr::V4(Ipv4Addr::new(172, 31, 16, 3)),
    IpAddr::V4(Ipv4Addr::new(10, 32, 57, 98)),
];

#[test]
fn private_addresses_of_the_kopano_article_are_banned_everywhere() -> Result<()> {
    let hosts = |_: &_| vec![plan("kopano", seeds::kopano()), plan("kerio", seeds::kerio())];
    in_lab("articles::private_addresses_of_the_kopano_article_are_banned_everywhere", hosts, |lab| {
        lab.form_cluster()?;
        for address in KOPANO_BANNED {
            let lines = vec![seeds::kopano_failure(address, "bob"); 5];
            lab.host("kopano").append_log(seeds::APACHE_ERROR_LOG, &lines)?;
        }
        for host in lab.hosts() {
            wait_for(&format!("{} lists all four", host.name()), SOON, || {
                let listed = committed(&host.bans()?);
                let wanted = KOPANO_BANNED.map(|address| address.to_string());
                expect(wanted.iter().all(|address| listed.contains(address)), || format!("{listed:?}"))
            })?;
            let port = if host.name() == "kopano" { 443 } else { 25 };
            let pairs = KOPANO_BANNED.map(|address| (address, host.port(port, address)));
            lab.attacker.wait_silent(&pairs, SOON)?;
        }
        Ok(())
    })
}

#[test]
fn ignoreip_of_one_host_protects_on_that_host_only() -> Result<()> {
    let hosts = |_: &_| vec![plan("kopano", seeds::kopano()), plan("kerio", seeds::kerio())];
    in_lab("articles::ignoreip_of_one_host_protects_on_that_host_only", hosts, |lab| {
        lab.form_cluster()?;
        // In the Kerio article's ignoreip, 172.16.0.0/16.
        let colleague = IpAddr::V4(Ipv4Addr::new(172, 16, 5, 5));
        // Ten jails on kerio see nothing in it.
        lab.host("kerio").append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(colleague)])?;
        // kopano knows nothing of that and bans.
        let lines = vec![seeds::kopano_failure(colleague, "bob"); 5];
        lab.host("kopano").append_log(seeds::APACHE_ERROR_LOG, &lines)?;
        for host in lab.hosts() {
            wait_for(&format!("{} lists {colleague}", host.name()), SOON, || {
                let bans = host.bans()?;
                let ban = bans.iter().find(|ban| ban.is_committed && ban.subnet == colleague.to_string());
                let origins = ban.map(|ban| ban.origins.clone()).unwrap_or_default();
                expect(origins == ["kopano"], || format!("{bans:?}"))
            })?;
        }
        let web = [(colleague, lab.host("kopano").port(443, colleague))];
        lab.attacker.wait_silent(&web, SOON)?;
        let mail = [25, 465, 587].map(|port| (colleague, lab.host("kerio").port(port, colleague)));
        lab.attacker.expect_open(&mail)
    })
}

#[test]
fn a_jail_of_kerio_counts_to_its_own_maxretry() -> Result<()> {
    let hosts = |_: &_| vec![plan("kerio", seeds::kerio())];
    in_lab("articles::a_jail_of_kerio_counts_to_its_own_maxretry", hosts, |lab| {
        lab.form_cluster()?;
        let host = lab.host("kerio");
        // Two lines of a jail with maxretry = 3 are not enough, and one of a jail with maxretry = 0 is.
        let (patient, strict) = (IpAddr::from([203, 0, 113, 41]), IpAddr::from([203, 0, 113, 30]));
        let lines = vec![seeds::kerio_missing_login(patient), seeds::kerio_missing_login(patient)];
        host.append_log(seeds::KERIO_LOG, &lines)?;
        host.append_log(seeds::KERIO_LOG, &[seeds::kerio_harvest(strict)])?;
        wait_for("the strict jail bans", SOON, || {
            let listed = committed(&host.bans()?);
            expect(listed.contains(&strict.to_string()), || format!("{listed:?}"))
        })?;
        expect(!committed(&host.bans()?).contains(&patient.to_string()), || "banned too early".to_owned())?;
        host.append_log(seeds::KERIO_LOG, &[seeds::kerio_missing_login(patient)])?;
        wait_for("the patient jail bans", SOON, || {
            let listed = committed(&host.bans()?);
            expect(listed.contains(&patient.to_string()), || format!("{listed:?}"))
        })
    })
}
