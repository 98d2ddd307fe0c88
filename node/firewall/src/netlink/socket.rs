//! One conversation with the kernel's netfilter over a netlink socket.
//!
//! Everything the kernel has to say about a transaction or a question is in the socket's queue when
//! `send` returns (netlink to the kernel is a function call), so nothing here waits for anybody; a
//! receive timeout guards against being wrong about that. Not for what the messages mean.

use super::Recipient;
use super::kernel::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR,
    NLMSGERR_ATTR_MSG,
};
use super::message::{Attributes, Batch, HEADERS_BYTES, question, text};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What the send buffer should hold: a transaction of a thousand elements and the chains it needs
/// has at most some 300 KiB. Where it may not be raised so far, a longer transaction is refused.
const SEND_BUFFER_BYTES: libc::c_int = 4 << 20;

/// What the receive buffer should hold: one answer for each message of a refused transaction.
const RECEIVE_BUFFER_BYTES: libc::c_int = 4 << 20;

/// The kernel answers with at most this much at once (it cuts listings to what the reader offers).
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A listing that was overtaken by a change is asked for again, so often.
const LISTING_TRIES_MAX: u32 = 8;

/// No answer in so many seconds: reported as an error (EAGAIN).
const ANSWER_SECONDS_MAX: i64 = 5;

/// What the kernel did not want to do.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// errno(3), positive.
    pub(crate) errno: i32,
    /// What was being done, with the kernel's words when it has some.
    pub(crate) doing: String,
}

/// The socket.
pub(crate) struct Socket {
    recipient: Recipient,
    fd: OwnedFd,
    next_sequence: u32,
    received: Vec<u8>,
}

/// An answer's message without its headers.
pub(crate) type Answer = Vec<u8>;

