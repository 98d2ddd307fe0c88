//! `ban` and `unban`: what is done, what is said of it, and when.

use super::made_up::{Fate, MadeUp, root};
use crate::control::commands;
use bannkreis_core::ids::NodeId;
use bannkreis_proto::v1::ban_request::Length;
use bannkreis_proto::v1::{self, CommandOutcome, EnforcementState};
use tonic::Code;

pub(super) fn ban_request(targets: &[&str]) -> v1::BanRequest {
    let targets = targets.iter().map(ToString::to_string).collect();
    v1::BanRequest { targets, wait_ms: 60_000, ..v1::BanRequest::default() }
}

fn unban_request(targets: &[&str]) -> v1::UnbanRequest {
    let targets = targets.iter().map(ToString::to_string).collect();
    v1::UnbanRequest { targets, wait_ms: 60_000, ..v1::UnbanRequest::default() }
}

pub(super) async fn ban(api: &MadeUp, request: v1::BanRequest) -> v1::BanResponse {
    commands::ban(api, &root(), request).await.unwrap()
}

async fn unban(api: &MadeUp, request: v1::UnbanRequest) -> v1::UnbanResponse {
    commands::unban(api, &root(), request).await.unwrap()
}

fn outcomes(results: &[v1::CommandResult]) -> Vec<CommandOutcome> {
    results.iter().map(v1::CommandResult::outcome).collect()
}

fn states(nodes: &[v1::NodeEnforcement]) -> Vec<(&str, EnforcementState)> {
    nodes.iter().map(|node| (node.name.as_str(), node.state())).collect()
}

#[tokio::test]
async fn each_target_has_its_own_outcome() {
    let api = MadeUp::new();
    let answer = ban(&api, ban_request(&["192.0.2.7", "127.0.0.1", "10.0.0.0/8", "0.0.0.0/0"])).await;
    assert_eq!(
        outcomes(&answer.results),
        [CommandOutcome::Done, CommandOutcome::Refused, CommandOutcome::Refused, CommandOutcome::Refused]
    );
    assert!(answer.results[1].why.contains("never banned"), "{}", answer.results[1].why);
    for wide in &answer.results[2..] {
        assert!(wide.why.contains("is wider than /24; "), "{}", wide.why);
    }
    assert!(api.is_banned("192.0.2.7", "operator"));
    let enforced = EnforcementState::Enforced;
    assert_eq!(states(&answer.enforcement), [("kerio", enforced), ("kopano", enforced), ("mx1", enforced)]);
}

#[tokio::test]
async fn a_longer_ban_stays_and_that_is_said() {
    let api = MadeUp::new();
    let lasting =
        |length| v1::BanRequest { length: Some(length), ..ban_request(&["192.0.2.7", "192.0.2.8"]) };
    let first = ban(&api, v1::BanRequest { length: None, ..ban_request(&["192.0.2.7"]) }).await;
    let shorter = ban(&api, lasting(Length::BanTimeMs(60_000))).await;
    let longer = ban(&api, lasting(Length::ForEver(true))).await;
    let said = |answer: &v1::BanResponse| -> Vec<bool> {
        answer.results.iter().map(|result| result.why.contains("for longer already")).collect()
    };
    assert_eq!(
        (said(&first), said(&shorter), said(&longer)),
        (vec![false], vec![true, false], vec![false; 2])
    );
}

#[tokio::test]
async fn a_jail_that_nobody_has_is_named_by_mistake() {
    let api = MadeUp::new();
    let of_jail = |jail: &str| v1::UnbanRequest { jail: jail.to_owned(), ..unban_request(&["192.0.2.7"]) };
    let refused = commands::unban(&api, &root(), of_jail("zzz")).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("no node has a jail `zzz`"), "{}", refused.message());
    ban(&api, ban_request(&["192.0.2.7"])).await;
    assert_eq!(unban(&api, of_jail("operator")).await.results[0].n_affected, 1);
}

