//! The kernel's ipsets, spoken to over netlink: made, filled, asked, listed.
//!
//! All are of type hash:net, which holds addresses and networks side by side, each with its own timeout in seconds, and
//! looks a packet's address up once for each prefix length in use. Whatever is added or deleted may be there already or
//! not be there: neither is an error. Not for which sets there are (`mod.rs`).

#[allow(clippy::wildcard_imports, reason = "a list of nearly all names in it would be no help")]
use super::kernel::*;
use crate::netlink::Recipient;
use crate::netlink::kernel::{NFPROTO_IPV4, NFPROTO_IPV6};
use crate::netlink::message::{Attributes, attribute, attributes, byte, number, text};
use crate::netlink::socket::{Refusal, Socket};
use bannkreis_core::subnet::Subnet;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

/// The longest timeout of an element, in seconds.
pub(crate) const TIMEOUT_S_MAX: u32 = 2_147_483;

/// One message adds or deletes at most so many elements: some 44 bytes each, in a list of at most 64 KiB.
pub(crate) const ELEMENTS_PER_MESSAGE_MAX: usize = 1_000;

/// The first revision of hash:net; all later kernels have it.
const REVISION: u8 = 0;
/// A set begins with room for so many, and grows.
const HASHSIZE: u32 = 1_024;

/// A set's element: what, and for how many seconds, if not for ever.
pub(crate) type Member = (Subnet, Option<u32>);

/// See the module.
pub(crate) struct Sets {
    socket: Socket,
}

impl Sets {
    /// Those of this thread's network namespace.
    pub(crate) fn open() -> io::Result<Sets> {
        let recipient = Recipient { subsystem: NFNL_SUBSYS_IPSET, family: NFPROTO_IPV4 };
        Socket::open(recipient).map(|socket| Sets { socket })
    }

    /// Asks whether the kernel has ipset, and lets this process in.
    pub(crate) fn greet(&mut self) -> Result<(), Refusal> {
        self.tell(IPSET_CMD_PROTOCOL, "asking for ipset", |_| {})
    }

    /// Makes a set with room for `room` elements, whose elements end (`timed`) or not.
    pub(crate) fn create(&mut self, name: &str, v4: bool, timed: bool, room: u32) -> Result<(), Refusal> {
        self.tell(IPSET_CMD_CREATE, "making an ipset", |a| {
            a.text(IPSET_ATTR_SETNAME, name);
            a.text(IPSET_ATTR_TYPENAME, "hash:net");
            a.byte(IPSET_ATTR_REVISION, REVISION);
            a.byte(IPSET_ATTR_FAMILY, if v4 { NFPROTO_IPV4 } else { NFPROTO_IPV6 });
            a.nest(IPSET_ATTR_DATA, |a| {
                a.net_number(IPSET_ATTR_HASHSIZE, HASHSIZE);
                a.net_number(IPSET_ATTR_MAXELEM, room);
                if timed {
                    a.net_number(IPSET_ATTR_TIMEOUT, 0);
                }
            });
        })
    }

    /// Deletes a set that no rule uses. One that is not there is no error.
    pub(crate) fn destroy(&mut self, name: &str) -> Result<(), Refusal> {
        let told = self.tell(IPSET_CMD_DESTROY, "deleting an ipset", |a| a.text(IPSET_ATTR_SETNAME, name));
        match told {
            Err(refusal) if refusal.errno == libc::ENOENT => Ok(()),
            told => told,
        }
    }

    /// Adds elements; of one that is there the timeout changes. At most [`ELEMENTS_PER_MESSAGE_MAX`].
    pub(crate) fn add(&mut self, name: &str, members: &[Member]) -> Result<(), Refusal> {
        self.change(IPSET_CMD_ADD, "adding to an ipset", name, members)
    }

    /// Deletes elements. At most [`ELEMENTS_PER_MESSAGE_MAX`].
    pub(crate) fn delete(&mut self, name: &str, subnets: &[Subnet]) -> Result<(), Refusal> {
        let members: Vec<Member> = subnets.iter().map(|subnet| (*subnet, None)).collect();
        self.change(IPSET_CMD_DEL, "deleting from an ipset", name, &members)
    }

