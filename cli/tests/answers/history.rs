//! Answers about what is over, as a daemon could give them.

use super::{HOUR_MS, NOW_MS, ban_info, enforcement, origin, result, state};
use bannkreis_proto::v1::history_entry::Entry;
use bannkreis_proto::v1::{
    BanEnding, BanInfo, CommandOutcome, EndedBan, EnforcementState, ForgetResponse, GivenCommand,
    HistoryEntry, HistoryResponse, WhyBan, WhyEvidence, WhyLine, WhyPast, WhyResponse,
};

const DAY_MS: u64 = 24 * HOUR_MS;

fn lines() -> WhyEvidence {
    let line = |ago_ms: u64, text: &str| WhyLine { at_ms: NOW_MS - DAY_MS - ago_ms, text: text.to_owned() };
    WhyEvidence {
        node: "kerio".to_owned(),
        n_failures: 3,
        contributors: vec!["mx1".to_owned()],
        lines: vec![
            line(4_000, "SMTP: User customer@example.org doesn't exist. Attempt from IP address 192.0.2.7."),
            line(2_000, "SMTP: User \u{1b}[2J\u{202e}root doesn't exist. Attempt from IP address 192.0.2.7."),
        ],
        ..WhyEvidence::default()
    }
}

fn ended(ending: BanEnding) -> EndedBan {
    EndedBan {
        subnet: "192.0.2.7".to_owned(),
        jail: "kerio-auth".to_owned(),
        since_ms: NOW_MS - DAY_MS,
        end_ms: NOW_MS - 20 * HOUR_MS,
        count: 2,
        origins: vec!["kerio".to_owned(), "mx1".to_owned()],
        evidence: Some(lines()),
        ending: ending.into(),
        ..EndedBan::default()
    }
}

fn lifted() -> EndedBan {
    EndedBan {
        ended_on: "kerio".to_owned(),
        ended_by: "anna (certificate, operator)".to_owned(),
        reason: "a customer, ticket \u{1b}]0;4711".to_owned(),
        ..ended(BanEnding::Lifted)
    }
}

/// The customer calls when the ban is over.
pub(crate) fn why_over() -> WhyResponse {
    let past = WhyPast {
        subnet: "192.0.2.7".to_owned(),
        jail: "spam-relay".to_owned(),
        n_bans: 2,
        last_since_ms: NOW_MS - 80 * HOUR_MS,
        last_end_ms: NOW_MS - 56 * HOUR_MS,
    };
    let told =
        WhyPast { jail: "kopano-webapp".to_owned(), last_end_ms: NOW_MS - 30 * HOUR_MS, ..past.clone() };
    let expired = EndedBan {
        jail: "kopano-webapp".to_owned(),
        end_ms: NOW_MS - 30 * HOUR_MS,
        since_ms: NOW_MS - 31 * HOUR_MS,
        count: 1,
        origins: vec!["kopano".to_owned()],
        evidence: None,
        ..ended(BanEnding::Expired)
    };
    WhyResponse {
        state: Some(state()),
        target: "192.0.2.7".to_owned(),
        ended: vec![lifted(), expired],
        has_more_ended: true,
        past: vec![told, past],
        lifted_ms: Some(NOW_MS - 20 * HOUR_MS),
        enforcement: enforcement(EnforcementState::Enforced),
        ..WhyResponse::default()
    }
}

pub(crate) fn history() -> HistoryResponse {
    let at = |ago_ms: u64, entry: Entry| HistoryEntry { at_ms: NOW_MS - ago_ms, entry: Some(entry) };
    let given = |command: &str, what: &str| GivenCommand {
        author: "anna (certificate, operator)".to_owned(),
        node: "kerio".to_owned(),
        command: command.to_owned(),
        what: what.to_owned(),
        outcome: CommandOutcome::Done.into(),
        n_affected: 1,
        command_id: "000102030405060708090a0b0c0d0e0f".to_owned(),
        ..GivenCommand::default()
    };
    let by_hand = WhyEvidence {
        node: "kopano".to_owned(),
        author: "uid 0 (root)".to_owned(),
        reason: "the whole net".to_owned(),
        ..WhyEvidence::default()
    };
    let live = WhyBan {
        ban: Some(BanInfo {
            until_ms: None,
            origins: vec![origin("kopano")],
            ..ban_info("192.0.2.0/24", "operator")
        }),
        evidence: Some(by_hand),
        elsewhere: Vec::new(),
    };
    let unban = GivenCommand {
        subnet: "192.0.2.7".to_owned(),
        reason: "a customer, ticket \u{1b}]0;4711".to_owned(),
        n_affected: 2,
        ..given("unban", "unban 192.0.2.7")
    };
    let refused = GivenCommand {
        author: "uid 0 (root)".to_owned(),
        node: "kopano".to_owned(),
        subnet: "10.0.0.0/8".to_owned(),
        jail: "operator".to_owned(),
        outcome: CommandOutcome::Refused.into(),
        n_affected: 0,
        why: "10.0.0.0/8 is wider than /16; --force if you mean it".to_owned(),
        ..given("ban", "ban 10.0.0.0/8 in jail operator for 1h")
    };
    let announced = EndedBan {
        subnet: "2001:db8:aaaa:bbbb::/64".to_owned(),
        evidence: None,
        ended_on: "mx1".to_owned(),
        ..ended(BanEnding::OwnAddress)
    };
    let late = EndedBan { origins: vec!["mx1".to_owned()], ..ended(BanEnding::Late) };
    HistoryResponse {
        state: Some(state()),
        target: String::new(),
        entries: vec![
            at(HOUR_MS, Entry::Live(live)),
            at(20 * HOUR_MS, Entry::Ended(lifted())),
            at(20 * HOUR_MS, Entry::Given(unban)),
            at(21 * HOUR_MS, Entry::Given(refused)),
            at(22 * HOUR_MS, Entry::Ended(announced)),
            at(23 * HOUR_MS, Entry::Ended(late)),
            at(25 * HOUR_MS, Entry::Ended(ended(BanEnding::Expired))),
            at(26 * HOUR_MS, Entry::Given(given("settings", "set history_retention_ms = 86400000"))),
        ],
        has_more: true,
        past: why_over().past,
        retention_ms: 30 * DAY_MS,
    }
}

/// One is forgotten, one is banned.
pub(crate) fn forgotten() -> ForgetResponse {
    let why = "of a ban that holds nothing is forgotten, and 192.0.2.8 is banned in jail kerio-auth: `bannkreis unban \
               192.0.2.8` first";
    ForgetResponse {
        state: Some(state()),
        results: vec![
            result("192.0.2.7", CommandOutcome::Done, 2, ""),
            result("192.0.2.8", CommandOutcome::Refused, 0, why),
        ],
    }
}
