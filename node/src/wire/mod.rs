//! The port on which nodes talk to each other: who is who, what each of them last said of itself, and the
//! one-way messages between wardens.
//!
//! Not for what the messages mean (the warden, openraft), nor for operators (`control`), nor for keys and
//! certificates (`pki`). In the mode that is called `insecure`, identity is claimed and not proved.

mod admission;
mod connect;
mod connections;
mod handshakes;
mod heartbeat;
mod identify;
mod links;
mod listen;
mod membership;
mod secured;
mod signing;
mod tls;

pub use admission::{Applicant, Knock, NotLetIn, ask_to_be_let_in};
pub use connect::PlainConnect;
pub use heartbeat::{HEARTBEAT_INTERVAL, PeerFacts, PeerTable, SelfFacts};
pub use links::{Links, Member};
pub use listen::{Listener, PeersService, Security, serve};
pub use membership::follow_members;
pub use signing::{ask_for_authority, ask_to_sign, is_voter};
pub use tls::Tls;

/// Notices in one message; more are a broken or hostile peer's.
const NOTICES_PER_MESSAGE_MAX: usize = 1_000;
/// Reports in one message; more are a broken or hostile peer's.
const REPORTS_PER_MESSAGE_MAX: usize = 1_000;

#[cfg(test)]
mod tests;
