//! The socket file: who may open it, when it is there, and what happens when something else is.

use super::made_up::MadeUp;
use crate::control::{ControlSocket, SocketError};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

#[tokio::test]
async fn the_file_is_the_owners_and_goes_when_the_daemon_stops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/control.sock");
    let socket = ControlSocket::bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let serving = tokio::spawn(socket.serve(Arc::new(MadeUp::new()), shutdown));
    tokio::net::UnixStream::connect(&path).await.unwrap();
    let second = ControlSocket::bind(&path).unwrap_err();
    assert!(matches!(second, SocketError::InUse { .. }), "{second}");
    assert!(second.to_string().contains("another bannkreisd"), "{second}");
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_anything_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "the listener has left its file behind, as a killed daemon does");
    drop(ControlSocket::bind(&path).unwrap());
    std::fs::write(&path, "somebody's notes").unwrap();
    let refused = ControlSocket::bind(&path).unwrap_err();
    assert!(matches!(refused, SocketError::NotASocket { .. }), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's notes");
    let long = dir.path().join("x".repeat(120));
    assert!(matches!(ControlSocket::bind(&long).unwrap_err(), SocketError::PathTooLong { .. }));
}
