//! The control socket: a file that only root and the daemon's user may open, unless groups are named that may ask; there
//! exactly while the daemon listens on it.

use super::service::ControlService;
use super::strangers::{Strangers, refuse_strangers};
use super::{Groups, NodeApi};
use bannkreis_proto::v1::control_server::{ControlServer, SERVICE_NAME};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::InterceptorLayer;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The longest path of a unix socket: `sun_path` in unix(7), without its zero byte.
const PATH_BYTES_MAX: usize = 107;
/// Calls at once on one connection; more wait their turn.
const CALLS_PER_CONNECTION_MAX: usize = 16;
/// Calls that are still under way this long after the daemon was told to stop are dropped.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers there.
    #[error(
        "another bannkreisd answers on {} already: stop it first, or give this one its own run_dir", path.display()
    )]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{} is there and is no socket: move it away, or give the daemon another run_dir", path.display())]
    NotASocket {
        /// The socket's path.
        path: PathBuf,
    },
    /// The kernel takes no such path.
    #[error(
        "{} is too long for a socket's path ({PATH_BYTES_MAX} bytes at most): choose a shorter run_dir", path.display()
    )]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// The kernel or the file system refuses.
    #[error("the control socket {} can not be {doing}: {error}", path.display())]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What came of it.
        error: io::Error,
    },
    /// The connection stream failed.
    #[error("the control service on {} ended: {error}", path.display())]
    Ended {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        error: tonic::transport::Error,
    },
}

/// A socket that is bound; its file goes when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: Option<UnixListener>,
    path: PathBuf,
    groups: Groups,
    /// Device and inode, so that never another daemon's file is removed.
    file: (u64, u64),
}

impl ControlSocket {
    /// Binds `path`: makes its directory, takes the place of a stale socket, and lets in only the owner, or whoever is
    /// in one of `groups`. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn bind(path: &Path, groups: Groups) -> Result<ControlSocket, SocketError> {
        let path = path.to_owned();
        if path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(SocketError::PathTooLong { path });
        }
        let failed = |doing, error| SocketError::Io { path: path.clone(), doing, error };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(|error| failed("given a directory", error))?;
        }
        make_room(&path)?;
        let listener = UnixListener::bind(&path).map_err(|error| failed("made", error))?;
        // Who slips in before this is asked for credentials like everybody else.
        // Several groups do not fit a file's mode: then the credentials alone decide.
        let mode = if groups.are_named() { 0o666 } else { 0o600 };
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .map_err(|error| failed("closed to others", error))?;
        let facts = fs::symlink_metadata(&path).map_err(|error| failed("looked at", error))?;
        Ok(ControlSocket { listener: Some(listener), file: (facts.dev(), facts.ino()), path, groups })
    }

    /// Answers on the socket until `shutdown` is over; then the file is gone. The health service
    /// (`grpc.health.v1.Health`) says SERVING while `ready` is true and no stop has begun.
    ///
    /// # Errors
    /// When the socket breaks.
    pub async fn serve(
        mut self,
        api: Arc<dyn NodeApi>,
        ready: watch::Receiver<bool>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), SocketError> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let (stopping, stopped) = tokio::sync::oneshot::channel();
        let (reporter, health) = tonic_health::server::health_reporter();
        let reporting = tokio::spawn(report(reporter.clone(), ready));
        let shutdown = async move {
            shutdown.await;
            reporting.abort();
            serving(&reporter, false).await;
            // Nobody listens any more only when the server has ended by itself.
            let _ = stopping.send(());
        };
        // An error of one connection is that connection's.
        let strangers = Strangers::new(self.groups.clone());
        let incoming = UnixListenerStream::new(listener).filter(move |connection| match connection {
            Ok(stream) => strangers.may_connect(stream),
            Err(_) => true,
        });
        let server = Server::builder()
            .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
            .layer(InterceptorLayer::new(refuse_strangers(self.groups.clone())))
            .add_service(health)
            .add_service(ControlServer::new(ControlService::new(api, self.groups.clone())))
            .serve_with_incoming_shutdown(incoming, shutdown);
        let grace = async {
            if stopped.await.is_ok() {
                tokio::time::sleep(STOP_GRACE).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            ended = server => ended.map_err(|error| SocketError::Ended { path: self.path.clone(), error }),
            () = grace => Ok(()),
        }
    }
}

/// Tells the health service whenever it changes, until the task is aborted.
async fn report(reporter: HealthReporter, mut ready: watch::Receiver<bool>) {
    loop {
        let is_ready = *ready.borrow_and_update();
        serving(&reporter, is_ready).await;
        if ready.changed().await.is_err() {
            return;
        }
    }
}

/// For the daemon as a whole, which has no name there, and for the control service.
async fn serving(reporter: &HealthReporter, is_ready: bool) {
    let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    reporter.set_service_status("", status).await;
    reporter.set_service_status(SERVICE_NAME, status).await;
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|facts| (facts.dev(), facts.ino()) == self.file);
        if is_ours {
            // A file that stays is stale, and the next start takes its place.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket that nobody answers on.
fn make_room(path: &Path) -> Result<(), SocketError> {
    let failed = |doing, error| SocketError::Io { path: path.to_owned(), doing, error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("looked at", error)),
        Ok(facts) if !facts.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| failed("replaced", error))
        }
        Err(error) => Err(failed("tried", error)),
    }
}
