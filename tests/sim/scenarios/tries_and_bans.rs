//! What many hosts see at once is one ban, however its proposals travel.

use super::{LONG, SSH, WEB, tell};
use bannkreis_core::time::{MINUTE_MS, SECOND_MS};

#[test]
fn two_nodes_reach_maxretry_in_the_same_second() {
    tell(
        3,
        |_| {},
        |story| {
            for node in [0, 1] {
                story.act(crate::plan::Act::Attack {
                    node,
                    jail: LONG,
                    offender: 0,
                    n_lines: 3,
                    in_flight: true,
                });
            }
            story.settle();
            let ban = story.ban(0, LONG).expect("a ban");
            assert_eq!(ban.count, 1);
            assert_eq!(story.dropping(LONG, 0), [0, 1, 2]);
            assert_eq!(story.newest().bans_of(story.subnet(0)).count(), 1);
        },
    );
}

#[test]
fn ten_tries_in_one_second_on_ten_hosts_are_ten_tries() {
    tell(
        10,
        |plan| plan.jails[SSH].max_retry = 10,
        |story| {
            for node in 0..10 {
                story.world.write_line(node, SSH, story.world.plan.offenders[0], true);
            }
            story.wait(2 * SECOND_MS);
            assert_eq!(story.dropping(SSH, 0), (0..10).collect::<Vec<usize>>());
            assert_eq!(story.ban(0, SSH).map(|ban| ban.count), Some(1));
        },
    );
    // One less is not enough.
    tell(
        10,
        |plan| plan.jails[SSH].max_retry = 11,
        |story| {
            for node in 0..10 {
                story.world.write_line(node, SSH, story.world.plan.offenders[0], true);
            }
            story.settle();
            assert_eq!(story.dropping(SSH, 0), [] as [usize; 0]);
        },
    );
}

#[test]
fn two_hosts_whose_jail_of_one_name_has_different_ports() {
    tell(
        3,
        |_| {},
        |story| {
            // 443 on node 0, 80 and 8443 on node 1.
            story.attack(0, WEB, 0, 4);
            story.attack(1, WEB, 0, 4);
            story.settle();
            let ban = story.ban(0, WEB).expect("a ban");
            assert_eq!(ban.ports.to_string(), "80,443,8443/tcp");
            assert_eq!(story.dropping(WEB, 0), [0, 1, 2]);
        },
    );
}

#[test]
fn every_message_is_doubled_lost_and_reordered() {
    let faulty = |plan: &mut crate::plan::Plan| {
        plan.notice_faults = 300;
        plan.proposal_faults = 300;
    };
    tell(5, faulty, |story| {
        for offender in 0..4 {
            story.attack(offender, LONG, offender, 3);
        }
        story.wait(2 * MINUTE_MS);
        for offender in 0..4 {
            assert_eq!(story.ban(offender, LONG).map(|ban| ban.count), Some(1), "offender {offender}");
            assert_eq!(story.dropping(LONG, offender), [0, 1, 2, 3, 4]);
        }
    });
}

#[test]
fn over_quota_proposals_arrive_after_a_long_partition() {
    let tight = |plan: &mut crate::plan::Plan| {
        plan.settings.quota_burst = 2;
        plan.settings.quota_per_minute = 1;
        plan.settings.damped_ms = 2 * MINUTE_MS;
        plan.settings.damped_live_max = 2;
    };
    tell(3, tight, |story| {
        story.cut_off(0);
        for offender in 0..6 {
            story.attack(0, LONG, offender, 3);
        }
        story.wait(30 * MINUTE_MS);
        story.reconnect();
        story.wait(20 * SECOND_MS);
        // Two for their whole time, two for a while, two not at all; the origin keeps each.
        let bans: Vec<_> = (0..6).filter_map(|offender| story.ban(offender, LONG)).collect();
        let n_damped = bans.iter().filter(|ban| ban.damped_by.is_some()).count();
        assert_eq!((bans.len(), n_damped), (4, 2));
        for offender in 0..6 {
            assert!(story.drops(0, LONG, offender), "the origin let offender {offender} go");
        }
        // In time each gets its turn.
        story.wait(30 * MINUTE_MS);
        for offender in 0..6 {
            assert!(story.drops(0, LONG, offender), "the origin let offender {offender} go");
            let ban = story.ban(offender, LONG);
            assert!(ban.is_some_and(|ban| ban.damped_by.is_none()), "offender {offender} never got its turn");
        }
    });
}
