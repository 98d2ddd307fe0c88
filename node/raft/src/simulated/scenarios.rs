//! What seeds have found, told as it happened: one small world each, without chance.

use super::clients::{op, operator};
use super::host::Host;
use super::plan::Plan;
use super::world::{World, with_clock};
use std::time::Duration;

/// Whatever is waited for happens within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Three voters, of which the first leads; then the story, then everybody must agree.
fn check(story: impl AsyncFn(&World) + Send + 'static) {
    let told = std::thread::spawn(move || {
        let dir = tempfile::tempdir().unwrap();
        with_clock(0, async {
            let world = World::new(&Plan::quiet(3), 0, dir.path(), false);
            assert!(world.form().await && world.hosts[0].node().unwrap().is_leader());
            story(&world).await;
            world.heal().await;
            world.oracle.broken()
        })
    });
    let broken = told.join().unwrap();
    assert!(broken.is_none(), "{broken:?}");
}

/// Bans through this host; once acknowledged, it must stay.
async fn ban(world: &World, host: usize, n: u32) {
    let node = world.hosts[host].node().unwrap();
    let ban = vec![op(n, true, operator(node.node_id(), u128::from(n) + 1))];
    let proposed = node.propose(ban).await.unwrap();
    world.oracle.acknowledged(n, true, proposed.position);
}

async fn until(host: &Host, what: &str, holds: impl Fn(u64) -> bool) {
    let last_index = || host.node().and_then(|node| node.inner.metrics().last_log_index).unwrap_or_default();
    let waited = async {
        while !holds(last_index()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "{what}: {}", last_index());
}

/// Leading on in its term, it would write something else where the others have what it had sent.
#[test]
fn a_leader_that_has_lost_what_it_had_sent_has_to_be_elected_again() {
    check(async |world| {
        ban(world, 0, 1).await;
        let leader = world.hosts[0].node().unwrap();
        let last = leader.inner.metrics().last_log_index.unwrap();
        world.hosts[0].slow_down(Some(PATIENCE));
        let lost = vec![op(2, true, operator(leader.node_id(), 3))];
        let asked = tokio::spawn(async move { leader.propose(lost).await });
        until(&world.hosts[1], "the entry that is sent", |index| index > last).await;
        world.hosts[0].crash(true);
        asked.abort();
        world.hosts[0].slow_down(None);
        world.hosts[0].start().await;
        ban(world, 0, 3).await;
        ban(world, 1, 4).await;
    });
}
