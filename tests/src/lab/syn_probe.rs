//! Measures when a host stops answering an address: TCP SYN packets at a steady pace, each with its
//! number in it, and which of them were answered.
//!
//! The block begins between the last packet that was answered and the first that was not, so the pace
//! is the resolution. Nothing here asks the host what it believes: only packets count.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::failed::{Context, Failed, Result, expect};
use crate::lab::netns::Netns;

/// A TCP header without options, RFC 9293 §3.1.
const HEADER_BYTES: usize = 20;
/// Bits of its flags.
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
/// The first source port; each packet takes the next of so many, for each is a connection of its own.
const FIRST_PORT: u16 = 20_000;
const N_PORTS: u32 = 40_000;
/// An answer that takes longer is none.
const ANSWER_MAX: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// So many packets in a row without an answer end a measurement early.
const SILENT_PACKETS_ENOUGH: usize = 100;
/// A running measurement of one source against one destination.
pub struct SynProbe {
    is_answered: Arc<AtomicBool>,
    thread: JoinHandle<Result<Trace>>,
    about: (IpAddr, SocketAddr),
}

/// What was sent, and what of it was answered.
pub struct Trace {
    about: (IpAddr, SocketAddr),
    sent_at: Vec<Instant>,
    is_answered: Vec<bool>,
}

impl SynProbe {
    /// Begins to send, one packet per `pace`, until the host is silent, but not longer than `at_most`.
    ///
    /// # Errors
    /// When there is no raw socket for this source.
    pub fn start(
        attacker: &Netns,
        from: IpAddr,
        to: SocketAddr,
        pace: Duration,
        at_most: Duration,
    ) -> Result<SynProbe> {
        let (sender, receiver) = attacker.run(|| {
            let open = || Ok::<(Socket, Socket), io::Error>((raw_socket(from)?, raw_socket(from)?));
            open().context(|| format!("cannot open a raw socket for {from}"))
        })?;
        let is_answered = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let is_answered = Arc::clone(&is_answered);
            move || probe((&sender, &receiver), (from, to), pace, at_most, &is_answered)
        });
        Ok(SynProbe { is_answered, thread, about: (from, to) })
    }

    /// Expects that the host has answered a packet by now.
    ///
    /// # Errors
    /// When it has not.
    pub fn expect_answered(&self) -> Result<()> {
        let (from, to) = self.about;
        expect(self.is_answered.load(Ordering::Relaxed), || format!("{to} has not answered {from}"))
    }

    /// Waits for the end of the measurement, and returns what was seen.
    ///
    /// # Errors
    /// When the sockets failed.
    pub fn finish(self) -> Result<Trace> {
        let (from, to) = self.about;
        self.thread.join().map_err(|_| Failed(format!("the probe from {from} to {to} panicked")))?
    }
}

impl Trace {
    /// How long after `event` the first packet was sent that got no answer, and after which none did.
    ///
    /// # Errors
    /// When the host was silent before, or never was.
    pub fn silent_after(&self, event: Instant) -> Result<Duration> {
        let (from, to) = self.about;
        let last_answered = self
            .is_answered
            .iter()
            .rposition(|answered| *answered)
            .ok_or_else(|| Failed(format!("{to} never answered {from}")))?;
        let first_silent = self
            .sent_at
            .get(last_answered + 1)
            .ok_or_else(|| Failed(format!("{to} still answers {from}")))?;
        let n_silent = self.sent_at.len() - last_answered - 1;
        expect(n_silent >= SILENT_PACKETS_ENOUGH, || {
            format!("{to} was silent to {from} for only {n_silent} packets")
        })?;
        first_silent
            .checked_duration_since(event)
            .ok_or_else(|| Failed(format!("{to} was silent to {from} too early")))
    }
}

