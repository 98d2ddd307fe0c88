//! The kernel's numbers: linux/netfilter/ipset/ip_set.h (promised to user space).
//!
//! Not for anything that thinks; the names are the header's own, so that they can be looked up.

pub(crate) const NFNL_SUBSYS_IPSET: u16 = 6;
pub(crate) const IPSET_PROTOCOL: u8 = 6;

// Messages.
pub(crate) const IPSET_CMD_PROTOCOL: u8 = 1;
pub(crate) const IPSET_CMD_CREATE: u8 = 2;
pub(crate) const IPSET_CMD_DESTROY: u8 = 3;
pub(crate) const IPSET_CMD_LIST: u8 = 7;
pub(crate) const IPSET_CMD_ADD: u8 = 9;
pub(crate) const IPSET_CMD_DEL: u8 = 10;
pub(crate) const IPSET_CMD_TEST: u8 = 11;

// What a message says.
pub(crate) const IPSET_ATTR_PROTOCOL: u16 = 1;
pub(crate) const IPSET_ATTR_SETNAME: u16 = 2;
pub(crate) const IPSET_ATTR_TYPENAME: u16 = 3;
pub(crate) const IPSET_ATTR_REVISION: u16 = 4;
pub(crate) const IPSET_ATTR_FAMILY: u16 = 5;
pub(crate) const IPSET_ATTR_FLAGS: u16 = 6;
pub(crate) const IPSET_ATTR_DATA: u16 = 7;
pub(crate) const IPSET_ATTR_ADT: u16 = 8;
pub(crate) const IPSET_ATTR_LINENO: u16 = 9;
/// Of a listing: no elements.
pub(crate) const IPSET_FLAG_LIST_HEADER: u32 = 1 << 2;

// What is said of an element.
pub(crate) const IPSET_ATTR_IP: u16 = 1;
pub(crate) const IPSET_ATTR_CIDR: u16 = 3;
pub(crate) const IPSET_ATTR_TIMEOUT: u16 = 6;
pub(crate) const IPSET_ATTR_IPADDR_IPV4: u16 = 1;
pub(crate) const IPSET_ATTR_IPADDR_IPV6: u16 = 2;

// What is said of a set.
pub(crate) const IPSET_ATTR_HASHSIZE: u16 = 18;
pub(crate) const IPSET_ATTR_MAXELEM: u16 = 19;
pub(crate) const IPSET_ATTR_ELEMENTS: u16 = 24;

// Errors of its own, beside errno(3).
pub(crate) const IPSET_ERR_PROTOCOL: i32 = 4_097;
pub(crate) const IPSET_ERR_FIND_TYPE: i32 = 4_098;
pub(crate) const IPSET_ERR_MAX_SETS: i32 = 4_099;
pub(crate) const IPSET_ERR_BUSY: i32 = 4_100;
pub(crate) const IPSET_ERR_EXIST: i32 = 4_103;
pub(crate) const IPSET_ERR_HASH_FULL: i32 = 4_352;
