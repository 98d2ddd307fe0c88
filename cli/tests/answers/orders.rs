//! Answers to orders beside bans: the allow list, one host's overrides, trust, settings.

use super::{HOUR_MS, NOW_MS, enforcement, result, state};
use bannkreis_proto::v1::{
    AllowInfo, CommandOutcome, CommandResponse, CommandResult, EnforcementState, ListSettingsResponse,
    NodeState, OverrideResponse, OverrideResult, RemainingBan, SetSettingsResponse, SettingInfo,
};

pub(crate) fn allowed() -> CommandResponse {
    let remaining = vec![RemainingBan {
        subnet: "198.51.100.0/24".to_owned(),
        jail: "operator".to_owned(),
        until_ms: Some(NOW_MS + HOUR_MS),
        is_wider: true,
        lift_command: "bannkreis unban 198.51.100.0/24 --jail operator".to_owned(),
    }];
    let part = result("198.51.100.7", CommandOutcome::Done, 0, "");
    CommandResponse {
        state: Some(state()),
        results: vec![
            result("192.0.2.0/24", CommandOutcome::Done, 3, ""),
            CommandResult { remaining, n_remaining: 1, ..part },
            result(
                "2001:db8::5",
                CommandOutcome::Done,
                0,
                "it was on the allow list already: its end and note are the new ones",
            ),
        ],
        enforcement: enforcement(EnforcementState::Enforced),
    }
}

pub(crate) fn disallowed() -> CommandResponse {
    CommandResponse {
        state: Some(state()),
        results: vec![
            result("192.0.2.0/24", CommandOutcome::Done, 1, ""),
            result(
                "192.0.2.7",
                CommandOutcome::Refused,
                0,
                "192.0.2.7 is not on the allow list; `bannkreis allow list` shows what is",
            ),
        ],
        enforcement: enforcement(EnforcementState::Enforced),
    }
}

pub(crate) fn allow_list() -> (NodeState, Vec<AllowInfo>) {
    let entry = |subnet: &str, note: &str, author: &str, until_ms| AllowInfo {
        subnet: subnet.to_owned(),
        note: note.to_owned(),
        author: author.to_owned(),
        node: "kopano".to_owned(),
        until_ms,
    };
    let entries = vec![
        entry("192.0.2.0/24", "the office\u{1b}[2J", "uid 0 (root)", None),
        entry(
            "2001:db8::5",
            "the scanner of a customer who has it running every night, ticket 4711",
            "Alice (certificate, operator)",
            Some(NOW_MS + 30 * 24 * HOUR_MS),
        ),
        entry("203.0.113.9", "", "uid 0 (root)", Some(NOW_MS + HOUR_MS)),
    ];
    (state(), entries)
}

pub(crate) fn overridden() -> OverrideResponse {
    let result = |target: &str, did: &str, until_ms, why: &str| OverrideResult {
        target: target.to_owned(),
        outcome: if did.is_empty() { CommandOutcome::Refused } else { CommandOutcome::Done }.into(),
        did: did.to_owned(),
        until_ms,
        why: why.to_owned(),
    };
    let day = Some(NOW_MS + 24 * HOUR_MS);
    OverrideResponse {
        state: Some(state()),
        results: vec![
            result("192.0.2.7", "block", day, "`bannkreis ban 192.0.2.7` bans it on the other nodes as well"),
            result("2001:db8:1::/64", "release", None, "it stays banned on the other nodes"),
            result("192.0.2.8", "end_block", None, ""),
            result("192.0.2.9", "end_release", None, "it is banned by the cluster, and blocked here again"),
            result("192.0.2.10", "", None, "nothing was decided about 192.0.2.10 on this host only"),
        ],
    }
}

pub(crate) fn trusted() -> CommandResponse {
    CommandResponse {
        state: Some(state()),
        results: vec![result("kerio", CommandOutcome::Done, 1, "")],
        enforcement: enforcement(EnforcementState::Enforced),
    }
}

fn setting(key: &str, [value, default, previous]: [&str; 3], allowed: &str, meaning: &str) -> SettingInfo {
    SettingInfo {
        key: key.to_owned(),
        value: value.to_owned(),
        default_value: default.to_owned(),
        meaning: meaning.to_owned(),
        allowed: allowed.to_owned(),
        previous_value: previous.to_owned(),
    }
}

fn some_settings() -> Vec<SettingInfo> {
    vec![
        setting(
            "reach",
            ["ports", "guarded", "guarded"],
            "guarded, ports, host",
            "what a ban closes on nodes that did not see the attack: the jail's ports and those of the node's own jails, all \
             where it has none (guarded), the jail's ports (ports), or all (host)",
        ),
        setting("damped", ["10m", "10m", "10m"], "1m to 1d", "a damped ban lasts so long at most"),
    ]
}

pub(crate) fn settings() -> ListSettingsResponse {
    ListSettingsResponse { state: Some(state()), settings: some_settings() }
}

pub(crate) fn settings_set() -> SetSettingsResponse {
    SetSettingsResponse {
        state: Some(state()),
        results: vec![result("reach, damped", CommandOutcome::Done, 2, "")],
        enforcement: enforcement(EnforcementState::Enforced),
        settings: some_settings(),
    }
}
