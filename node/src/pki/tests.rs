//! Keys, certificates and their files, without any socket.

use super::keyring::{Origin, Signed, adopt, carry_over};
use super::{Authority, Certificate, HostKey, Keyring, PkiError, Subject, Who};
use bannkreis_core::ids::{ClusterId, NodeId};
use bannkreis_core::time::Timestamp;
use bannkreis_raft::Role;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const CLUSTER: ClusterId = ClusterId([7; 16]);
const NOW: Timestamp = Timestamp(1_800_000_000_000);
const DAY_MS: u64 = 86_400_000;

fn who(node: u64, is_alone: bool) -> Who {
    Who {
        cluster: CLUSTER,
        generation: 1,
        former: None,
        node: NodeId(node),
        name: "kopano".to_owned(),
        is_alone,
    }
}

fn keyring(dir: &Path) -> Keyring {
    Keyring::new(Origin::Own { state_dir: dir.to_owned(), days: 90 })
}

fn read(pem: &str) -> Certificate {
    Certificate::read(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap()
}

#[test]
fn a_node_alone_founds_an_authority_and_finds_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = keyring(dir.path());
    first.open(who(5, true), NOW).unwrap();
    let own = first.sessions().unwrap().own.clone();
    assert_eq!((own.node(), own.role()), (Some(NodeId(5)), Some(Role::Node)));
    assert_eq!(own.names, [CLUSTER.to_string(), "kopano".to_owned()]);
    assert_eq!(own.issuer, CLUSTER.to_string());
    assert_eq!(own.not_after, NOW.plus_ms(90 * DAY_MS));
    assert_eq!(first.fingerprint(), Some(HostKey::open(&dir.path().join("pki")).unwrap().fingerprint()));
    for (file, mode) in
        [("host.key", 0o600), (&format!("{CLUSTER}/ca.key"), 0o600), (&format!("{CLUSTER}/ca.crt"), 0o644)]
    {
        let found = fs::metadata(dir.path().join("pki").join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{file}");
    }

    let again = keyring(dir.path());
    again.open(who(5, false), NOW).unwrap();
    assert_eq!(again.sessions().unwrap().own, own);
}

#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_keeps_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let keyring = keyring(dir.path());
    keyring.open(who(5, true), NOW).unwrap();
    let before = keyring.sessions().unwrap();
    assert!(!keyring.is_due(NOW.plus_ms(59 * DAY_MS)));
    let later = NOW.plus_ms(61 * DAY_MS);
    assert!(keyring.is_due(later));
    keyring.renew(later).unwrap();
    let after = keyring.sessions().unwrap();
    assert!(!keyring.is_due(later));
    assert_eq!(before.own.fingerprint, after.own.fingerprint);
    assert_ne!(before.own.serial, after.own.serial);

    // One that has ended while the node was off is made anew at the start.
    keyring.open(who(5, false), later.plus_ms(200 * DAY_MS)).unwrap();
    assert_ne!(keyring.sessions().unwrap().own.serial, after.own.serial);
}

#[test]
fn a_joining_host_gets_its_certificate_for_its_own_key_only() {
    let (a, b, c) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let founder = keyring(a.path());
    founder.open(who(1, true), NOW).unwrap();
    let joiner = keyring(b.path());
    let missing = joiner.open(who(2, false), NOW).unwrap_err().to_string();
    assert!(missing.contains("ca.crt") && missing.contains("join the cluster again"), "{missing}");

    let request = joiner.request().unwrap().unwrap();
    let subject = Subject::Node { node: NodeId(2), name: "mx1".to_owned() };
    let signed = founder.sign(&request, &subject, NOW).unwrap();
    assert!(adopt(c.path(), CLUSTER, 1, &signed).is_err(), "another host's key");
    adopt(b.path(), CLUSTER, 1, &signed).unwrap();
    joiner.open(who(2, false), NOW).unwrap();
    assert!(joiner.authority().is_none());
    let refused = joiner.sign(&request, &subject, NOW).unwrap_err().to_string();
    assert!(refused.contains("does not have the authority's key"), "{refused}");
    assert!(joiner.open(who(3, false), NOW).unwrap_err().to_string().contains("join the cluster again"));

    // When it becomes a voter, it gets the authority's key, and can sign as well.
    let key = founder.authority().unwrap().key_pem().to_owned();
    assert!(joiner.adopt_authority(HostKey::make().unwrap().pem(), NOW).is_err(), "any other key");
    joiner.adopt_authority(key, NOW).unwrap();
    assert_eq!(read(&joiner.sign(&request, &subject, NOW).unwrap().certificate).node(), Some(NodeId(2)));
}