#[tokio::test]
async fn an_unban_is_answered_when_the_slowest_reachable_node_enforces_it() {
    let api = MadeUp::new().slow(NodeId(2), 10).without(NodeId(3));
    ban(&api, v1::BanRequest { wait_ms: 1, ..ban_request(&["192.0.2.7"]) }).await;
    let answer = unban(&api, unban_request(&["192.0.2.7"])).await;
    assert_eq!(answer.results[0].n_affected, 1);
    assert_eq!(
        states(&answer.enforcement),
        [
            ("kerio", EnforcementState::Enforced),
            ("kopano", EnforcementState::Enforced),
            ("mx1", EnforcementState::Unreachable)
        ]
    );
    assert_eq!(answer.state.unwrap().unreachable, ["mx1"]);
    assert!(!api.is_banned("192.0.2.7", "operator"));
}

#[tokio::test]
async fn who_is_behind_when_the_time_is_over_is_named() {
    let api = MadeUp::new().slow(NodeId(2), u32::MAX);
    let answer = unban(&api, v1::UnbanRequest { wait_ms: 20, ..unban_request(&["192.0.2.7"]) }).await;
    assert_eq!(outcomes(&answer.results), [CommandOutcome::Done]);
    assert_eq!(answer.results[0].n_affected, 0);
    assert_eq!(states(&answer.enforcement)[0], ("kerio", EnforcementState::Behind));
}

#[tokio::test]
async fn wider_bans_stay_and_are_named_with_what_lifts_them() {
    let api = MadeUp::new();
    ban(&api, ban_request(&["192.0.2.0/24", "192.0.2.7"])).await;
    let answer = unban(&api, unban_request(&["192.0.2.7"])).await;
    let remaining = &answer.results[0].remaining;
    assert_eq!((answer.results[0].n_affected, answer.results[0].n_remaining), (1, 1));
    assert!(remaining[0].is_wider);
    assert_eq!(remaining[0].lift_command, "bannkreis unban 192.0.2.0/24 --jail operator");
    assert!(api.is_banned("192.0.2.0/24", "operator"));
}

