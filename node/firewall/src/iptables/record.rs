//! What this process has put into the sets: ipset gives no verdicts and forgets what it was told, so the class and the end
//! of each element are remembered here.
//!
//! Times are milliseconds of this process's monotonic clock, as the kernel's timeouts are of its own. Not for what should
//! be there: that is the caller's ruleset.

use super::sets::TIMEOUT_S_MAX;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::{DAY_MS, SECOND_MS};
use std::collections::{BTreeMap, HashMap};

/// An element whose end is further away than the kernel can count is told it again this long before the kernel's own.
const RENEW_LEAD_MS: u64 = 10 * DAY_MS;

/// Timeouts are whole seconds, and the kernel's clock has ticks of its own: so close to its end an element may be there or
/// not.
const ENDING_MS: u64 = 2 * SECOND_MS;

/// An element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) class: u32,
    /// Its end.
    pub(crate) end_ms: u64,
    /// When the kernel lets it go, unless it is told again.
    armed_ms: u64,
}

/// How many elements of a class and family the kernel must have, and may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) least: u32,
    pub(crate) most: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Record {
    entries: HashMap<Subnet, Entry>,
}

/// What a look through the record found.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// By class, and whether IPv4.
    pub(crate) sizes: BTreeMap<(u32, bool), Size>,
    /// What has to be told to the kernel again.
    pub(crate) due: Vec<Subnet>,
}

/// The seconds that the kernel is told, for an element that ends in so many ms: rounded up, and as long as it can count.
pub(crate) fn timeout_s(remaining_ms: u64) -> u32 {
    let seconds = remaining_ms.div_ceil(SECOND_MS).clamp(1, u64::from(TIMEOUT_S_MAX));
    u32::try_from(seconds).unwrap_or(TIMEOUT_S_MAX)
}

impl Record {
    pub(crate) fn get(&self, subnet: Subnet, now_ms: u64) -> Option<Entry> {
        self.entries.get(&subnet).copied().filter(|entry| entry.end_ms > now_ms)
    }

    /// Notes what was told to the kernel just now.
    pub(crate) fn put(&mut self, subnet: Subnet, class: u32, end_ms: u64, now_ms: u64) {
        let armed_ms = now_ms + u64::from(timeout_s(end_ms.saturating_sub(now_ms))) * SECOND_MS;
        self.entries.insert(subnet, Entry { class, end_ms, armed_ms });
    }

    pub(crate) fn remove(&mut self, subnet: Subnet) {
        self.entries.remove(&subnet);
    }

    /// Forgets what is over, and counts the rest.
    pub(crate) fn look(&mut self, now_ms: u64) -> Look {
        let mut look = Look::default();
        self.entries.retain(|subnet, entry| {
            let size = look.sizes.entry((entry.class, subnet.is_v4())).or_default();
            let is_over = entry.armed_ms + ENDING_MS < now_ms;
            size.most += u32::from(!is_over);
            size.least += u32::from(entry.armed_ms > now_ms + ENDING_MS);
            if entry.end_ms > entry.armed_ms && entry.armed_ms < now_ms + RENEW_LEAD_MS {
                look.due.push(*subnet);
            }
            !is_over
        });
        look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(n: u8) -> Subnet {
        Subnet::host([198, 51, 100, n].into())
    }

    #[test]
    fn seconds_are_rounded_up_and_bounded() {
        assert_eq!([0, 1, 1_000, 1_001, u64::MAX].map(timeout_s), [1, 1, 1, 2, TIMEOUT_S_MAX]);
    }

    #[test]
    fn close_to_its_end_an_element_may_be_there_or_not() {
        let mut record = Record::default();
        record.put(subnet(1), 3, 10_000, 0);
        record.put(subnet(2), 3, 60_000, 0);
        let sizes = |record: &mut Record, now_ms| record.look(now_ms).sizes.get(&(3, true)).copied();
        assert_eq!(sizes(&mut record, 1_000), Some(Size { least: 2, most: 2 }));
        assert_eq!(sizes(&mut record, 9_000), Some(Size { least: 1, most: 2 }));
        assert_eq!(record.get(subnet(1), 10_000), None);
        assert_eq!(sizes(&mut record, 11_000), Some(Size { least: 1, most: 2 }));
        assert_eq!(sizes(&mut record, 13_000), Some(Size { least: 1, most: 1 }));
        assert_eq!(sizes(&mut record, 99_000), Some(Size { least: 0, most: 0 }));
        assert!(record.entries.is_empty());
    }

    #[test]
    fn what_lasts_longer_than_the_kernel_counts_is_told_again_in_time() {
        let mut record = Record::default();
        let end_ms = 100 * DAY_MS;
        record.put(subnet(1), 1, end_ms, 0);
        assert_eq!(record.look(14 * DAY_MS).due, []);
        assert_eq!(record.look(15 * DAY_MS).due, [subnet(1)]);
        record.put(subnet(1), 1, end_ms, 15 * DAY_MS);
        assert_eq!(record.look(16 * DAY_MS).due, []);
        record.put(subnet(1), 1, end_ms, 80 * DAY_MS);
        assert_eq!(record.look(99 * DAY_MS).due, [], "the kernel can count so far");
    }
}
