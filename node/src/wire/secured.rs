//! A connection with TLS, and what its other end has shown.

use super::connections::Listed;
use crate::pki::Certificate;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tonic::transport::server::Connected;

/// What the other end has shown.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    /// Its certificate.
    Certificate(Arc<Certificate>),
    /// Nothing: a host that wants to become a member.
    Nothing,
}

/// The bytes of such a connection.
pub(super) struct Secured {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) shown: Shown,
    pub(super) _listed: Listed,
}

/// What is known of such a connection: in the extensions of every request on it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) shown: Shown,
    /// Where it comes from.
    pub(super) from: Option<IpAddr>,
}

impl Connected for Secured {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        let from = self.stream.get_ref().0.peer_addr();
        Connection { shown: self.shown.clone(), from: from.ok().map(|address| address.ip().to_canonical()) }
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
