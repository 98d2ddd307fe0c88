//! Random values of the core's types within the bounds of the wire, for property tests.

use bannkreis_core::allow_list::AllowEntry;
use bannkreis_core::ban::{Ban, Cause, ORIGINS_MAX, Origin};
use bannkreis_core::ban_list::{NodeEntry, Tombstone};
use bannkreis_core::change::{BanKey, OpResult, Outcome, Voided};
use bannkreis_core::command::{Command, ImportedBan, ImportedHistory, LEVEL, Op, UnbanSelection};
use bannkreis_core::event::{OutboxEntry, Override, OverrideKind, SERVED_OFFENCES_MAX, ServedOffence};
use bannkreis_core::history::{EndedBan, Ending, GivenCommand, HistoryEntry, PastBans};
use bannkreis_core::ids::{CommandId, NodeId, Operator, Position};
use bannkreis_core::jail::{BanPolicy, Growth, JailName, PortRange, Ports, Protocol};
use bannkreis_core::judge::{NotSharedReason, Protection, Verdict};
use bannkreis_core::node_record::{NodeRecord, NodeRole};
use bannkreis_core::proposal::{
    EVIDENCE_LINES_MAX, EvidenceLine, Notice, Proposal, Report, ReportedFailure, evidence_text,
};
use bannkreis_core::quota::Quota;
use bannkreis_core::reach::Reach;
use bannkreis_core::record::{Head, Record};
use bannkreis_core::settings::{PrivateOffenders, Setting, Settings};
use bannkreis_core::shards::SHARD_GROUPS;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, Timestamp, Until};
use bannkreis_core::voters_clocks::ClockRead;
use proptest::array::uniform16;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use std::net::IpAddr;

pub(crate) fn command() -> impl Strategy<Value = Command> {
    (time(), vec(op(), 0..5), option::of(node()), vec(any::<u8>(), 0..80))
        .prop_map(|(at, ops, signed_by, signature)| Command { at, level: LEVEL, ops, signed_by, signature })
}

pub(crate) fn op() -> BoxedStrategy<Op> {
    prop_oneof![
        proposal().prop_map(Op::Ban),
        (operator(), subnet(), jail(), ban_time(), ports(), any::<bool>()).prop_map(
            |(operator, target, jail, ban_time, ports, force)| Op::OperatorBan {
                operator,
                target,
                jail,
                ban_time,
                ports,
                force
            }
        ),
        (operator(), selection()).prop_map(|(operator, selection)| Op::Unban { operator, selection }),
        (operator(), allow_entry()).prop_map(|(operator, entry)| Op::Allow { operator, entry }),
        (operator(), subnet()).prop_map(|(operator, subnet)| Op::Disallow { operator, subnet }),
        (operator(), vec(imported_ban(), 0..4), vec(allow_entry(), 0..4), vec(imported_history(), 0..4))
            .prop_map(|(operator, bans, allow, history)| Op::Import { operator, bans, allow, history }),
        (operator(), node()).prop_map(|(operator, node)| Op::Trust { operator, node }),
        vec((node(), time()), 0..6).prop_map(|readings| Op::Tick { readings }),
        Just(Op::Sweep),
        node_record().prop_map(Op::NodeSeen),
        (operator(), node(), any::<bool>()).prop_map(|(operator, node, keeps_key)| Op::Revoke {
            operator,
            node,
            keeps_key
        }),
        (operator(), hash(), time()).prop_map(|(operator, hash, expires)| Op::Token {
            operator,
            hash,
            expires
        }),
        (operator(), settings())
            .prop_map(|(operator, settings)| Op::Settings { operator, fields: settings.fields() }),
        (operator(), vec(setting(), 0..4)).prop_map(|(operator, fields)| Op::Settings { operator, fields }),
        any::<u32>().prop_map(|level| Op::RaiseLevel { level }),
        (operator(), subnet()).prop_map(|(operator, target)| Op::Forget { operator, target }),
    ]
    .boxed()
}

