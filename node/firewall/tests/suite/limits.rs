//! When a firewall has no room left: it says so, what it holds goes on holding, and room is made as it is told. Only a
//! kernel has this.

use crate::in_kernel::Sent;
use crate::lab::may_run;
use crate::probe::{Probe, block, chain, ip, release};
use bannkreis_core::jail::Ports;
use bannkreis_core::ruleset::{FirewallDelta, Ruleset};
use bannkreis_core::time::{HOUR_MS, Until};
use bannkreis_firewall::FirewallError;
use bannkreis_firewall::nftables::{Nftables, Sizes};

const ROOM: u32 = 100;

#[test]
fn a_full_map_is_told_and_holds_what_it_has() {
    if !may_run("limits::a_full_map_is_told_and_holds_what_it_has") {
        return;
    }
    let sizes = Sizes { room: ROOM, ..Sizes::default() };
    let mut probe = Sent::new(|| Box::new(Nftables::open_with(sizes).unwrap()));
    let until = Until::at(probe.now().plus_ms(HOUR_MS));
    let whole = chain("sshd", Ports::whole_host());
    let address = |n: u32| format!("198.51.100.{n}");
    let blocks: Vec<FirewallDelta> = (0..ROOM).map(|n| block(&address(n), &whole, until)).collect();
    let now = probe.now();
    probe.firewall.apply(now, &blocks).unwrap();
    let one_more = block(&address(ROOM), &whole, until);
    let is_full = |result: Result<(), FirewallError>| match result {
        Err(error @ FirewallError::Full { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let told = is_full(probe.firewall.apply(now, std::slice::from_ref(&one_more)));
    assert!(told.contains("bound") && told.contains("release some bans"), "{told}");
    assert!(!probe.udp_passes(ip(&address(0)), 53) && probe.udp_passes(ip(&address(ROOM)), 53));
    // A ruleset that does not fit is not begun with: what was held goes on.
    let mut too_much = Ruleset::default();
    blocks.iter().chain([&one_more]).for_each(|delta| too_much.apply(delta));
    is_full(probe.firewall.replace(now, &too_much));
    assert!(!probe.udp_passes(ip(&address(0)), 53) && probe.udp_passes(ip(&address(ROOM)), 53));
    // What is held can be changed, and another prefix length has room of its own.
    probe
        .firewall
        .apply(now, &[block(&address(1), &whole, until), block("203.0.113.0/24", &whole, until)])
        .unwrap();
    assert!(!probe.udp_passes(ip("203.0.113.9"), 53));
    probe.firewall.apply(now, &[release(&address(0)), one_more]).unwrap();
    assert!(probe.udp_passes(ip(&address(0)), 53) && !probe.udp_passes(ip(&address(ROOM)), 53));
    assert!(probe.firewall.intact().unwrap());
    // And the ruleset as it is now fits.
    let mut wanted = too_much;
    wanted.apply(&release(&address(0)));
    probe.firewall.replace(now, &wanted).unwrap();
    assert!(!probe.udp_passes(ip(&address(ROOM)), 53) && probe.udp_passes(ip("203.0.113.9"), 53));
}
