//! `status`, `bans`, `why` and `cluster status`: what is said, and in which order.

use super::made_up::{HERE, MadeUp, NOW};
use crate::control::inspection::{InspectedFailures, InspectedJail, Inspection};
use crate::control::{NodeApi, bans, firewall, status, why};
use bannkreis_core::change::BanKey;
use bannkreis_core::command::Op;
use bannkreis_core::event::{OutboxEntry, Override, OverrideKind};
use bannkreis_core::ids::NodeId;
use bannkreis_core::jail::{BanPolicy, Jail, JailName, Ports, Scope};
use bannkreis_core::judge::NotSharedReason;
use bannkreis_core::node_record::{NodeRecord, NodeRole};
use bannkreis_core::proposal::{EvidenceLine, Proposal};
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, DAY_MS, HOUR_MS, SECOND_MS, Until};
use bannkreis_core::warden::{JailCounts, ToldCount};
use bannkreis_proto::v1::{self, BanKind};
use tokio_stream::StreamExt;
use tonic::Code;

fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}

fn jail(name: &str) -> JailName {
    JailName::new(name).unwrap()
}

/// Kopano's jail, with `ignoreip = 172.16.0.0/16`.
fn kopano() -> Inspection {
    let inspected = InspectedJail {
        jail: Jail {
            name: jail("kopano-webapp"),
            max_retry: 5,
            find_time_ms: HOUR_MS,
            policy: BanPolicy::fixed(BanTime::Ms(7 * DAY_MS)),
            ports: Ports::tcp(&[443]),
            max_matches: 5,
            scope: Scope::Cluster,
            counts_bans: false,
            reach: None,
            ignore: vec![subnet("172.16.0.0/16")],
        },
        counts: JailCounts { n_failures: 12, n_blocked: 2 },
        n_failing: 3,
    };
    Inspection { jails: vec![inspected], n_blocked: 4, n_waiting: 1, ..Inspection::default() }
}

fn proposal(origin: NodeId, offender: &str, ports: &[u16]) -> Op {
    Op::Ban(Proposal {
        origin,
        basis: bannkreis_core::ids::Position { generation: 1, index: 1 },
        jail: jail("kerio"),
        offender: subnet(offender),
        first_failure_age_ms: 2 * SECOND_MS,
        last_failure_age_ms: SECOND_MS,
        failures: 3,
        contributors: vec![NodeId(3)],
        policy: BanPolicy::fixed(BanTime::Ms(HOUR_MS)),
        ports: Ports::tcp(ports),
        evidence: vec![EvidenceLine { age_ms: SECOND_MS, text: "Failed login from there".to_owned() }],
    })
}

fn waiting(offender: &str, local: Option<NotSharedReason>) -> OutboxEntry {
    OutboxEntry {
        key: BanKey { subnet: subnet(offender), jail: jail("kopano-webapp") },
        basis: bannkreis_core::ids::Position::default(),
        first_failure: NOW.minus_ms(5_000),
        last_failure: NOW.minus_ms(4_000),
        failures: 5,
        policy: BanPolicy::fixed(BanTime::Ms(HOUR_MS)),
        ports: Ports::tcp(&[443]),
        evidence: vec![(NOW.minus_ms(4_000), "the line".to_owned())],
        until: Until::at(NOW.plus_ms(HOUR_MS)),
        local,
        served: Vec::new(),
        contributors: Vec::new(),
    }
}

async fn listed(api: &MadeUp, request: v1::ListBansRequest) -> Vec<v1::BanInfo> {
    let mut stream = bans::list(api, request).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert!(first.state.is_some());
    let mut found = first.bans;
    while let Some(part) = stream.next().await {
        found.extend(part.unwrap().bans);
    }
    found
}

