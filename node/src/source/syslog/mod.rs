//! The syslog messages that others send to this node, and the logs of them that jails name.
//!
//! Where a message ends, what it is, who may send, the sockets, what is saved of it; and here, which logs it belongs to.
//! Nothing of it can be read again after a restart: jails that are to count over one name the file that it is saved to.

mod framing;
mod message;
mod saved;
mod senders;
mod sockets;

use super::Reading;
use super::shared::{Source, SourceStatus};
use super::stored_place::StoredPlace;
use bannkreis_core::failure::{LogId, SourceId, SourcePosition};
use bannkreis_core::log_block::LogBlock;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::Timestamp;
use bannkreis_filter::syslog_path::SyslogPath;
use jiff::tz::TimeZone;
use message::{Message, Received, name_of};
use saved::Saved;
use senders::Senders;
use sockets::{Port, Streams, n_lost, open_tcp, open_udp, read_datagrams};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So much that has come is handed over at once.
const PENDING_BYTES_MAX: usize = 1024 * 1024;

/// How long nobody is let in after that has failed.
const CLOSED_MS: u64 = 1_000;

/// How often it is asked whether the kernel had no room for datagrams.
const LOST_ASKED_EVERY_MS: u64 = 10_000;

/// Where messages may come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyslogPlan {
    /// Where datagrams come to.
    pub udp: Option<SocketAddr>,
    /// Where streams come to.
    pub tcp: Option<SocketAddr>,
    /// Who may send, beside this host by its loopback address.
    pub from: Vec<Subnet>,
    /// Where messages are saved to. Those of low trust are saved beside it, to a file whose name ends in `.udp`.
    pub save_to: Option<PathBuf>,
}

impl SyslogPlan {
    /// Whether anybody may send.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.udp.is_some() || self.tcp.is_some()
    }
}

/// Whether a message is from whom it says: the sender of a datagram from another host may be anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is.
    Full,
    /// It may be anybody's.
    Low,
}

impl Trust {
    fn of_datagram(sender: IpAddr) -> Trust {
        if sender.is_loopback() { Trust::Full } else { Trust::Low }
    }
}

/// A log of messages, shared between the source thread and its handle.
struct SharedMessages {
    id: SourceId,
    log: LogId,
    name: String,
    state: Mutex<MessagesState>,
}

#[derive(Default)]
struct MessagesState {
    n_bytes: u64,
    n_lines: u64,
    error: Option<String>,
}

impl SharedMessages {
    fn lock(&self) -> MutexGuard<'_, MessagesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for SharedMessages {
    fn id(&self) -> SourceId {
        self.id
    }

    fn stored_at(&self, _: SourcePosition) -> Option<StoredPlace> {
        None
    }

    fn beginning(&self) -> Option<StoredPlace> {
        None
    }

    fn status(&self) -> SourceStatus {
        let state = self.lock();
        SourceStatus {
            id: self.id,
            logs: vec![self.log],
            name: self.name.clone(),
            size_bytes: None,
            position: SourcePosition(state.n_bytes),
            n_lines: state.n_lines,
            error: state.error.clone(),
        }
    }

    fn give_up(&self, why: &str) {
        self.lock().error = Some(why.to_owned());
    }
}

/// Lines of one log and one trust that are not handed over yet.
struct Selection {
    path: SyslogPath,
    trust: Trust,
    shared: Arc<SharedMessages>,
    lines: Vec<u8>,
    n_lines: u64,
}

impl Selection {
    fn hand_over(&mut self, reading: &mut Reading) {
        if self.lines.is_empty() {
            return;
        }
        let end = {
            let mut state = self.shared.lock();
            state.n_lines += self.n_lines;
            state.n_bytes += self.lines.len() as u64;
            state.n_bytes
        };
        let block = LogBlock {
            source: self.shared.id,
            position: SourcePosition(end - self.lines.len() as u64),
            received_at: reading.clock.wall(),
            bytes: &self.lines,
            replayed_bytes: 0,
        };
        reading.sink.block(&block);
        reading.sink.end_of_batch(self.shared.id, SourcePosition(end));
        self.lines.clear();
        self.n_lines = 0;
    }
}

