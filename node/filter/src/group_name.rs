//! The names of groups as numbers: every line that matches has a dozen of them, which are compared and copied.
//!
//! Those with a meaning of their own are constants here; others are whatever a configuration calls its groups.
//! Each name is kept once, for as long as the process runs. Not for what a group holds (`groups`).

use std::fmt;
use std::sync::{PoisonError, RwLock};

/// A process knows at most so many names beside `KNOWN`; an expression with one more is refused.
pub const OTHER_NAMES_MAX: usize = 4096;

/// The names with a meaning, by their number.
const KNOWN: [&str; 11] =
    ["content", "mlfid", "nofail", "mlfgained", "mlfforget", "user", "ip4", "ip6", "dns", "fid", "cidr"];

static OTHERS: RwLock<Vec<&'static str>> = RwLock::new(Vec::new());

/// A name; equal ones are equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(u16);

impl Name {
    /// `<F-CONTENT>`
    pub const CONTENT: Name = Name(0);
    /// `<F-MLFID>`
    pub const MLFID: Name = Name(1);
    /// `<F-NOFAIL>`
    pub const NOFAIL: Name = Name(2);
    /// `<F-MLFGAINED>`
    pub const MLFGAINED: Name = Name(3);
    /// `<F-MLFFORGET>`
    pub const MLFFORGET: Name = Name(4);
    /// `<F-USER>`
    pub const USER: Name = Name(5);
    /// An address of IPv4.
    pub const IP4: Name = Name(6);
    /// An address of IPv6.
    pub const IP6: Name = Name(7);
    /// A host's name.
    pub const DNS: Name = Name(8);
    /// `<F-ID>`
    pub const FID: Name = Name(9);
    /// The length of a prefix.
    pub const CIDR: Name = Name(10);

    /// The name that is written so; `None` when [`OTHER_NAMES_MAX`] others are known already.
    #[must_use]
    pub fn of(written: &str) -> Option<Name> {
        if let Some(number) = KNOWN.iter().position(|name| *name == written) {
            return Some(Name(u16::try_from(number).ok()?));
        }
        let mut others = OTHERS.write().unwrap_or_else(PoisonError::into_inner);
        let at = others.iter().position(|name| *name == written);
        if at.is_none() && others.len() >= OTHER_NAMES_MAX {
            return None;
        }
        let at = at.unwrap_or_else(|| {
            others.push(Box::leak(Box::from(written)));
            others.len() - 1
        });
        Some(Name(u16::try_from(KNOWN.len() + at).ok()?))
    }

    /// A bit of its own in a set of names; no bit at all for those that came late.
    #[must_use]
    #[inline]
    pub(crate) fn bit(self) -> u64 {
        1_u64.checked_shl(u32::from(self.0)).unwrap_or(0)
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let number = usize::from(self.0);
        KNOWN.get(number).copied().unwrap_or_else(|| {
            let others = OTHERS.read().unwrap_or_else(PoisonError::into_inner);
            others.get(number - KNOWN.len()).copied().unwrap_or_default()
        })
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_is_written_as() {
        for (name, written) in [(Name::CONTENT, "content"), (Name::USER, "user"), (Name::CIDR, "cidr")] {
            assert_eq!((Name::of(written), name.as_str()), (Some(name), written));
        }
        for written in KNOWN.iter().chain(&["port", "härte", ""]) {
            assert_eq!(Name::of(written).map(Name::as_str), Some(*written));
        }
        assert_eq!(Name::of("one"), Name::of("one"));
        assert_ne!(Name::of("one"), Name::of("two"));
    }
}
