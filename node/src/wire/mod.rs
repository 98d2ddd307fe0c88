//! The port on which nodes talk to each other: who is who, what each of them last said of itself, and the
//! one-way messages between wardens.
//!
//! Not for what the messages mean (the warden, openraft), nor for operators (`control`). Identity is
//! claimed, not proved, in this release's only mode, which is called `insecure` and says so.

mod connect;
mod heartbeat;
mod links;
mod listen;

pub use connect::PlainConnect;
pub use heartbeat::{HEARTBEAT_INTERVAL, PeerFacts, PeerTable, SelfFacts};
pub use links::{Links, Member};
pub use listen::{Listener, PeersService, serve};
