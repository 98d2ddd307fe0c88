//! Nobody shuts themselves out, or a node, by a slip of the pen; who means it says so.

use super::commanding::{ban, ban_request};
use super::made_up::{HERE, MadeUp, root};
use crate::control::{Peer, commands};
use bannkreis_core::command::{LEVEL, Op};
use bannkreis_core::ids::{CommandId, Operator};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::settings::Setting;
use bannkreis_proto::v1::{self, CommandOutcome};
use tonic::Code;

fn works_from(addresses: &[&str], request: v1::BanRequest) -> v1::BanRequest {
    v1::BanRequest { works_from: addresses.iter().map(ToString::to_string).collect(), ..request }
}

fn forced(request: v1::BanRequest) -> v1::BanRequest {
    v1::BanRequest { force: true, ..request }
}

/// What is said of the only target, and whether it was done.
async fn told(api: &MadeUp, request: v1::BanRequest) -> (bool, String) {
    let answer = ban(api, request).await;
    let [result] = &answer.results[..] else { panic!("{:?}", answer.results) };
    (result.outcome() == CommandOutcome::Done, result.why.clone())
}

async fn refuses(api: &MadeUp, request: v1::BanRequest, part: &str) {
    let (is_done, why) = told(api, request).await;
    assert!(!is_done && why.contains(part), "{part:?} in {why:?}");
}

#[tokio::test]
async fn the_address_that_one_works_from_is_banned_by_force_only() {
    let api = MadeUp::new();
    for (target, part) in [
        ("192.0.2.7", "you work from 192.0.2.7: you would"),
        ("192.0.2.0/24", "holds 192.0.2.7, from which you work: you would"),
    ] {
        let request = works_from(&["203.0.113.1", "192.0.2.7"], ban_request(&[target]));
        refuses(&api, request, part).await;
    }
    // By the connection, for whoever asks from another host.
    let elsewhere = Peer { from: Some("2001:db8::7".parse().unwrap()), ..root() };
    let answer = commands::ban(&api, &elsewhere, ban_request(&["2001:db8::/64", "192.0.2.9"])).await.unwrap();
    assert!(answer.results[0].why.contains("holds 2001:db8::7"), "{}", answer.results[0].why);
    assert_eq!(answer.results[1].outcome(), CommandOutcome::Done, "the others are done");
    assert_ne!(answer.results[0].command_id, answer.results[1].command_id);
    assert!(!answer.enforcement.is_empty());
    let request = works_from(&["192.0.2.7"], ban_request(&["192.0.2.0/24"]));
    assert!(told(&api, forced(request)).await.0);

    let nonsense = works_from(&["here"], ban_request(&["192.0.2.8"]));
    assert_eq!(commands::ban(&api, &root(), nonsense).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn with_an_entry_on_the_allow_list_there_is_a_way_in() {
    let api = MadeUp::new();
    let request = || works_from(&["192.0.2.7"], ban_request(&["192.0.2.0/24"]));
    refuses(&api, request(), "`bannkreis allow add 192.0.2.7` keeps you a way in").await;
    let allow = v1::AllowRequest { targets: vec!["192.0.2.7".to_owned()], ..v1::AllowRequest::default() };
    crate::control::allowing::add(&api, &root(), allow).await.unwrap();
    assert!(told(&api, request()).await.0);
    refuses(&api, forced(ban_request(&["192.0.2.7"])), "`bannkreis allow remove 192.0.2.7` first").await;
}

#[tokio::test]
async fn what_belongs_to_the_cluster_is_named_and_passes_even_by_force() {
    let api = MadeUp::new();
    refuses(&api, ban_request(&["198.51.100.2"]), "is an address of kerio: never banned").await;
    refuses(&api, forced(ban_request(&["198.51.100.2"])), "with --force neither").await;
    let router = NodeRecord {
        node: HERE,
        name: "kopano".to_owned(),
        own: vec!["198.51.100.1".parse().unwrap()],
        gateways: vec!["203.0.113.254".parse().unwrap()],
        resolvers: vec!["203.0.113.53".parse().unwrap()],
        level_max: LEVEL,
        ..NodeRecord::default()
    };
    api.apply(vec![Op::NodeSeen(router)]);
    refuses(&api, ban_request(&["203.0.113.254"]), "is a router of kopano").await;
    let wide = ban_request(&["203.0.113.0/24"]);
    refuses(&api, wide.clone(), "203.0.113.53 (a name server of kopano), 203.0.113.254 (a router of kopano)")
        .await;
    let (is_done, why) = told(&api, forced(wide)).await;
    assert!(is_done && why.contains("packets from there pass"), "{why}");
    // A node is reached at an address that it does not know as its own.
    api.with_address(HERE, "192.0.2.80:7420");
    refuses(&api, ban_request(&["192.0.2.80"]), "192.0.2.80 is where the nodes reach kopano").await;
    refuses(&api, ban_request(&["192.0.2.80/30"]), "holds 192.0.2.80, where the nodes reach kopano").await;
}

#[tokio::test]
async fn a_network_is_banned_by_force_only_unless_it_counts_as_one_offender() {
    let api = MadeUp::new();
    for (wide, fitting) in [("192.0.2.0/23", "192.0.2.0/24"), ("2001:db8::/63", "2001:db8::/64")] {
        refuses(&api, ban_request(&[wide]), "is wider than /").await;
        assert!(told(&api, ban_request(&[fitting])).await.0);
        assert!(told(&api, forced(ban_request(&[wide]))).await.0);
    }
    let (is_done, why) = told(&api, forced(ban_request(&["10.0.0.0/8"]))).await;
    assert!(is_done, "{why}");
    let fields = vec![Setting::CountingPrefixV6(48)];
    let operator =
        Operator { command_id: CommandId(1), node: HERE, author: String::new(), reason: String::new() };
    api.apply(vec![Op::Settings { operator, fields }]);
    assert!(told(&api, ban_request(&["2001:db8:7::/48"])).await.0);
    refuses(&api, ban_request(&["2001:db8:6::/47"]), "is wider than /48").await;
}
