//! `allow add`, `allow remove` and `allow list`: what is lifted, what stands, and what is said of it.

use super::commanding::{ban, ban_request};
use super::made_up::{MadeUp, root};
use crate::control::allowing;
use bannkreis_core::time::HOUR_MS;
use bannkreis_proto::v1::{self, CommandOutcome};
use tokio_stream::StreamExt;
use tonic::Code;

fn texts(targets: &[&str]) -> Vec<String> {
    targets.iter().map(ToString::to_string).collect()
}

fn allow_request(targets: &[&str]) -> v1::AllowRequest {
    v1::AllowRequest { targets: texts(targets), wait_ms: 60_000, ..v1::AllowRequest::default() }
}

async fn add(api: &MadeUp, request: v1::AllowRequest) -> v1::CommandResponse {
    allowing::add(api, &root(), request).await.unwrap()
}

async fn remove(api: &MadeUp, targets: &[&str]) -> v1::CommandResponse {
    let targets = texts(targets);
    let request = v1::DisallowRequest { targets, wait_ms: 60_000, ..v1::DisallowRequest::default() };
    allowing::remove(api, &root(), request).await.unwrap()
}

async fn listed(api: &MadeUp) -> Vec<v1::AllowInfo> {
    let parts: Vec<_> = allowing::list(api).await.unwrap().map(Result::unwrap).collect().await;
    assert!(parts[0].state.is_some() && parts[0].entries.is_empty());
    parts.into_iter().flat_map(|part| part.entries).collect()
}

#[tokio::test]
async fn an_entry_lifts_the_bans_inside_and_lives_with_the_one_around_it() {
    let api = MadeUp::new();
    ban(&api, ban_request(&["192.0.2.0/24", "198.51.100.70", "198.51.100.71"])).await;
    let answer = add(&api, allow_request(&["192.0.2.7", "198.51.100.64/26"])).await;
    let [inside, around] = &answer.results[..] else { panic!("{:?}", answer.results) };
    assert_eq!((inside.outcome(), inside.n_affected, inside.n_remaining), (CommandOutcome::Done, 0, 1));
    assert!(inside.remaining[0].is_wider && inside.remaining[0].subnet == "192.0.2.0/24");
    assert_eq!((around.n_affected, around.n_remaining), (2, 0));
    assert_eq!(answer.enforcement.len(), 3);
    assert!(api.is_banned("192.0.2.0/24", "operator") && !api.is_banned("198.51.100.70", "operator"));
    let refused = ban(&api, ban_request(&["198.51.100.70"])).await;
    assert!(refused.results[0].why.contains("is on the allow list"), "{}", refused.results[0].why);
}

#[tokio::test]
async fn the_list_says_who_why_and_until_when() {
    let api = MadeUp::new();
    let noted = |note: &str, allow_ms| v1::AllowRequest {
        note: note.to_owned(),
        allow_ms,
        ..allow_request(&["192.0.2.7"])
    };
    add(&api, noted("scanner", Some(HOUR_MS))).await;
    add(&api, allow_request(&["2001:db8::/64"])).await;
    let entries = listed(&api).await;
    assert_eq!(
        entries.iter().map(|entry| entry.subnet.as_str()).collect::<Vec<_>>(),
        ["192.0.2.7", "2001:db8::/64"]
    );
    let first = &entries[0];
    assert_eq!(
        (first.note.as_str(), first.author.as_str(), first.node.as_str()),
        ("scanner", "uid 0 (root)", "kopano")
    );
    assert_eq!(first.until_ms, Some(super::made_up::NOW.0 + HOUR_MS));
    assert_eq!(entries[1].until_ms, None);
    let again = add(&api, noted("the new scanner", None)).await;
    assert!(again.results[0].why.contains("already"), "{}", again.results[0].why);
    assert_eq!(listed(&api).await[0].note, "the new scanner");
}