#[tokio::test]
async fn bans_are_listed_by_address_with_what_only_this_host_blocks() {
    let mut inspection = kopano();
    inspection.outbox = vec![waiting("192.0.2.9", None), waiting("10.1.1.1", Some(NotSharedReason::Quota))];
    let decision = Override {
        kind: OverrideKind::Release,
        author: "uid 0 (root)".to_owned(),
        reason: "my own scanner".to_owned(),
        until: Until::at(NOW.plus_ms(HOUR_MS)),
        estimated: false,
    };
    inspection.overrides = vec![(subnet("203.0.113.0/24"), decision)];
    let api = MadeUp::knowing(inspection);
    api.apply(vec![
        proposal(NodeId(2), "203.0.113.5", &[25]),
        proposal(NodeId(2), "192.0.2.9", &[25]),
        proposal(NodeId(3), "172.16.5.5", &[25]),
    ]);
    let found = listed(&api, v1::ListBansRequest::default()).await;
    let lines: Vec<(&str, BanKind)> = found.iter().map(|ban| (ban.subnet.as_str(), ban.kind())).collect();
    assert_eq!(
        lines,
        [
            ("10.1.1.1", BanKind::Local),
            ("172.16.5.5", BanKind::Ban),
            ("192.0.2.9", BanKind::Ban),
            ("192.0.2.9", BanKind::Waiting),
            ("203.0.113.0/24", BanKind::OverrideRelease),
            ("203.0.113.5", BanKind::Ban),
        ]
    );
    assert_eq!(found[0].note, "this node is over its quota of bans");
    assert_eq!(found[1].not_blocked_here, "ignoreip of jail kopano-webapp on this host");
    assert_eq!(found[5].not_blocked_here, "an operator lets it through on this host");
    assert_eq!(found[2].lift_command, "bannkreis unban 192.0.2.9 --jail kerio");

    let of_kerio = v1::ListBansRequest { node: "kerio".to_owned(), jail: "kerio".to_owned(), since_ms: 0 };
    assert_eq!(listed(&api, of_kerio).await.len(), 2);
    let of_nobody = v1::ListBansRequest { jail: "zzz".to_owned(), ..v1::ListBansRequest::default() };
    let refused = bans::list(&api, of_nobody).await.unwrap_err();
    assert!(refused.code() == Code::NotFound && refused.message().contains("kopano-webapp"), "{refused}");
    let later = v1::ListBansRequest { since_ms: NOW.plus_ms(1).0, ..v1::ListBansRequest::default() };
    assert!(listed(&api, later).await.is_empty());
}

#[tokio::test]
async fn what_a_joining_node_brings_along_is_listed_until_the_cluster_has_it() {
    let other = MadeUp::new();
    other.apply(vec![proposal(NodeId(1), "192.0.2.7", &[25]), proposal(NodeId(1), "192.0.2.9", &[25])]);
    let mut inspection = kopano();
    inspection.brought_along = other.view().bans().map(|(key, ban)| (key.clone(), ban.clone())).collect();
    let api = MadeUp::knowing(inspection);
    api.apply(vec![proposal(NodeId(2), "192.0.2.9", &[25])]);
    let found = listed(&api, v1::ListBansRequest::default()).await;
    let lines: Vec<(&str, BanKind)> = found.iter().map(|ban| (ban.subnet.as_str(), ban.kind())).collect();
    assert_eq!(lines, [("192.0.2.7", BanKind::Waiting), ("192.0.2.9", BanKind::Ban)]);
    assert!(found[0].note.contains("brought along"), "{}", found[0].note);
    let request = v1::WhyRequest { target: "192.0.2.7".to_owned() };
    let answer = why::why(&api, request).await.unwrap();
    assert_eq!(answer.bans[0].ban.as_ref().unwrap().note, found[0].note);
    assert_eq!(answer.lift_command, "bannkreis unban 192.0.2.7");
}

#[tokio::test]
async fn why_names_host_jail_lines_and_the_command_that_lifts() {
    let mut inspection = kopano();
    inspection.is_blocked = true;
    let key = BanKey { subnet: subnet("192.0.2.9"), jail: jail("kopano-webapp") };
    inspection.failures = vec![InspectedFailures {
        key,
        n_failures: 2,
        told: ToldCount { n_failures: 1, contributors: vec![NodeId(3)], ..ToldCount::default() },
        last: NOW.minus_ms(SECOND_MS),
    }];
    let api = MadeUp::knowing(inspection).without(NodeId(3));
    let target = "192.0.2.9".to_owned();
    api.apply(vec![proposal(NodeId(2), "192.0.2.9", &[25])]);
    api.cluster();
    let answer = why::why(&api, v1::WhyRequest { target }).await.unwrap();
    let evidence = answer.bans[0].evidence.as_ref().unwrap();
    assert_eq!((evidence.node.as_str(), evidence.n_failures), ("kerio", 3));
    assert_eq!(evidence.contributors, ["mx1"]);
    assert_eq!(
        (evidence.lines[0].at_ms, evidence.lines[0].text.as_str()),
        (NOW.0 - 1_000, "Failed login from there")
    );
    assert_eq!(answer.lift_command, "bannkreis unban 192.0.2.9");
    assert_eq!((answer.failures[0].n_failures, answer.failures[0].max_retry), (2, 5));
    assert_eq!(
        (answer.failures[0].n_told, answer.failures[0].told_by.as_slice()),
        (1, &["mx1".to_owned()][..])
    );
    assert!(answer.is_blocked_here);
    let unenforced: Vec<&str> = answer
        .enforcement
        .iter()
        .filter(|node| node.state() == v1::EnforcementState::Unreachable)
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(unenforced, ["mx1"]);
}

