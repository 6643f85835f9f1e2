//! The server as others start it.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::error::{Error, Kind};
use crate::http::handle;
use crate::node::Node;

/// After this, requests that still run at the end are cut off. Nothing that was answered is lost by it.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// How an embedded index runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where documents are kept; None keeps them in memory.
    pub dir: Option<PathBuf>,
    /// Port 0 takes a free one. There is no security: anything but loopback opens the index to the network.
    pub listen: SocketAddr,
    /// How long a deleted document's version is remembered, unless an index says otherwise by `index.gc_deletes`.
    pub gc_deletes: Duration,
    /// Larger bodies are answered by 413.
    pub max_content_length: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            dir: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            gc_deletes: Duration::from_secs(60),
            max_content_length: 100 << 20,
        }
    }
}

/// An embedded index that listens, and answers once it runs.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    node: Arc<Node>,
}

impl Server {
    /// Opens the directory, reads what is there, and listens.
    pub async fn bind(options: Options) -> Result<Server, Error> {
        let listen = options.listen;
        let failed = |error: io::Error| {
            let kind = if error.kind() == io::ErrorKind::AddrInUse { Kind::AddressInUse } else { Kind::Other };
            Error::new(kind, format!("cannot listen on {listen}: {error}: take another address")).because(error)
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let opened = tokio::task::spawn_blocking(move || Node::open(&options)).await;
        let node = opened.map_err(|error| Error::new(Kind::Other, "opening the index failed").because(error))??;
        Ok(Server { listener, addr, node: Arc::new(node) })
    }

    /// Where it listens: the port that was taken, if any would do.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `shutdown` is ready, then lets running requests end, for a bounded time.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
        let node = self.node;
        let app = Router::new().fallback(move |request: axum::extract::Request| handle(Arc::clone(&node), request));
        let (stopping, stopped) = oneshot::channel();
        let signal = async move {
            shutdown.await;
            let _ = stopping.send(());
        };
        let limit = async move {
            // An error means that the server ended first; then this branch must not win.
            match stopped.await {
                Ok(()) => tokio::time::sleep(SHUTDOWN_MAX).await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            served = async { axum::serve(self.listener, app).with_graceful_shutdown(signal).await } => {
                served.map_err(|error| Error::new(Kind::Other, format!("the server failed: {error}")).because(error))
            }
            () = limit => Ok(()),
        }
    }
}

/// Binds and runs.
pub async fn serve(options: Options, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
    Server::bind(options).await?.run(shutdown).await
}