pub(crate) fn record() -> BoxedStrategy<Record> {
    prop_oneof![
        (position(), time(), time(), settings(), 0..SHARD_GROUPS, tombstone()).prop_map(
            |(position, now, last_tick, settings, sweep_next, tombstone_floor)| Record::Head(Head {
                position,
                now,
                last_tick,
                level: LEVEL,
                settings,
                sweep_next: u32::try_from(sweep_next).unwrap_or(0),
                tombstone_floor,
            })
        ),
        (node_record(), vec(subnet(), 0..3), any::<bool>(), any::<bool>()).prop_map(
            |(record, pending, untrusted, revoked)| Record::Node(Box::new(NodeEntry {
                record,
                pending,
                untrusted,
                revoked
            }))
        ),
        allow_entry().prop_map(Record::Allow),
        (subnet(), option::of(jail()), option::of(node()), tombstone()).prop_map(
            |(subnet, jail, origin, tombstone)| Record::Tombstone {
                subnet,
                voided: Voided { jail, origin },
                tombstone
            }
        ),
        (node(), any::<u64>(), time(), any::<u32>()).prop_map(|(node, milli_tokens, at, n_damped)| {
            Record::Quota { node, quota: Quota { milli_tokens, at, n_damped } }
        }),
        (command_id(), any::<u64>(), outcome()).prop_map(|(command_id, asked, outcome)| Record::Outcome {
            command_id,
            asked,
            outcome
        }),
        (node(), time(), time())
            .prop_map(|(node, clock, at)| Record::Clock { node, read: ClockRead { clock, at } }),
        (hash(), time()).prop_map(|(hash, expires)| Record::Token { hash, expires }),
        (key(), ban()).prop_map(|(key, ban)| Record::Ban { key, ban }),
        (key(), past()).prop_map(|(key, past)| Record::Past { key, past }),
    ]
    .boxed()
}

pub(crate) fn op_result() -> impl Strategy<Value = OpResult> {
    prop_oneof![
        verdict().prop_map(OpResult::Judged),
        (command_id(), outcome())
            .prop_map(|(command_id, outcome)| OpResult::Operator { command_id, outcome }),
        Just(OpResult::Silent),
    ]
}

pub(crate) fn notice() -> impl Strategy<Value = Notice> {
    (node(), position(), jail(), subnet(), any::<u64>(), option::of(any::<u64>()), ports()).prop_map(
        |(origin, basis, jail, offender, last_failure_age_ms, remaining_ms, ports)| Notice {
            origin,
            basis,
            jail,
            offender,
            last_failure_age_ms,
            remaining_ms,
            ports,
        },
    )
}

pub(crate) fn report() -> impl Strategy<Value = Report> {
    let failure =
        (any::<u64>(), any::<u64>()).prop_map(|(event_id, age_ms)| ReportedFailure { event_id, age_ms });
    (node(), position(), jail(), subnet(), vec(failure, 0..6)).prop_map(
        |(origin, basis, jail, offender, failures)| Report { origin, basis, jail, offender, failures },
    )
}

pub(crate) fn outbox_entry() -> impl Strategy<Value = OutboxEntry> {
    let line = (time(), any::<String>()).prop_map(|(at, text)| (at, evidence_text(&text)));
    let times = (time(), time(), until(), any::<u32>());
    let served = (time(), time(), any::<u32>(), any::<String>()).prop_map(|(first, last, failures, line)| {
        ServedOffence { first_failure: first, last_failure: last, failures, line: evidence_text(&line) }
    });
    let served = vec(served, 0..=SERVED_OFFENCES_MAX);
    let rest = (option::of(not_shared_reason()), served, vec(node(), 0..=4));
    (key(), position(), times, policy(), ports(), vec(line, 0..=EVIDENCE_LINES_MAX), rest).prop_map(
        |(key, basis, (first_failure, last_failure, until, failures), policy, ports, evidence, rest)| {
            let (local, served, contributors) = rest;
            OutboxEntry {
                key,
                basis,
                first_failure,
                last_failure,
                failures,
                policy,
                ports,
                evidence,
                until,
                local,
                served,
                contributors,
            }
        },
    )
}

pub(crate) fn local_override() -> impl Strategy<Value = (Subnet, Override)> {
    let kind = prop_oneof![Just(OverrideKind::Block), Just(OverrideKind::Release)];
    (subnet(), kind, text(), text(), until(), any::<bool>()).prop_map(
        |(subnet, kind, author, reason, until, estimated)| {
            (subnet, Override { kind, author, reason, until, estimated })
        },
    )
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let protection = prop_oneof![
        Just(Protection::NeverBannable),
        Just(Protection::ClusterAddress),
        Just(Protection::AllowList),
        Just(Protection::Lifted),
    ];
    prop_oneof![
        Just(Verdict::Covered),
        Just(Verdict::Open),
        protection.prop_map(Verdict::Protected),
        not_shared_reason().prop_map(Verdict::NotShared),
    ]
}

