//! What our things are called in the kernel, and how a later process recognises them.
//!
//! Names end with the number of the *generation* they belong to: `replace` builds the next
//! generation beside the living one. What of a jail's name is not plain is replaced here, so that
//! no text from a configuration can surprise a person or a program that lists the ruleset. Not for
//! what stands in the things (`layout.rs`).

use super::kernel::NFTNL_UDATA_COMMENT;
use bannkreis_core::jail::{JailName, PortRange, Ports, Protocol};
use bannkreis_core::ruleset::Chain;
use bannkreis_core::subnet::Subnet;
use std::fmt;

/// Our table, of family inet.
pub(crate) const TABLE: &str = "bannkreis";

/// Our base chain, called after its hook.
pub(crate) const BASE_CHAIN: &str = "prerouting";

/// Counts changes of the layout that make an older table unfit for adoption.
const LAYOUT_VERSION: u32 = 1;

/// So many maps for what would be too much for one.
pub(crate) const SHARDS: u8 = 16;

/// As much of a jail's name stands in a chain's name.
const JAIL_CHARS_MAX: usize = 12;

/// The kernel keeps at most so many bytes of user data (`NFT_USERDATA_MAXLEN`), of which a record
/// takes two for its own header.
const DESCRIPTION_BYTES_MAX: usize = 254;

/// Our record in a chain's user data. The nft program passes over types it does not know.
const UDATA_DESCRIPTION: u8 = 0xb4;

/// A generation of maps, sets and chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GenerationNumber(pub(crate) u32);

/// A family and a prefix length: each in use has a map of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Length {
    /// IPv4 rather than IPv6.
    pub(crate) v4: bool,
    /// 0 to 32, or 0 to 128.
    pub(crate) bits: u8,
}

impl Length {
    /// That of `subnet`.
    pub(crate) fn of(subnet: Subnet) -> Length {
        Length { v4: subnet.is_v4(), bits: subnet.prefix_len() }
    }

    /// Bytes of an address: 4 or 16.
    pub(crate) fn address_bytes(self) -> u8 {
        if self.v4 { 4 } else { 16 }
    }

    /// The bits of an address that choose the shard: the last four of the network's that lie in one byte, which is where
    /// the addresses of a botnet differ most. Of IPv6 networks, which are customers', the last bits are the customer's own
    /// (mostly 0), so those before bit 48 choose, which are the provider's. `None` when there are no four such bits.
    pub(crate) fn shard_bits(self) -> Option<ShardBits> {
        let bits = if !self.v4 && (48..=64).contains(&self.bits) { 48 } else { self.bits };
        let (bytes, bits) = (bits / 8, bits % 8);
        let (byte, shift) = if bits >= 4 { (bytes, 8 - bits) } else { (bytes.checked_sub(1)?, 0) };
        Some(ShardBits { byte: byte.into(), shift })
    }

    /// The network mask, unless it has only ones.
    pub(crate) fn mask(self) -> Option<Vec<u8>> {
        let max = self.address_bytes() * 8;
        (self.bits < max).then(|| {
            let ones =
                |byte: u8| 0xff_u8.checked_shl(u32::from(8 - self.bits.saturating_sub(byte * 8).min(8)));
            (0..self.address_bytes()).map(|byte| ones(byte).unwrap_or(0)).collect()
        })
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", if self.v4 { "v4" } else { "v6" }, self.bits)
    }
}

/// Where the four bits are that choose one of [`SHARDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardBits {
    byte: usize,
    shift: u8,
}

impl ShardBits {
    /// The shard of an address.
    pub(crate) fn of(self, address: &[u8]) -> u8 {
        (address[self.byte] >> self.shift) & (SHARDS - 1)
    }

    /// An address of so many bytes that has this shard and nothing else.
    pub(crate) fn key(self, shard: u8, address_bytes: u8) -> Vec<u8> {
        let mut key = vec![0; address_bytes.into()];
        key[self.byte] = shard << self.shift;
        key
    }
}

