//! What is decided for this host only, how it is taken back, and what is said of it.

use super::commanding::{ban, ban_request};
use super::made_up::{HERE, MadeUp, NOW, root};
use crate::control::{About, Inspection, NodeApi, allowing, bans, commands, overrides};
use bannkreis_core::event::{Override, OverrideKind};
use bannkreis_core::time::{DAY_MS, HOUR_MS, Until};
use bannkreis_core::warden::OVERRIDES_MAX;
use bannkreis_proto::v1::override_request::Length;
use bannkreis_proto::v1::{self, BanKind, OverrideOrder};
use tokio_stream::StreamExt;
use tonic::Code;

const BLOCK: OverrideOrder = OverrideOrder::Block;
const RELEASE: OverrideOrder = OverrideOrder::Release;

fn request(order: OverrideOrder, target: &str) -> v1::OverrideRequest {
    let targets = vec![target.to_owned()];
    v1::OverrideRequest {
        targets,
        order: order.into(),
        reason: "ticket 4711".to_owned(),
        ..Default::default()
    }
}

async fn decide(api: &MadeUp, request: v1::OverrideRequest) -> v1::OverrideResult {
    let answer = overrides::decide(api, &root(), request).await.unwrap();
    answer.results.into_iter().next().unwrap()
}

/// What was done and what was said.
async fn told(api: &MadeUp, order: OverrideOrder, target: &str) -> (String, String) {
    let result = decide(api, request(order, target)).await;
    (result.did, result.why)
}

async fn held(api: &MadeUp) -> Vec<(String, OverrideKind, Until)> {
    let inspection = api.inspect(About::Everybody).await.unwrap();
    inspection.overrides.iter().map(|(subnet, held)| (subnet.to_string(), held.kind, held.until)).collect()
}

#[tokio::test]
async fn it_holds_for_a_day_unless_somebody_says_otherwise() {
    let api = MadeUp::new();
    let day = NOW.plus_ms(DAY_MS);
    let (did, why) = told(&api, BLOCK, "203.0.113.7").await;
    assert_eq!(did, "block");
    assert!(why.contains("`bannkreis ban 203.0.113.7` bans it on the other nodes"), "{why}");
    assert_eq!(held(&api).await, [("203.0.113.7".to_owned(), OverrideKind::Block, Until::at(day))]);
    let lasting = |length| v1::OverrideRequest { length: Some(length), ..request(RELEASE, "203.0.113.8") };
    assert_eq!(decide(&api, lasting(Length::OverrideMs(HOUR_MS))).await.until_ms, Some(NOW.0 + HOUR_MS));
    assert_eq!(decide(&api, lasting(Length::ForEver(true))).await.until_ms, None);
    let none = overrides::decide(&api, &root(), lasting(Length::OverrideMs(0))).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
    assert_eq!(api.n_proposals(), 0, "the cluster is not asked");
}

#[tokio::test]
async fn what_was_decided_is_taken_back_or_replaced() {
    let api = MadeUp::new();
    // Letting through takes a block back first, and only then lets through whatever the cluster says.
    told(&api, BLOCK, "203.0.113.7").await;
    assert_eq!(told(&api, RELEASE, "203.0.113.7").await.0, "end_block");
    assert_eq!(held(&api).await, []);
    assert_eq!(told(&api, RELEASE, "203.0.113.7").await.0, "release");
    // A block takes its place, and either can be ended by name.
    assert_eq!(told(&api, BLOCK, "203.0.113.7").await.0, "block");
    let (did, why) = told(&api, OverrideOrder::EndRelease, "203.0.113.7").await;
    assert!(did.is_empty() && why.contains("`bannkreis unban 203.0.113.7 --local`"), "{why}");
    assert_eq!(told(&api, OverrideOrder::EndBlock, "203.0.113.7").await.0, "end_block");
    told(&api, RELEASE, "203.0.113.7").await;
    let (did, why) = told(&api, OverrideOrder::EndBlock, "203.0.113.7").await;
    assert!(did.is_empty() && why.contains("`bannkreis unban 203.0.113.7 --local --end`"), "{why}");
    assert_eq!(told(&api, OverrideOrder::EndRelease, "203.0.113.7").await.0, "end_release");
    let (did, why) = told(&api, OverrideOrder::EndRelease, "203.0.113.7").await;
    assert!(did.is_empty() && why.contains("nothing was decided"), "{why}");
}

