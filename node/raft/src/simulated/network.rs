//! The network between hosts: connections in memory whose pieces arrive late, wait while a link is cut or their
//! other end is without power, and break.
//!
//! What TCP promises holds: the pieces of one connection arrive in order and whole, or the connection ends. What is
//! lost is sent again, so loss is delay. Messages overtake each other only on different connections.
//!
//! Not for what is said on a connection: that is the product's own tonic on both ends.

use super::random::Random;
use crate::peer::{Connect, ConnectError};
use bannkreis_core::ids::NodeId;
use hyper_util::rt::TokioIo;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tonic::transport::{Channel, Endpoint, Uri};

/// What a connection takes in before it makes its sender wait, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;
/// What is lost is sent again after so long, then after twice that, and so on, in ms.
const RESEND_MS: u64 = 200;

/// As the daemon makes its connections and asks whether they are there (`node/src/wire/connect.rs`).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// New connections to a host, for its server.
pub(super) type Door = mpsc::UnboundedReceiver<io::Result<DuplexStream>>;

/// See the module.
pub(super) struct Network {
    state: Mutex<State>,
    /// Counts the changes of what is cut.
    changed: watch::Sender<u64>,
}

struct State {
    random: Random,
    /// A piece is on its way for this long at least and at most, in µs.
    delay_us: (u64, u64),
    /// Of a thousand pieces, so many are lost once, and of these again so many.
    loss: u64,
    /// What the first sends does not reach the second; what was on the way waits.
    cut: BTreeSet<(usize, usize)>,
    /// Without power: nothing comes from them, not even an end.
    dark: BTreeSet<usize>,
    doors: BTreeMap<usize, mpsc::UnboundedSender<io::Result<DuplexStream>>>,
    connections: Vec<Connection>,
}

struct Connection {
    ends: [usize; 2],
    pumps: [AbortHandle; 2],
}