/// What has come and is not handed over yet.
struct Inbox {
    selections: Vec<Selection>,
    saved: Option<[(Saved, Vec<u8>); 2]>,
    message: Message,
    /// When it came, as it stands in lines.
    at: String,
    /// Bytes of lines that are not handed over.
    n_pending: usize,
}

impl Inbox {
    fn take(&mut self, message: &[u8], sender: IpAddr, trust: Trust) {
        let from = name_of(sender);
        self.message.read(message, &Received { at: &self.at, from: &from });
        let read = &self.message;
        let hosts = [read.host(), &from];
        for selection in self.selections.iter_mut().filter(|selection| selection.trust == trust) {
            if selection.path.selects(read.facility, read.program(), hosts) {
                selection.lines.extend_from_slice(&read.line);
                selection.lines.push(b'\n');
                selection.n_lines += 1;
                self.n_pending += read.line.len() + 1;
            }
        }
        if let Some(saved) = &mut self.saved {
            let lines = &mut saved[usize::from(trust == Trust::Low)].1;
            lines.extend_from_slice(&read.line);
            lines.push(b'\n');
            self.n_pending += read.line.len() + 1;
        }
    }

    fn is_full(&self) -> bool {
        self.n_pending >= PENDING_BYTES_MAX
    }

    fn hand_over(&mut self, reading: &mut Reading) {
        self.n_pending = 0;
        for selection in &mut self.selections {
            selection.hand_over(reading);
        }
        for (file, lines) in self.saved.iter_mut().flatten() {
            file.write(lines);
            lines.clear();
        }
    }
}

/// The messages that are sent to this node.
pub(super) struct FollowedSyslog {
    udp: Port<UdpSocket>,
    tcp: Port<TcpListener>,
    streams: Streams,
    senders: Senders,
    inbox: Inbox,
    /// CLOCK_BOOTTIME in ms until which nobody is let in, because one could not be.
    closed_until_ms: Option<u64>,
    /// What keeps each port from being open, and others from being let in.
    errors: [Option<String>; 3],
    n_lost: u32,
    lost_asked_ms: u64,
}

impl FollowedSyslog {
    /// Messages that nobody has sent yet.
    pub(super) fn new(plan: SyslogPlan) -> FollowedSyslog {
        let saved = plan.save_to.map(|path| {
            let mut low = path.clone().into_os_string();
            low.push(".udp");
            [path, low.into()].map(|path| (Saved::new(path), Vec::new()))
        });
        FollowedSyslog {
            udp: Port::at(plan.udp),
            tcp: Port::at(plan.tcp),
            streams: Streams::default(),
            senders: Senders::new(plan.from),
            inbox: Inbox {
                selections: Vec::new(),
                saved,
                message: Message::default(),
                at: String::new(),
                n_pending: 0,
            },
            closed_until_ms: None,
            errors: [None, None, None],
            n_lost: 0,
            lost_asked_ms: 0,
        }
    }

    /// Makes messages of such trust a log.
    pub(super) fn add(
        &mut self,
        (id, log): (SourceId, LogId),
        path: SyslogPath,
        trust: Trust,
    ) -> Arc<dyn Source> {
        let name = match trust {
            Trust::Full => path.as_str().to_owned(),
            Trust::Low => format!("{} by UDP from other hosts", path.as_str()),
        };
        let shared = Arc::new(SharedMessages { id, log, name, state: Mutex::default() });
        let selection = Selection { path, trust, shared: shared.clone(), lines: Vec::new(), n_lines: 0 };
        self.inbox.selections.push(selection);
        shared
    }

    /// Where messages of low trust are saved to.
    pub(super) fn saved_low_trust(&self) -> Option<&Path> {
        self.inbox.saved.as_ref().map(|[_, (low, _)]| low.path())
    }

    /// What has to be waited for.
    pub(super) fn fds(&self) -> Vec<RawFd> {
        let udp = if let Port::Open(socket) = &self.udp { Some(socket.as_raw_fd()) } else { None };
        let tcp = match &self.tcp {
            Port::Open(socket) if self.closed_until_ms.is_none() => Some(socket.as_raw_fd()),
            _ => None,
        };
        udp.into_iter().chain(tcp).chain(self.streams.fds()).collect()
    }