#[tokio::test]
async fn what_the_cluster_could_have_done_is_said() {
    let api = MadeUp::new();
    ban(&api, ban_request(&["203.0.113.0/24"])).await;
    let (_, why) = told(&api, RELEASE, "203.0.113.7").await;
    assert!(why.contains("`bannkreis unban 203.0.113.0/24` lifts that everywhere"), "{why}");
    assert_eq!(told(&api, BLOCK, "203.0.113.8").await.1, "", "the cluster bans it already");
    let (_, why) = told(&api, RELEASE, "203.0.113.8").await;
    assert!(why.contains("the same command again lets it through"), "{why}");
    let (_, why) = told(&api, RELEASE, "198.18.0.0/24").await;
    assert!(why.contains("nothing bans it at the moment"), "{why}");
    let (_, why) = told(&api, BLOCK, "198.18.0.9").await;
    assert!(why.contains("`bannkreis unban 198.18.0.0/24 --local --end`"), "{why}");
    api.lose_quorum(NOW);
    assert_eq!(told(&api, BLOCK, "192.0.2.9").await.1, "");
}

#[tokio::test]
async fn nobody_shuts_themselves_out_here_either() {
    let api = MadeUp::new();
    let from = |force, target| v1::OverrideRequest {
        force,
        works_from: vec!["192.0.2.7".to_owned()],
        ..request(BLOCK, target)
    };
    assert!(decide(&api, from(false, "192.0.2.0/24")).await.why.contains("from which you work"));
    assert_eq!(decide(&api, from(true, "192.0.2.0/24")).await.did, "block");
    let cluster = decide(&api, from(true, "198.51.100.0/24")).await;
    assert!(cluster.did == "block" && cluster.why.contains("packets from there pass"), "{}", cluster.why);
    assert!(decide(&api, from(true, "198.51.100.2")).await.why.contains("an address of kerio: never banned"));
    let full = (0..OVERRIDES_MAX).map(|n| {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + u32::try_from(n).unwrap());
        let (author, reason) = (String::new(), String::new());
        let (kind, until) = (OverrideKind::Block, Until::FOREVER);
        (
            bannkreis_core::subnet::Subnet::host(address.into()),
            Override { kind, author, reason, until, estimated: false },
        )
    });
    let api = MadeUp::knowing(Inspection { overrides: full.collect(), ..Inspection::default() });
    assert!(decide(&api, request(BLOCK, "192.0.2.7")).await.why.contains("10000 overrides already"));
    assert_eq!(decide(&api, request(RELEASE, "10.0.0.7")).await.did, "end_block");
}

#[tokio::test]
async fn everybody_passes_here_by_force_only_and_nobody_takes_back_their_own_way_in() {
    let api = MadeUp::new();
    ban(&api, ban_request(&["192.0.2.0/24"])).await;
    let from = |order, force, target| v1::OverrideRequest {
        force,
        works_from: vec!["192.0.2.7".to_owned()],
        ..request(order, target)
    };
    let refused = decide(&api, from(RELEASE, false, "0.0.0.0/0")).await;
    assert!(refused.why.contains("1 ban inside it not enforced here; --force"), "{}", refused.why);
    assert_eq!(decide(&api, from(RELEASE, false, "192.0.2.7")).await.did, "release");
    let refused = decide(&api, from(OverrideOrder::EndRelease, false, "192.0.2.7")).await;
    assert!(refused.did.is_empty() && refused.why.contains("shut yourself out"), "{}", refused.why);
    // Whoever passes by another decision loses nothing.
    assert_eq!(decide(&api, from(RELEASE, true, "192.0.0.0/16")).await.did, "release");
    assert_eq!(decide(&api, from(OverrideOrder::EndRelease, false, "192.0.2.7")).await.did, "end_release");
    let last = from(OverrideOrder::EndRelease, false, "192.0.0.0/16");
    assert!(decide(&api, last.clone()).await.did.is_empty());
    assert_eq!(decide(&api, v1::OverrideRequest { force: true, ..last }).await.did, "end_release");
}