#[test]
fn of_a_request_only_the_key_counts() {
    let authority = Authority::make(CLUSTER, NOW).unwrap();
    let key = HostKey::make().unwrap();
    let subject = Subject::Client { role: Role::Viewer, name: "helpdesk".to_owned() };
    let made = read(&authority.sign(&key.request().unwrap(), &subject, NOW, 30).unwrap());
    assert_eq!((made.fingerprint, made.common_name.as_str()), (key.fingerprint(), "helpdesk"));
    assert_eq!((made.role(), made.node()), (Some(Role::Viewer), None));
    assert!(authority.sign(b"not a request", &subject, NOW, 30).is_err());
    assert!(authority.sign(&[0; 20_000], &subject, NOW, 30).unwrap_err().to_string().contains("20000 bytes"));
    let mut forged = key.request().unwrap();
    *forged.last_mut().unwrap() ^= 1;
    assert!(authority.sign(&forged, &subject, NOW, 30).is_err(), "a wrong signature");
}

#[test]
fn files_of_others_are_read_again_when_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let authority = Authority::make(CLUSTER, NOW).unwrap();
    let write = |key: &HostKey, node| {
        let subject = Subject::Node { node: NodeId(node), name: "kopano".to_owned() };
        fs::write(path("ca.crt"), authority.certificate_pem()).unwrap();
        fs::write(path("tls.crt"), authority.sign(&key.request().unwrap(), &subject, NOW, 90).unwrap())
            .unwrap();
        fs::write(path("tls.key"), key.pem()).unwrap();
    };
    let keyring = Keyring::new(Origin::Files {
        ca: path("ca.crt"),
        certificate: path("tls.crt"),
        key: path("tls.key"),
    });
    let missing = keyring.open(who(1, true), NOW).unwrap_err().to_string();
    assert!(missing.contains("ca.crt: there is no such file") && missing.contains("tls.ca"), "{missing}");
    let (first, second) = (HostKey::make().unwrap(), HostKey::make().unwrap());
    write(&first, 1);
    keyring.open(who(1, true), NOW).unwrap();
    assert!(keyring.changed().unwrap().is_none());
    write(&second, 1);
    let changed = keyring.changed().unwrap().unwrap();
    assert_eq!(changed.fingerprint(), second.fingerprint());
    assert_eq!(keyring.fingerprint(), Some(first.fingerprint()), "not before the cluster knows");
    keyring.use_changed(changed);
    assert_eq!(keyring.fingerprint(), Some(second.fingerprint()));

    // Half-written: what is in use stays in use.
    fs::write(path("tls.key"), first.pem()).unwrap();
    assert!(matches!(keyring.changed(), Err(PkiError(why)) if why.contains("tls.crt")));
    assert_eq!(keyring.fingerprint(), Some(second.fingerprint()));
}

