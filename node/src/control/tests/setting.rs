//! Settings of all nodes: what is shown, what is set, and what `why` says of it.

use super::commanding::{ban, ban_request};
use super::made_up::{MadeUp, root};
use crate::control::{settings, why};
use bannkreis_core::command::Op;
use bannkreis_core::ids::NodeId;
use bannkreis_core::jail::{JailName, Ports};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::reach::Reach;
use bannkreis_proto::v1::{self, CommandOutcome};
use tonic::Code;

async fn set(api: &MadeUp, assignments: &[(&str, &str)]) -> Result<v1::SetSettingsResponse, tonic::Status> {
    let assignment =
        |(key, value): &(&str, &str)| v1::Assignment { key: (*key).into(), value: (*value).into() };
    let assignments = assignments.iter().map(assignment).collect();
    let request =
        v1::SetSettingsRequest { assignments, wait_ms: 60_000, ..v1::SetSettingsRequest::default() };
    settings::set(api, &root(), request).await
}

#[tokio::test]
async fn what_is_set_is_shown_with_what_it_was_and_every_node_is_waited_for() {
    let api = MadeUp::new();
    let done = set(&api, &[("reach", "ports"), ("history_retention", "90d")]).await.unwrap();
    assert_eq!((done.results[0].outcome(), done.results[0].n_affected), (CommandOutcome::Done, 2));
    assert_eq!(done.enforcement.len(), 3);
    let told: Vec<_> = done
        .settings
        .iter()
        .map(|info| (info.key.as_str(), info.value.as_str(), info.previous_value.as_str()))
        .collect();
    assert_eq!(told, [("reach", "ports", "guarded"), ("history_retention", "90d", "30d")]);
    let listed = settings::list(&api).await.unwrap().settings;
    let reach = listed.iter().find(|info| info.key == "reach").unwrap();
    assert_eq!((reach.value.as_str(), reach.default_value.as_str()), ("ports", "guarded"));
    assert!(!listed.iter().any(|info| info.key == "event_key"));
}

#[tokio::test]
async fn a_value_that_makes_no_sense_changes_nothing() {
    let api = MadeUp::new();
    for assignments in [&[("reach", "host"), ("skew_max", "2h")][..], &[("event_key", "0")], &[]] {
        let refused = set(&api, assignments).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{assignments:?}");
    }
    assert_eq!(api.n_proposals(), 0);
    assert_eq!(crate::control::NodeApi::view(&api).settings().reach, Reach::Guarded);
}

#[tokio::test]
async fn why_says_what_a_ban_closes_on_each_of_the_other_nodes() {
    let api = MadeUp::new();
    let asked = async |target: &str| {
        let answer = why::why(&api, v1::WhyRequest { target: target.to_owned() }).await.unwrap();
        let closings = answer.bans.into_iter().flat_map(|ban| ban.elsewhere);
        closings.map(|closing| (closing.ports, closing.nodes.join(" "), closing.reach)).collect::<Vec<_>>()
    };
    let told = |ports: &str, nodes: &str, reach: &str| (ports.to_owned(), nodes.to_owned(), reach.to_owned());
    let jail = |name| JailName::new(name).unwrap();
    let seen = |node, name: &str, jails, reaches| {
        let own = vec![format!("198.51.100.{node}").parse().unwrap()];
        let record = NodeRecord {
            node: NodeId(node),
            name: name.to_owned(),
            own,
            jails,
            reaches,
            ..NodeRecord::default()
        };
        api.apply(vec![Op::NodeSeen(record)]);
    };
    seen(1, "kopano", vec![(jail("web"), Ports::tcp(&[443]))], Vec::new());
    seen(2, "kerio", vec![(jail("mail"), Ports::tcp(&[25])), (jail("web"), Ports::tcp(&[80]))], Vec::new());
    ban(&api, v1::BanRequest { jail: "web".to_owned(), ..ban_request(&["192.0.2.7"]) }).await;
    let guarded = [told("25,80,443/tcp", "kerio", "guarded"), told("all ports", "mx1", "guarded")];
    assert_eq!(asked("192.0.2.7").await, guarded);
    set(&api, &[("reach", "ports")]).await.unwrap();
    assert_eq!(asked("192.0.2.7").await, [told("80,443/tcp", "kerio mx1", "ports")]);
    // The node that asked for it says something else of that jail.
    seen(1, "kopano", vec![(jail("web"), Ports::tcp(&[443]))], vec![(jail("web"), Reach::Host)]);
    assert_eq!(asked("192.0.2.7").await, [told("all ports", "kerio mx1", "host")]);
    assert_eq!(asked("192.0.2.8").await, []);
}
