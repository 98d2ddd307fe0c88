//! What answers on a host: TCP services that accept and hang up, and a UDP socket that counts.
//!
//! One thread per host. The services speak no protocol: whether a connection comes about is the whole
//! answer.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::failed::{Context, Result};
use crate::lab::netns::Netns;

/// The services of every host, whatever it is for: what is closed must be closed by a ban.
pub const SERVICE_PORTS: [u16; 6] = [22, 25, 80, 443, 465, 587];

/// The counting socket's port. No jail closes it: only what closes the whole host does.
pub const COUNTING_PORT: u16 = 4_000;

/// So often the thread looks whether it should end.
const STOP_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Longest queue of connections that wait to be accepted.
const BACKLOG_MAX: i32 = 1_024;

/// The services of one host. They end when this is dropped.
pub struct Listeners {
    counted: Arc<Mutex<BTreeMap<IpAddr, u64>>>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listeners {
    /// Opens the services inside.
    ///
    /// # Errors
    /// When a port cannot be opened.
    pub fn open(netns: &Netns) -> Result<Listeners> {
        let (services, counter) = netns.run(|| {
            let services =
                SERVICE_PORTS.iter().map(|port| service(*port)).collect::<Result<Vec<Socket>>>()?;
            Ok((services, counting_socket()?))
        })?;
        let counted = Arc::new(Mutex::new(BTreeMap::new()));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (counted, is_stopping) = (Arc::clone(&counted), Arc::clone(&is_stopping));
            move || {
                while !is_stopping.load(Ordering::Relaxed) {
                    serve(&services, &counter, &counted);
                }
            }
        });
        Ok(Listeners { counted, is_stopping, thread: Some(thread) })
    }

    /// How many packets the counting socket has received, by source.
    #[must_use]
    pub fn counted(&self) -> BTreeMap<IpAddr, u64> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It panics at nothing; and if it did, the test has failed elsewhere.
            let _ = thread.join();
        }
    }
}

/// One round: waits for something to happen, and takes everything that has.
fn serve(services: &[Socket], counter: &Socket, counted: &Mutex<BTreeMap<IpAddr, u64>>) {
    let mut ready: Vec<PollFd<'_>> = services
        .iter()
        .chain([counter])
        .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN))
        .collect();
    // Interrupted or not: the next round looks again.
    let _ = poll(&mut ready, Some(&STOP_INTERVAL));
    for service in services {
        // Accepted and dropped: that is the hanging up.
        while service.accept().is_ok() {}
    }
    let mut buffer = [std::mem::MaybeUninit::uninit(); 64];
    while let Ok((_, source)) = counter.recv_from(&mut buffer) {
        if let Some(source) = source.as_socket() {
            let source = source.ip().to_canonical();
            *counted.lock().unwrap_or_else(PoisonError::into_inner).entry(source).or_default() += 1;
        }
    }
}

/// A socket for both families that accepts connections.
fn service(port: u16) -> Result<Socket> {
    let open = || {
        let socket = Socket::new(Domain::IPV6, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_only_v6(false)?;
        socket.set_reuse_address(true)?;
        socket.bind(&any(port))?;
        socket.listen(BACKLOG_MAX)?;
        Ok::<Socket, std::io::Error>(socket)
    };
    open().context(|| format!("cannot listen on TCP port {port} of a lab's host"))
}

fn counting_socket() -> Result<Socket> {
    let open = || {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        socket.set_only_v6(false)?;
        socket.bind(&any(COUNTING_PORT))?;
        Ok::<Socket, std::io::Error>(socket)
    };
    open().context(|| format!("cannot listen on UDP port {COUNTING_PORT} of a lab's host"))
}

fn any(port: u16) -> SockAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into()
}