fn not_shared_reason() -> impl Strategy<Value = NotSharedReason> {
    prop_oneof![
        Just(NotSharedReason::Quota),
        Just(NotSharedReason::PrivateOffender),
        Just(NotSharedReason::TooWide),
        Just(NotSharedReason::OverTombstone),
        Just(NotSharedReason::Untrusted),
        Just(NotSharedReason::NotMember),
        Just(NotSharedReason::TooOld),
        Just(NotSharedReason::Full),
        Just(NotSharedReason::LowTrust),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        any::<u32>().prop_map(|n_affected| Outcome::Done { n_affected }),
        text().prop_map(|why| Outcome::Refused { why }),
    ]
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

fn until() -> impl Strategy<Value = Until> {
    prop_oneof![time().prop_map(Until::at), Just(Until::FOREVER)]
}

fn ban_time() -> impl Strategy<Value = BanTime> {
    prop_oneof![any::<u64>().prop_map(BanTime::Ms), Just(BanTime::Forever)]
}

fn node() -> impl Strategy<Value = NodeId> {
    any::<u64>().prop_map(NodeId)
}

fn command_id() -> impl Strategy<Value = CommandId> {
    any::<u128>().prop_map(CommandId)
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u32>(), any::<u64>()).prop_map(|(generation, index)| Position { generation, index })
}

fn hash() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 32)
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,40}"
}

fn jail() -> impl Strategy<Value = JailName> {
    "[a-zäß0-9.:_-]{1,32}".prop_map(|name| JailName::new(&name).expect("at most 64 bytes without spaces"))
}

fn subnet() -> impl Strategy<Value = Subnet> {
    let v4 = (any::<[u8; 4]>(), 0..=32u8).prop_map(|(bytes, len)| (IpAddr::from(bytes), len));
    let v6 = (any::<[u8; 16]>(), 0..=128u8).prop_map(|(bytes, len)| (IpAddr::from(bytes), len));
    let mapped = (any::<[u8; 4]>(), 0..=128u8).prop_map(|([a, b, c, d], len)| {
        (IpAddr::from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]), len)
    });
    prop_oneof![v4, v6, mapped]
        .prop_map(|(address, len)| Subnet::new(address, len).expect("no longer than the address"))
}

fn ports() -> impl Strategy<Value = Ports> {
    let range = (any::<u8>(), any::<u16>(), any::<u16>()).prop_map(|(protocol, first, last)| PortRange {
        protocol: Protocol(protocol),
        first,
        last,
    });
    prop_oneof![Just(Ports::whole_host()), vec(range, 0..5).prop_map(Ports::from_ranges)]
}

fn policy() -> impl Strategy<Value = BanPolicy> {
    let growth = (vec(any::<u64>(), 0..6), option::of(any::<u64>()), any::<u64>(), any::<bool>()).prop_map(
        |(table_ms, max_ms, rnd_ms, overall_jails)| Growth { table_ms, max_ms, rnd_ms, overall_jails },
    );
    (ban_time(), option::of(growth)).prop_map(|(ban_time, growth)| BanPolicy { ban_time, growth })
}

fn evidence_line() -> impl Strategy<Value = EvidenceLine> {
    (any::<u64>(), any::<String>())
        .prop_map(|(age_ms, text)| EvidenceLine { age_ms, text: evidence_text(&text) })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let times = (any::<u64>(), any::<u64>(), any::<u32>());
    let who = (node(), position(), jail(), subnet(), vec(node(), 0..4));
    (who, times, policy(), ports(), vec(evidence_line(), 0..=EVIDENCE_LINES_MAX)).prop_map(
        |(
            (origin, basis, jail, offender, contributors),
            (first_failure_age_ms, last_failure_age_ms, failures),
            policy,
            ports,
            evidence,
        )| Proposal {
            origin,
            basis,
            jail,
            offender,
            first_failure_age_ms,
            last_failure_age_ms,
            failures,
            contributors,
            policy,
            ports,
            evidence,
        },
    )
}

fn operator() -> impl Strategy<Value = Operator> {
    (command_id(), node(), text(), text()).prop_map(|(command_id, node, author, reason)| Operator {
        command_id,
        node,
        author,
        reason,
    })
}

fn selection() -> impl Strategy<Value = UnbanSelection> {
    prop_oneof![
        (subnet(), option::of(jail())).prop_map(|(target, jail)| UnbanSelection::Target { target, jail }),
        option::of(jail()).prop_map(|jail| UnbanSelection::All { jail }),
        (node(), time()).prop_map(|(node, since)| UnbanSelection::ByNode { node, since }),
    ]
}

fn allow_entry() -> impl Strategy<Value = AllowEntry> {
    (subnet(), text(), text(), node(), until()).prop_map(|(subnet, note, author, node, until)| AllowEntry {
        subnet,
        note,
        author,
        node,
        until,
    })
}

fn imported_ban() -> impl Strategy<Value = ImportedBan> {
    (subnet(), jail(), time(), until(), any::<u32>(), ports(), policy(), text()).prop_map(
        |(subnet, jail, since, until, count, ports, policy, note)| ImportedBan {
            subnet,
            jail,
            since,
            until,
            count,
            ports,
            policy,
            note,
        },
    )
}

fn imported_history() -> impl Strategy<Value = ImportedHistory> {
    (subnet(), jail(), past()).prop_map(|(subnet, jail, past)| ImportedHistory { subnet, jail, past })
}