impl Socket {
    /// Opens one to this part of netfilter in this thread's network namespace, in which it stays.
    pub(crate) fn open(recipient: Recipient) -> io::Result<Socket> {
        // SAFETY: socket(2) takes three numbers and returns a number.
        let fd = unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_NETFILTER)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the number is a descriptor that was opened just now and that nobody else knows.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Socket { recipient, fd, next_sequence: 1, received: vec![0; ANSWER_BYTES_MAX] };
        socket.bind()?;
        // The forced sizes need more rights than others; without them the system's limits hold.
        for (forced, plain, bytes) in [
            (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SEND_BUFFER_BYTES),
            (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, RECEIVE_BUFFER_BYTES),
        ] {
            if socket.option(libc::SOL_SOCKET, forced, &bytes).is_err() {
                socket.option(libc::SOL_SOCKET, plain, &bytes)?;
            }
        }
        // Answers without a copy of the question, and with the kernel's own words (Linux 4.12).
        socket.option(libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, &1)?;
        socket.option(libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, &1)?;
        let timeout = libc::timeval { tv_sec: ANSWER_SECONDS_MAX, tv_usec: 0 };
        socket.option(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)?;
        Ok(socket)
    }

    /// To whom it speaks.
    pub(crate) fn recipient(&self) -> Recipient {
        self.recipient
    }

    /// Its number among the netlink sockets of its namespace, which the kernel has chosen.
    pub(crate) fn port(&self) -> io::Result<u32> {
        // SAFETY: all zeros is a valid value of this plain C structure.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the pointers describe `address` and its length, which outlive the call.
        let result =
            unsafe { libc::getsockname(self.fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(address.nl_pid) }
    }

    /// An empty transaction.
    pub(crate) fn batch(&self) -> Batch {
        Batch::new(self.recipient, self.next_sequence)
    }

    /// Executes a transaction: when this returns `Ok` all of it is in force, else nothing of it.
    pub(crate) fn execute(&mut self, batch: Batch) -> Result<(), Refusal> {
        if batch.is_empty() {
            return Ok(());
        }
        let finished = batch.finish();
        self.next_sequence = finished.next_sequence;
        let doing = |sequence: u32| {
            let index = usize::try_from(sequence.wrapping_sub(finished.first_sequence)).unwrap_or(usize::MAX);
            finished.doing.get(index).copied().unwrap_or("answering").to_owned()
        };
        let outer = |error: &io::Error| Refusal {
            errno: error.raw_os_error().unwrap_or(libc::EIO),
            doing: "sending a transaction".to_owned(),
        };
        self.send(&finished.bytes).map_err(|error| outer(&error))?;
        loop {
            let length = self.receive(0).map_err(|error| outer(&error))?;
            for message in messages(&self.received[..length]) {
                let ours = message.sequence.wrapping_sub(finished.first_sequence) < u32::MAX / 2;
                if message.kind != NLMSG_ERROR || !ours {
                    continue;
                }
                match message.errno() {
                    0 if message.sequence == finished.awaited_sequence => return Ok(()),
                    0 => {}
                    errno => {
                        // More complaints may follow; they have old numbers and will be passed over.
                        let doing = message.with_words(doing(message.sequence));
                        return Err(Refusal { errno, doing });
                    }
                }
            }
        }
    }

    /// Asks one question, and returns the answers. A listing (`all`) has any number of them.
    pub(crate) fn ask(
        &mut self,
        kind: u8,
        all: bool,
        doing: &'static str,
        fill: impl Fn(&mut Attributes<'_>),
    ) -> Result<Vec<Answer>, Refusal> {
        let refusal = |errno| Refusal { errno, doing: doing.to_owned() };
        for _ in 0..LISTING_TRIES_MAX {
            match self.ask_once(kind, all, &fill).map_err(refusal)? {
                Some(answers) => return Ok(answers),
                None => continue,
            }
        }
        Err(refusal(libc::EAGAIN))
    }

    /// `None` when the listing was overtaken by a change.
    fn ask_once(
        &mut self,
        kind: u8,
        all: bool,
        fill: impl Fn(&mut Attributes<'_>),
    ) -> Result<Option<Vec<Answer>>, i32> {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        let flags = if all { NLM_F_DUMP } else { NLM_F_ACK };
        let errno_of = |error: &io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        self.send(&question(self.recipient, kind, flags, sequence, fill))
            .map_err(|error| errno_of(&error))?;
        let mut answers = Vec::new();
        let mut overtaken = false;
        loop {
            let length = self.receive(0).map_err(|error| errno_of(&error))?;
            for message in messages(&self.received[..length]) {
                if message.sequence != sequence {
                    continue;
                }
                overtaken |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_ERROR if message.errno() != 0 => return Err(message.errno()),
                    NLMSG_ERROR | NLMSG_DONE => return Ok((!overtaken).then_some(answers)),
                    _ => answers.push(message.body.get(4..).unwrap_or(&[]).to_vec()),
                }
            }
        }
    }

    /// What was received last, so long.
    pub(super) fn received(&self, length: usize) -> &[u8] {
        &self.received[..length]
    }

    fn bind(&self) -> io::Result<()> {
        // SAFETY: all zeros is a valid value of this plain C structure.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        // SAFETY: the pointer and the length describe `address`, which outlives the call.
        let result = unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_nl>() as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub(super) fn option<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
        // SAFETY: the pointer and the length describe `value`, which outlives the call; the callers
        // pass the type that socket(7) and netlink(7) ask for.
        let result = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                name,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            // SAFETY: the pointer and the length describe `bytes`, which outlives the call.
            let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
            if sent >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Receives one datagram with these flags of recv(2): its length.
    pub(super) fn receive(&mut self, flags: libc::c_int) -> io::Result<usize> {
        loop {
            let buffer = &mut self.received;
            // SAFETY: the pointer and the length describe `buffer`, which outlives the call.
            let received =
                unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) };
            if let Ok(length) = usize::try_from(received) {
                return Ok(length);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// One message that was received.
pub(super) struct Message<'b> {
    pub(super) kind: u16,
    flags: u16,
    sequence: u32,
    /// What follows the header of 16 bytes.
    pub(super) body: &'b [u8],
}

impl Message<'_> {
    /// Of an `NLMSG_ERROR`: the error, positive; 0 is an acknowledgement.
    fn errno(&self) -> i32 {
        let code = self.body.get(..4).and_then(|code| code.try_into().ok());
        code.map_or(libc::EBADMSG, |code| i32::from_ne_bytes(code).wrapping_neg())
    }

    /// `doing`, followed by what the kernel says about it, when it says something.
    fn with_words(&self, doing: String) -> String {
        let capped = self.flags & NLM_F_CAPPED != 0;
        let has_words = self.flags & NLM_F_ACK_TLVS != 0;
        let question_bytes = self.body.get(4..8).and_then(|length| length.try_into().ok());
        let skip = match question_bytes.map(u32::from_ne_bytes) {
            Some(length) if !capped => {
                4 + usize::try_from(length).unwrap_or(usize::MAX / 2).next_multiple_of(4)
            }
            _ => HEADERS_BYTES,
        };
        match self.body.get(skip..).filter(|_| has_words).and_then(|words| text(words, NLMSGERR_ATTR_MSG)) {
            Some(words) => format!("{doing} ({})", words.escape_debug()),
            None => doing,
        }
    }
}

/// The messages in one datagram, as far as they are well formed.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let body = bytes.get(16..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Message {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            body,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_apart_and_broken_ones_end_the_reading() {
        let recipient = Recipient { subsystem: 10, family: 1 };
        let mut bytes = question(recipient, 1, NLM_F_ACK, 5, |_| {});
        bytes.extend(question(recipient, 2, NLM_F_ACK, 6, |a| a.text(1, "x")));
        let read: Vec<(u16, u32, usize)> =
            messages(&bytes).map(|m| (m.kind, m.sequence, m.body.len())).collect();
        assert_eq!(read, [(0x0a01, 5, 4), (0x0a02, 6, 12)]);
        bytes[20] = 200;
        assert_eq!(messages(&bytes).count(), 1);
        assert_eq!(messages(&[0; 64]).count(), 0);
    }

    #[test]
    fn an_error_is_read_with_the_kernels_words() {
        let mut body = (-libc::EINVAL).to_ne_bytes().to_vec();
        body.extend_from_slice(&[0; 16]);
        body.extend_from_slice(&[8, 0, 1, 0]);
        body.extend_from_slice(b"why\0");
        let flags = NLM_F_CAPPED | NLM_F_ACK_TLVS;
        let message = Message { kind: NLMSG_ERROR, flags, sequence: 1, body: &body };
        assert_eq!(message.errno(), libc::EINVAL);
        assert_eq!(message.with_words("making a set".to_owned()), "making a set (why)");
        let truncated = Message { kind: NLMSG_ERROR, flags, sequence: 1, body: &body[..3] };
        assert_eq!(truncated.errno(), libc::EBADMSG);
    }
}
