//! Certificates of an authority elsewhere, in files as cert-manager lays them out: hosts join without a token, new files
//! with a new key are taken into use without a restart, and a node that has lost its log is let in by them.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::host::Host;
use bannkreis_tests::lab::wait::wait_for;
use bannkreis_tests::seeds::Tree;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::inside::{QUICK_RAFT, in_lab, plan};

const SOON: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_secs(30);
/// Changed files are looked at every half minute.
const A_MINUTE: Duration = Duration::from_secs(60);

/// Somebody's authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn make() -> Result<Authority> {
        let failed = || "no authority can be made".to_owned();
        let key = KeyPair::generate().context(failed)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).context(failed)?.pem();
        Ok(Authority { pem, issuer: Issuer::new(params, key) })
    }

    /// Puts a certificate for `host` under a new key, and the key, where the host looks for them.
    fn certify(&self, host: &Host) -> Result<()> {
        let failed = || format!("no certificate for {} can be made", host.name());
        let key = KeyPair::generate().context(failed)?;
        let mut params = CertificateParams::new(vec![host.addresses()[0].to_string()]).context(failed)?;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).context(failed)?.pem();
        fs::create_dir_all(host.file("tls")).context(failed)?;
        for (name, text) in
            [("ca.crt", &self.pem), ("tls.crt", &certificate), ("tls.key", &key.serialize_pem())]
        {
            let (new, path) = (host.file("tls").join(format!("{name}.new")), host.file("tls").join(name));
            fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).context(failed)?;
        }
        Ok(())
    }
}

fn settings(directory: &Path, name: &str) -> String {
    let file = |of: &str| directory.join(name).join("tls").join(of).display().to_string();
    format!(
        "{QUICK_RAFT}[tls]\nmode = \"files\"\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
        file("ca.crt"),
        file("tls.crt"),
        file("tls.key")
    )
}

#[test]
fn files_of_an_authority_elsewhere_let_hosts_in_are_renewed_and_let_a_lost_log_come_back() -> Result<()> {
    let name =
        "certificates::files_of_an_authority_elsewhere_let_hosts_in_are_renewed_and_let_a_lost_log_come_back";
    let hosts = |directory: &Path| {
        let mut hosts: Vec<_> = ["kopano", "kerio", "mx1"].map(|name| plan(name, Tree::empty())).into();
        for host in &mut hosts {
            host.settings = settings(directory, host.name);
        }
        hosts
    };
    in_lab(name, hosts, |lab| {
        let authority = Authority::make()?;
        for host in lab.hosts_mut() {
            authority.certify(host)?;
            host.start()?;
        }
        let to = lab.host("kopano").cluster_address();
        for name in ["kerio", "mx1"] {
            lab.host(name).cli(&["cluster", "join", &to])?.expect_success()?;
        }
        lab.wait_whole()?;
        ban_reaches_all(lab.hosts(), 1)?;

        // Renewed by somebody else, with another key: no daemon is started again.
        for host in lab.hosts() {
            authority.certify(host)?;
        }
        for host in lab.hosts() {
            wait_for("the new files are in use", A_MINUTE, || {
                let words = host.words_since(0)?;
                expect(words.contains("the certificates have changed and are in use now"), || words)
            })?;
        }
        lab.wait_whole()?;
        ban_reaches_all(lab.hosts(), 2)?;

        let own_id = |host: &Host| host.cli(&["--output", "json", "status"])?.text_at("/state/node_id");
        let former = own_id(lab.host("mx1"))?;
        lab.host_mut("mx1").stop()?;
        let log = lab.host("mx1").file("state/raft");
        fs::remove_dir_all(&log).context(|| format!("cannot remove {}", log.display()))?;
        lab.host_mut("mx1").start()?;
        wait_for("it is a member again", LATER, || {
            let told = lab.host("mx1").cli(&["status"])?.stdout;
            expect(!told.starts_with("spectator"), || told)
        })?;
        expect(own_id(lab.host("mx1"))? != former, || "it goes on under its former id".to_owned())?;
        wait_for("the old id is gone", LATER, || {
            let nodes = lab.host("kopano").cluster_status()?.nodes;
            expect(nodes.len() == 3, || format!("{nodes:?}"))
        })?;
        lab.wait_whole()?;
        ban_reaches_all(lab.hosts(), 3)
    })
}

fn ban_reaches_all(hosts: &[Host], n: u8) -> Result<()> {
    let address = IpAddr::from([203, 0, 113, n]).to_string();
    hosts[0].cli(&["ban", &address, "--for", "1h"])?.expect_success()?;
    for host in hosts {
        wait_for("the ban is known", SOON, || {
            let is_listed = host.bans()?.iter().any(|ban| ban.subnet == address && ban.is_committed);
            expect(is_listed, || format!("{} does not list {address}", host.name()))
        })?;
    }
    Ok(())
}
