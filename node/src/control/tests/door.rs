//! The socket file: who may open it, when it is there, and what happens when something else is.

use super::made_up::MadeUp;
use crate::control::{ControlSocket, Groups, SocketError};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

#[tokio::test]
async fn the_file_is_the_owners_and_goes_when_the_daemon_stops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/control.sock");
    let socket = ControlSocket::bind(&path, Groups::default()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let (is_ready, ready) = watch::channel(true);
    let serving = tokio::spawn(socket.serve(Arc::new(MadeUp::new()), ready, shutdown));
    tokio::net::UnixStream::connect(&path).await.unwrap();

    // Whoever watches the health service hears of each change, the stop included.
    let endpoint = Endpoint::from_static("http://control.sock");
    let socket_path = path.clone();
    let channel = endpoint.connect_with_connector(tower::service_fn(move |_| {
        let path = socket_path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
    }));
    let mut health = HealthClient::new(channel.await.unwrap());
    let service = "bannkreis.v1.Control".to_owned();
    let mut states = health.watch(HealthCheckRequest { service }).await.unwrap().into_inner();
    let mut next = async || states.message().await.unwrap().unwrap().status();
    // It may be asked before the first report.
    while next().await != ServingStatus::Serving {}
    is_ready.send_replace(false);
    assert_eq!(next().await, ServingStatus::NotServing);
    is_ready.send_replace(true);
    assert_eq!(next().await, ServingStatus::Serving);
    let whole = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(whole.status(), ServingStatus::Serving);
    let second = ControlSocket::bind(&path, Groups::default()).unwrap_err();
    assert!(matches!(second, SocketError::InUse { .. }), "{second}");
    assert!(second.to_string().contains("another bannkreisd"), "{second}");
    stop.send(()).unwrap();
    assert_eq!(next().await, ServingStatus::NotServing);
    drop((health, states));
    serving.await.unwrap().unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_anything_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "the listener has left its file behind, as a killed daemon does");
    drop(ControlSocket::bind(&path, Groups::default()).unwrap());
    std::fs::write(&path, "somebody's notes").unwrap();
    let refused = ControlSocket::bind(&path, Groups::default()).unwrap_err();
    assert!(matches!(refused, SocketError::NotASocket { .. }), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's notes");
    let long = dir.path().join("x".repeat(120));
    assert!(matches!(
        ControlSocket::bind(&long, Groups::default()).unwrap_err(),
        SocketError::PathTooLong { .. }
    ));
}

#[tokio::test]
async fn with_a_group_that_may_ask_the_credentials_decide_and_not_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let groups = Groups { viewer: Some("helpdesk".to_owned()), ..Groups::default() };
    let _socket = ControlSocket::bind(&path, groups).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
}
