//! The way to the daemon: gRPC over its unix socket.
//!
//! Not for what is asked or shown. Turns everything that can go wrong on the way into a [`Failure`] that
//! says what to do.

use crate::failure::{Exit, Failure};
use bannkreis_proto::v1::control_client::ControlClient;
use hyper_util::rt::TokioIo;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A daemon that does not take a connection in this time hangs.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the first answer that somebody looks for may take: a daemon that works gives it at once.
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take that needs no other node.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the daemon may take beyond what it was told to wait.
pub const GRACE: Duration = Duration::from_secs(10);

/// A connected client.
pub type Client = ControlClient<Channel>;

/// Connects to the daemon behind `socket`.
///
/// # Errors
/// When nobody answers there, or may not be asked.
pub async fn connect(socket: &Path) -> Result<Client, Failure> {
    // Tried first by hand: tonic would hide which error it was.
    let first = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(socket)).await;
    match first {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(not_reachable(socket, &error)),
        Err(_) => return Err(hangs(socket)),
    }
    let path: PathBuf = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The address is never used: the connector knows where to go.
    let endpoint = Endpoint::from_static("http://localhost").connect_timeout(CONNECT_TIMEOUT);
    match endpoint.connect_with_connector(connector).await {
        Ok(channel) => Ok(ControlClient::new(channel)),
        Err(error) => Err(Failure::new(
            Exit::NotReachable,
            format!(
                "what listens on {} does not speak to us ({error}): name bannkreisd's socket with --socket, or \
                 try again with sudo if you are in none of the groups that `control` in bannkreis.toml names",
                socket.display()
            ),
        )),
    }
}

fn not_reachable(socket: &Path, error: &io::Error) -> Failure {
    let path = socket.display();
    let message = match error.kind() {
        io::ErrorKind::NotFound => format!(
            "bannkreisd is not running here, or not with this socket: {path} does not exist. Start it with \
             `systemctl start bannkreisd`, or name its socket with --socket"
        ),
        io::ErrorKind::ConnectionRefused => format!(
            "bannkreisd is not running here: its socket {path} is there, but nobody answers. Start it with \
             `systemctl start bannkreisd`, and see why it stopped with `journalctl -u bannkreisd`"
        ),
        io::ErrorKind::PermissionDenied => {
            format!(
                "you may not open {path}: only root and the daemon's own user may, and the groups that `control` in \
                 bannkreis.toml names. Try again with sudo"
            )
        }
        _ => format!("{path} can not be opened: {error}. Name the daemon's socket with --socket"),
    };
    Failure::new(Exit::NotReachable, message)
}

fn hangs(socket: &Path) -> Failure {
    let message = format!(
        "bannkreisd does not take connections on {}: it hangs. What it blocks stays blocked; see \
         `journalctl -u bannkreisd`",
        socket.display()
    );
    Failure::new(Exit::NotReachable, message)
}

/// What a call that only reads ends with when it fails.
#[must_use]
pub fn read_failure(status: &Status) -> Failure {
    if status.code() == Code::DeadlineExceeded {
        let message = format!(
            "bannkreisd is there, but does not answer ({}): it hangs, or has very much to do. What it blocks stays \
             blocked; see `journalctl -u bannkreisd`, and `systemctl restart bannkreisd` if it stays like this",
            status.message()
        );
        return Failure::new(Exit::NotReachable, message);
    }
    if is_of_the_way(status) {
        let message = format!(
            "bannkreisd went away before it answered ({}). See `journalctl -u bannkreisd` and ask again",
            status.message()
        );
        return Failure::new(Exit::NotReachable, message);
    }
    Failure::new(Exit::Refused, status.message())
}

/// What a call that changes something ends with when it fails: when the connection broke, nobody knows
/// whether `command_id` was carried out.
#[must_use]
pub fn write_failure(status: &Status, command_id: u128) -> Failure {
    if !is_of_the_way(status) {
        return Failure::new(Exit::Refused, status.message());
    }
    let message = format!(
        "unknown, id {command_id:032x}: bannkreisd went away before it answered. Repeat the command with --id \
         {command_id:032x}; it is done at most once"
    );
    Failure { exit: Exit::Unknown, message, command_id: Some(command_id) }
}

/// Whether the connection broke or was too slow, and it was not the daemon who said no.
#[must_use]
pub fn is_of_the_way(status: &Status) -> bool {
    use std::error::Error as _;
    matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded | Code::Unknown)
        || (status.code() == Code::Unavailable && status.source().is_some())
}

/// Waits for an answer, but not for ever.
///
/// # Errors
/// What the call ends with; `DEADLINE_EXCEEDED` when it takes longer than `limit`.
pub async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer for {} s", limit.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, read_failure, within};
    use std::time::Duration;

    #[tokio::test]
    async fn a_daemon_that_is_there_and_does_not_answer_is_not_said_to_have_gone_away() {
        let never = std::future::pending::<Result<tonic::Response<()>, tonic::Status>>();
        let failure = read_failure(&within(Duration::from_millis(1), never).await.unwrap_err());
        assert!(matches!(failure.exit, Exit::NotReachable));
        let said = &failure.message;
        assert!(said.contains("does not answer") && said.contains("systemctl restart"), "{said}");
        assert!(!said.contains("went away"), "{said}");
    }
}
