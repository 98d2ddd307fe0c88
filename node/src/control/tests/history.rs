//! `history`, and what `why` says of bans that are over.

use super::made_up::{HERE, MadeUp, NOW, root};
use crate::control::{forgetting, history, why};
use bannkreis_core::command::{Op, UnbanSelection};
use bannkreis_core::ids::{CommandId, NodeId, Operator, Position};
use bannkreis_core::jail::{BanPolicy, JailName, Ports};
use bannkreis_core::proposal::{EvidenceLine, Proposal};
use bannkreis_core::time::{BanTime, HOUR_MS, SECOND_MS};
use bannkreis_proto::v1::history_entry::Entry;
use bannkreis_proto::v1::{self, BanEnding, CommandOutcome};
use tonic::Code;

fn jail(name: &str) -> JailName {
    JailName::new(name).unwrap()
}

fn proposal(offender: &str, jail_name: &str, ban_time_ms: u64) -> Op {
    Op::Ban(Proposal {
        origin: NodeId(2),
        basis: Position { generation: 1, index: 1 },
        jail: jail(jail_name),
        offender: offender.parse().unwrap(),
        first_failure_age_ms: 9 * SECOND_MS,
        last_failure_age_ms: 8 * SECOND_MS,
        failures: 3,
        contributors: vec![NodeId(3)],
        policy: BanPolicy::fixed(BanTime::Ms(ban_time_ms)),
        ports: Ports::tcp(&[25]),
        evidence: vec![EvidenceLine { age_ms: 8 * SECOND_MS, text: "Failed login".to_owned() }],
    })
}

fn anna(n: u128) -> Operator {
    let (author, reason) = ("anna".to_owned(), "a customer".to_owned());
    Operator { command_id: CommandId(n), node: HERE, author, reason }
}

fn unban(n: u128, target: &str) -> Op {
    let selection = UnbanSelection::Target { target: target.parse().unwrap(), jail: None };
    Op::Unban { operator: anna(n), selection }
}

async fn asked(api: &MadeUp, request: v1::HistoryRequest) -> v1::HistoryResponse {
    history::history(api, request).await.unwrap()
}

fn of(target: &str) -> v1::HistoryRequest {
    v1::HistoryRequest { target: target.to_owned(), ..v1::HistoryRequest::default() }
}

/// In one word each.
fn kinds(answer: &v1::HistoryResponse) -> Vec<&'static str> {
    let kind = |entry: &v1::HistoryEntry| match entry.entry.as_ref().unwrap() {
        Entry::Live(_) => "live",
        Entry::Ended(ended) if ended.ending() == BanEnding::Late => "late",
        Entry::Ended(_) => "ended",
        Entry::Given(_) => "given",
    };
    answer.entries.iter().map(kind).collect()
}

/// One ban lifted in jail kerio, one late in jail sshd, one that holds in jail mail, and one of somebody else.
fn lived() -> MadeUp {
    let api = MadeUp::new();
    api.apply(vec![proposal("192.0.2.9", "kerio", HOUR_MS)]);
    api.apply(vec![proposal("192.0.2.9", "sshd", SECOND_MS)]);
    api.apply(vec![unban(1, "192.0.2.9")]);
    let wide = Op::OperatorBan {
        operator: anna(2),
        target: "192.0.0.0/8".parse().unwrap(),
        jail: jail("operator"),
        ban_time: BanTime::Ms(90 * 60 * SECOND_MS),
        ports: Ports::whole_host(),
        force: false,
    };
    api.apply(vec![wide]);
    let basis = Position { generation: 1, index: 9 };
    let Op::Ban(later) = proposal("192.0.2.9", "mail", HOUR_MS) else { unreachable!() };
    api.apply(vec![Op::Ban(Proposal { basis, ..later })]);
    api.apply(vec![proposal("203.0.113.1", "kerio", HOUR_MS)]);
    api
}

#[tokio::test]
async fn why_says_after_the_end_who_banned_for_what_and_who_lifted_it() {
    let api = MadeUp::new();
    api.apply(vec![proposal("192.0.2.9", "kerio", HOUR_MS)]);
    api.apply(vec![unban(1, "192.0.2.9")]);
    let answer = why::why(&api, v1::WhyRequest { target: "192.0.2.9".to_owned() }).await.unwrap();
    assert!(answer.bans.is_empty());
    let [ended] = &answer.ended[..] else { panic!("{answer:?}") };
    assert_eq!((ended.jail.as_str(), ended.since_ms, ended.end_ms), ("kerio", NOW.0, NOW.0));
    assert_eq!(ended.ending(), BanEnding::Lifted);
    let by = (ended.ended_by.as_str(), ended.ended_on.as_str(), ended.reason.as_str());
    assert_eq!(by, ("anna", "kopano", "a customer"));
    let evidence = ended.evidence.as_ref().unwrap();
    assert_eq!(
        (evidence.node.as_str(), evidence.contributors.as_slice()),
        ("kerio", &["mx1".to_owned()][..])
    );
    assert_eq!(evidence.lines[0].text, "Failed login");
    assert!(!answer.has_more_ended);
}

