//! The sockets that messages come to, and the streams of those who have connected.
//!
//! A port that is taken by somebody else is tried again. Not for who may send (`senders.rs`), nor for what is done with
//! messages.

use super::framing::Framing;
use super::senders::Senders;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// How long after a failure a port is tried again.
const AGAIN_AFTER_MS: u64 = 5_000;
/// So many streams at once, and so many of one sender.
const STREAMS_MAX: usize = 512;
const STREAMS_PER_SENDER_MAX: usize = 32;
/// After so many datagrams another source has its turn.
const DATAGRAMS_PER_TURN: u32 = 2_000;
/// After so many blocks of one stream another one has its turn.
const BLOCKS_PER_TURN: u32 = 4;
/// What the kernel keeps of datagrams while this thread is at work. A million bytes are some 800 messages there.
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// A port of one kind.
#[derive(Debug)]
pub(super) enum Port<S> {
    /// There is none.
    Off,
    /// It could not be opened.
    Waits { address: SocketAddr, again_at_ms: u64 },
    /// It is open.
    Open(S),
}

impl<S> Port<S> {
    pub(super) fn at(address: Option<SocketAddr>) -> Port<S> {
        address.map_or(Port::Off, |address| Port::Waits { address, again_at_ms: 0 })
    }

    /// When it is tried again, in ms of CLOCK_BOOTTIME.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        match self {
            Port::Waits { again_at_ms, .. } => Some(*again_at_ms),
            Port::Off | Port::Open(_) => None,
        }
    }

    /// Opens it, when it is time. Says what keeps it from being opened.
    pub(super) fn try_open(
        &mut self,
        kind: &str,
        now_ms: u64,
        open: impl FnOnce(SocketAddr) -> io::Result<S>,
    ) -> Option<Result<(), String>> {
        let Port::Waits { address, again_at_ms } = self else { return None };
        if *again_at_ms > now_ms {
            return None;
        }
        let address = *address;
        match open(address) {
            Ok(socket) => {
                *self = Port::Open(socket);
                Some(Ok(()))
            }
            Err(error) => {
                *again_at_ms = now_ms + AGAIN_AFTER_MS;
                let remedy = match error.kind() {
                    ErrorKind::AddrInUse => "end the program that listens there, or choose another port",
                    ErrorKind::PermissionDenied => {
                        "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another port"
                    }
                    ErrorKind::AddrNotAvailable => "no interface has this address yet",
                    _ => "it is tried again",
                };
                Some(Err(format!("syslog.{kind} = \"{address}\" can not be listened on: {error}; {remedy}")))
            }
        }
    }
}

/// Opens a port for datagrams, with room for many.
pub(super) fn open_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // Beyond the host's limit only with CAP_NET_ADMIN, which a node with a firewall has.
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES).is_err() {
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)?;
    }
    Ok(socket)
}

/// Opens a port for streams.
pub(super) fn open_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the datagrams that are there, up to a bound. True when there may be more.
pub(super) fn read_datagrams(
    socket: &UdpSocket,
    block: &mut [u8],
    mut datagram: impl FnMut(&[u8], IpAddr),
) -> io::Result<bool> {
    for _ in 0..DATAGRAMS_PER_TURN {
        match socket.recv_from(block) {
            Ok((n_bytes, sender)) => datagram(&block[..n_bytes], sender.ip().to_canonical()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            // Of an answer to nobody, or a signal.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// How many datagrams the kernel had no room for since the socket was opened (socket(7), `SO_MEMINFO`).
pub(super) fn n_lost(socket: &UdpSocket) -> u32 {
    /// `SK_MEMINFO_DROPS` of linux/sock_diag.h.
    const DROPS: usize = 8;
    let mut facts = [0_u32; DROPS + 1];
    let mut length = size_of_val(&facts) as libc::socklen_t;
    // SAFETY: the pointers are to a live array and its length in bytes, which the kernel does not exceed.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            facts.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome == 0 { facts[DROPS] } else { 0 }
}

/// Somebody who has connected.
#[derive(Debug)]
struct Stream {
    socket: TcpStream,
    sender: IpAddr,
    framing: Framing,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: BTreeMap<RawFd, Stream>,
}

impl Streams {
    pub(super) fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.open.keys().copied()
    }

    /// Takes in who has connected.
    pub(super) fn accept(
        &mut self,
        listener: &TcpListener,
        senders: &mut Senders,
        now_ms: u64,
    ) -> io::Result<()> {
        loop {
            let (socket, sender) = match listener.accept() {
                Ok((socket, sender)) => (socket, sender.ip().to_canonical()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !senders.may_send(sender, now_ms) {
                continue;
            }
            let n_of_sender = self.open.values().filter(|stream| stream.sender == sender).count();
            if self.open.len() >= STREAMS_MAX || n_of_sender >= STREAMS_PER_SENDER_MAX {
                senders.refuse("512 connections are the most, and 32 of one sender", sender, now_ms);
                continue;
            }
            socket.set_nonblocking(true)?;
            // Of a host that is gone without a word nothing comes any more.
            rustix::net::sockopt::set_socket_keepalive(socket.as_fd(), true)?;
            self.open.insert(socket.as_raw_fd(), Stream { socket, sender, framing: Framing::default() });
        }
    }

    /// Reads what one of them has sent, up to a bound. True when there may be more.
    pub(super) fn read(
        &mut self,
        fd: RawFd,
        block: &mut [u8],
        mut message: impl FnMut(&[u8], IpAddr),
    ) -> bool {
        let Some(stream) = self.open.get_mut(&fd) else { return false };
        let sender = stream.sender;
        for _ in 0..BLOCKS_PER_TURN {
            match stream.socket.read(block) {
                Ok(n_read @ 1..) => stream.framing.read(&block[..n_read], |text| message(text, sender)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    stream.framing.end(|text| message(text, sender));
                    self.open.remove(&fd);
                    return false;
                }
            }
        }
        true
    }
}