#[test]
fn an_authority_is_one_clusters_only() {
    let authority = Authority::make(CLUSTER, NOW).unwrap();
    let (pem, key) = (authority.certificate_pem().to_owned(), authority.key_pem().to_owned());
    let other = Authority::from_pem(ClusterId([8; 16]), pem.clone(), key).unwrap_err().to_string();
    assert!(other.contains(&CLUSTER.to_string()), "{other}");
    let wrong_key = HostKey::make().unwrap().pem();
    assert!(Authority::from_pem(CLUSTER, pem.clone(), wrong_key).is_err());
    let damaged = Signed { certificate: pem, authority: "nothing".to_owned() };
    assert!(adopt(tempfile::tempdir().unwrap().path(), CLUSTER, 1, &damaged).is_err());
}

#[test]
fn a_node_that_lost_its_log_shows_callers_its_former_id_and_signs_for_its_new_one() {
    let dir = tempfile::tempdir().unwrap();
    keyring(dir.path()).open(who(5, true), NOW).unwrap();
    let looking_on = Who { former: Some(NodeId(5)), ..who(6, false) };
    // It has the authority's key.
    let voter = keyring(dir.path());
    voter.open(looking_on.clone(), NOW).unwrap();
    assert_eq!(voter.sessions().unwrap().own.node(), Some(NodeId(6)));
    assert_eq!(voter.server_sessions().unwrap().own.node(), Some(NodeId(5)));
    voter.drop_former();
    assert_eq!(voter.server_sessions().unwrap().own.node(), Some(NodeId(6)));

    // It has not: it shows what it has until it is certified anew, and callers still after that.
    let dir = tempfile::tempdir().unwrap();
    let founder = keyring(dir.path());
    founder.open(who(5, true), NOW).unwrap();
    fs::remove_file(dir.path().join("pki").join(CLUSTER.to_string()).join("ca.key")).unwrap();
    let learner = keyring(dir.path());
    assert!(learner.open(who(6, false), NOW).is_err());
    learner.open(looking_on, NOW).unwrap();
    assert_eq!(learner.sessions().unwrap().own.node(), Some(NodeId(5)));
    let request = learner.request().unwrap().unwrap();
    let subject = Subject::Node { node: NodeId(6), name: "kopano".to_owned() };
    learner.install(&founder.sign(&request, &subject, NOW).unwrap(), NOW).unwrap();
    assert_eq!(learner.sessions().unwrap().own.node(), Some(NodeId(6)));
    assert_eq!(learner.server_sessions().unwrap().own.node(), Some(NodeId(5)));
}

#[test]
fn each_generation_has_its_own_files_and_the_authority_goes_along() {
    let dir = tempfile::tempdir().unwrap();
    let before = keyring(dir.path());
    before.open(who(5, true), NOW).unwrap();
    assert!(carry_over(dir.path(), CLUSTER, 1, 2).unwrap());
    let second = Who { generation: 2, ..who(6, true) };
    let after = keyring(dir.path());
    after.open(second.clone(), NOW).unwrap();
    assert_eq!(after.sessions().unwrap().own.node(), Some(NodeId(6)));
    let pem = |keyring: &Keyring| keyring.authority().unwrap().certificate_pem().to_owned();
    assert_eq!(pem(&after), pem(&before));
    // The old files are as they were, should the node have died before it began.
    keyring(dir.path()).open(who(5, false), NOW).unwrap();
    // Without the key a new authority is made, and the old one's members are strangers to it.
    let other = tempfile::tempdir().unwrap();
    assert!(!carry_over(other.path(), CLUSTER, 1, 2).unwrap());
    let founded = keyring(other.path());
    founded.open(second, NOW).unwrap();
    assert_ne!(pem(&founded), pem(&before));
    // A host that joins there has no use for what a recovery of its own has left.
    let request = before.request().unwrap().unwrap();
    let subject = Subject::Node { node: NodeId(8), name: "kerio".to_owned() };
    let signed = founded.sign(&request, &subject, NOW).unwrap();
    adopt(dir.path(), CLUSTER, 2, &signed).unwrap();
    let joined = keyring(dir.path());
    joined.open(Who { generation: 2, ..who(8, false) }, NOW).unwrap();
    assert!(joined.authority().is_none());
}
