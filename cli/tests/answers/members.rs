//! Answers about the members of a cluster: who they are, how they come, go and are recovered.

use super::{NOW_MS, state, troubled_state};
use bannkreis_proto::v1::{
    BackupFacts, BackupOpening, ClusterStatusResponse, Decision, JoinResponse, LeaveResponse, MemberRole,
    MemberStatus, NewLife, NodeState, OrderMemberResponse, RecoverResponse, RestoreResponse,
};

pub(crate) fn cluster() -> ClusterStatusResponse {
    let member = |id: &str, name: &str, role: MemberRole| MemberStatus {
        node_id: format!("{id:0>16}"),
        name: name.to_owned(),
        address: format!("{name}.example.org:7420"),
        role: role.into(),
        is_reachable: true,
        heard_ms_ago: Some(180),
        applied: "1.420".to_owned(),
        enforced: "1.420".to_owned(),
        clock_ahead_ms: Some(12),
        jails: vec!["kerio-auth".to_owned(), "spam-relay".to_owned()],
        addresses: vec!["198.51.100.7".to_owned()],
        ..MemberStatus::default()
    };
    ClusterStatusResponse {
        state: Some(NodeState { unreachable: vec!["mx1".to_owned()], ..state() }),
        cluster_id: "01234567-89ab-cdef-0123-456789abcdef".to_owned(),
        generation: 1,
        term: 7,
        leader_id: "000000000000000b".to_owned(),
        level: 1,
        n_quorum: 2,
        members: vec![
            MemberStatus { is_leader: true, n_overrides: 1, ..member("b", "kerio", MemberRole::Voter) },
            MemberStatus { is_self: true, heard_ms_ago: None, ..member("a", "kopano", MemberRole::Voter) },
            MemberStatus {
                is_reachable: false,
                heard_ms_ago: Some(7_265_000),
                applied: String::new(),
                enforced: String::new(),
                clock_ahead_ms: Some(-90_000),
                pending: vec!["192.0.2.1".to_owned()],
                is_untrusted: true,
                ..member("c", "mx1", MemberRole::Learner)
            },
        ],
        decisions: vec![
            Decision {
                about: "voters".to_owned(),
                step: "wait".to_owned(),
                why: "voter mx1 has been silent for 120 s; it is replaced after 600 s".to_owned(),
            },
            Decision {
                about: "level".to_owned(),
                step: "wait".to_owned(),
                why: "mx1 reads up to level 1, and this leader up to 2: install the newer release there"
                    .to_owned(),
            },
        ],
        advice: vec!["The clock of mx1 is wrong: set it, for example with chrony.".to_owned()],
    }
}

pub(crate) fn joined() -> JoinResponse {
    JoinResponse {
        state: Some(state()),
        cluster_id: "01234567-89ab-cdef-0123-456789abcdef".to_owned(),
        n_members: 2,
    }
}

/// A node without a log, which asks its peers.
pub(crate) fn spectator_state() -> NodeState {
    NodeState {
        apart: "spectator: /var/lib/bannkreis/raft is missing; it goes on blocking by its snapshot of 1.400 and its own \
                logs; it asks 192.0.2.2:7420 to be taken in again"
            .to_owned(),
        ..troubled_state()
    }
}

fn backup_facts() -> BackupFacts {
    BackupFacts {
        cluster_id: "01234567-89ab-cdef-0123-456789abcdef".to_owned(),
        generation: 1,
        position: "1.420".to_owned(),
        now_ms: NOW_MS,
        level: 1,
        n_bans: 7,
        n_allow: 1,
        members: vec!["kopano".to_owned(), "kerio".to_owned()],
        has_keys: true,
    }
}

pub(crate) fn backup() -> BackupOpening {
    BackupOpening { state: Some(state()), facts: Some(backup_facts()), size_bytes: 4_711 }
}

pub(crate) fn checked() -> RestoreResponse {
    RestoreResponse { state: Some(state()), facts: Some(backup_facts()), life: None }
}

pub(crate) fn restored(is_done: bool) -> RestoreResponse {
    RestoreResponse { life: Some(life(is_done)), ..checked() }
}

pub(crate) fn recovered(is_done: bool) -> RecoverResponse {
    RecoverResponse { state: Some(troubled_state()), life: Some(life(is_done)) }
}

fn life(is_done: bool) -> NewLife {
    NewLife {
        is_done,
        cluster_id: "01234567-89ab-cdef-0123-456789abcdef".to_owned(),
        generation: 2,
        position: "1.420".to_owned(),
        n_bans: 7,
        consequences: vec![
            "kopano goes on alone with its state of 1.420: 7 bans, 1 allow entries, history, settings and tokens."
                .to_owned(),
            "kerio (192.0.2.2:7420) does not answer and is given up.".to_owned(),
        ],
    }
}

/// An order about a member was carried out.
pub(crate) fn ordered() -> OrderMemberResponse {
    OrderMemberResponse {
        state: Some(state()),
        node_id: "000000000000000c".to_owned(),
        name: "mx1".to_owned(),
        leader: "kerio".to_owned(),
        n_voters: 3,
        n_members: 4,
    }
}

/// It is alone now.
pub(crate) fn left() -> LeaveResponse {
    LeaveResponse {
        state: Some(state()),
        left_cluster_id: "01234567-89ab-cdef-0123-456789abcdef".to_owned(),
        cluster_id: "76543210-89ab-cdef-0123-456789abcdef".to_owned(),
        n_bans: 1_214,
    }
}
