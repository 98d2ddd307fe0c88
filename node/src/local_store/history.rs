//! The history in the local store: entries in the order of time, and by whom they are about.
//!
//! Not for what an entry says, nor for how long it is kept.

use super::key::{self, Key, decode_history_key, decode_history_of, put_first_address};
use super::{Entries, LocalStore, LocalStoreError};
use bannkreis_core::history::HistoryKey;
use bannkreis_core::subnet::Subnet;
use std::ops::Range;

/// Some of the entries about subnets in a range, and where to go on; `None`: there are no more.
pub struct Page {
    /// Whom, which entry, and what was stored beside them.
    pub entries: Vec<(Subnet, HistoryKey, Vec<u8>)>,
    /// The rest of the range.
    pub rest: Option<Subjects>,
}

/// A range of subnets, in the order of their first addresses.
#[derive(Clone, Debug)]
pub struct Subjects(Range<Vec<u8>>);

impl Subjects {
    /// This subnet alone.
    #[must_use]
    pub fn exactly(subnet: Subnet) -> Subjects {
        let mut begin = vec![key::HISTORY_OF];
        put_first_address(&mut begin, subnet);
        let mut end = begin.clone();
        begin.push(subnet.prefix_len());
        end.push(subnet.prefix_len() + 1);
        Subjects(begin..end)
    }

    /// All whose first address is inside `subnet`: those inside it, and some that hold it.
    #[must_use]
    pub fn beginning_inside(subnet: Subnet) -> Subjects {
        let mut begin = vec![key::HISTORY_OF];
        put_first_address(&mut begin, subnet);
        let mut end = begin.clone();
        let fixed_bits = usize::from(subnet.prefix_len());
        for (n, byte) in end.iter_mut().skip(2).enumerate() {
            for bit in 0..8 {
                if n * 8 + bit >= fixed_bits {
                    *byte |= 0x80 >> bit;
                }
            }
        }
        end.push(u8::MAX);
        Subjects(begin..end)
    }
}

impl LocalStore {
    /// An entry of the history.
    ///
    /// # Errors
    /// When the database can not be read.
    pub fn history_entry(&self, key: HistoryKey) -> Result<Option<Vec<u8>>, LocalStoreError> {
        self.get(&Key::History(key))
    }

    /// The first `n_max` entries of the history after `key`, or from the beginning on, the oldest first.
    ///
    /// # Errors
    /// When the database can not be read.
    pub fn history_after(
        &self,
        key: Option<HistoryKey>,
        n_max: usize,
    ) -> Result<Entries<HistoryKey>, LocalStoreError> {
        let begin = match key {
            Some(key) => [Key::History(key).encode(), vec![0]].concat(),
            None => vec![key::HISTORY],
        };
        in_time(self.range(begin..vec![key::HISTORY + 1], n_max)?)
    }

    /// The last `n_max` entries of the history before `key`, or of all, the newest first.
    ///
    /// # Errors
    /// When the database can not be read.
    pub fn history_before(
        &self,
        key: Option<HistoryKey>,
        n_max: usize,
    ) -> Result<Entries<HistoryKey>, LocalStoreError> {
        let end = key.map_or(vec![key::HISTORY + 1], |key| Key::History(key).encode());
        in_time(self.range_back(vec![key::HISTORY]..end, n_max)?)
    }

    /// About whom everything before the entry of the history with this key is to be forgotten: the first `n_max`.
    ///
    /// # Errors
    /// When the database can not be read.
    pub fn to_forget(&self, n_max: usize) -> Result<Vec<(Subnet, HistoryKey)>, LocalStoreError> {
        let found = self.range(vec![key::TO_FORGET]..vec![key::TO_FORGET + 1], n_max)?;
        let told = found.into_iter().map(|(stored, _)| decode_history_of(&stored[1..]));
        told.map(|told| {
            told.ok_or_else(|| LocalStoreError::Read("what is to be forgotten names nobody".into()))
        })
        .collect()
    }

    /// Which entries there are about these subnets: the next `n_max`.
    ///
    /// # Errors
    /// When the database can not be read.
    pub fn history_of(&self, subjects: &Subjects, n_max: usize) -> Result<Page, LocalStoreError> {
        let found = self.range(subjects.0.clone(), n_max)?;
        let rest = found.last().filter(|_| found.len() >= n_max).map(|(last, _)| {
            let mut begin = last.clone();
            begin.push(0);
            Subjects(begin..subjects.0.end.clone())
        });
        let entries = found.into_iter().map(|(stored, value)| match decode_history_of(&stored[1..]) {
            Some((subnet, key)) => Ok((subnet, key, value)),
            None => Err(LocalStoreError::Read("a key of the history names no subnet".into())),
        });
        Ok(Page { entries: entries.collect::<Result<_, _>>()?, rest })
    }
}

fn in_time(found: Entries<Vec<u8>>) -> Result<Entries<HistoryKey>, LocalStoreError> {
    let entries = found.into_iter().map(|(stored, value)| match decode_history_key(&stored[1..]) {
        Some(key) => Ok((key, value)),
        None => Err(LocalStoreError::Read("a key of the history has a wrong length".into())),
    });
    entries.collect()
}
