//! Where a message ends in a stream of TCP (RFC 6587): behind as many bytes as are told in front of it, or at a line end.
//!
//! Each message may use either, as senders do. Not for what is in a message.

use bannkreis_core::failure::LINE_BYTES_MAX;

/// So much of a message is kept: a line, and what stands in a message beside it.
pub(super) const MESSAGE_BYTES_MAX: usize = LINE_BYTES_MAX + 4 * 1024;

/// A length has so many digits at most.
const DIGITS_MAX: usize = 7;

/// What has come of the messages of one connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    held: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// A message begins.
    #[default]
    Between,
    /// It has so many bytes.
    Counted(usize),
    /// It ends at a line end.
    Line,
    /// The rest of one that is too long, of so many bytes.
    SkipCounted(usize),
    /// The rest of one that is too long, to a line end.
    SkipLine,
}

impl Framing {
    /// Takes the next bytes in, and gives each message that has come to its end, cut to [`MESSAGE_BYTES_MAX`].
    pub(super) fn read(&mut self, piece: &[u8], mut message: impl FnMut(&[u8])) {
        self.held.extend_from_slice(piece);
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        while let Some((state, after)) = step(self.state, rest, &mut message) {
            (self.state, rest) = (state, after);
        }
        let n_read = held.len() - rest.len();
        self.held = held;
        self.held.drain(..n_read);
    }

    /// Nothing more comes: gives the last message when it has no line end.
    pub(super) fn end(&mut self, mut message: impl FnMut(&[u8])) {
        if matches!(self.state, State::Line | State::Between) && !self.held.is_empty() {
            message(&self.held);
        }
        *self = Framing::default();
    }
}

/// The next state and what is left of `rest`; `None` when there is too little of it.
fn step<'r>(state: State, rest: &'r [u8], message: &mut impl FnMut(&[u8])) -> Option<(State, &'r [u8])> {
    let first = *rest.first()?;
    match state {
        // What some senders write behind a message.
        State::Between if b"\n\r\0".contains(&first) => Some((State::Between, &rest[1..])),
        State::Between if (b'1'..=b'9').contains(&first) => {
            let n_digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            match rest.get(n_digits) {
                None if n_digits <= DIGITS_MAX => None,
                Some(b' ') if n_digits <= DIGITS_MAX => {
                    let length =
                        rest[..n_digits].iter().fold(0, |sum, byte| sum * 10 + usize::from(byte - b'0'));
                    Some((State::Counted(length), &rest[n_digits + 1..]))
                }
                _ => Some((State::Line, rest)),
            }
        }
        State::Between => Some((State::Line, rest)),
        State::Counted(length) if length <= MESSAGE_BYTES_MAX => {
            message(rest.get(..length)?);
            Some((State::Between, &rest[length..]))
        }
        State::Counted(length) => {
            message(rest.get(..MESSAGE_BYTES_MAX)?);
            Some((State::SkipCounted(length - MESSAGE_BYTES_MAX), &rest[MESSAGE_BYTES_MAX..]))
        }
        State::Line => match memchr::memchr(b'\n', &rest[..rest.len().min(MESSAGE_BYTES_MAX)]) {
            Some(end) => {
                message(&rest[..end]);
                Some((State::Between, &rest[end + 1..]))
            }
            None => {
                message(rest.get(..MESSAGE_BYTES_MAX)?);
                Some((State::SkipLine, &rest[MESSAGE_BYTES_MAX..]))
            }
        },
        State::SkipCounted(left) => {
            let n_here = left.min(rest.len());
            let state = if n_here == left { State::Between } else { State::SkipCounted(left - n_here) };
            Some((state, &rest[n_here..]))
        }
        State::SkipLine => match memchr::memchr(b'\n', rest) {
            Some(end) => Some((State::Between, &rest[end + 1..])),
            None => Some((State::SkipLine, &[])),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In pieces of every size.
    fn messages(stream: &[u8]) -> Vec<Vec<u8>> {
        let of_pieces = |size: usize| {
            let (mut framing, mut messages) = (Framing::default(), Vec::new());
            for piece in stream.chunks(size) {
                framing.read(piece, |message| messages.push(message.to_vec()));
            }
            framing.end(|message| messages.push(message.to_vec()));
            messages
        };
        let whole = of_pieces(stream.len());
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(of_pieces(size), whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn both_framings_may_follow_each_other() {
        assert_eq!(
            messages(b"<1>a\n5 <1>b\n6 <1>c d<1>e f\n\n3 <1>\0\n"),
            [&b"<1>a"[..], b"<1>b\n", b"<1>c d", b"<1>e f", b"<1>"]
        );
        // Not every number is a length.
        assert_eq!(messages(b"2026-11-22T05:30:08 x\n"), [b"2026-11-22T05:30:08 x"]);
        assert_eq!(messages(b"12345678 z\n"), [b"12345678 z"]);
        // Of one that is told to be longer nothing is taken.
        assert!(messages(b"9 <1>g").is_empty());
        assert_eq!(messages(b"<1>no end"), [b"<1>no end"]);
    }

    #[test]
    fn a_message_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        let long = vec![b'x'; 3 * MESSAGE_BYTES_MAX];
        for stream in [
            [&long[..], b"\n<1>a\n"].concat(),
            [format!("{} ", long.len()).as_bytes(), &long, b"4 <1>a"].concat(),
        ] {
            let found = messages(&stream);
            assert_eq!(found.len(), 2);
            assert_eq!((found[0].len(), &found[1][..]), (MESSAGE_BYTES_MAX, &b"<1>a"[..]));
        }
    }
}
