//! Settings of all nodes: what is shown, what is set, and what `why` says of it.

use super::commanding::{ban, ban_request};
use super::made_up::{MadeUp, root};
use crate::control::{settings, why};
use bannkreis_core::settings::Reach;
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
async fn why_says_what_a_ban_closes_elsewhere() {
    let api = MadeUp::new();
    let asked = async |target: &str| {
        why::why(&api, v1::WhyRequest { target: target.to_owned() }).await.unwrap().reach
    };
    ban(&api, ban_request(&["192.0.2.7"])).await;
    assert!(asked("192.0.2.7").await.contains("reach = guarded"));
    set(&api, &[("reach", "host")]).await.unwrap();
    assert!(asked("192.0.2.7").await.contains("all ports are closed (reach = host)"));
    assert_eq!(asked("192.0.2.8").await, "");
}