    /// When it wants a turn without an event, in ms of CLOCK_BOOTTIME.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let ports = self.udp.deadline_ms().into_iter().chain(self.tcp.deadline_ms());
        ports.chain(self.closed_until_ms).min()
    }

    /// Takes in what has come, up to a bound. True when there may be more at once.
    pub(super) fn read(&mut self, ready: &BTreeSet<RawFd>, reading: &mut Reading) -> bool {
        let now_ms = reading.clock.boottime_ms();
        self.open(now_ms);
        self.closed_until_ms.take_if(|until_ms| *until_ms <= now_ms);
        let is_ready = |fd: RawFd| ready.contains(&fd);
        let (streams, mut is_more) = self.streams.turn(ready);
        if !ready.is_empty() {
            self.inbox.at = in_words(reading.clock.wall());
        }
        // Taken out, for the block and the sink are parts of the same.
        let mut block = std::mem::take(&mut reading.block);
        if let Port::Open(socket) = &self.udp
            && is_ready(socket.as_raw_fd())
        {
            let (senders, inbox) = (&mut self.senders, &mut self.inbox);
            let outcome = read_datagrams(socket, &mut block, |datagram, sender| {
                if senders.may_send_datagram(sender, now_ms) {
                    inbox.take(datagram, sender, Trust::of_datagram(sender));
                }
                !inbox.is_full()
            });
            match outcome {
                Ok(more) => is_more |= more,
                Err(error) => tracing::warn!("syslog.udp: datagrams can not be received: {error}"),
            }
            self.inbox.hand_over(reading);
            self.say_lost(now_ms);
        }
        let mut accepted = None;
        if let Port::Open(listener) = &self.tcp
            && is_ready(listener.as_raw_fd())
        {
            let outcome = self.streams.accept(listener, &mut self.senders, now_ms);
            // It goes on being ready to let somebody in.
            self.closed_until_ms = outcome.is_err().then_some(now_ms + CLOSED_MS);
            accepted = Some(outcome.map_err(|error| {
                format!(
                    "syslog.tcp: a connection can not be taken: {error}; it is tried again each second (is the limit \
                     of open files, LimitNOFILE, reached?)"
                )
            }));
        }
        self.report([None, None, accepted]);
        for fd in streams {
            let inbox = &mut self.inbox;
            is_more |= self.streams.read(fd, &mut block, now_ms, |message, sender| {
                inbox.take(message, sender, Trust::Full);
                if inbox.is_full() {
                    inbox.hand_over(reading);
                }
            });
            self.inbox.hand_over(reading);
        }
        reading.block = block;
        is_more
    }

    /// Opens the ports that are not open.
    fn open(&mut self, now_ms: u64) {
        let udp = self.udp.try_open("udp", now_ms, open_udp);
        let tcp = self.tcp.try_open("tcp", now_ms, open_tcp);
        self.report([udp, tcp, None]);
    }

    /// Remembers what keeps messages from coming, and says it once.
    fn report(&mut self, outcomes: [Option<Result<(), String>>; 3]) {
        let mut is_news = false;
        for (known, outcome) in self.errors.iter_mut().zip(outcomes) {
            let Some(outcome) = outcome else { continue };
            let error = outcome.err();
            if *known != error {
                is_news = true;
                if let Some(error) = &error {
                    tracing::warn!("{error}");
                }
                *known = error;
            }
        }
        if is_news {
            let all: Vec<&str> = self.errors.iter().flatten().map(String::as_str).collect();
            let error = (!all.is_empty()).then(|| all.join("; "));
            for selection in &self.inbox.selections {
                selection.shared.lock().error.clone_from(&error);
            }
        }
    }

    fn say_lost(&mut self, now_ms: u64) {
        let Port::Open(socket) = &self.udp else { return };
        if self.lost_asked_ms + LOST_ASKED_EVERY_MS > now_ms {
            return;
        }
        self.lost_asked_ms = now_ms;
        let n_lost = n_lost(socket);
        if n_lost > self.n_lost {
            tracing::warn!(
                "syslog: {} datagrams were lost because they came too fast; send them by TCP",
                n_lost - self.n_lost
            );
        }
        self.n_lost = n_lost;
    }
}

fn in_words(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX));
    at.map(|at| at.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
        .unwrap_or_default()
}
