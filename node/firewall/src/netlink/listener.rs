//! A socket that hears what others change in one part of netfilter.
//!
//! What the process itself changes through one given socket is not heard: a filter in the kernel (socket(7),
//! `SO_ATTACH_FILTER`) leaves it out before it takes room. Not for what a change means.

use super::message::HEADERS_BYTES;
use super::socket::{Socket, messages};
use std::io;

/// What was heard since the last time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing that matters.
    Nothing,
    /// Something that matters.
    Something,
    /// More than the socket has room for: nobody knows what.
    TooMuch,
}

/// See the module.
pub(crate) struct Listener {
    socket: Socket,
}

impl Listener {
    /// Hears changes of `group` that are made by others than `own`.
    pub(crate) fn open(own: &Socket, group: libc::c_int) -> io::Result<Listener> {
        let listener = Listener { socket: Socket::open(own.recipient())? };
        listener.leave_out(own.port()?)?;
        listener.socket.option(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, &group)?;
        Ok(listener)
    }

    /// Whether something was heard for which `matters`, asked with a message's kind and attributes. Does not wait.
    pub(crate) fn heard(&mut self, matters: impl Fn(u8, &[u8]) -> bool) -> io::Result<Heard> {
        let mut heard = Heard::Nothing;
        loop {
            let length = match self.socket.receive(libc::MSG_DONTWAIT) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(heard),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    heard = Heard::TooMuch;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let subsystem = self.socket.recipient().subsystem;
            let changes =
                messages(self.socket.received(length)).filter(|message| message.kind >> 8 == subsystem);
            for message in changes {
                let [kind, _] = message.kind.to_le_bytes();
                let attributes = message.body.get(HEADERS_BYTES - 16..).unwrap_or_default();
                if heard == Heard::Nothing && matters(kind, attributes) {
                    heard = Heard::Something;
                }
            }
        }
    }

    /// Leaves out what the socket with this port has changed: messages of one change have the same.
    fn leave_out(&self, port: u32) -> io::Result<()> {
        /// Where a message's port stands in its header, netlink(7).
        const PORT_AT: u32 = 12;
        let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
            code: u16::try_from(code).unwrap_or_default(),
            jt,
            jf,
            k,
        };
        // The kernel reads numbers in network order, and the header is in this machine's.
        let mut program = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, PORT_AT),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, port.to_be()),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        ];
        let filter = libc::sock_fprog {
            len: u16::try_from(program.len()).unwrap_or_default(),
            filter: program.as_mut_ptr(),
        };
        self.socket.option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
    }
}
