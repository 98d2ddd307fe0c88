//! The open connections and whose key each of them shows, so that they can be ended when a key is revoked.
//!
//! Ending one shuts its socket down in both directions: every call and every stream on it ends at once, here
//! and there. Not for the decision whose key is out: the ban list's.

use crate::pki::Fingerprint;
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;

/// Open at most, both ways together; further ones are closed after their handshake.
const CONNECTIONS_MAX: usize = 512;
/// Of these, at most so many without a certificate.
const STRANGERS_MAX: usize = 16;

struct Open {
    /// What the other end has shown; `None` when it has no certificate.
    key: Option<Fingerprint>,
    socket: std::net::TcpStream,
}

/// All connections of one life of a node.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<(u64, BTreeMap<u64, Open>)>,
}

/// A connection is listed for as long as this lives.
pub(super) struct Listed {
    number: u64,
    connections: Arc<Connections>,
}

impl Connections {
    /// Lists a connection whose other end has shown `key`, or no certificate.
    pub(super) fn list(
        self: &Arc<Self>,
        key: Option<Fingerprint>,
        socket: &TcpStream,
    ) -> Result<Listed, String> {
        let socket = socket.as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
        let mut open = self.lock();
        if open.1.len() >= CONNECTIONS_MAX {
            return Err(format!("there are {CONNECTIONS_MAX} connections already"));
        }
        if key.is_none() && open.1.values().filter(|open| open.key.is_none()).count() >= STRANGERS_MAX {
            return Err(format!("there are {STRANGERS_MAX} connections without a certificate already"));
        }
        open.0 += 1;
        let number = open.0;
        open.1.insert(number, Open { key, socket: socket.into() });
        Ok(Listed { number, connections: self.clone() })
    }

    /// Ends all connections whose key `is_out`.
    pub(super) fn cut(&self, is_out: impl Fn(Fingerprint) -> bool) {
        for open in self.lock().1.values().filter(|open| open.key.is_some_and(&is_out)) {
            // It may have ended by itself.
            let _ = open.socket.shutdown(Shutdown::Both);
        }
    }

    fn end(&self, number: u64) {
        if let Some(open) = self.lock().1.get(&number) {
            let _ = open.socket.shutdown(Shutdown::Both);
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Open>)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listed {
    /// Ends the connection when `after` is over, if it is still there.
    pub(super) fn end_after(&self, after: Duration) {
        let (number, connections) = (self.number, Arc::downgrade(&self.connections));
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if let Some(connections) = connections.upgrade() {
                connections.end(number);
            }
        });
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.connections.lock().1.remove(&self.number);
    }
}
