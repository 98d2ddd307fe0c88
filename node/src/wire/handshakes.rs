//! Handshakes under way, so that one host that opens connections and says nothing keeps nobody else out; and how often
//! it is written down that somebody was refused.
//!
//! Not for the handshakes themselves (`tls`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// At once from one address; further connections from there are closed without a word.
const PER_SOURCE_MAX: usize = 8;
/// At once from all; who comes while there are so many waits in the kernel's queue.
pub(super) const HANDSHAKES_MAX: usize = 256;
/// So many refusals are written down in [`SAID_IN`]; the others are counted.
const SAID_MAX: u32 = 10;
const SAID_IN: Duration = Duration::from_secs(60);

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_source: BTreeMap<IpAddr, usize>,
    said: u32,
    unsaid: u32,
    said_since: Option<Instant>,
}

/// A handshake under way, until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    handshakes: Arc<Handshakes>,
    source: IpAddr,
}

impl Handshakes {
    /// Begins one; `None` when there are too many from this address.
    pub(super) fn begin(self: &Arc<Self>, source: IpAddr) -> Option<UnderWay> {
        let source = source.to_canonical();
        let mut state = self.lock();
        let n = state.by_source.entry(source).or_default();
        if *n >= PER_SOURCE_MAX {
            return None;
        }
        *n += 1;
        drop(state);
        Some(UnderWay { handshakes: self.clone(), source })
    }

    /// Writes down that `source` was refused, unless that was written down too often lately.
    pub(super) fn refused(&self, source: &str, why: &str, now: Instant) {
        let mut state = self.lock();
        if state.said_since.is_none_or(|since| now.duration_since(since) >= SAID_IN) {
            if state.unsaid > 0 {
                tracing::info!("{} more connections were refused", state.unsaid);
            }
            (state.said, state.unsaid, state.said_since) = (0, 0, Some(now));
        }
        if state.said < SAID_MAX {
            state.said += 1;
            tracing::info!("{source} is refused: {why}");
        } else {
            state.unsaid = state.unsaid.saturating_add(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.handshakes.lock();
        if let Some(n) = state.by_source.get_mut(&self.source) {
            *n -= 1;
            if *n == 0 {
                state.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_has_its_share_and_others_have_theirs() {
        let handshakes = Arc::new(Handshakes::default());
        let source = |last| IpAddr::from([192, 0, 2, last]);
        let mut open: Vec<UnderWay> =
            (0..PER_SOURCE_MAX).map(|_| handshakes.begin(source(1)).unwrap()).collect();
        assert!(handshakes.begin(source(1)).is_none());
        assert!(handshakes.begin("::ffff:192.0.2.1".parse().unwrap()).is_none(), "the same host");
        assert!(handshakes.begin(source(2)).is_some());
        open.pop();
        assert!(handshakes.begin(source(1)).is_some());
        open.clear();
        assert!(handshakes.lock().by_source.is_empty());
    }

    #[test]
    fn a_flood_of_refusals_is_counted_and_not_written() {
        let handshakes = Handshakes::default();
        let began = Instant::now();
        for _ in 0..1_000 {
            handshakes.refused("192.0.2.1:5", "no TLS", began);
        }
        let said = |state: &State| (state.said, state.unsaid);
        assert_eq!(said(&handshakes.lock()), (SAID_MAX, 1_000 - SAID_MAX));
        handshakes.refused("192.0.2.1:5", "no TLS", began + SAID_IN);
        assert_eq!(said(&handshakes.lock()), (1, 0));
    }
}
