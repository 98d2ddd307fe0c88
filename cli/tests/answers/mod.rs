//! Answers as a daemon could give them, for the golden tests.

pub(crate) mod history;
pub(crate) mod keys;
pub(crate) mod members;
pub(crate) mod orders;

use bannkreis_proto::v1::{
    BanInfo, BanKind, BanOrigin, BanResponse, ChainDrops, Closing, CommandOutcome, CommandResult,
    EnforcementState, FirewallResponse, JailStatus, ListBansResponse, NodeEnforcement, NodeMode, NodeState,
    RemainingBan, SourceStatus, StatusResponse, UnbanResponse, WhyBan, WhyEvidence, WhyFailures, WhyLine,
    WhyPast, WhyProtection, WhyResponse,
};

/// 2026-03-01 12:00:00 UTC.
const NOW_MS: u64 = 1_772_366_400_000;
const HOUR_MS: u64 = 3_600_000;

fn state() -> NodeState {
    NodeState {
        node_id: "000000000000000a".to_owned(),
        name: "kopano".to_owned(),
        now_ms: NOW_MS,
        mode: NodeMode::Enforce.into(),
        backend: "nftables".to_owned(),
        applied: "1.420".to_owned(),
        enforced: "1.420".to_owned(),
        ..NodeState::default()
    }
}

pub(crate) fn troubled_state() -> NodeState {
    NodeState {
        no_quorum_since_ms: Some(NOW_MS - 2 * HOUR_MS),
        unreachable: vec!["kerio".to_owned(), "mx1".to_owned()],
        n_waiting: 3,
        warnings: vec!["the firewall refuses: out of \x1b[31mmemory".to_owned()],
        ..state()
    }
}

/// A node that can not read what the others write.
pub(crate) fn halted_state() -> NodeState {
    NodeState {
        halted: "log entry 1.57 can not be read by this release (0.1.0): it is of level 2. Install the release that kerio \
                 runs on this host and restart bannkreisd"
            .to_owned(),
        ..troubled_state()
    }
}

pub(crate) fn witness() -> StatusResponse {
    let state = NodeState { mode: NodeMode::Witness.into(), backend: "none".to_owned(), ..state() };
    StatusResponse {
        state: Some(state),
        n_blocked: 0,
        n_overrides: 0,
        jails: Vec::new(),
        firewall: String::new(),
        ..status()
    }
}

pub(crate) fn firewall() -> FirewallResponse {
    let chain = |jail: &str, ports: &str, packets| ChainDrops {
        jail: jail.to_owned(),
        ports: ports.to_owned(),
        packets,
        bytes: packets * 60,
    };
    FirewallResponse {
        state: Some(state()),
        about: "iptables (as configured); chain bannkreis in filter INPUT and FORWARD, sets bannkreis*, \
                iptables-save v1.8.9 (nf_tables)"
            .to_owned(),
        n_blocked: 1_215,
        n_protected: 14,
        n_repairs: 2,
        error: String::new(),
        chains: vec![
            chain("spam-unknownrcpt", "25,80,110,143,443,465,587,993,995,4190,8080,8443/tcp", 1_204_377),
            chain("kopano-webapp", "443/tcp", 93),
        ],
    }
}

pub(crate) fn status() -> StatusResponse {
    let kopano = JailStatus {
        name: "kopano-webapp".to_owned(),
        is_here: true,
        n_failing: 3,
        n_failures: 120,
        n_banned: 14,
        n_blocked: 9,
        max_retry: 5,
        find_time_ms: 600_000,
        ban_time_ms: Some(604_800_000),
        ports: "443/tcp".to_owned(),
        is_counted_with_peers: true,
        nodes: vec!["kopano".to_owned()],
        sources: vec![SourceStatus {
            name: "/var/log/apache2/error.log".to_owned(),
            n_lines: 48_123,
            error: "permission denied".to_owned(),
        }],
        banned: Vec::new(),
        n_given_up: 3,
    };
    let kerio = JailStatus {
        name: "spam-unknownrcpt".to_owned(),
        n_banned: 1_200,
        ports: "25,465,587/tcp".to_owned(),
        nodes: vec!["kerio".to_owned(), "mx1".to_owned()],
        ..JailStatus::default()
    };
    StatusResponse {
        state: Some(state()),
        version: "0.1.0".to_owned(),
        uptime_ms: 93_784_000,
        n_bans: 1_214,
        n_blocked: 1_215,
        n_overrides: 1,
        leader: "kerio".to_owned(),
        n_members: 3,
        jails: vec![kopano, kerio],
        firewall:
            "nftables (backend = auto: this kernel has it); table inet bannkreis at prerouting, which nobody \
                   else can change"
                .to_owned(),
    }
}

fn enforcement(mx1: EnforcementState) -> Vec<NodeEnforcement> {
    let node = |id: &str, name: &str, state: EnforcementState| NodeEnforcement {
        node_id: format!("{id:0>16}"),
        name: name.to_owned(),
        state: state.into(),
        enforced: if state == EnforcementState::Enforced { "1.421" } else { "1.377" }.to_owned(),
        n_overrides: if name == "mx1" && state == EnforcementState::Unreachable { 2 } else { 0 },
    };
    vec![
        node("b", "kerio", EnforcementState::Enforced),
        node("a", "kopano", EnforcementState::Enforced),
        node("c", "mx1", mx1),
        node("d", "witness", EnforcementState::NotEnforcing),
    ]
}

