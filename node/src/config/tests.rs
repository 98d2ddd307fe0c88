//! The configuration from texts and environments: what is taken, and the sentence when it is not.

use super::*;
use std::collections::HashMap;

fn load(text: &str, environment: &[(&str, &str)]) -> Result<NodeConfig, ConfigError> {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("bannkreis.toml");
    fs::write(&path, text).expect("write");
    let environment: HashMap<&str, &str> = environment.iter().copied().collect();
    let variable = |name: &str| environment.get(name).map(OsString::from);
    NodeConfig::load(Some(&path), &variable, "kopano").map_err(|error| ConfigError {
        place: error.place.replace(&format!("{}/", directory.path().display()), ""),
        problem: error.problem,
    })
}

fn refused(text: &str, environment: &[(&str, &str)]) -> String {
    load(text, environment).expect_err("it is refused").to_string()
}

#[test]
fn a_node_that_was_told_nothing_listens_to_nobody() {
    let config = load("", &[]).expect("nothing is wrong");
    assert_eq!(config, NodeConfig::defaults("kopano"));
    assert!(config.listen.ip().is_loopback() && config.tls.mode == TlsMode::Own);
    assert_eq!(config.control_socket(), Path::new("/run/bannkreis/control.sock"));
    assert_eq!(config.advertised(), "127.0.0.1:7420");
}

#[test]
fn the_file_is_above_the_defaults_and_the_environment_above_the_file() {
    let text = "name = \"mx1\"\nlisten = \"0.0.0.0:7421\"\nmode = \"observe\"\ncatch_up = true\n\
                backend = 'none'\n[tls]\nmode = \"files\"\ncertificate_days = 7\n[log]\nlevel = \"debug\"\ntarget = \"/tmp/log\"\n[raft]\nheartbeat_ms = 5_0\n";
    let config = load(text, &[("BANNKREIS_MODE", "enforce"), ("BANNKREIS_RAFT_ELECTION_MIN_MS", "100")]);
    let config = config.expect("nothing is wrong");
    assert_eq!(config.name, "mx1");
    assert_eq!(config.advertised(), "mx1:7421");
    assert_eq!((config.mode, config.backend, config.catch_up), (Mode::Enforce, Backend::None, true));
    assert_eq!(
        config.log,
        LogConfig { level: LogLevel::Debug, target: LogTarget::File("/tmp/log".into()), fail2ban: None }
    );
    assert_eq!((config.tls.mode, config.tls.certificate_days), (TlsMode::Files, 7));
    let raft = RaftConfig { heartbeat_ms: 50, election_min_ms: 100, election_max_ms: 2_000 };
    assert_eq!(config.raft, raft);
}

