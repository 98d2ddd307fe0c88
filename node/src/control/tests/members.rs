//! Orders about members: who is meant, what is refused before anybody is asked, and what is asked again.

use super::commanding::{ban, ban_request};
use super::made_up::{HERE, MadeUp, root};
use crate::control::{NodeApi, OrderFailure, members};
use bannkreis_core::command::Op;
use bannkreis_core::ids::NodeId;
use bannkreis_core::subnet::Subnet;
use bannkreis_proto::v1;
use tonic::{Code, Status};

async fn order(api: &MadeUp, order: v1::MemberOrder, node: &str) -> Result<v1::OrderMemberResponse, Status> {
    let request = v1::OrderMemberRequest {
        order: order.into(),
        node: node.to_owned(),
        wait_ms: 1_000,
        ..Default::default()
    };
    members::order(api, &root(), request).await
}

#[tokio::test]
async fn a_member_is_named_or_numbered_and_the_answer_says_what_is_left() {
    let api = MadeUp::new();
    let answer = order(&api, v1::MemberOrder::Demote, "mx1").await.unwrap();
    assert_eq!((answer.name.as_str(), answer.n_voters, answer.n_members), ("mx1", 2, 3));
    let answer = order(&api, v1::MemberOrder::Promote, &NodeId(3).to_string()).await.unwrap();
    assert_eq!((answer.name.as_str(), answer.n_voters), ("mx1", 3));
    let answer = order(&api, v1::MemberOrder::Remove, "mx1").await.unwrap();
    assert_eq!((answer.n_voters, answer.n_members), (2, 2));
    let answer = order(&api, v1::MemberOrder::TransferLeader, "kopano").await.unwrap();
    assert_eq!(answer.leader, "kopano");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_command_that_does() {
    let api = MadeUp::new();
    let refused = order(&api, v1::MemberOrder::Remove, "kopano").await.unwrap_err();
    assert!(refused.message().contains("cluster leave"), "{refused:?}");
    let refused = order(&api, v1::MemberOrder::Promote, "mx9").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("there are: kopano"), "{refused:?}");
    assert_eq!(api.cluster().members.len(), 3);
}

#[tokio::test]
async fn what_can_not_be_done_at_the_moment_is_tried_again_and_what_is_refused_is_not() {
    let not_now = OrderFailure::NotNow { why: "kerio takes over the lead first".to_owned() };
    let refused = OrderFailure::Refused { why: "without mx1 nothing could be agreed on".to_owned() };
    let api = MadeUp::new().reluctant(&[not_now.clone(), not_now.clone(), refused]);
    let error = order(&api, v1::MemberOrder::Remove, "mx1").await.unwrap_err();
    assert_eq!(error.message(), "without mx1 nothing could be agreed on");
    order(&api, v1::MemberOrder::Remove, "mx1").await.unwrap();

    let api = MadeUp::new().reluctant(&vec![not_now; 1_000]);
    let error = order(&api, v1::MemberOrder::Remove, "mx1").await.unwrap_err();
    assert!(error.message().contains("kerio takes over the lead first"), "{error:?}");
    assert!(error.message().contains("`bannkreis cluster status`"), "{error:?}");
}

#[tokio::test]
async fn a_leader_that_has_handed_over_is_not_asked_to_once_more() {
    // Its answer was lost: the next attempt sees that another one leads.
    let lost = OrderFailure::NotNow { why: "the leader has just changed".to_owned() };
    let api = MadeUp::new().reluctant(&[lost]);
    let asked = order(&api, v1::MemberOrder::TransferLeader, "");
    let changed = async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        api.lead(HERE);
    };
    let (answer, ()) = tokio::join!(asked, changed);
    assert_eq!(answer.unwrap().leader, "kopano");
}

#[tokio::test]
async fn leaving_says_what_comes_along() {
    let api = MadeUp::new();
    let root = root();
    let leave =
        |force| members::leave(&api, &root, v1::LeaveRequest { force, ..v1::LeaveRequest::default() });
    let refused = leave(false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let answer = leave(true).await.unwrap();
    assert_eq!(answer.n_bans, 0);
    assert_eq!(api.cluster().members.len(), 1);
}

#[tokio::test]
async fn a_node_that_was_undone_is_trusted_again() {
    let api = MadeUp::new();
    let by_node = v1::UnbanRequest { by_node: "kerio".to_owned(), ..v1::UnbanRequest::default() };
    let undone = crate::control::commands::unban(&api, &root(), by_node).await.unwrap();
    assert_eq!(undone.results[0].target, "kerio");
    assert!(undone.results[0].why.contains("`bannkreis cluster trust kerio`"), "{}", undone.results[0].why);
    let advice = async || crate::control::status::cluster_status(&api).await.unwrap().advice.join(" ");
    assert!(advice().await.contains("`bannkreis cluster trust kerio`"));
    let trust = async |node: &str| {
        let request = v1::TrustRequest { node: node.to_owned(), ..v1::TrustRequest::default() };
        members::trust(&api, &root(), request).await
    };
    let trusted = trust("kerio").await.unwrap();
    assert_eq!((trusted.results[0].target.as_str(), trusted.results[0].n_affected), ("kerio", 1));
    assert_eq!(trusted.enforcement.len(), 3);
    assert!(!advice().await.contains("trust"));
    assert_eq!(trust("kerio").await.unwrap().results[0].n_affected, 0);
    assert!(trust("mx9").await.unwrap_err().message().contains("there are: "));
}

#[tokio::test]
async fn an_address_that_waits_is_shown_with_what_confirms_it() {
    let api = MadeUp::new();
    let wide = v1::BanRequest { force: true, ..ban_request(&["192.0.2.0/24"]) };
    ban(&api, ban_request(&["203.0.113.7", "2001:db8:1::/64"])).await;
    ban(&api, wide).await;
    let mut record = NodeApi::view(&api).node(NodeId(2)).unwrap().record.clone();
    record
        .own
        .extend(["203.0.113.7", "2001:db8:1::5", "192.0.2.9"].map(|text| text.parse::<Subnet>().unwrap()));
    api.apply(vec![Op::NodeSeen(record)]);
    let answer = crate::control::status::cluster_status(&api).await.unwrap();
    let kerio = answer.members.iter().find(|member| member.name == "kerio").unwrap();
    assert_eq!(kerio.pending, ["203.0.113.7", "2001:db8:1::5", "192.0.2.9"]);
    let advice = answer.advice.join(" ");
    let commands = "`bannkreis unban 203.0.113.7 2001:db8:1::5` and `bannkreis allow add 192.0.2.9`";
    assert!(advice.contains(commands), "{advice}");
}
