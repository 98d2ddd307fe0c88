//! The suite against the in-memory firewall: asked by computing.

use crate::cases::CASES;
use crate::probe::Probe;
use bannkreis_core::jail::Protocol;
use bannkreis_core::time::Timestamp;
use bannkreis_firewall::memory::{Packet, Verdict};
use bannkreis_firewall::{Firewall, MemoryFirewall};
use std::net::IpAddr;

struct Computed {
    firewall: MemoryFirewall,
    now: Timestamp,
}

impl Computed {
    fn passes(&mut self, source: IpAddr, protocol: Protocol, port: u16) -> bool {
        self.firewall.verdict(Packet { source, protocol, port }) == Verdict::Passes
    }
}

impl Probe for Computed {
    fn firewall(&mut self) -> &mut dyn Firewall {
        &mut self.firewall
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn udp_passes(&mut self, source: IpAddr, port: u16) -> bool {
        self.passes(source, Protocol::UDP, port)
    }

    fn tcp_passes(&mut self, source: IpAddr, port: u16) -> bool {
        self.passes(source, Protocol::TCP, port)
    }

    fn pass_time(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.firewall.set_now(self.now);
    }
}

#[test]
fn keeps_every_promise() {
    for (name, case) in CASES {
        eprintln!("{name}");
        case(&mut Computed { firewall: MemoryFirewall::new(), now: Timestamp(1_700_000_000_000) });
    }
}