#[tokio::test]
async fn everything_about_somebody_is_told_and_of_others_nothing() {
    let api = lived();
    let answer = asked(&api, of("192.0.2.9")).await;
    let mut found = kinds(&answer);
    found.sort_unstable();
    assert_eq!(found, ["ended", "given", "given", "late", "live"]);
    assert!(answer.entries.is_sorted_by(|a, b| a.at_ms >= b.at_ms));
    let refused = answer.entries.iter().find_map(|entry| match &entry.entry {
        Some(Entry::Given(given)) if given.command == "ban" => Some(given),
        _ => None,
    });
    let refused = refused.unwrap();
    assert_eq!(refused.what, "ban 192.0.0.0/8 in jail operator for 90m");
    assert_eq!(refused.outcome(), CommandOutcome::Refused);
    assert!(refused.why.contains("--force"), "{}", refused.why);
    assert_eq!((refused.author.as_str(), refused.node.as_str()), ("anna", "kopano"));

    let all = asked(&api, of("")).await;
    assert_eq!((all.entries.len(), all.has_more), (6, false));
    let jail = "kerio".to_owned();
    let kerio = asked(&api, v1::HistoryRequest { jail, ..of("192.0.2.9") }).await;
    assert_eq!(kinds(&kerio), ["ended"]);
    let two = asked(&api, v1::HistoryRequest { limit: 2, ..of("192.0.2.9") }).await;
    assert_eq!((two.entries.len(), two.has_more), (2, true));
    assert!(asked(&api, of("198.18.0.1")).await.entries.is_empty());
}

/// Sweeps come later: nobody waits for them.
#[tokio::test]
async fn a_ban_is_over_when_its_time_is() {
    let api = MadeUp::new().ahead_by(2 * HOUR_MS);
    api.apply(vec![proposal("192.0.2.9", "kerio", HOUR_MS)]);
    let why = why::why(&api, v1::WhyRequest { target: "192.0.2.9".to_owned() }).await.unwrap();
    let answer = asked(&api, of("192.0.2.9")).await;
    let [v1::HistoryEntry { entry: Some(Entry::Ended(told)), at_ms }] = &answer.entries[..] else {
        panic!("{answer:?}")
    };
    assert!(why.bans.is_empty());
    assert_eq!(&why.ended[..], std::slice::from_ref(told));
    assert_eq!((told.ending(), told.end_ms), (BanEnding::Expired, NOW.0 - 8_000 + HOUR_MS));
    assert_eq!(*at_ms, told.end_ms);
    assert_eq!(told.evidence.as_ref().map(|evidence| evidence.n_failures), Some(3));
}

#[tokio::test]
async fn what_only_the_ban_list_remembers_is_told_as_that() {
    let api = MadeUp::new();
    api.apply(vec![proposal("192.0.2.9", "sshd", SECOND_MS)]);
    assert!(asked(&api, of("192.0.2.9")).await.past.is_empty(), "all of it is told");
    api.forget_history();
    let answer = asked(&api, of("192.0.2.9")).await;
    let [past] = &answer.past[..] else { panic!("{answer:?}") };
    assert_eq!((past.jail.as_str(), past.n_bans, past.last_end_ms), ("sshd", 1, NOW.0 - 7_000));
    assert!(asked(&api, of("")).await.past.is_empty());
}

/// Positions of a cluster that the node was in before can be the same.
#[tokio::test]
async fn evidence_against_somebody_else_is_never_shown() {
    let api = MadeUp::new();
    let position = api.apply(vec![proposal("192.0.2.9", "kerio", HOUR_MS)]).position;
    api.mistake_evidence(position, proposal("203.0.113.1", "kerio", HOUR_MS));
    let answer = why::why(&api, v1::WhyRequest { target: "192.0.2.9".to_owned() }).await.unwrap();
    assert_eq!(answer.bans.len(), 1);
    assert_eq!(answer.bans[0].evidence, None);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_reason() {
    let api = MadeUp::new();
    for (request, why) in [
        (of("nobody"), "not an IPv4 or IPv6 address"),
        (v1::HistoryRequest { jail: "a b".to_owned(), ..of("") }, "space"),
        (v1::HistoryRequest { limit: 1_001, ..of("") }, "at most 1000"),
    ] {
        let refused = history::history(&api, request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(why), "{refused:?}");
    }
}

#[tokio::test]
async fn what_is_over_is_forgotten_and_one_id_is_one_command() {
    let api = lived();
    let request = |targets: &[&str]| v1::ForgetRequest {
        targets: targets.iter().map(ToString::to_string).collect(),
        command_id: format!("{:032x}", 0x700),
        ..v1::ForgetRequest::default()
    };
    let targets = request(&["192.0.2.9", "192.0.2.10", "2001:db8::1"]);
    let answer = forgetting::forget(&api, &root(), targets.clone()).await.unwrap();
    let outcomes: Vec<CommandOutcome> = answer.results.iter().map(v1::CommandResult::outcome).collect();
    assert_eq!(outcomes, [CommandOutcome::Refused, CommandOutcome::Done, CommandOutcome::Done]);
    assert!(answer.results[0].why.contains("is banned in jail mail"), "{}", answer.results[0].why);
    assert_eq!(answer.results[2].target, "2001:db8::/64");
    let again = forgetting::forget(&api, &root(), targets).await.unwrap();
    assert_eq!(again.results, answer.results);
    let refused = forgetting::forget(&api, &root(), request(&[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
