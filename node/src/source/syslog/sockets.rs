//! The sockets that messages come to, and the streams of those who have connected.
//!
//! A port that is taken by somebody else is tried again. Not for who may send (`senders.rs`), nor for what is done with
//! messages.

use super::framing::Framing;
use super::senders::Senders;
use rustix::net::sockopt;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// How long after a failure a port is tried again.
const AGAIN_AFTER_MS: u64 = 5_000;
/// So many streams at once, and so many of one sender.
const STREAMS_MAX: usize = 512;
const STREAMS_PER_SENDER_MAX: usize = 32;
/// After so many datagrams another source has its turn.
const DATAGRAMS_PER_TURN: u32 = 2_000;
/// So many streams have a turn before files have one, and each of them so many bytes.
const STREAMS_PER_TURN: usize = 16;
const STREAM_BYTES_PER_TURN: usize = 64 * 1024;
/// So many are let in before others have a turn.
const ACCEPTED_PER_TURN: u32 = 64;
/// After so many seconds of silence a host is asked whether it is there, so often and so many times before it is given up.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);
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
    if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)?;
    }
    Ok(socket)
}

/// Opens a port for streams.
pub(super) fn open_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the datagrams that are there, up to a bound, or until `datagram` says no. True when there may be more.
pub(super) fn read_datagrams(
    socket: &UdpSocket,
    block: &mut [u8],
    mut datagram: impl FnMut(&[u8], IpAddr) -> bool,
) -> io::Result<bool> {
    for _ in 0..DATAGRAMS_PER_TURN {
        match socket.recv_from(block) {
            Ok((n_bytes, sender)) => {
                if !datagram(&block[..n_bytes], sender.ip().to_canonical()) {
                    return Ok(true);
                }
            }
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
    /// CLOCK_BOOTTIME in ms of the last that came.
    last_ms: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: BTreeMap<RawFd, Stream>,
    /// The one that had the last turn.
    last: RawFd,
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
        for _ in 0..ACCEPTED_PER_TURN {
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
            let of_sender = self.open.iter().filter(|(_, stream)| stream.sender == sender);
            let n_of_sender = of_sender.clone().count();
            if n_of_sender >= STREAMS_PER_SENDER_MAX {
                // It has probably lost that one without a word.
                let silent = of_sender.min_by_key(|(_, stream)| stream.last_ms).map(|(fd, _)| *fd);
                silent.and_then(|fd| self.open.remove(&fd));
            } else if self.open.len() >= STREAMS_MAX {
                senders.refuse("512 connections are the most", sender, now_ms);
                continue;
            }
            socket.set_nonblocking(true)?;
            // Of a host that is gone without a word nothing comes any more.
            keep_alive(&socket)?;
            let stream = Stream { socket, sender, framing: Framing::default(), last_ms: now_ms };
            self.open.insert(stream.socket.as_raw_fd(), stream);
        }
        Ok(())
    }

    /// Those whose turn it is, of those that are ready; and whether there are others.
    pub(super) fn turn(&mut self, ready: &BTreeSet<RawFd>) -> (Vec<RawFd>, bool) {
        let is_ready = |fd: &RawFd| ready.contains(fd);
        let behind = self.open.range(self.last + 1..).map(|(fd, _)| *fd);
        let before = self.open.range(..=self.last).map(|(fd, _)| *fd);
        let mut turn: Vec<RawFd> = behind.chain(before).filter(is_ready).take(STREAMS_PER_TURN + 1).collect();
        let are_others = turn.len() > STREAMS_PER_TURN;
        turn.truncate(STREAMS_PER_TURN);
        self.last = turn.last().copied().unwrap_or(self.last);
        (turn, are_others)
    }

    /// Reads what one of them has sent, up to a bound. True when there may be more.
    pub(super) fn read(
        &mut self,
        fd: RawFd,
        block: &mut [u8],
        now_ms: u64,
        mut message: impl FnMut(&[u8], IpAddr),
    ) -> bool {
        let Some(stream) = self.open.get_mut(&fd) else { return false };
        let sender = stream.sender;
        let n_bytes_max = block.len().min(STREAM_BYTES_PER_TURN);
        match stream.socket.read(&mut block[..n_bytes_max]) {
            Ok(n_read @ 1..) => {
                stream.last_ms = now_ms;
                stream.framing.read(&block[..n_read], |text| message(text, sender));
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => false,
            Ok(0) | Err(_) => {
                stream.framing.end(|text| message(text, sender));
                self.open.remove(&fd);
                false
            }
        }
    }
}

/// Of a host that is gone without a word nothing comes any more.
fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    let (idle, interval, count) = KEEPALIVE;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, idle)?;
    sockopt::set_tcp_keepintvl(socket, interval)?;
    Ok(sockopt::set_tcp_keepcnt(socket, count)?)
}
