//! How expressions are searched for quickly: one automaton over bytes says which expressions of a list can
//! match at all, and only those are searched for exactly.
//!
//! Nothing here knows what an expression is for. What is found never depends on this module, only how soon:
//! the automaton may say yes too often and never no too often. In the order of suggested reading: how an
//! expression is reduced to bytes, how one that needs backtracking is loosened until it is linear, or
//! written in branches when that means the same, which
//! texts must stand in a line, the automaton.

pub mod branches;
pub mod bytes;
pub mod head;
pub mod loosen;
pub mod required;
pub mod screen;

pub mod exact;
