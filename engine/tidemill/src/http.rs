//! Metrics and health over HTTP: `/metrics` for Prometheus, behind the token where one is set; `/healthz`, which answers as
//! long as the process does; `/readyz`, which says yes while all streams are within their lag. Probes need no token.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::secret::Secret;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why the engine is not ready, a line each; it is when there is no reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    pub reasons: Vec<String>,
}

impl Readiness {
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// A server that has its port, so that a port in use is known before anything flows.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<Secret>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Shared {
    token: Option<Secret>,
    metrics: Arc<Metrics>,
    readiness: watch::Receiver<Readiness>,
}

impl Server {
    pub async fn bind(http: &config::Http) -> Result<Server> {
        let listener = TcpListener::bind(http.listen).await.map_err(|error| cannot_listen(http.listen, error))?;
        let address = listener.local_addr().map_err(|error| cannot_listen(http.listen, error))?;
        Ok(Server { listener, address, token: http.token.clone() })
    }

    /// Where it listens, the port that was free included.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` comes.
    pub async fn serve(
        self,
        metrics: Arc<Metrics>,
        readiness: watch::Receiver<Readiness>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let shared = Shared { token: self.token, metrics, readiness };
        let router = Router::new()
            .route("/metrics", get(metrics_page))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .fallback(async || (StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"))
            .with_state(shared);
        let served = axum::serve(self.listener, router).with_graceful_shutdown(stop).await;
        served.map_err(|error| Error::failed(format!("http on {} ended", self.address)).with_cause(error))
    }
}

fn cannot_listen(address: SocketAddr, error: io::Error) -> Error {
    let message = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {} of `http.listen` is in use: end what uses it, or set another", address.port())
        }
        io::ErrorKind::AddrNotAvailable => format!("`http.listen`: this machine has no address {}", address.ip()),
        io::ErrorKind::PermissionDenied => {
            format!("port {} of `http.listen` needs more rights than this user has: use one above 1023", address.port())
        }
        _ => format!("`http.listen`: {address} cannot be listened on"),
    };
    Error::failed(message).with_cause(error)
}

async fn metrics_page(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    if let Some(token) = &shared.token
        && !bearer(&headers).is_some_and(|given| token.matches(given))
    {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge, "this page needs `http.token` as a bearer token\n")
            .into_response();
    }
    ([(header::CONTENT_TYPE, OPENMETRICS)], shared.metrics.encode()).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let readiness = shared.readiness.borrow().clone();
    match readiness.is_ready() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, readiness.reasons.join("\n") + "\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;

    fn on_free_port(token: Option<&str>) -> config::Http {
        config::Http { listen: ([127, 0, 0, 1], 0).into(), token: token.map(Secret::new) }
    }

    async fn ask(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (answer[9..12].parse().unwrap(), answer)
    }

    #[tokio::test]
    async fn metrics_need_the_token_and_probes_do_not() {
        let server = Server::bind(&on_free_port(Some("hunter2"))).await.unwrap();
        let address = server.address();
        let metrics = Arc::new(Metrics::default());
        metrics.stream("products").rows_in.inc();
        let (ready, readiness) = watch::channel(Readiness { reasons: vec!["stream products is paused".to_owned()] });
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(metrics, readiness, async { stopped.await.unwrap_or(()) }));

        for headers in ["", "Authorization: Bearer hunter\r\n", "Authorization: Basic hunter2\r\n"] {
            let (status, answer) = ask(address, "/metrics", headers).await;
            assert!(status == 401 && !answer.contains("hunter2") && !answer.contains("tidemill_"), "{answer}");
        }
        let (status, answer) = ask(address, "/metrics", "Authorization: bearer hunter2\r\n").await;
        assert!(status == 200 && answer.contains("tidemill_stream_rows_in_total{stream=\"products\"} 1"), "{answer}");
        assert!(answer.contains(OPENMETRICS) && answer.trim_end().ends_with("# EOF"), "{answer}");
        assert_eq!(ask(address, "/healthz", "").await.0, 200);
        let (status, answer) = ask(address, "/readyz", "").await;
        assert!(status == 503 && answer.ends_with("stream products is paused\n"), "{answer}");
        ready.send(Readiness::default()).unwrap();
        assert_eq!(ask(address, "/readyz", "").await.0, 200);
        assert_eq!(ask(address, "/nothing", "").await.0, 404);

        stop.send(()).unwrap();
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = Server::bind(&on_free_port(None)).await.unwrap();
        let taken = config::Http { listen: first.address(), token: None };
        let message = Server::bind(&taken).await.unwrap_err().to_string();
        let expected =
            format!("port {} of `http.listen` is in use: end what uses it, or set another", taken.listen.port());
        assert!(message.starts_with(&expected), "{message}");
    }
}