/// A map of blocked subnets: the only one of its prefix length, or one of [`SHARDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockedMap {
    /// The prefix length of what is in it.
    pub(crate) length: Length,
    /// Which of the shards it is.
    pub(crate) shard: Option<u8>,
}

impl fmt::Display for BlockedMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shard {
            None => self.length.fmt(f),
            Some(shard) => write!(f, "{}_{shard:x}", self.length),
        }
    }
}

impl GenerationNumber {
    /// The next one.
    pub(crate) fn next(self) -> GenerationNumber {
        GenerationNumber(self.0.wrapping_add(1))
    }

    /// The generation that something of this name belongs to, if it is ours.
    pub(crate) fn of_name(name: &str) -> Option<GenerationNumber> {
        let (_, hex) = name.rsplit_once("_g")?;
        u32::from_str_radix(hex, 16).ok().map(GenerationNumber)
    }

    /// A map of blocked subnets: masked source to class number.
    pub(crate) fn blocked(self, map: BlockedMap) -> String {
        format!("blocked_{map}_g{:x}", self.0)
    }

    /// The map from the bits that choose a shard to the chain that asks it.
    pub(crate) fn shards(self, length: Length) -> String {
        format!("shards_{length}_g{:x}", self.0)
    }

    /// The chain that asks one shard.
    pub(crate) fn shard(self, map: BlockedMap) -> String {
        format!("shard_{map}_g{:x}", self.0)
    }

    /// The set of protected subnets of one length.
    pub(crate) fn protected(self, length: Length) -> String {
        format!("protected_{length}_g{:x}", self.0)
    }

    /// The chain that asks all protected sets.
    pub(crate) fn protection(self) -> String {
        format!("protection_g{:x}", self.0)
    }

    /// The map from class number to chain.
    pub(crate) fn classes(self) -> String {
        format!("classes_g{:x}", self.0)
    }

    /// The chain of a class: at most 31 characters.
    pub(crate) fn class(self, chain: &Chain, class: u32) -> String {
        format!("{}_{class:x}_{:04x}_g{:x}", plain(&chain.jail), fingerprint(chain), self.0)
    }

    /// What is behind `prefix` (`blocked_`, `protected_`) in the name of a map or set of this
    /// generation.
    pub(crate) fn map_in(self, name: &str, prefix: &str) -> Option<BlockedMap> {
        let (map, _) = name.strip_prefix(prefix)?.rsplit_once("_g")?;
        let (family, bits) = map.split_once('_')?;
        let v4 = match family {
            "v4" => true,
            "v6" => false,
            _ => return None,
        };
        let (bits, shard) = match bits.split_once('_') {
            None => (bits, None),
            Some((bits, shard)) => (bits, Some(u8::from_str_radix(shard, 16).ok()?)),
        };
        Some(BlockedMap { length: Length { v4, bits: bits.parse().ok()? }, shard })
            .filter(|_| GenerationNumber::of_name(name) == Some(self))
    }

    /// User data for the first rule of the base chain: says, to people and to a later process, which
    /// generation is in force.
    pub(crate) fn marker(self) -> Vec<u8> {
        comment(&format!("bannkreis layout {LAYOUT_VERSION} generation {:x}", self.0))
    }

    /// Reads a marker; `None` for anything else, also one of another layout.
    pub(crate) fn from_marker(userdata: &[u8]) -> Option<GenerationNumber> {
        let (_, text) = records(userdata).find(|(kind, _)| *kind == NFTNL_UDATA_COMMENT)?;
        let text = std::str::from_utf8(text).ok()?.trim_end_matches('\0');
        let hex = text.strip_prefix(&format!("bannkreis layout {LAYOUT_VERSION} generation "))?;
        u32::from_str_radix(hex, 16).ok().map(GenerationNumber)
    }
}

/// Whether a map of this name has chains for values: few.
pub(crate) fn leads_to_chains(name: &str) -> bool {
    name.starts_with("classes_") || name.starts_with("shards_")
}

/// User data that the nft program shows as a comment.
pub(crate) fn comment(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).expect("our comments are short");
    [&[NFTNL_UDATA_COMMENT, length], text.as_bytes(), &[0]].concat()
}