#[test]
fn what_is_wrong_is_said_with_place_value_and_remedy() {
    for (text, place, words) in [
        ("x = 1\n", "bannkreis.toml:1: ", vec!["no setting `x`", "remove it", "state_dir"]),
        ("\n[raft]\nheartbeat = 1\n", "bannkreis.toml:3: ", vec!["`raft.heartbeat`", "raft.heartbeat_ms"]),
        (
            "name = \"a\"\nbackend = \"ipfw\"\n",
            "bannkreis.toml:2: ",
            vec!["`backend = \"ipfw\"`", "\"nftables\""],
        ),
        ("backend = 1\n", "bannkreis.toml:1: ", vec!["`backend = 1`", "not a text in quotes"]),
        ("catch_up = \"maybe\"\n", "bannkreis.toml:1: ", vec!["neither true nor false"]),
        ("insecure = true\n", "bannkreis.toml:1: ", vec!["no setting `insecure`", "tls.mode"]),
        ("[tls]\nmode = \"none\"\n", "bannkreis.toml:2: ", vec!["`tls.mode = \"none\"`", "\"insecure\""]),
        ("listen = \"kopano:7420\"\n", "bannkreis.toml:1: ", vec!["\"10.0.0.5:7420\""]),
        ("state_dir = \"state\"\n", "bannkreis.toml:1: ", vec!["does not begin with /", "an absolute path"]),
        ("advertise = \"fe80::1:7420\"\n", "bannkreis.toml:1: ", vec!["in brackets"]),
        ("name = \"a b\"\n", "bannkreis.toml:1: ", vec!["a space"]),
        ("log = \"debug\"\n", "bannkreis.toml:1: ", vec!["no setting `log`", "log.level"]),
        ("[raft]\nheartbeat_ms = 1.5\n", "bannkreis.toml:2: ", vec!["not a whole number"]),
        ("[raft]\nheartbeat_ms = 5\n", "bannkreis.toml:2: ", vec!["from 10 to 60000"]),
        ("[raft]\nheartbeat_ms = 1000\n", "bannkreis.toml:2: ", vec!["twice heartbeat_ms"]),
        ("name = \"a\"\nname = \"b\"\n", "bannkreis.toml:2: ", vec!["not TOML", "duplicate"]),
        ("name = \n", "bannkreis.toml:1: ", vec!["not TOML"]),
    ] {
        let error = refused(text, &[]);
        assert!(error.starts_with(place), "{text:?}: {error}");
        for word in words {
            assert!(error.contains(word), "{text:?}: {word:?} is missing in: {error}");
        }
        assert!(!error.contains('\n'), "one line: {error:?}");
    }
    let error = refused("", &[("BANNKREIS_LOG_LEVEL", "loud")]);
    assert!(error.starts_with("environment variable BANNKREIS_LOG_LEVEL: `log.level = \"loud\"`"), "{error}");
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let path = Path::new("/nowhere/bannkreis.toml");
    let error = NodeConfig::load(Some(path), &|_| None, "kopano").expect_err("it is not there").to_string();
    assert!(
        error.starts_with("/nowhere/bannkreis.toml: ") && error.contains("name an existing file"),
        "{error}"
    );
}

#[test]
fn settings_that_do_not_go_together_are_named() {
    let witness = refused("role = \"witness\"\nbackend = \"nftables\"\n", &[]);
    assert!(witness.contains(":2: `backend = \"nftables\"` does not go together with `role"), "{witness}");
    let lease = "[kubernetes]\nlease = \"mail/bannkreis\"\n";
    let both = refused(&format!("join = \"mx1:7420\"\nlisten = \"10.0.0.1:7420\"\n{lease}"), &[]);
    assert!(both.contains(":4: `kubernetes.lease` does not go together with `join`"), "{both}");
    let unreachable = refused(lease, &[]);
    assert!(unreachable.contains("BANNKREIS_ADVERTISE"), "{unreachable}");
    let pod = load(lease, &[("BANNKREIS_ADVERTISE", "10.244.1.7:7420")]).expect("a pod's");
    assert_eq!(pod.kubernetes.lease.as_deref(), Some("mail/bannkreis"));
    assert!(refused("[kubernetes]\nlease = \"bannkreis\"\n", &[]).contains("NAMESPACE/NAME"));
    for everywhere in ["0.0.0.0:7420", "[::]:7420"] {
        let nowhere = refused(&format!("advertise = \"{everywhere}\"\n"), &[]);
        assert!(nowhere.contains(":1: `advertise") && nowhere.contains("nobody can connect"), "{nowhere}");
    }
    let groups = load("[control]\nviewer_group = \"helpdesk\"\n", &[]).expect("a group").control;
    assert_eq!((groups.viewer_group.as_deref(), groups.admin_group), (Some("helpdesk"), None));
}

#[test]
fn the_defaults_that_are_told_are_the_defaults_that_hold() {
    let uncommented: String = settings::reference()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(uncommented.matches(" = ").count(), SETTINGS.len());
    assert_eq!(load(&uncommented, &[]).expect("the reference is true"), NodeConfig::defaults("kopano"));
    assert_eq!(
        load(&settings::reference(), &[]).expect("the reference is true"),
        NodeConfig::defaults("kopano")
    );
}

/// Written anew with `UPDATE_EXPECT=1`.
#[test]
fn the_reference_that_is_shipped_is_made_of_the_settings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config/bannkreis.toml");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, settings::reference()).expect("write");
    }
    let shipped = fs::read_to_string(&path).expect("deploy/config/bannkreis.toml");
    assert!(
        shipped == settings::reference(),
        "run this test with UPDATE_EXPECT=1 and look at the difference"
    );
}