fn result(target: &str, outcome: CommandOutcome, n_affected: u64, why: &str) -> CommandResult {
    CommandResult {
        target: target.to_owned(),
        command_id: "000102030405060708090a0b0c0d0e0f".to_owned(),
        outcome: outcome.into(),
        n_affected,
        why: why.to_owned(),
        ..CommandResult::default()
    }
}

pub(crate) fn ban_done() -> BanResponse {
    BanResponse {
        state: Some(state()),
        results: vec![
            result("192.0.2.7", CommandOutcome::Done, 1, ""),
            result("2001:db8::/64", CommandOutcome::Done, 1, ""),
        ],
        enforcement: enforcement(EnforcementState::Enforced),
    }
}

pub(crate) fn ban_refused() -> BanResponse {
    BanResponse {
        state: Some(state()),
        results: vec![
            result("192.0.2.7", CommandOutcome::Done, 1, ""),
            result(
                "10.0.0.0/8",
                CommandOutcome::Refused,
                0,
                "10.0.0.0/8 is wider than /24; 10.0.0.0/8 holds 10.0.7.9, from which you work: you would shut yourself out; \
                 10.0.0.0/8 holds 10.77.0.11 (an address of kopano), 10.77.0.1 (a router of kerio, kopano); packets from \
                 there pass even then; `bannkreis allow add 10.0.7.9` keeps you a way in; --force if you mean it",
            ),
            result("192.0.2.8", CommandOutcome::NotNow, 0, "no leader is known"),
        ],
        enforcement: enforcement(EnforcementState::Enforced),
    }
}

pub(crate) fn unban_partly() -> UnbanResponse {
    let remaining = vec![
        RemainingBan {
            subnet: "192.0.2.0/24".to_owned(),
            jail: "operator".to_owned(),
            until_ms: None,
            is_wider: true,
            lift_command: "bannkreis unban 192.0.2.0/24 --jail operator".to_owned(),
        },
        RemainingBan {
            subnet: "192.0.2.7".to_owned(),
            jail: "kerio-auth".to_owned(),
            until_ms: Some(NOW_MS + 90_000),
            is_wider: false,
            lift_command: "bannkreis unban 192.0.2.7 --jail kerio-auth".to_owned(),
        },
    ];
    UnbanResponse {
        state: Some(NodeState { unreachable: vec!["mx1".to_owned()], ..state() }),
        results: vec![
            CommandResult { remaining, n_remaining: 102, ..result("192.0.2.7", CommandOutcome::Done, 2, "") },
            result("192.0.2.8", CommandOutcome::Done, 0, ""),
        ],
        enforcement: enforcement(EnforcementState::Unreachable),
    }
}

pub(crate) fn unban_unknown() -> UnbanResponse {
    UnbanResponse {
        state: Some(troubled_state()),
        results: vec![result("", CommandOutcome::Unknown, 0, "the leader went away before it answered")],
        enforcement: enforcement(EnforcementState::Behind),
    }
}

fn origin(name: &str) -> BanOrigin {
    BanOrigin {
        node_id: format!("{:016x}", name.len()),
        name: name.to_owned(),
        until_ms: Some(NOW_MS + HOUR_MS),
    }
}

fn ban_info(subnet: &str, jail: &str) -> BanInfo {
    BanInfo {
        subnet: subnet.to_owned(),
        jail: jail.to_owned(),
        kind: BanKind::Ban.into(),
        since_ms: Some(NOW_MS - HOUR_MS),
        until_ms: Some(NOW_MS + 23 * HOUR_MS),
        count: 1,
        ports: "25,465,587/tcp".to_owned(),
        origins: vec![origin("kerio")],
        lift_command: format!("bannkreis unban {subnet} --jail {jail}"),
        ..BanInfo::default()
    }
}

pub(crate) fn bans() -> Vec<ListBansResponse> {
    let first = ListBansResponse { state: Some(state()), bans: Vec::new() };
    let some = vec![
        ban_info("192.0.2.7", "kerio-auth"),
        BanInfo {
            until_ms: None,
            count: 12,
            origins: vec![origin("kerio"), origin("mx1")],
            not_blocked_here: "ignoreip of jail kopano-webapp on this host".to_owned(),
            ..ban_info("192.0.2.128/25", "operator")
        },
    ];
    let more = vec![
        BanInfo {
            kind: BanKind::Local.into(),
            count: 0,
            note: "this node is over its quota of bans".to_owned(),
            ..ban_info("2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", "a-jail-with-quite-a-long-name")
        },
        BanInfo {
            subnet: "203.0.113.0/24".to_owned(),
            kind: BanKind::OverrideRelease.into(),
            until_ms: Some(NOW_MS + HOUR_MS),
            origins: vec![origin("kopano")],
            note: "uid 0 (root): \u{1b}]0;my scanner".to_owned(),
            lift_command: "bannkreis unban 203.0.113.0/24 --local --end".to_owned(),
            ..BanInfo::default()
        },
    ];
    let part = |bans| ListBansResponse { state: None, bans };
    vec![first, part(some), part(more)]
}