/// A jail's name as it may stand in a chain's name.
fn plain(jail: &JailName) -> String {
    let mut name: String = jail
        .as_str()
        .chars()
        .take(JAIL_CHARS_MAX)
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert(0, 'j');
        name.truncate(JAIL_CHARS_MAX);
    }
    name
}

/// A number that is the same for equal chains in every process: lets people follow one chain through
/// the generations. FNV-1a, folded to 16 bits; nothing depends on it being unique.
fn fingerprint(chain: &Chain) -> u32 {
    let text = format!("{} {}", chain.jail, chain.ports);
    let step = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = text.bytes().fold(0x811c_9dc5, step);
    (hash >> 16) ^ (hash & 0xffff)
}

/// The number of a class and, when it is known, its chain, as read from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// The class number that elements carry.
    pub(crate) class: u32,
    /// `None` when it was too long to be written down.
    pub(crate) chain: Option<Chain>,
}

/// User data for the chain of a class, from which a later process learns what it is:
/// class number (4 bytes), then, if there is room, the length of the jail's name and the name, then
/// nothing for the whole host, or a byte 1 and 5 bytes for each range.
pub(crate) fn describe(class: u32, chain: &Chain) -> Vec<u8> {
    let mut body = class.to_be_bytes().to_vec();
    let jail = chain.jail.as_str().as_bytes();
    let mut about = vec![u8::try_from(jail.len()).expect("a jail's name has at most 64 bytes")];
    about.extend_from_slice(jail);
    if let Some(ranges) = chain.ports.ranges() {
        about.push(1);
        for range in ranges {
            about.push(range.protocol.0);
            about.extend_from_slice(&range.first.to_be_bytes());
            about.extend_from_slice(&range.last.to_be_bytes());
        }
    }
    if body.len() + about.len() <= DESCRIPTION_BYTES_MAX {
        body.extend_from_slice(&about);
    }
    let length = u8::try_from(body.len()).expect("at most DESCRIPTION_BYTES_MAX");
    [&[UDATA_DESCRIPTION, length], body.as_slice()].concat()
}

/// Reads what [`describe`] wrote; `None` for anything else.
pub(crate) fn described(userdata: &[u8]) -> Option<Description> {
    let (_, body) = records(userdata).find(|(kind, _)| *kind == UDATA_DESCRIPTION)?;
    let (class, about) = body.split_first_chunk::<4>()?;
    let class = u32::from_be_bytes(*class);
    let Some((&jail_bytes, about)) = about.split_first() else {
        return Some(Description { class, chain: None });
    };
    let (jail, ports) = about.split_at_checked(usize::from(jail_bytes))?;
    let jail = JailName::new(std::str::from_utf8(jail).ok()?).ok()?;
    let ports = match ports.split_first() {
        None => Ports::whole_host(),
        Some((1, ranges)) if ranges.len() % 5 == 0 => {
            let range = |bytes: &[u8]| PortRange {
                protocol: Protocol(bytes[0]),
                first: u16::from_be_bytes([bytes[1], bytes[2]]),
                last: u16::from_be_bytes([bytes[3], bytes[4]]),
            };
            Ports::from_ranges(ranges.chunks_exact(5).map(range).collect())
        }
        Some(_) => return None,
    };
    Some(Description { class, chain: Some(Chain { jail, ports }) })
}