#[tokio::test]
async fn an_ipv6_host_is_let_go_by_its_prefix() {
    let api = MadeUp::new();
    ban(&api, ban_request(&["2001:db8:1::/64"])).await;
    let answer = unban(&api, unban_request(&["2001:db8:1::5"])).await;
    assert_eq!(answer.results[0].target, "2001:db8:1::/64");
    assert_eq!((answer.results[0].n_affected, answer.results[0].n_remaining), (1, 0));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again_and_nothing_is_done_twice() {
    let api = MadeUp::new().fated(&[Fate::LostUnheard, Fate::NoLeader, Fate::WrittenUnheard]);
    let answer = ban(&api, ban_request(&["192.0.2.7"])).await;
    assert_eq!(outcomes(&answer.results), [CommandOutcome::Done]);
    assert_eq!(answer.results[0].n_affected, 1);
    assert_eq!(api.n_proposals(), 3, "the third one was found on the ban list");
}

#[tokio::test]
async fn what_is_never_answered_is_unknown_and_can_be_repeated_by_its_id() {
    let id = "000102030405060708090a0b0c0d0e0f";
    let api = MadeUp::new().fated(&[Fate::LostUnheard, Fate::NoLeader]);
    let request = v1::BanRequest {
        wait_ms: 100,
        command_id: id.to_owned(),
        ..ban_request(&["192.0.2.7", "192.0.2.8"])
    };
    let answer = ban(&api, request.clone()).await;
    assert_eq!(outcomes(&answer.results), [CommandOutcome::Unknown; 2]);
    assert_eq!(answer.enforcement, [], "nobody knows of anything to enforce");
    assert_eq!(answer.results[0].command_id, id);
    assert_eq!(answer.results[1].command_id, "000102030405060708090a0b0c0d0e10");
    let again = ban(&api, request.clone()).await;
    assert_eq!(outcomes(&again.results), [CommandOutcome::Done; 2]);
    assert_eq!(ban(&api, request).await.results, again.results, "the first answer again");
}

#[tokio::test]
async fn an_id_that_belongs_to_another_command_is_refused_and_nothing_is_done() {
    let api = MadeUp::new();
    let command_id = "000102030405060708090a0b0c0d0e0f".to_owned();
    let with_id = |request| v1::BanRequest { command_id: command_id.clone(), ..request };
    ban(&api, with_id(ban_request(&["192.0.2.7"]))).await;
    let other = ban(&api, with_id(ban_request(&["192.0.2.8"]))).await;
    let lifted =
        unban(&api, v1::UnbanRequest { command_id: command_id.clone(), ..unban_request(&["192.0.2.7"]) })
            .await;
    for result in [&other.results[0], &lifted.results[0]] {
        assert_eq!(result.outcome(), CommandOutcome::Refused);
        assert!(result.why.contains("this id belongs to another command"), "{}", result.why);
    }
    assert!(api.is_banned("192.0.2.7", "operator") && !api.is_banned("192.0.2.8", "operator"));
    // An answer that was lost does not make it a success either.
    let api = api.fated(&[Fate::LostUnheard]);
    assert_eq!(
        outcomes(&ban(&api, with_id(ban_request(&["192.0.2.9"]))).await.results),
        [CommandOutcome::Refused]
    );
}

#[tokio::test]
async fn without_a_leader_nothing_is_done_and_that_is_said() {
    let api = MadeUp::new().fated(&[Fate::NoLeader; 50]);
    let answer = ban(&api, v1::BanRequest { wait_ms: 20, ..ban_request(&["192.0.2.7"]) }).await;
    assert_eq!(outcomes(&answer.results), [CommandOutcome::NotNow]);
    assert_eq!(answer.results[0].why, "no leader is known");
    assert_eq!(answer.enforcement, []);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_proposed() {
    let api = MadeUp::new();
    let cases = [
        (v1::UnbanRequest::default(), Code::InvalidArgument, "whom to let go"),
        (unban_request(&["500.1.1.1"]), Code::InvalidArgument, "500.1.1.1"),
        (v1::UnbanRequest { all: true, ..unban_request(&["192.0.2.7"]) }, Code::InvalidArgument, "only one"),
        (v1::UnbanRequest { by_node: "mx9".to_owned(), ..unban_request(&[]) }, Code::NotFound, "kerio"),
        (
            v1::UnbanRequest { jail: "a b".to_owned(), ..unban_request(&["192.0.2.7"]) },
            Code::InvalidArgument,
            "a b",
        ),
        (
            v1::UnbanRequest { command_id: "7".to_owned(), ..unban_request(&["192.0.2.7"]) },
            Code::InvalidArgument,
            "32",
        ),
        (
            v1::UnbanRequest { wait_ms: 600_001, ..unban_request(&["192.0.2.7"]) },
            Code::InvalidArgument,
            "600000",
        ),
    ];
    for (request, code, part) in cases {
        let refused = commands::unban(&api, &root(), request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{request:?}");
        assert!(refused.message().contains(part), "{:?} in {:?}", part, refused.message());
    }
    let unknown = v1::BanRequest { jail: "shsd".to_owned(), ..ban_request(&["192.0.2.7"]) };
    assert_eq!(commands::ban(&api, &root(), unknown).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(api.n_proposals(), 0);
}

#[tokio::test]
async fn all_and_by_node_lift_what_they_say() {
    let api = MadeUp::new();
    ban(&api, ban_request(&["192.0.2.7", "2001:db8::/64"])).await;
    let all = v1::UnbanRequest { all: true, ..unban_request(&[]) };
    assert_eq!(unban(&api, all).await.results[0].n_affected, 2);
    ban(&api, ban_request(&["192.0.2.9"])).await;
    let by_node = v1::UnbanRequest { by_node: "kopano".to_owned(), ..unban_request(&[]) };
    assert_eq!(unban(&api, by_node).await.results[0].n_affected, 1);
}