pub(crate) fn why_banned() -> WhyResponse {
    let line = |ago_ms: u64, text: &str| WhyLine { at_ms: NOW_MS - HOUR_MS - ago_ms, text: text.to_owned() };
    let evidence = WhyEvidence {
        node: "kerio".to_owned(),
        n_failures: 3,
        contributors: vec!["mx1".to_owned()],
        lines: vec![
            line(4_000, "SMTP: User admin@example.org doesn't exist. Attempt from IP address 192.0.2.7."),
            line(
                2_000,
                "SMTP: User \u{1b}[2J\u{202e}root doesn't exist. Attempt from IP address 192.0.2.7, and a tail that is long enough for a second line",
            ),
        ],
        ..WhyEvidence::default()
    };
    let by_hand = WhyEvidence {
        node: "kopano".to_owned(),
        author: "uid 0 (root)".to_owned(),
        reason: "the whole net, ticket 4711".to_owned(),
        ..WhyEvidence::default()
    };
    WhyResponse {
        state: Some(state()),
        target: "192.0.2.7".to_owned(),
        bans: vec![
            WhyBan {
                ban: Some(BanInfo {
                    until_ms: None,
                    ports: "all ports".to_owned(),
                    origins: vec![origin("kopano")],
                    ..ban_info("192.0.2.0/24", "operator")
                }),
                evidence: Some(by_hand),
                elsewhere: vec![closing("all ports", &["kerio", "mx1"], "guarded")],
            },
            WhyBan {
                ban: Some(BanInfo {
                    count: 3,
                    origins: vec![origin("kerio"), origin("mx1")],
                    ..ban_info("192.0.2.7", "kerio-auth")
                }),
                evidence: Some(evidence),
                elsewhere: vec![
                    closing("25,80,443,465,587/tcp", &["kopano", "web"], "guarded"),
                    closing("all ports", &["ns1"], "guarded"),
                ],
            },
            WhyBan { ban: Some(ban_info("192.0.2.7", "spam-relay")), evidence: None, elsewhere: Vec::new() },
        ],
        past: vec![WhyPast {
            subnet: "192.0.2.7".to_owned(),
            jail: "kerio-auth".to_owned(),
            n_bans: 2,
            last_since_ms: NOW_MS - 80 * HOUR_MS,
            last_end_ms: NOW_MS - 56 * HOUR_MS,
        }],
        enforcement: enforcement(EnforcementState::Behind),
        is_blocked_here: true,
        lift_command: "bannkreis unban 192.0.2.0/24".to_owned(),
        ..WhyResponse::default()
    }
}

pub(crate) fn why_here_only() -> WhyResponse {
    let waiting = BanInfo {
        kind: BanKind::Waiting.into(),
        count: 0,
        origins: vec![origin("kopano")],
        ..ban_info("192.0.2.7", "kerio-auth")
    };
    WhyResponse {
        bans: vec![WhyBan { ban: Some(waiting), evidence: None, elsewhere: Vec::new() }],
        past: Vec::new(),
        // Of a lift long ago.
        enforcement: enforcement(EnforcementState::Enforced),
        lift_command: "bannkreis unban 192.0.2.7".to_owned(),
        ..why_banned()
    }
}

pub(crate) fn why_protected() -> WhyResponse {
    let protection = |subnet: &str, what: &str| WhyProtection {
        subnet: subnet.to_owned(),
        what: what.to_owned(),
        ..WhyProtection::default()
    };
    WhyResponse {
        state: Some(state()),
        target: "172.16.0.0/16".to_owned(),
        inside: vec![ban_info("172.16.5.5", "kerio-auth")],
        n_inside: 101,
        protections: vec![
            WhyProtection {
                author: "uid 0 (root)".to_owned(),
                note: "the office".to_owned(),
                until_ms: Some(NOW_MS + 24 * HOUR_MS),
                ..protection("172.16.1.0/24", "is on the allow list")
            },
            WhyProtection {
                is_this_host_only: true,
                ..protection("172.16.0.0/16", "is in ignoreip of jail kopano-webapp")
            },
        ],
        failures: vec![WhyFailures {
            subnet: "172.16.7.7".to_owned(),
            jail: "kopano-webapp".to_owned(),
            n_failures: 2,
            max_retry: 5,
            last_ms: NOW_MS - 30_000,
            n_told: 1,
            told_by: vec!["mx1".to_owned()],
        }],
        lifted_ms: Some(NOW_MS - 5 * HOUR_MS),
        enforcement: enforcement(EnforcementState::Enforced),
        ..WhyResponse::default()
    }
}

fn closing(ports: &str, nodes: &[&str], reach: &str) -> Closing {
    let nodes = nodes.iter().map(ToString::to_string).collect();
    Closing { ports: ports.to_owned(), nodes, reach: reach.to_owned() }
}