/// The records in user data: (type, value).
fn records(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[kind, length], rest) = bytes.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(usize::from(length))?;
        bytes = rest;
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(jail: &str, ports: Ports) -> Chain {
        Chain { jail: JailName::new(jail).unwrap(), ports }
    }

    #[test]
    fn strange_jail_names_become_plain_and_short() {
        for (jail, expected) in [
            ("sshd", "sshd"),
            ("kopano-webapp-auth", "kopano-webap"),
            ("\"};flush\u{7}x".trim_end_matches('x'), "j___flush_"),
            ("7zip", "j7zip"),
            ("übel", "j_bel"),
        ] {
            let Ok(jail) = JailName::new(jail) else { continue };
            assert_eq!(plain(&jail), expected);
        }
        let name = GenerationNumber(0xffff_ffff).class(&chain("a-very-long-jail-name", Ports::none()), 0xfff);
        assert!(name.is_ascii() && name.starts_with("a-very-long-_fff_") && name.len() <= 31, "{name}");
    }

    #[test]
    fn names_tell_their_generation_and_length() {
        let seven = GenerationNumber(0x1f);
        let length = Length { v4: false, bits: 64 };
        let whole = BlockedMap { length, shard: None };
        let shard = BlockedMap { length, shard: Some(0xa) };
        assert_eq!(seven.blocked(whole), "blocked_v6_64_g1f");
        assert_eq!(seven.blocked(shard), "blocked_v6_64_a_g1f");
        assert_eq!(GenerationNumber::of_name("blocked_v6_64_g1f"), Some(seven));
        assert_eq!(GenerationNumber::of_name("prerouting"), None);
        assert_eq!(seven.map_in("blocked_v6_64_g1f", "blocked_"), Some(whole));
        assert_eq!(seven.map_in("blocked_v6_64_a_g1f", "blocked_"), Some(shard));
        assert_eq!(seven.map_in("blocked_v6_64_g1", "blocked_"), None);
        assert_eq!(seven.map_in("protected_v6_64_g1f", "blocked_"), None);
        assert_eq!(GenerationNumber::from_marker(&seven.marker()), Some(seven));
        assert_eq!(GenerationNumber::from_marker(&comment("bannkreis layout 99 generation 1")), None);
    }

    #[test]
    fn masks() {
        let mask = |v4, bits| Length { v4, bits }.mask();
        assert_eq!(mask(true, 32), None);
        assert_eq!(mask(false, 128), None);
        assert_eq!(mask(true, 0), Some(vec![0, 0, 0, 0]));
        assert_eq!(mask(true, 24), Some(vec![255, 255, 255, 0]));
        assert_eq!(mask(true, 19), Some(vec![255, 255, 0xe0, 0]));
        assert_eq!(mask(false, 64), Some([[255; 8], [0; 8]].concat()));
    }

    #[test]
    fn shards_are_chosen_by_the_networks_last_bits() {
        let bits = |v4, bits| Length { v4, bits }.shard_bits();
        assert_eq!((bits(true, 0), bits(true, 3)), (None, None));
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 0x3e, 0, 0x51, 1, 2, 3, 4, 5, 6, 7, 0x8f];
        for (length, expected) in [(32, 0xd), (30, 0xb), (28, 0xa), (27, 0x9), (24, 0x9), (21, 0x3)] {
            let some = bits(true, length).unwrap();
            assert_eq!(some.of(&[10, 20, 0x19, 0xad]), expected, "/{length}");
            assert_eq!(some.of(&some.key(expected, 4)), expected);
        }
        assert_eq!((bits(false, 64).unwrap().of(&v6), bits(false, 56).unwrap().of(&v6)), (0xe, 0xe));
        assert_eq!(bits(false, 44).unwrap().of(&v6), 0x3);
        assert_eq!(bits(false, 128).unwrap().of(&v6), 0xf);
        assert_eq!(bits(false, 128).unwrap().key(0xf, 16), [vec![0; 15], vec![0xf]].concat());
    }

    #[test]
    fn descriptions_are_read_as_they_were_written() {
        let ranges = |n: u16| {
            let range = |i| PortRange { protocol: Protocol::TCP, first: i * 10, last: i * 10 + 3 };
            Ports::from_ranges((0..n).map(range).collect())
        };
        for ports in [Ports::whole_host(), Ports::none(), Ports::tcp(&[25, 465, 587]), ranges(36)] {
            let chain = chain(&"j".repeat(64), ports);
            let expected = Description { class: 77, chain: Some(chain.clone()) };
            assert_eq!(described(&describe(77, &chain)), Some(expected));
        }
        let too_long = describe(78, &chain("j", ranges(60)));
        assert_eq!(described(&too_long), Some(Description { class: 78, chain: None }));
        assert_eq!(described(&comment("made by hand")), None);
        assert_eq!(described(&[UDATA_DESCRIPTION, 200, 1]), None);
    }
}