    /// Whether a set has something for this subnet: a host is found in networks around it as well.
    pub(crate) fn has(&mut self, name: &str, subnet: Subnet) -> Result<bool, Refusal> {
        let told = self.tell(IPSET_CMD_TEST, "asking an ipset", |a| {
            a.text(IPSET_ATTR_SETNAME, name);
            a.nest(IPSET_ATTR_DATA, |a| member(a, (subnet, None)));
        });
        match told {
            Ok(()) => Ok(true),
            Err(refusal) if matches!(refusal.errno, IPSET_ERR_EXIST | libc::ENOENT) => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    /// The names of all sets there are, whoever has made them, and how many elements each holds that are not over.
    pub(crate) fn sizes(&mut self) -> Result<BTreeMap<String, u32>, Refusal> {
        let answers = self.socket.ask(IPSET_CMD_LIST, true, "listing ipsets", |a| {
            a.byte(IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL);
            a.net_number(IPSET_ATTR_FLAGS, IPSET_FLAG_LIST_HEADER);
        })?;
        let size = |answer: &Vec<u8>| {
            let name = text(answer, IPSET_ATTR_SETNAME)?.to_owned();
            let about = attribute(answer, IPSET_ATTR_DATA)?;
            Some((name, number(about, IPSET_ATTR_ELEMENTS).unwrap_or(0)))
        };
        Ok(answers.iter().filter_map(size).collect())
    }

    /// The elements of a set.
    pub(crate) fn members(&mut self, name: &str) -> Result<Vec<Member>, Refusal> {
        let answers = self.socket.ask(IPSET_CMD_LIST, true, "listing an ipset", |a| {
            a.byte(IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL);
            a.text(IPSET_ATTR_SETNAME, name);
        })?;
        let lists = answers.iter().filter_map(|answer| attribute(answer, IPSET_ATTR_ADT));
        let members = lists.flat_map(attributes).filter_map(|(_, data)| read_member(data));
        Ok(members.collect())
    }

    fn change(
        &mut self,
        kind: u8,
        doing: &'static str,
        name: &str,
        members: &[Member],
    ) -> Result<(), Refusal> {
        for some in members.chunks(ELEMENTS_PER_MESSAGE_MAX) {
            self.tell(kind, doing, |a| {
                a.text(IPSET_ATTR_SETNAME, name);
                // A list must have a line number, for error messages of the ipset program.
                a.number(IPSET_ATTR_LINENO, 0);
                a.nest(IPSET_ATTR_ADT, |a| {
                    for each in some {
                        a.nest(IPSET_ATTR_DATA, |a| member(a, *each));
                    }
                });
            })?;
        }
        Ok(())
    }

    fn tell(
        &mut self,
        kind: u8,
        doing: &'static str,
        fill: impl Fn(&mut Attributes<'_>),
    ) -> Result<(), Refusal> {
        let fill = |a: &mut Attributes<'_>| {
            a.byte(IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL);
            fill(a);
        };
        self.socket.ask(kind, false, doing, fill).map(drop)
    }
}

fn member(a: &mut Attributes<'_>, (subnet, timeout_s): Member) {
    let kind = if subnet.is_v4() { IPSET_ATTR_IPADDR_IPV4 } else { IPSET_ATTR_IPADDR_IPV6 };
    a.nest(IPSET_ATTR_IP, |a| a.net_bytes(kind, &subnet.octets()));
    if !subnet.is_host() {
        a.byte(IPSET_ATTR_CIDR, subnet.prefix_len());
    }
    if let Some(timeout_s) = timeout_s {
        a.net_number(IPSET_ATTR_TIMEOUT, timeout_s);
    }
}

fn read_member(data: &[u8]) -> Option<Member> {
    let address = attribute(data, IPSET_ATTR_IP)?;
    let address: IpAddr = match attribute(address, IPSET_ATTR_IPADDR_IPV4) {
        Some(v4) => <[u8; 4]>::try_from(v4).ok()?.into(),
        None => <[u8; 16]>::try_from(attribute(address, IPSET_ATTR_IPADDR_IPV6)?).ok()?.into(),
    };
    let host = Subnet::host(address);
    let length = byte(data, IPSET_ATTR_CIDR).unwrap_or(host.max_prefix_len());
    // Nothing for ever has a timeout of zero.
    let timeout_s = number(data, IPSET_ATTR_TIMEOUT).filter(|timeout_s| *timeout_s > 0);
    Some((Subnet::new(address, length)?, timeout_s))
}