#[tokio::test]
async fn what_only_this_host_blocks_is_not_claimed_of_others() {
    for local in [None, Some(NotSharedReason::Quota)] {
        let mut inspection = kopano();
        inspection.is_blocked = true;
        inspection.outbox = vec![waiting("192.0.2.9", local)];
        let api = MadeUp::knowing(inspection);
        api.cluster();
        let answer = why::why(&api, v1::WhyRequest { target: "192.0.2.9".to_owned() }).await.unwrap();
        assert_eq!(answer.bans.len(), 1);
        assert!(answer.is_blocked_here);
        assert_eq!(answer.enforcement, [], "{local:?}");
    }
}

#[tokio::test]
async fn a_host_without_a_firewall_does_not_claim_to_block() {
    let mut inspection = kopano();
    inspection.is_blocked = true;
    let api = MadeUp::knowing(inspection).without_firewall();
    api.apply(vec![proposal(NodeId(2), "192.0.2.9", &[25])]);
    let answer = why::why(&api, v1::WhyRequest { target: "192.0.2.9".to_owned() }).await.unwrap();
    assert!(!answer.is_blocked_here && answer.bans.len() == 1);
    assert_eq!(status::status(&api, v1::StatusRequest::default()).await.unwrap().n_blocked, 0);
}

#[tokio::test]
async fn why_lifts_the_widest_and_names_what_protects() {
    let api = MadeUp::new();
    api.apply(vec![proposal(NodeId(2), "192.0.2.0/24", &[25]), proposal(NodeId(2), "192.0.2.9", &[25])]);
    let target = "192.0.2.9".to_owned();
    let answer = why::why(&api, v1::WhyRequest { target }).await.unwrap();
    assert_eq!(answer.lift_command, "bannkreis unban 192.0.2.0/24");
    assert_eq!(answer.bans.len(), 2);

    let answer = why::why(&api, v1::WhyRequest { target: "198.51.100.2".to_owned() }).await.unwrap();
    assert_eq!(answer.protections[0].what, "is an address of kerio");
    assert_eq!((answer.bans.len(), answer.lift_command.as_str()), (0, ""));

    let answer = why::why(&api, v1::WhyRequest { target: "192.0.0.0/16".to_owned() }).await.unwrap();
    assert_eq!((answer.n_inside, answer.inside.len()), (2, 2));
    assert_eq!(answer.lift_command, "bannkreis unban 192.0.0.0/16");
}

#[tokio::test]
async fn status_counts_here_and_everywhere() {
    let api = MadeUp::knowing(kopano());
    api.apply(vec![proposal(NodeId(2), "192.0.2.9", &[25]), proposal(NodeId(2), "192.0.2.8", &[25])]);
    let answer = status::status(&api, v1::StatusRequest::default()).await.unwrap();
    assert_eq!((answer.n_bans, answer.n_blocked, answer.leader.as_str()), (2, 4, "kerio"));
    let jails: Vec<(&str, bool, u64)> =
        answer.jails.iter().map(|jail| (jail.name.as_str(), jail.is_here, jail.n_banned)).collect();
    assert_eq!(jails, [("kerio", false, 2), ("kopano-webapp", true, 0)]);
    assert_eq!(answer.jails.iter().map(|jail| jail.n_given_up).collect::<Vec<_>>(), [0, 3]);
    let one = status::status(&api, v1::StatusRequest { jail: "kerio".to_owned() }).await.unwrap();
    assert_eq!(one.jails[0].banned, ["192.0.2.8", "192.0.2.9"]);
    let none = status::status(&api, v1::StatusRequest { jail: "shsd".to_owned() }).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    assert!(none.message().contains("kopano-webapp"), "{}", none.message());
}

#[tokio::test]
async fn without_a_quorum_nobody_leads() {
    let api = MadeUp::new().without(NodeId(3));
    let leaders = async |api: &MadeUp| {
        let status = status::status(api, v1::StatusRequest::default()).await.unwrap();
        let cluster = status::cluster_status(api).await.unwrap();
        (status.leader, cluster.leader_id, cluster.members.iter().filter(|member| member.is_leader).count())
    };
    assert_eq!(leaders(&api).await, ("kerio".to_owned(), NodeId(2).to_string(), 1));
    api.lose_quorum(NOW.minus_ms(5_000));
    assert_eq!(leaders(&api).await, (String::new(), String::new(), 0));
}