#[tokio::test]
async fn a_command_to_the_cluster_names_what_was_decided_here() {
    let api = MadeUp::new();
    ban(&api, ban_request(&["203.0.113.7", "203.0.113.8"])).await;
    for target in ["203.0.113.7", "203.0.113.9"] {
        told(&api, BLOCK, target).await;
    }
    told(&api, RELEASE, "192.0.2.9").await;
    let unban = async |targets: &[&str], all| {
        let targets = targets.iter().map(ToString::to_string).collect();
        let request = v1::UnbanRequest { targets, all, ..v1::UnbanRequest::default() };
        let answer = commands::unban(&api, &root(), request).await.unwrap();
        (answer.results[0].why.clone(), answer.enforcement)
    };
    let (why, enforcement) = unban(&["203.0.113.7"], false).await;
    assert!(why.starts_with("203.0.113.7 stays blocked on kopano"), "{why}");
    assert!(why.contains("`bannkreis unban 203.0.113.7 --local`") && !why.contains("more"), "{why}");
    assert_eq!(enforcement.iter().map(|node| node.n_overrides).collect::<Vec<_>>(), [0, 3, 0]);
    assert_eq!(unban(&["203.0.113.8"], false).await.0, "");
    assert!(unban(&[], true).await.0.contains("1 more: `bannkreis bans` lists them"));
    let answer = ban(&api, ban_request(&["192.0.2.0/28"])).await;
    assert!(answer.results[0].why.contains("192.0.2.9 is let through on kopano"), "{answer:?}");
}

#[tokio::test]
async fn a_block_that_the_allow_list_goes_before_is_listed_so() {
    let api = MadeUp::new();
    told(&api, BLOCK, "203.0.113.7").await;
    let targets = vec!["203.0.113.7".to_owned()];
    let allow = v1::AllowRequest { targets, ..v1::AllowRequest::default() };
    allowing::add(&api, &root(), allow).await.unwrap();
    let parts: Vec<_> = bans::list(&api, v1::ListBansRequest::default()).await.unwrap().collect().await;
    let rows: Vec<v1::BanInfo> = parts.into_iter().flat_map(|part| part.unwrap().bans).collect();
    assert_eq!(rows[0].not_blocked_here, "203.0.113.7 is on the allow list");
}

#[tokio::test]
async fn a_host_of_ipv6_is_let_through_as_it_is_banned() {
    let api = MadeUp::new();
    assert_eq!(decide(&api, request(RELEASE, "2001:db8:1::5")).await.target, "2001:db8:1::/64");
    decide(&api, request(BLOCK, "2001:db8:2::5")).await;
    let result = decide(&api, request(RELEASE, "2001:db8:2::5")).await;
    assert_eq!((result.target.as_str(), result.did.as_str()), ("2001:db8:2::5", "end_block"));
}

#[tokio::test]
async fn it_is_listed_with_who_why_and_what_takes_it_back() {
    let api = MadeUp::new();
    told(&api, BLOCK, "203.0.113.7").await;
    told(&api, RELEASE, "203.0.113.8").await;
    let parts: Vec<_> = bans::list(&api, v1::ListBansRequest::default()).await.unwrap().collect().await;
    let rows: Vec<v1::BanInfo> = parts.into_iter().flat_map(|part| part.unwrap().bans).collect();
    assert_eq!(
        rows.iter().map(v1::BanInfo::kind).collect::<Vec<_>>(),
        [BanKind::OverrideBlock, BanKind::OverrideRelease]
    );
    assert!(
        rows.iter().all(|row| row.note == "uid 0 (root): ticket 4711" && row.origins[0].name == "kopano")
    );
    let ends: Vec<&str> = rows.iter().map(|row| row.lift_command.as_str()).collect();
    assert_eq!(ends, ["bannkreis unban 203.0.113.7 --local", "bannkreis unban 203.0.113.8 --local --end"]);
    let status = crate::control::status::status(&api, v1::StatusRequest::default()).await.unwrap();
    assert_eq!(status.n_overrides, 2);
    let members = crate::control::status::cluster_status(&api).await.unwrap().members;
    let own = members.iter().find(|member| member.node_id == HERE.to_string()).unwrap();
    assert_eq!(own.n_overrides, 2);
}
