//! Requests on their way into the log together: packed into entries going out, and each one's results
//! picked out again coming back.
//!
//! Not for writing (`proposer.rs`): nothing here waits or knows openraft but for its refusals.

use crate::proposer::{ENTRY_BYTES_MAX, LocalError, LocalResult, Proposed, Request, unknown};
use crate::types::TypeConfig;
use bannkreis_core::change::OpResult;
use bannkreis_core::command::Op;
use bannkreis_core::ids::Position;
use bannkreis_proto::convert::EncodedOp;
use openraft::errors::ClientWriteError;
use tokio::sync::oneshot;

/// An entry is closed when it holds this many bans.
const ENTRY_BANS_MAX: usize = 100;

fn n_bans(op: &Op) -> usize {
    match op {
        Op::Import { bans, .. } => bans.len().max(1),
        _ => 1,
    }
}

/// Requests on their way, packed into entries.
#[derive(Default)]
pub(crate) struct Flight {
    requests: Vec<InFlight>,
    pub(crate) entries: Vec<EntryInFlight>,
    /// Entries of which the outcome is known, from the first one on.
    n_settled: usize,
    /// Those of them that are in the log.
    pub(crate) n_written: usize,
}

struct InFlight {
    answer: oneshot::Sender<LocalResult>,
    results: Vec<OpResult>,
    position: Position,
    error: Option<LocalError>,
}

#[derive(Default)]
pub(crate) struct EntryInFlight {
    pub(crate) ops: Vec<EncodedOp>,
    n_bans: usize,
    n_bytes: usize,
    /// Whose operations these are: (request, how many), in order. The clocks are nobody's.
    shares: Vec<(usize, usize)>,
    has_tick: bool,
}

impl Flight {
    pub(crate) fn take(&mut self, request: Request) {
        let number = self.requests.len();
        let position = Position::default();
        self.requests.push(InFlight { answer: request.answer, results: Vec::new(), position, error: None });
        for op in request.ops {
            let (bans, bytes) = (n_bans(op.op()), op.n_bytes());
            let has_room = self.entries.last().is_some_and(|entry| {
                entry.n_bans + bans <= ENTRY_BANS_MAX && entry.n_bytes + bytes <= ENTRY_BYTES_MAX
            });
            if !has_room {
                self.entries.push(EntryInFlight::default());
            }
            let Some(entry) = self.entries.last_mut() else { continue };
            entry.ops.push(op);
            entry.n_bans += bans;
            entry.n_bytes += bytes;
            match entry.shares.last_mut() {
                Some((last, n_ops)) if *last == number => *n_ops += 1,
                _ => entry.shares.push((number, 1)),
            }
        }
    }

    pub(crate) fn put_first(&mut self, tick: EncodedOp) {
        if self.entries.is_empty() {
            self.entries.push(EntryInFlight::default());
        }
        self.entries[0].ops.insert(0, tick);
        self.entries[0].has_tick = true;
    }

    pub(crate) fn next_written(&mut self, position: Position, results: Vec<OpResult>) {
        let Some(entry) = self.entries.get(self.n_settled) else { return };
        let mut results = results.into_iter().skip(usize::from(entry.has_tick));
        for (number, n_ops) in &entry.shares {
            let request = &mut self.requests[*number];
            request.results.extend(results.by_ref().take(*n_ops));
            request.position = position;
        }
        if entry.shares.is_empty() {
            // The clocks only: those who asked for them have no operations.
            self.requests.iter_mut().for_each(|request| request.position = position);
        }
        self.n_settled += 1;
        self.n_written += 1;
    }

    pub(crate) fn next_failed(&mut self, error: &ClientWriteError<TypeConfig>) {
        match error {
            ClientWriteError::ForwardToLeader(_) => self.fail_next(&|| LocalError::NotLeader),
            other => self.fail_next(&|| unknown(&other.to_string())),
        }
    }

    fn fail_next(&mut self, error: &dyn Fn() -> LocalError) {
        let Some(entry) = self.entries.get(self.n_settled) else { return };
        for (number, _) in &entry.shares {
            let request = &mut self.requests[*number];
            // "Nothing was written" is not true of a request of which a part was written.
            let is_partly_written = !request.results.is_empty();
            request.error.get_or_insert_with(|| {
                if is_partly_written { unknown("only a part of it was written") } else { error() }
            });
        }
        if entry.shares.is_empty() {
            self.requests.iter_mut().for_each(|request| request.error = Some(error()));
        }
        self.n_settled += 1;
    }

    pub(crate) fn fail_rest(&mut self, error: &dyn Fn() -> LocalError) {
        while self.n_settled < self.entries.len() {
            self.fail_next(error);
        }
    }

    pub(crate) fn answer_all(self, error: &dyn Fn() -> LocalError) {
        for request in self.requests {
            drop(request.answer.send(Err(error())));
        }
    }

    pub(crate) fn succeed(mut self, position: Position) {
        self.requests.iter_mut().for_each(|request| request.position = position);
        self.answer();
    }

    /// A caller that has gone away needs no answer.
    pub(crate) fn answer(self) {
        for request in self.requests {
            let outcome = match request.error {
                Some(error) => Err(error),
                None => Ok(Proposed { position: request.position, results: request.results }),
            };
            drop(request.answer.send(outcome));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proposer::ProposeError;
    use bannkreis_core::ids::NodeId;
    use bannkreis_core::time::Timestamp;

    fn request(n_ops: usize) -> (Request, oneshot::Receiver<LocalResult>) {
        let (answer, outcome) = oneshot::channel();
        (Request { ops: vec![EncodedOp::new(Op::Sweep); n_ops], answer }, outcome)
    }

    fn position(index: u64) -> Position {
        Position { generation: 1, index }
    }

    #[test]
    fn requests_share_entries_and_each_gets_its_own_results() {
        let mut flight = Flight::default();
        let (first, mut first_outcome) = request(70);
        let (second, mut second_outcome) = request(60);
        flight.take(first);
        flight.take(second);
        flight.put_first(EncodedOp::new(Op::Tick { readings: vec![(NodeId(1), Timestamp(5))] }));
        let sizes: Vec<usize> = flight.entries.iter().map(|entry| entry.ops.len()).collect();
        assert_eq!(sizes, [101, 30]);
        flight.next_written(position(8), vec![OpResult::Silent; 101]);
        flight.next_written(position(9), vec![OpResult::Silent; 30]);
        flight.answer();
        let first = first_outcome.try_recv().unwrap().unwrap();
        assert_eq!((first.position, first.results.len()), (position(8), 70));
        let second = second_outcome.try_recv().unwrap().unwrap();
        assert_eq!((second.position, second.results.len()), (position(9), 60));
    }

    #[test]
    fn what_is_partly_written_is_unknown_and_what_is_not_written_may_be_tried_again() {
        let mut flight = Flight::default();
        let (first, mut first_outcome) = request(150);
        let (second, mut second_outcome) = request(100);
        flight.take(first);
        flight.take(second);
        assert_eq!(flight.entries.len(), 3);
        flight.next_written(position(8), vec![OpResult::Silent; 100]);
        flight.fail_rest(&|| LocalError::NotLeader);
        flight.answer();
        let first = first_outcome.try_recv().unwrap().unwrap_err();
        assert!(matches!(first, LocalError::Failed(ProposeError::Unknown { .. })), "{first:?}");
        let second = second_outcome.try_recv().unwrap().unwrap_err();
        assert!(matches!(second, LocalError::NotLeader), "{second:?}");
    }
}
