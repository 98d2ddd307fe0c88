//! How expressions are searched for quickly: one automaton says which expression of a list matches a text first, and
//! where its groups are; where there is none, another one says which can match at all, and only those are searched
//! for exactly.
//!
//! Nothing here knows what an expression is for. What is found never depends on which way is taken, only how
//! soon. In the order of suggested reading: how an expression is reduced to bytes, how text beyond ASCII becomes
//! one byte per character, how an expression that needs backtracking is loosened until it is linear, or written in
//! branches when that means the same, which texts must stand in a line, the two automata.

pub(crate) mod ascii;
pub(crate) mod begins;
pub mod branches;
pub mod bytes;
pub mod head;
pub mod loosen;
pub mod required;
pub mod screen;
pub(crate) mod symbols;
pub mod tagged;

pub mod exact;
