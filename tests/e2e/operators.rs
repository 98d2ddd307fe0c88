//! People who ask from another host, by a certificate: each may do what the certificate says, and nobody without
//! one may do anything. What they do is known by their name on every node.

use std::path::Path;

use bannkreis_tests::failed::{Failed, Result, expect};
use bannkreis_tests::lab::answers::{Told, committed};
use bannkreis_tests::lab::host::Host;

use crate::inside::{in_lab, three_quiet_hosts};

/// Asks `to` from the host `from`.
fn ask(from: &Host, to: &Host, keys: &Path, arguments: &[&str]) -> Result<Told> {
    let keys = keys.display().to_string();
    let connect = to.cluster_address();
    let all = [&["--connect", &connect, "--keys", &keys], arguments].concat();
    from.netns().run(|| Told::ask(Path::new("/nonexistent"), &all))
}

fn refused(told: &Told, why: &str) -> Result<()> {
    expect(!told.status.success() && told.stderr.contains(why), || {
        format!("{} said instead of {why:?}: {}{}", told.question, told.stdout, told.stderr)
    })
}

#[test]
fn a_certificate_says_what_a_person_may_do_from_elsewhere() -> Result<()> {
    let name = "operators::a_certificate_says_what_a_person_may_do_from_elsewhere";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        let [kopano, kerio, mx1] = ["kopano", "kerio", "mx1"].map(|name| lab.host(name));
        let [viewer, operator, admin] = ["viewer", "operator", "admin"].map(|role| kopano.file(role));
        for (role, directory) in [("viewer", &viewer), ("operator", &operator), ("admin", &admin)] {
            let directory = directory.display().to_string();
            kopano
                .cli(&["pki", "issue", &format!("Alice {role}"), "--role", role, "--directory", &directory])?
                .expect_success()?;
        }
        // To a node that has not made them, from a third one.
        ask(mx1, kerio, &viewer, &["bans"])?.expect_success()?;
        refused(&ask(mx1, kerio, &viewer, &["ban", "203.0.113.9"])?, "role operator")?;
        ask(mx1, kerio, &operator, &["ban", "203.0.113.9", "--for", "1h"])?.expect_success()?;
        refused(&ask(mx1, kerio, &operator, &["token", "create"])?, "role admin")?;
        refused(&ask(mx1, kerio, &operator, &["cluster", "leave", "--force"])?, "role admin")?;
        ask(mx1, kerio, &admin, &["token", "create"])?.expect_success()?;
        let listed = committed(&kopano.bans()?);
        expect(listed.contains("203.0.113.9"), || format!("kopano lists {listed:?}"))?;
        let why = mx1.cli(&["why", "203.0.113.9"])?.expect_success()?.stdout;
        expect(why.contains("Alice operator (certificate, operator)"), || why)?;

        // Another cluster's certificate, and none at all.
        lab.host("mx1").cli(&["cluster", "leave"])?.expect_success()?;
        let theirs = mx1.file("theirs").display().to_string();
        mx1.cli(&["pki", "issue", "eve", "--role", "admin", "--directory", &theirs])?.expect_success()?;
        refused(&ask(mx1, kerio, Path::new(&theirs), &["status"])?, "is no node of the cluster")?;
        let theirs = Path::new(&theirs);
        for name in ["ca.crt", "cluster"] {
            std::fs::copy(viewer.join(name), theirs.join(name))
                .map_err(|error| Failed(format!("cannot copy {name}: {error}")))?;
        }
        refused(&ask(mx1, kerio, theirs, &["status"])?, "does not believe the certificate")?;
        refused(&ask(mx1, kerio, Path::new("/nonexistent"), &["status"])?, "pki issue")
    })
}

#[test]
fn a_node_shows_its_certificate_and_makes_it_anew() -> Result<()> {
    let name = "operators::a_node_shows_its_certificate_and_makes_it_anew";
    in_lab(name, three_quiet_hosts, |lab| {
        lab.form_cluster()?;
        for host in lab.hosts() {
            let show = |command: &str| -> Result<[String; 2]> {
                let told = host.cli(&["--output", "json", "pki", command])?;
                Ok([told.text_at("/own/serial")?, told.text_at("/own/fingerprint")?])
            };
            let [before, key] = show("show")?;
            let [after, same] = show("renew")?;
            expect(before != after && key == same, || format!("{before} {after} {key} {same}"))?;
        }
        lab.host("kerio").cli(&["ban", "203.0.113.9", "--for", "1h"])?.expect_success()?;
        lab.wait_whole()
    })
}
