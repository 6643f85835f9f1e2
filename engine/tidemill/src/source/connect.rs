//! From a URL to a session: hosts one after another, the socket, TLS, and which host will do.
//!
//! Both kinds of session, SQL by tokio-postgres and our own wire, come through here, so that both mean the same by a URL.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::error::{Error, Kind, Result};
use super::tls::{Tls, server_end_point};
use super::url::{Host, SessionAttributes, SslMode, Url};
use crate::secret::Secret;

/// A peer that vanished without a word is noticed after this, plus [`KEEPALIVE_PROBES`] times [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// A URL that is ready to be connected to: its certificates are read. Clones share them.
#[derive(Clone, Debug)]
pub struct Connector {
    url: Arc<Url>,
    tls: Option<Tls>,
}

impl Connector {
    pub fn new(url: Url) -> Result<Connector> {
        Ok(Connector { tls: Tls::new(&url)?, url: Arc::new(url) })
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The same with another password: one that comes from a file beside the URL, or was changed there.
    pub fn with_password(mut self, password: Secret) -> Connector {
        Arc::make_mut(&mut self.url).password = Some(password);
        self
    }

    /// A session on the first host that lets us in and is of the kind that the URL asks for.
    pub(super) async fn session<L: Login>(&self, login: &L) -> Result<L::Session> {
        let wants = self.url.session_attributes;
        let passes: &[SessionAttributes] = match wants {
            SessionAttributes::PreferStandby => &[SessionAttributes::Standby, SessionAttributes::Any],
            _ => &[wants],
        };
        let mut errors = Vec::new();
        for wants in passes {
            errors.clear();
            for host in &self.url.hosts {
                match self.within_limit(host, *wants, login).await {
                    Ok(session) => return Ok(session),
                    // A server that answered and refused us: another host is another copy of the same database.
                    Err(error) if !tries_next(&error) => return Err(error.during(host)),
                    Err(error) => errors.push(error.during(host)),
                }
            }
        }
        Err(join(errors))
    }

    async fn within_limit<L: Login>(&self, host: &Host, wants: SessionAttributes, login: &L) -> Result<L::Session> {
        let limit = self.url.connect_timeout;
        let attempt = self.one_host(host, wants, login);
        match tokio::time::timeout(limit, attempt).await {
            Ok(done) => done,
            Err(_) => Err(Error::new(Kind::Connection, format!("no connection within {limit:?}")).transient(true)),
        }
    }

    async fn one_host<L: Login>(&self, host: &Host, wants: SessionAttributes, login: &L) -> Result<L::Session> {
        let mut session = match self.log_in(host, self.tls.as_ref(), login).await {
            // As libpq does: `prefer` also takes a server that wants no TLS from us, or speaks it badly.
            Err(error) if self.tls.is_some() && self.url.ssl_mode == SslMode::Prefer && wants_plain(&error) => {
                self.log_in(host, None, login).await.map_err(|_| error)?
            }
            other => other?,
        };
        let standby = match wants {
            SessionAttributes::Any | SessionAttributes::PreferStandby => return Ok(session),
            SessionAttributes::ReadOnly | SessionAttributes::Standby => true,
            SessionAttributes::ReadWrite | SessionAttributes::Primary => false,
        };
        if login.is_standby(&mut session).await? == standby {
            return Ok(session);
        }
        let is = if standby { "a primary" } else { "a standby" };
        // It passes when a failover ends.
        Err(Error::new(Kind::SessionAttributes, format!("is {is}, and target_session_attrs={wants}")).transient(true))
    }

    async fn log_in<L: Login>(&self, host: &Host, tls: Option<&Tls>, login: &L) -> Result<L::Session> {
        let transport = Transport::open(host, tls, self.url.ssl_mode).await?;
        login.log_in(self, host, transport).await
    }
}

/// What makes a session of an open transport.
pub(super) trait Login: Sync {
    type Session: Send;

    fn log_in(
        &self,
        connector: &Connector,
        host: &Host,
        transport: Transport,
    ) -> impl Future<Output = Result<Self::Session>> + Send;

    fn is_standby(&self, session: &mut Self::Session) -> impl Future<Output = Result<bool>> + Send;
}

fn tries_next(error: &Error) -> bool {
    match error.kind() {
        Kind::Connection | Kind::SessionAttributes | Kind::Tls => true,
        _ => error.is_transient(),
    }
}

fn wants_plain(error: &Error) -> bool {
    error.kind() == Kind::Tls || error.is_sqlstate("28000")
}

fn join(mut errors: Vec<Error>) -> Error {
    if errors.len() == 1 {
        return errors.remove(0);
    }
    let transient = errors.iter().any(Error::is_transient);
    let kind = errors.iter().map(Error::kind).find(|kind| *kind != Kind::Connection).unwrap_or(Kind::Connection);
    let told: Vec<_> = errors.iter().map(Error::to_string).collect();
    Error::new(kind, format!("no host of the source will do: {}", told.join("; "))).transient(transient)
}

/// An open socket, encrypted or not.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) stream: Stream,
    /// What SCRAM can bind to, where TLS gives it.
    pub(super) end_point: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    async fn open(host: &Host, tls: Option<&Tls>, mode: SslMode) -> Result<Transport> {
        match host {
            Host::Unix { dir, port } => {
                let connected = UnixStream::connect(Host::socket(dir, *port)).await;
                let socket = connected.map_err(|error| Error::io("the unix socket cannot be reached", error))?;
                Ok(Transport { stream: Stream::Unix(socket), end_point: None })
            }
            Host::Tcp { name, port } => {
                let connected = TcpStream::connect((name.as_str(), *port)).await;
                let socket = connected.map_err(|error| Error::io("cannot be reached", error))?;
                tune(&socket).map_err(|error| Error::io("the socket cannot be set up", error))?;
                match tls {
                    Some(tls) => encrypt(name, socket, tls, mode).await,
                    None => Ok(Transport { stream: Stream::Tcp(socket), end_point: None }),
                }
            }
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }
}

fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    Ok(sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?)
}

async fn encrypt(host: &str, mut socket: TcpStream, tls: &Tls, mode: SslMode) -> Result<Transport> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    let mut answer = [0];
    let asked = async {
        socket.write_all(&request).await?;
        // One byte and no more: what came with it unencrypted would be taken for encrypted.
        socket.read_exact(&mut answer).await
    };
    asked.await.map_err(|error| Error::io("the server did not answer whether it has TLS", error))?;
    match answer[0] {
        b'S' => {
            let stream = tls.handshake(host, socket).await?;
            let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let end_point = certificate.and_then(|certificate| server_end_point(certificate));
            Ok(Transport { stream: Stream::Tls(Box::new(stream)), end_point })
        }
        b'N' if mode == SslMode::Prefer => Ok(Transport { stream: Stream::Tcp(socket), end_point: None }),
        b'N' => Err(Error::new(
            Kind::Tls,
            format!("the server has no TLS, and sslmode={mode}: set `ssl = on` there, or `sslmode=disable` here"),
        )),
        other => Err(Error::protocol(format_args!("asked for TLS, it answered byte {other}: is it Postgres?"))),
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
