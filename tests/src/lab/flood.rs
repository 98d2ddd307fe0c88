//! A flood of UDP packets from many sources to the counting sockets of the hosts, without a pause.
//!
//! For proving that nothing gets through; how fast it is does not matter.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::failed::{Context, Result};
use crate::lab::netns::Netns;

/// Between two rounds through all sources: the daemons under test need the processors too.
const ROUND_INTERVAL: Duration = Duration::from_millis(2);

/// A running flood. It ends when this is dropped.
pub struct Flood {
    n_sent: Arc<AtomicU64>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Begins to send from each source to each destination, round after round.
    ///
    /// # Errors
    /// When a source is not the attacker's.
    pub fn start(attacker: &Netns, sources: &[IpAddr], destinations: &[SocketAddr]) -> Result<Flood> {
        let sockets = attacker.run(|| {
            sources
                .iter()
                .map(|source| {
                    UdpSocket::bind((*source, 0)).context(|| format!("cannot send packets from {source}"))
                })
                .collect::<Result<Vec<UdpSocket>>>()
        })?;
        let destinations = destinations.to_vec();
        let n_sent = Arc::new(AtomicU64::new(0));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (n_sent, is_stopping) = (Arc::clone(&n_sent), Arc::clone(&is_stopping));
            move || {
                while !is_stopping.load(Ordering::Relaxed) {
                    n_sent.fetch_add(round(&sockets, &destinations), Ordering::Relaxed);
                    std::thread::sleep(ROUND_INTERVAL);
                }
            }
        });
        Ok(Flood { n_sent, is_stopping, thread: Some(thread) })
    }

    /// How many packets have been sent.
    #[must_use]
    pub fn n_sent(&self) -> u64 {
        self.n_sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panics at nothing; and if it did, the count of packets shows it.
            let _ = thread.join();
        }
    }
}

/// One packet from each source to each destination of its family: how many went out.
fn round(sockets: &[UdpSocket], destinations: &[SocketAddr]) -> u64 {
    let mut n_sent = 0;
    for socket in sockets {
        let is_v4 = socket.local_addr().is_ok_and(|address| address.is_ipv4());
        for destination in destinations.iter().filter(|destination| destination.is_ipv4() == is_v4) {
            n_sent += u64::from(socket.send_to(b"flood", destination).is_ok());
        }
    }
    n_sent
}
