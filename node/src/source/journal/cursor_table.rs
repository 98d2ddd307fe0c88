//! From positions in a journal source back to the journal's own cursors, and their stored form.
//!
//! Positions count the bytes of the lines that were handed over. A cursor is kept for each piece that was read, so a place is
//! found again with the lines of one piece before it. Not for reading.

use crate::source::stored_place::StoredPlace;
use bannkreis_core::failure::SourcePosition;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

/// So many cursors are remembered; a position before the oldest has no stored form any more, so what is stored stays.
const CURSORS_MAX: usize = 1024;

/// The first byte of every stored place of a journal; the places of files begin with others.
const FORMAT: u8 = 0x40;

/// A place in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JournalPlace {
    /// Positions go on from here.
    pub(super) position: SourcePosition,
    /// The entry before it; none when the journal was empty.
    pub(super) cursor: Option<Arc<str>>,
}

impl JournalPlace {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.position.0.to_be_bytes());
        bytes.extend_from_slice(self.cursor.as_deref().unwrap_or_default().as_bytes());
        bytes
    }

    /// Reads the stored form; `None` when it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<JournalPlace> {
        let (&FORMAT, rest) = bytes.split_first()? else { return None };
        let (position, cursor) = rest.split_first_chunk::<8>()?;
        let cursor = std::str::from_utf8(cursor).ok()?;
        Some(JournalPlace {
            position: SourcePosition(u64::from_be_bytes(*position)),
            cursor: (!cursor.is_empty()).then(|| cursor.into()),
        })
    }
}

/// The cursors of one source.
#[derive(Debug)]
pub(super) struct CursorTable {
    /// The positions behind the entries of these cursors, oldest first.
    places: VecDeque<JournalPlace>,
    end: SourcePosition,
}

impl CursorTable {
    /// A table whose next line is behind `from`.
    pub(super) fn new(from: JournalPlace) -> CursorTable {
        CursorTable { end: from.position, places: VecDeque::from([from]) }
    }

    /// Where the next line will be.
    pub(super) fn end(&self) -> SourcePosition {
        self.end
    }

    /// A line of so many bytes has been handed over.
    pub(super) fn advance(&mut self, n_bytes: u64) {
        self.end.0 += n_bytes;
    }

    /// The last entry that was handed over, or passed over, has this cursor.
    pub(super) fn note(&mut self, cursor: &Arc<str>) {
        self.places.retain(|place| place.position != self.end);
        self.places.push_back(JournalPlace { position: self.end, cursor: Some(Arc::clone(cursor)) });
        if self.places.len() > CURSORS_MAX {
            self.places.pop_front();
        }
    }

    /// What to store so that the line at `position` is read again; `None` when that is forgotten.
    pub(super) fn stored_at(&self, name: &Path, position: SourcePosition) -> Option<StoredPlace> {
        let place = self.places.iter().rev().find(|place| place.position <= position)?;
        Some(StoredPlace { name: name.to_owned(), bytes: place.encode() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(position: u64, cursor: Option<&str>) -> JournalPlace {
        JournalPlace { position: SourcePosition(position), cursor: cursor.map(Into::into) }
    }

    fn stored(table: &CursorTable, position: u64) -> Option<JournalPlace> {
        let stored = table.stored_at(Path::new("journal:"), SourcePosition(position))?;
        JournalPlace::decode(&stored.bytes)
    }

    #[test]
    fn a_position_leads_to_the_cursor_before_it() {
        let mut table = CursorTable::new(place(100, None));
        table.advance(10);
        table.note(&"a".into());
        table.advance(10);
        table.note(&"b".into());
        table.note(&"c".into());
        assert_eq!(table.end(), SourcePosition(120));
        assert_eq!(stored(&table, 99), None);
        assert_eq!(stored(&table, 109), Some(place(100, None)));
        assert_eq!(stored(&table, 110), Some(place(110, Some("a"))));
        assert_eq!(stored(&table, 119), Some(place(110, Some("a"))));
        assert_eq!(stored(&table, 120), Some(place(120, Some("c"))));
    }

    #[test]
    fn the_oldest_cursors_are_forgotten_at_the_bound() {
        let mut table = CursorTable::new(place(0, None));
        for _ in 0..CURSORS_MAX {
            table.advance(1);
            table.note(&"x".into());
        }
        assert_eq!(stored(&table, 0), None);
        assert_eq!(stored(&table, 1), Some(place(1, Some("x"))));
    }

    #[test]
    fn what_is_no_place_of_a_journal_is_not_read_as_one() {
        for bytes in [
            &[][..],
            &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[FORMAT, 0, 0],
            &[FORMAT, 0, 0, 0, 0, 0, 0, 0, 0, 0xff],
        ] {
            assert_eq!(JournalPlace::decode(bytes), None, "{bytes:?}");
        }
    }
}