impl Network {
    pub(super) fn new(random: Random, delay_us: (u64, u64)) -> Arc<Network> {
        let state = State {
            random,
            delay_us,
            loss: 0,
            cut: BTreeSet::new(),
            dark: BTreeSet::new(),
            doors: BTreeMap::new(),
            connections: Vec::new(),
        };
        Arc::new(Network { state: Mutex::new(state), changed: watch::Sender::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.send_modify(|n| *n += 1);
    }

    /// How long pieces are on their way from now on, and how many of a thousand are lost.
    pub(super) fn set_delays(&self, delay_us: (u64, u64), loss: u64) {
        self.change(|state| (state.delay_us, state.loss) = (delay_us, loss));
    }

    pub(super) fn cut(&self, from: usize, to: usize) {
        self.change(|state| {
            state.cut.insert((from, to));
        });
    }

    pub(super) fn mend(&self, from: usize, to: usize) {
        self.change(|state| {
            state.cut.remove(&(from, to));
        });
    }

    /// Nothing is cut any more.
    pub(super) fn mend_all(&self) {
        self.change(|state| state.cut.clear());
    }

    /// Whether both hear each other.
    pub(super) fn joins(&self, one: usize, other: usize) -> bool {
        let state = self.state();
        one == other || (state.passes(one, other) && state.passes(other, one))
    }

    /// All connections between two hosts end, in the eyes of both.
    pub(super) fn reset(&self, one: usize, other: usize) {
        self.break_if(|ends| ends == [one, other] || ends == [other, one]);
    }

    fn break_if(&self, is_meant: impl Fn([usize; 2]) -> bool) {
        self.state().connections.retain(|connection| {
            let is_meant = is_meant(connection.ends);
            if is_meant {
                connection.pumps.iter().for_each(AbortHandle::abort);
            }
            !is_meant
        });
    }

    /// A host's node ends, by itself or, with `power`, so that its peers hear nothing of it.
    pub(super) fn close(&self, host: usize, power: bool) {
        self.change(|state| {
            state.doors.remove(&host);
            if power {
                state.dark.insert(host);
            }
        });
        if !power {
            self.break_if(|ends| ends.contains(&host));
        }
    }

    /// A host's node begins: the door at which connections come in.
    pub(super) fn listen(&self, host: usize) -> Door {
        // What was connected to its former life is told so.
        self.break_if(|ends| ends.contains(&host));
        let (door, incoming) = mpsc::unbounded_channel();
        self.change(|state| {
            state.dark.remove(&host);
            state.doors.insert(host, door);
        });
        incoming
    }

    /// Waits until a piece that is sent now has arrived.
    async fn carry(&self, from: usize, to: usize) {
        let mut changed = self.changed.subscribe();
        let delay = self.state().delay();
        tokio::time::sleep(delay).await;
        while !self.state().passes(from, to) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    async fn connect(self: Arc<Network>, from: usize, to: usize) -> io::Result<DuplexStream> {
        self.carry(from, to).await;
        let door = self.state().doors.get(&to).cloned();
        self.carry(to, from).await;
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let door = door.ok_or_else(refused)?;
        let (near, near_end) = duplex(BUFFER_BYTES);
        let (far, far_end) = duplex(BUFFER_BYTES);
        let (near_read, near_write) = tokio::io::split(near_end);
        let (far_read, far_write) = tokio::io::split(far_end);
        let pumps = [
            tokio::spawn(self.clone().pump(from, to, near_read, far_write)).abort_handle(),
            tokio::spawn(self.clone().pump(to, from, far_read, near_write)).abort_handle(),
        ];
        self.state().connections.push(Connection { ends: [from, to], pumps });
        door.send(Ok(far)).map_err(|_| refused())?;
        Ok(near)
    }

    /// Carries what comes out of `read` to `write`, until one of them ends.
    async fn pump(
        self: Arc<Network>,
        from: usize,
        to: usize,
        mut read: ReadHalf<DuplexStream>,
        mut write: WriteHalf<DuplexStream>,
    ) {
        let mut piece = vec![0; BUFFER_BYTES];
        while let Ok(length @ 1..) = read.read(&mut piece).await {
            self.carry(from, to).await;
            if write.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
        self.carry(from, to).await;
        // The other end may have ended as well.
        let _ = write.shutdown().await;
    }
}

impl State {
    fn passes(&self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to)) && !self.dark.contains(&from) && !self.dark.contains(&to)
    }

    fn delay(&mut self) -> Duration {
        let mut delay_us = self.random.between(self.delay_us.0, self.delay_us.1);
        let mut resend_us = RESEND_MS * 1_000;
        while self.random.chance(self.loss) && resend_us < 5_000_000 {
            delay_us += resend_us;
            resend_us *= 2;
        }
        Duration::from_micros(delay_us)
    }
}

/// What a host is called on the network.
pub(super) fn address(host: usize) -> String {
    format!("host-{host}:7420")
}

fn host_at(address: &str) -> Option<usize> {
    address.strip_prefix("host-")?.strip_suffix(":7420")?.parse().ok()
}

/// One life of a host on the network.
pub(super) struct Plug {
    pub(super) network: Arc<Network>,
    pub(super) host: usize,
    pub(super) is_alive: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl Connect for Plug {
    async fn connect(&self, address: &str, _expect: Option<NodeId>) -> Result<Channel, ConnectError> {
        let failed = |why: String| ConnectError { address: address.to_string(), why };
        let to = host_at(address).ok_or_else(|| failed("there is no such host".to_string()))?;
        let (network, from, is_alive) = (self.network.clone(), self.host, self.is_alive.clone());
        let connector = tower::service_fn(move |_: Uri| {
            let (network, is_alive) = (network.clone(), is_alive.clone());
            async move {
                if !is_alive.load(Ordering::Relaxed) {
                    return Err(io::Error::from(io::ErrorKind::NetworkUnreachable));
                }
                network.connect(from, to).await.map(TokioIo::new)
            }
        });
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        endpoint
            .map_err(|error| failed(error.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_with_connector(connector)
            .await
            .map_err(|error| failed(error.to_string()))
    }
}