/// Sends and receives in turns on one thread: what was sent is noted before it can be answered.
fn probe(
    (sender, receiver): (&Socket, &Socket),
    (from, to): (IpAddr, SocketAddr),
    pace: Duration,
    at_most: Duration,
    has_answered: &AtomicBool,
) -> Result<Trace> {
    let began = Instant::now();
    let mut trace = Trace { about: (from, to), sent_at: Vec::new(), is_answered: Vec::new() };
    let mut n_silent = 0;
    while n_silent < SILENT_PACKETS_ENOUGH * 2 && began.elapsed() < at_most {
        let number = u32::try_from(trace.sent_at.len()).context(|| "too many packets".to_owned())?;
        let packet = syn(from, to, number);
        // A raw socket of IPv6 takes no port: ipv6(7) says it must be zero.
        trace.sent_at.push(Instant::now());
        trace.is_answered.push(false);
        sender
            .send_to(&packet, &SocketAddr::new(to.ip(), 0).into())
            .context(|| format!("cannot send from {from} to {to}"))?;
        let next = began + pace * (number + 1);
        let wait = next.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(wait).context(|| "a pace beyond all bounds".to_owned())?;
        take_answers(receiver, to, &mut trace.is_answered, &timeout)?;
        let wait = next.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        n_silent = trace.is_answered.iter().rev().take_while(|answered| !**answered).count();
        has_answered.fetch_or(n_silent < trace.is_answered.len(), Ordering::Relaxed);
    }
    take_answers(receiver, to, &mut trace.is_answered, &ANSWER_MAX)?;
    Ok(trace)
}

/// Waits for an answer at most so long, and takes all that are there.
fn take_answers(
    receiver: &Socket,
    to: SocketAddr,
    is_answered: &mut [bool],
    timeout: &Timespec,
) -> Result<()> {
    let mut polled = [PollFd::from_borrowed_fd(receiver.as_fd(), PollFlags::IN)];
    poll(&mut polled, Some(timeout)).context(|| "cannot wait for answers".to_owned())?;
    let mut buffer = [std::mem::MaybeUninit::uninit(); 256];
    while let Ok((n_bytes, source)) = receiver.recv_from(&mut buffer) {
        if source.as_socket().is_none_or(|source| source.ip() != to.ip()) {
            continue;
        }
        // SAFETY: the kernel has written that many bytes.
        let bytes: Vec<u8> = buffer[..n_bytes].iter().map(|byte| unsafe { byte.assume_init() }).collect();
        // IPv4's raw sockets deliver the IP header too, raw(7); IPv6's do not, RFC 3542 §3.
        let header_bytes = if to.is_ipv4() { usize::from(bytes[0] & 0x0f) * 4 } else { 0 };
        let tcp = &bytes[header_bytes.min(bytes.len())..];
        if tcp.len() < HEADER_BYTES || u16::from_be_bytes([tcp[0], tcp[1]]) != to.port() {
            continue;
        }
        if tcp[13] & (SYN | RST) == 0 {
            continue;
        }
        let acknowledged = u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]);
        if let Some(answered) = is_answered.get_mut(acknowledged.wrapping_sub(1) as usize) {
            *answered = true;
        }
    }
    Ok(())
}

fn raw_socket(from: IpAddr) -> io::Result<Socket> {
    let domain = if from.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    Ok(socket)
}

/// The first packet of a connection; its sequence number is the packet's number.
fn syn(from: IpAddr, to: SocketAddr, number: u32) -> [u8; HEADER_BYTES] {
    // Below N_PORTS, so it fits.
    let port = FIRST_PORT + u16::try_from(number % N_PORTS).unwrap_or(0);
    let mut packet = [0; HEADER_BYTES];
    packet[0..2].copy_from_slice(&port.to_be_bytes());
    packet[2..4].copy_from_slice(&to.port().to_be_bytes());
    packet[4..8].copy_from_slice(&number.to_be_bytes());
    packet[12] = 0x50; // five 32-bit words of header
    packet[13] = SYN;
    packet[14..16].copy_from_slice(&64_240_u16.to_be_bytes()); // a usual window
    let sum = checksum(from, to.ip(), &packet);
    packet[16..18].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// TCP's checksum with its pseudo header, RFC 9293 §3.1 and RFC 8200 §8.1.
fn checksum(from: IpAddr, to: IpAddr, packet: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    // Length and protocol: their sum is the same wherever the two families put them.
    bytes.extend([0, u8::try_from(packet.len()).unwrap_or(u8::MAX), 0, 6]);
    bytes.extend(packet);
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