#[tokio::test]
async fn the_cluster_is_listed_by_name_and_joining_fails_with_the_reason() {
    let api = MadeUp::new().without(NodeId(3));
    let answer = status::cluster_status(&api).await.unwrap();
    let members: Vec<(&str, bool, bool)> = answer
        .members
        .iter()
        .map(|member| (member.name.as_str(), member.is_leader, member.is_reachable))
        .collect();
    assert_eq!(members, [("kerio", true, true), ("kopano", false, true), ("mx1", false, false)]);
    assert_eq!((answer.n_quorum, answer.members[1].node_id.as_str()), (2, HERE.to_string().as_str()));
    let refused =
        status::join(&api, v1::JoinRequest { address: "mx1".to_owned(), ..v1::JoinRequest::default() })
            .await
            .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let failed =
        status::join(&api, v1::JoinRequest { address: "mx1:7420".to_owned(), ..v1::JoinRequest::default() })
            .await
            .unwrap_err();
    assert_eq!((failed.code(), failed.message()), (Code::FailedPrecondition, "nobody answers at mx1:7420"));
}

#[tokio::test]
async fn a_pair_is_told_what_it_lacks_and_how_to_get_it() {
    let pair = |n_voters| MadeUp::new().reduced_to(2, n_voters);
    let of = |api: MadeUp| async move { status::cluster_status(&api).await.unwrap().advice.join("\n") };
    let both = of(pair(2)).await;
    for part in
        ["both must agree", "role = \"witness\"", "token create", "cluster join kopano:7420 --token TOKEN"]
    {
        assert!(both.contains(part), "{both}");
    }
    let one = of(pair(1)).await;
    assert!(one.contains("kopano alone decides: while it is down"), "{one}");
    // `status` says it as well, but not every answer.
    let status = status::status(&pair(1), v1::StatusRequest::default()).await.unwrap();
    assert_eq!(status.state.unwrap().warnings, [one]);
    // A witness makes the difference, and three nodes are no pair.
    let api = pair(1);
    let role = NodeRole::Witness;
    let record = NodeRecord { node: NodeId(2), role, level_max: 1, ..NodeRecord::default() };
    api.apply(vec![Op::NodeSeen(record)]);
    assert_eq!(of(api).await, "");
    assert_eq!(of(MadeUp::new()).await, "");
    let even = of(MadeUp::new().reduced_to(3, 2)).await;
    assert!(even.contains("2 voters survive the loss of no more than 1 do"), "{even}");
}

#[tokio::test]
async fn an_older_node_is_named_with_its_remedy() {
    let api = MadeUp::new();
    let says = |node, level_max| {
        Op::NodeSeen(NodeRecord { node, level_max, name: "kerio".to_owned(), ..NodeRecord::default() })
    };
    api.apply(vec![says(HERE, 3), says(NodeId(2), 2), says(NodeId(3), 3), Op::RaiseLevel { level: 3 }]);
    let advice = status::cluster_status(&api).await.unwrap().advice;
    assert!(
        advice[0].starts_with("kerio reads the log up to level 2, and the cluster is at level 3"),
        "{advice:?}"
    );
}

#[tokio::test]
async fn that_a_node_has_halted_is_in_every_answer() {
    let api = MadeUp::new().halted_by("install the release that kerio runs");
    let status = status::status(&api, v1::StatusRequest::default()).await.unwrap().state;
    let cluster = status::cluster_status(&api).await.unwrap().state;
    let why = why::why(&api, v1::WhyRequest { target: "192.0.2.7".to_owned() }).await.unwrap().state;
    for state in [status, cluster, why] {
        assert_eq!(state.unwrap().halted, "install the release that kerio runs");
    }
}

#[tokio::test]
async fn the_firewall_tells_what_it_has_dropped_those_with_the_most_first() {
    let api = MadeUp::knowing(Inspection { n_blocked: 4, n_protected: 3, ..Inspection::default() });
    let answer = firewall::firewall(&api).await.unwrap();
    let jails: Vec<(&str, u64)> =
        answer.chains.iter().map(|chain| (chain.jail.as_str(), chain.packets)).collect();
    assert_eq!(jails, [("mail", 90), ("web", 7)]);
    assert_eq!((answer.n_blocked, answer.n_protected, answer.n_repairs), (4, 3, 2));
    assert_eq!(answer.about, "nftables (as configured)");
}

#[tokio::test]
async fn a_paused_host_says_so_in_every_answer() {
    let until = Until::at(NOW.plus_ms(9 * 60 * SECOND_MS + 1));
    let api = MadeUp::knowing(Inspection { paused_until: Some(until), ..Inspection::default() });
    let state = status::status(&api, v1::StatusRequest::default()).await.unwrap().state.unwrap();
    assert!(
        state.warnings[0].starts_with("PAUSED") && state.warnings[0].contains("10 min"),
        "{:?}",
        state.warnings
    );
}
