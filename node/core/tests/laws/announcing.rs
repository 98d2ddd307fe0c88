//! What a node says about its own addresses: believed, unless the address is banned right now; then an operator
//! decides.

use crate::generated::{BEGIN, command, list, position};
use bannkreis_core::allow_list::AllowEntry;
use bannkreis_core::ban_list::BanList;
use bannkreis_core::command::{Op, UnbanSelection};
use bannkreis_core::ids::{CommandId, NodeId, Operator};
use bannkreis_core::jail::{JailName, Ports};
use bannkreis_core::node_record::NodeRecord;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{BanTime, HOUR_MS, Timestamp, Until};

const NODE: NodeId = NodeId(1);

fn subnet(text: &str) -> Subnet {
    text.parse().expect("a subnet")
}

struct Cluster {
    list: BanList,
    index: u64,
    at: Timestamp,
}

impl Cluster {
    fn new() -> Cluster {
        let (list, index) = list();
        Cluster { list, index, at: BEGIN }
    }

    fn apply(&mut self, op: Op) {
        self.index += 1;
        let readings = vec![(NODE, self.at)];
        self.list.apply(position(self.index), &command(self.at, vec![Op::Tick { readings }, op]));
    }

    fn operator(&self) -> Operator {
        let command_id = CommandId(u128::from(self.index));
        Operator { command_id, node: NODE, author: String::new(), reason: String::new() }
    }

    fn ban(&mut self, target: &str) {
        let op = Op::OperatorBan {
            operator: self.operator(),
            target: subnet(target),
            jail: JailName::operator(),
            ban_time: BanTime::Ms(HOUR_MS),
            ports: Ports::whole_host(),
            force: true,
        };
        self.apply(op);
    }

    fn announce(&mut self, own: &[&str]) {
        let own = own.iter().copied().map(subnet).collect();
        let known = self.list.node(NODE).map(|entry| entry.record.clone()).unwrap_or_default();
        self.apply(Op::NodeSeen(NodeRecord { node: NODE, own, ..known }));
    }

    /// The node's own addresses, and those that wait for an operator.
    fn known(&self) -> (Vec<String>, Vec<String>) {
        let entry = self.list.node(NODE).expect("a node");
        let texts = |subnets: &[Subnet]| subnets.iter().map(ToString::to_string).collect();
        (texts(&entry.record.own), texts(&entry.pending))
    }
}

fn texts(own: &[&str], pending: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    (owned(own), owned(pending))
}

#[test]
fn an_address_that_is_banned_waits_until_it_is_unbanned() {
    let mut cluster = Cluster::new();
    cluster.ban("192.0.2.7");
    cluster.announce(&["192.0.2.7", "192.0.2.8"]);
    assert_eq!(cluster.known(), texts(&["192.0.2.8"], &["192.0.2.7"]));
    assert!(cluster.list.must_be_confirmed(subnet("192.0.2.7")));
    cluster.announce(&["192.0.2.7", "192.0.2.8"]);
    assert_eq!(cluster.known(), texts(&["192.0.2.8"], &["192.0.2.7"]), "saying it again confirms nothing");
    let (operator, target) = (cluster.operator(), subnet("192.0.2.7"));
    cluster.apply(Op::Unban { operator, selection: UnbanSelection::Target { target, jail: None } });
    cluster.announce(&["192.0.2.7", "192.0.2.8"]);
    assert_eq!(cluster.known(), texts(&["192.0.2.7", "192.0.2.8"], &[]));
    assert!(cluster.list.protection(target, cluster.at).is_some());
}

#[test]
fn inside_a_wider_ban_an_entry_on_the_allow_list_confirms_it() {
    let mut cluster = Cluster::new();
    cluster.announce(&["198.51.100.1"]);
    cluster.ban("192.0.2.0/24");
    cluster.ban("198.51.100.0/24");
    cluster.announce(&["192.0.2.7", "198.51.100.1"]);
    assert_eq!(cluster.known(), texts(&["198.51.100.1"], &["192.0.2.7"]), "what was known stays known");
    let (note, author) = (String::new(), String::new());
    let until = Until::at(cluster.at.plus_ms(HOUR_MS / 2));
    let entry = AllowEntry { subnet: subnet("192.0.2.7"), note, author, node: NODE, until };
    let operator = cluster.operator();
    cluster.apply(Op::Allow { operator, entry });
    cluster.announce(&["192.0.2.7", "198.51.100.1"]);
    assert_eq!(cluster.known(), texts(&["192.0.2.7", "198.51.100.1"], &[]));
    // An entry that is over confirms nothing.
    cluster.at = cluster.at.plus_ms(HOUR_MS / 2 + 1);
    cluster.announce(&["198.51.100.1"]);
    cluster.announce(&["192.0.2.7", "198.51.100.1"]);
    assert_eq!(cluster.known(), texts(&["198.51.100.1"], &["192.0.2.7"]));
}

#[test]
fn a_ban_that_is_over_holds_nobody_up() {
    let mut cluster = Cluster::new();
    cluster.ban("192.0.2.7");
    cluster.announce(&["192.0.2.7"]);
    cluster.at = cluster.at.plus_ms(HOUR_MS + 1);
    cluster.announce(&["192.0.2.7"]);
    assert_eq!(cluster.known(), texts(&["192.0.2.7"], &[]));
}