fn past() -> impl Strategy<Value = PastBans> {
    (any::<u32>(), time(), time(), option::of(node()))
        .prop_map(|(count, last_since, last_end, origin)| PastBans { count, last_since, last_end, origin })
}

fn node_record() -> impl Strategy<Value = NodeRecord> {
    let fingerprint = prop_oneof![Just(Vec::new()), hash()];
    let role = prop_oneof![Just(NodeRole::Full), Just(NodeRole::Witness)];
    let addresses = (vec(subnet(), 0..4), vec(subnet(), 0..2), vec(subnet(), 0..2));
    let jails = (vec((jail(), ports()), 0..4), vec((jail(), reach()), 0..3));
    (node(), text(), text(), fingerprint, addresses, jails, any::<u32>(), role).prop_map(
        |(
            node,
            name,
            address,
            key_fingerprint,
            (own, gateways, resolvers),
            (jails, reaches),
            level_max,
            role,
        )| {
            NodeRecord {
                node,
                name,
                address,
                key_fingerprint,
                own,
                gateways,
                resolvers,
                jails,
                reaches,
                level_max,
                role,
            }
        },
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    let prefixes = (0..=32u8, 0..=128u8, 0..=32u8, 0..=128u8);
    let counts = (any::<u32>(), any::<u32>(), any::<u32>());
    let lengths = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    (private_offenders(), reach(), prefixes, counts, lengths, uniform16(any::<u8>())).prop_map(
        |(private_offenders, reach, prefixes, counts, lengths, event_key)| Settings {
            private_offenders,
            reach,
            counting_prefix_v4: prefixes.0,
            counting_prefix_v6: prefixes.1,
            widest_prefix_v4: prefixes.2,
            widest_prefix_v6: prefixes.3,
            quota_per_minute: counts.0,
            quota_burst: counts.1,
            damped_ms: lengths.0,
            damped_live_max: counts.2,
            tombstone_retention_ms: lengths.1,
            history_retention_ms: lengths.2,
            skew_max_ms: lengths.3,
            event_key,
        },
    )
}

fn setting() -> impl Strategy<Value = Setting> {
    (settings(), 0..14usize).prop_map(|(settings, n)| settings.fields()[n])
}

fn private_offenders() -> impl Strategy<Value = PrivateOffenders> {
    prop_oneof![Just(PrivateOffenders::Share), Just(PrivateOffenders::Origin)]
}

fn reach() -> impl Strategy<Value = Reach> {
    prop_oneof![Just(Reach::Guarded), Just(Reach::Ports), Just(Reach::Host)]
}

fn tombstone() -> impl Strategy<Value = Tombstone> {
    (position(), time()).prop_map(|(position, at)| Tombstone { position, at })
}

fn key() -> impl Strategy<Value = BanKey> {
    (subnet(), jail()).prop_map(|(subnet, jail)| BanKey { subnet, jail })
}

fn ban() -> impl Strategy<Value = Ban> {
    let origin = (node(), until()).prop_map(|(node, until)| Origin { node, until });
    let cause = (position(), any::<u32>()).prop_map(|(position, op)| Cause::new(position, op));
    let damped_by = option::of(node());
    (time(), until(), any::<u32>(), damped_by, vec(origin, 0..=ORIGINS_MAX), ports(), cause).prop_map(
        |(since, until, count, damped_by, origins, ports, cause)| Ban {
            since,
            until,
            count,
            damped_by,
            origins: origins.into(),
            ports,
            cause,
        },
    )
}

pub(crate) fn history() -> impl Strategy<Value = (HistoryEntry, Vec<(NodeId, String)>)> {
    (prop_oneof![ended_ban(), given_command()], vec((node(), text()), 0..=9))
}

fn ended_ban() -> BoxedStrategy<HistoryEntry> {
    let cause = (position(), any::<u32>()).prop_map(|(position, op)| Cause::new(position, op));
    let origins = vec(node(), 0..=ORIGINS_MAX);
    (key(), time(), time(), any::<u32>(), origins, cause, ending())
        .prop_map(|(key, since, end, count, origins, cause, ending)| {
            HistoryEntry::Ended(EndedBan { key, since, end, count, origins, cause, ending })
        })
        .boxed()
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        Just(Ending::Expired),
        operator().prop_map(Ending::Lifted),
        operator().prop_map(Ending::Allowed),
        operator().prop_map(Ending::ByNode),
        node().prop_map(Ending::OwnAddress),
        Just(Ending::Late),
    ]
}

fn given_command() -> BoxedStrategy<HistoryEntry> {
    (time(), op(), any::<[u32; 3]>(), outcome())
        .prop_map(|(at, op, n_imported, outcome)| {
            HistoryEntry::Given(GivenCommand { at, op, n_imported, outcome })
        })
        .boxed()
}
