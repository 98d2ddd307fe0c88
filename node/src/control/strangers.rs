//! Users of this host who may ask nothing: each is let in only to be told so, and takes little room, shortly.
//!
//! Not for who they are (`peer`).

use super::{Groups, Peer};
use bannkreis_core::ids::NodeId;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tonic::{Request, Status};

/// Connections of strangers at once; further ones are hung up on.
const STRANGERS_MAX: usize = 32;
/// A stranger's connection is ended after so long.
const STAY_MAX: Duration = Duration::from_secs(2);

/// The room for those who may ask nothing.
#[derive(Debug)]
pub(super) struct Strangers {
    groups: Groups,
    room: Arc<Semaphore>,
}

impl Strangers {
    /// All but those in `groups` are strangers.
    pub(super) fn new(groups: Groups) -> Strangers {
        Strangers { groups, room: Arc::new(Semaphore::new(STRANGERS_MAX)) }
    }

    /// Whether this connection is taken. Needs a tokio runtime.
    pub(super) fn may_connect(&self, stream: &UnixStream) -> bool {
        let Ok(peer) = stream.peer_cred() else { return false };
        self.groups.role_of(peer.uid(), peer.gid()).is_some() || self.let_stay(stream)
    }

    /// Lets a stranger in for a short time, if there is room.
    fn let_stay(&self, stream: &UnixStream) -> bool {
        let Ok(place) = self.room.clone().try_acquire_owned() else { return false };
        let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return false };
        let socket = std::os::unix::net::UnixStream::from(socket);
        tokio::spawn(async move {
            tokio::time::sleep(STAY_MAX).await;
            // It may have ended by itself.
            let _ = socket.shutdown(Shutdown::Both);
            drop(place);
        });
        true
    }
}

/// Tells strangers that they may not ask, before anything else of their call is read.
pub(super) fn refuse_strangers(
    groups: Groups,
) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone + Send + 'static {
    // Which node it is makes no difference to whether somebody may ask.
    move |request| Peer::of(&request, NodeId(0), &groups).map(|_| request)
}

#[cfg(test)]
mod tests {
    use super::{STAY_MAX, STRANGERS_MAX, Strangers};
    use crate::control::Groups;
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    #[tokio::test(start_paused = true)]
    async fn strangers_are_few_and_do_not_stay() {
        let strangers = Strangers::new(Groups::default());
        let mut pairs: Vec<_> = (0..=STRANGERS_MAX).map(|_| UnixStream::pair().unwrap()).collect();
        let let_in = pairs.iter().filter(|(here, _)| strangers.let_stay(here)).count();
        assert_eq!(let_in, STRANGERS_MAX);
        // Whoever may ask needs none of that room.
        assert!(strangers.may_connect(&pairs[STRANGERS_MAX].0));
        // Both ends are open here all the time: only the time that is over ends the first one.
        let (_, there) = &mut pairs[0];
        assert_eq!(
            tokio::time::timeout(STAY_MAX * 2, there.read_u8()).await.unwrap().unwrap_err().kind(),
            std::io::ErrorKind::UnexpectedEof
        );
        assert!(strangers.let_stay(&pairs[STRANGERS_MAX].0));
    }
}