#[tokio::test]
async fn what_is_removed_is_named_exactly_and_brings_no_ban_back() {
    let api = MadeUp::new();
    ban(&api, ban_request(&["192.0.2.7"])).await;
    add(&api, allow_request(&["192.0.2.0/24", "192.0.2.0/25", "203.0.113.9"])).await;
    let refused = remove(&api, &["192.0.2.7", "203.0.113.0/24", "198.18.0.1"]).await;
    let whys: Vec<&str> = refused.results.iter().map(|result| result.why.as_str()).collect();
    assert!(refused.results.iter().all(|result| result.outcome() == CommandOutcome::Refused), "{whys:?}");
    assert!(whys[0].contains("`bannkreis allow remove 192.0.2.0/2"), "{whys:?}");
    assert!(whys[1].contains("such as 203.0.113.9"), "{whys:?}");
    assert!(whys[2].contains("`bannkreis allow list`"), "{whys:?}");
    let part = remove(&api, &["192.0.2.0/25"]).await;
    assert!(part.results[0].why.contains("still allowed as part of 192.0.2.0/24"), "{}", part.results[0].why);
    let all = remove(&api, &["192.0.2.0/24"]).await;
    assert_eq!((all.results[0].outcome(), all.results[0].why.as_str()), (CommandOutcome::Done, ""));
    assert!(!api.is_banned("192.0.2.7", "operator"));
    assert_eq!(listed(&api).await.len(), 1);
}

#[tokio::test]
async fn everybody_is_let_through_by_force_only() {
    let api = MadeUp::new();
    ban(&api, ban_request(&["192.0.2.7", "198.51.100.70"])).await;
    let everybody = ["0.0.0.0/0", "::/0", "::ffff:0:0/96", "192.0.0.0/16"];
    let answer = add(&api, allow_request(&everybody)).await;
    for result in &answer.results {
        assert_eq!(result.outcome(), CommandOutcome::Refused);
        assert!(result.why.contains("--force if you mean it"), "{}", result.why);
    }
    assert!(answer.results[0].why.contains("0.0.0.0/0 is wider than /24"), "{}", answer.results[0].why);
    assert!(answer.results[0].why.contains("2 bans inside it lifted"), "{}", answer.results[0].why);
    assert!(answer.results[3].why.contains("1 ban inside"), "{}", answer.results[3].why);
    assert!(api.is_banned("192.0.2.7", "operator") && api.n_proposals() == 1);
    let forced = v1::AllowRequest { force: true, ..allow_request(&["192.0.0.0/16"]) };
    assert_eq!(add(&api, forced).await.results[0].n_affected, 1);
    assert!(!api.is_banned("192.0.2.7", "operator") && api.is_banned("198.51.100.70", "operator"));
}

#[tokio::test]
async fn nobody_takes_away_what_keeps_them_a_way_in_unless_they_say_so() {
    let api = MadeUp::new();
    add(&api, allow_request(&["192.0.2.7", "192.0.2.0/25"])).await;
    ban(&api, v1::BanRequest { force: true, ..ban_request(&["192.0.2.0/24"]) }).await;
    let from = |targets: &[&str], force| v1::DisallowRequest {
        targets: texts(targets),
        works_from: texts(&["192.0.2.7"]),
        force,
        ..v1::DisallowRequest::default()
    };
    let told = async |request| allowing::remove(&api, &root(), request).await.unwrap().results[0].clone();
    // One of two entries may go; both at once, and then the last one, not.
    let both = told(from(&["192.0.2.7", "192.0.2.0/25"], false)).await;
    assert_eq!(both.outcome(), CommandOutcome::Refused);
    assert!(both.why.contains("held by the ban of 192.0.2.0/24 in jail operator"), "{}", both.why);
    assert!(both.why.contains("`bannkreis unban 192.0.2.0/24 --jail operator` first"), "{}", both.why);
    assert!(!both.why.contains("allow list"), "{}", both.why);
    assert_eq!(told(from(&["192.0.2.0/25"], false)).await.outcome(), CommandOutcome::Done);
    assert_eq!(told(from(&["192.0.2.7"], false)).await.outcome(), CommandOutcome::Refused);
    assert_eq!(told(from(&["192.0.2.7"], true)).await.outcome(), CommandOutcome::Done);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_proposed() {
    let api = MadeUp::new();
    let cases = [
        (allow_request(&[]), "no entry is named"),
        (allow_request(&["here"]), "here"),
        (v1::AllowRequest { allow_ms: Some(0), ..allow_request(&["192.0.2.7"]) }, "no length"),
        (
            v1::AllowRequest { note: "x".repeat(1_025), ..allow_request(&["192.0.2.7"]) },
            "the note has 1025 bytes",
        ),
    ];
    for (request, part) in cases {
        let refused = allowing::add(&api, &root(), request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(part), "{part:?} in {:?}", refused.message());
    }
    assert_eq!(api.n_proposals(), 0);
}
