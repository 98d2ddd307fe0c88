//! The attacker: tries to connect from any of its addresses, and says what came of it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::failed::{Context, Failed, Result, expect};
use crate::lab::netns::Netns;
use crate::lab::wait::wait_for;
use crate::lab::wires::Wire;

/// An open port answers within a fraction of a millisecond; a lost packet is sent again after 1 s.
const OPEN_MAX: Duration = Duration::from_millis(2_500);

/// Silence for so long is silence: hundreds of times what an answer takes here.
const SILENCE: Duration = Duration::from_millis(150);

/// What became of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The connection came about.
    Open,
    /// The host said no: nothing listens there. A block is silent, so this is not one.
    Refused,
    /// No answer at all.
    Silent,
}

/// The attacker's host.
pub struct Attacker {
    wire: Wire,
}

impl Attacker {
    /// The attacker at the end of this wire.
    #[must_use]
    pub fn new(wire: Wire) -> Attacker {
        Attacker { wire }
    }

    /// Its network.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.wire.netns
    }

    /// Tries all of these at the same time, each from a source to a destination, and stops waiting
    /// after `patience`.
    ///
    /// # Errors
    /// When no socket can be made for a source.
    pub fn attempt(&self, pairs: &[(IpAddr, SocketAddr)], patience: Duration) -> Result<Vec<Outcome>> {
        self.wire.netns.run(|| {
            let sockets =
                pairs.iter().map(|(from, to)| begin(*from, *to)).collect::<Result<Vec<Socket>>>()?;
            await_all(&sockets, patience)
        })
    }

    /// Expects that each of these connections comes about.
    ///
    /// # Errors
    /// Names those that do not.
    pub fn expect_open(&self, pairs: &[(IpAddr, SocketAddr)]) -> Result<()> {
        self.expect_outcome(pairs, Outcome::Open, OPEN_MAX)
    }

    /// Expects that each of these gets no answer.
    ///
    /// # Errors
    /// Names those that do.
    pub fn expect_silent(&self, pairs: &[(IpAddr, SocketAddr)]) -> Result<()> {
        self.expect_outcome(pairs, Outcome::Silent, SILENCE)
    }

    /// Waits until each of these gets no answer.
    ///
    /// # Errors
    /// Names those that still do.
    pub fn wait_silent(&self, pairs: &[(IpAddr, SocketAddr)], at_most: Duration) -> Result<()> {
        wait_for("no answer to the attacker", at_most, || self.expect_silent(pairs))
    }

    /// Waits until each of these connections comes about.
    ///
    /// # Errors
    /// Names those that do not.
    pub fn wait_open(&self, pairs: &[(IpAddr, SocketAddr)], at_most: Duration) -> Result<()> {
        wait_for("an answer to the attacker", at_most, || self.expect_outcome(pairs, Outcome::Open, SILENCE))
    }

    fn expect_outcome(
        &self,
        pairs: &[(IpAddr, SocketAddr)],
        wanted: Outcome,
        patience: Duration,
    ) -> Result<()> {
        let outcomes = self.attempt(pairs, patience)?;
        let wrong: Vec<String> = pairs
            .iter()
            .zip(outcomes)
            .filter(|(_, outcome)| *outcome != wanted)
            .map(|((from, to), outcome)| format!("{from} to {to} is {outcome:?}"))
            .collect();
        expect(wrong.is_empty(), || format!("expected {wanted:?}, but {}", wrong.join(", ")))
    }
}

/// A socket that has begun to connect.
fn begin(from: IpAddr, to: SocketAddr) -> Result<Socket> {
    let open = || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        // Ends with a reset: nothing lingers in the kernel, whose ports for one source are few.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(socket),
        }
    };
    open().context(|| format!("cannot try to connect from {from} to {to}"))
}

fn await_all(sockets: &[Socket], patience: Duration) -> Result<Vec<Outcome>> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; sockets.len()];
    let began = Instant::now();
    loop {
        let waiting: Vec<usize> = (0..sockets.len()).filter(|at| outcomes[*at].is_none()).collect();
        let left = patience.saturating_sub(began.elapsed());
        if waiting.is_empty() || left.is_zero() {
            return Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Silent)).collect());
        }
        let mut polled: Vec<PollFd<'_>> =
            waiting.iter().map(|at| PollFd::from_borrowed_fd(sockets[*at].as_fd(), PollFlags::OUT)).collect();
        let timeout = Timespec::try_from(left).context(|| "a patience beyond all bounds".to_owned())?;
        poll(&mut polled, Some(&timeout)).context(|| "cannot wait for sockets".to_owned())?;
        let ready: Vec<usize> = waiting
            .iter()
            .zip(&polled)
            .filter(|(_, polled)| !polled.revents().is_empty())
            .map(|(at, _)| *at)
            .collect();
        for at in ready {
            let error = sockets[at].take_error().context(|| "cannot ask a socket".to_owned())?;
            outcomes[at] = Some(match error.as_ref().map(std::io::Error::raw_os_error) {
                None => Outcome::Open,
                Some(Some(libc::ECONNREFUSED)) => Outcome::Refused,
                Some(Some(libc::ETIMEDOUT)) => Outcome::Silent,
                Some(_) => {
                    return Err(Failed(format!("a connection fails strangely: {error:?}")));
                }
            });
        }
    }
}
