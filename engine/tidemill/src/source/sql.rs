//! SQL sessions by tokio-postgres, over our own sockets and TLS.
//!
//! tokio-postgres refuses `verify-ca` and `verify-full` and knows no hosts' order of ours, so it gets a transport that is
//! already open and encrypted; it is told of its certificate's hash, for SCRAM's channel binding.

use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::{ChannelBinding as Binding, SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding as EndPoint, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config};

use super::connect::{Connector, Login, Transport};
use super::error::{Error, Kind, Result};
use super::pins::{TRANSACTION_TIMEOUT_SINCE, not_in_force, options};
use super::url::{ChannelBinding, Host, Url};
use super::wire::{major, pooler, refused};

/// A session for statements with parameters; its connection is driven by a task of its own, which ends with it.
pub struct Session {
    client: Client,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl std::ops::DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

struct Sql;

impl Connector {
    pub async fn sql(&self) -> Result<Session> {
        self.session(&Sql).await
    }
}

impl Login for Sql {
    type Session = Session;

    async fn log_in(&self, connector: &Connector, _host: &Host, transport: Transport) -> Result<Session> {
        let url = connector.url();
        let connected = config(url, &transport).connect_raw(transport, Encrypted).await;
        let (client, connection) = connected.map_err(|error| explain(url, error))?;
        if let Some(name) = not_in_force(|name| connection.parameter(name)) {
            return Err(pooler(&format!("the session did not take the setting `{name}`")));
        }
        let version = connection.parameter("server_version").and_then(major);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // Whoever waits for an answer gets an error of his own.
                tracing::debug!(%error, "an SQL connection ended");
            }
        });
        if version.is_some_and(|version| version >= TRANSACTION_TIMEOUT_SINCE) {
            client.batch_execute("SET transaction_timeout = 0").await?;
        }
        Ok(Session { client })
    }

    async fn is_standby(&self, session: &mut Session) -> Result<bool> {
        Ok(session.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await?.get(0))
    }
}

fn config(url: &Url, transport: &Transport) -> Config {
    let mut config = Config::new();
    config.user(&url.user).dbname(&url.database).application_name(&url.application_name);
    config.options(options(url.options.as_deref()));
    if let Some(password) = &url.password {
        config.password(password.expose());
    }
    config.channel_binding(match url.channel_binding {
        ChannelBinding::Disable => Binding::Disable,
        ChannelBinding::Prefer => Binding::Prefer,
        ChannelBinding::Require => Binding::Require,
    });
    if transport.is_tls() {
        // "Direct" makes it call `Encrypted::connect` without asking the server, which has been asked.
        config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    } else {
        config.ssl_mode(SslMode::Disable);
    }
    config
}

fn explain(url: &Url, error: tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(said) => refused(url, false, said.into()),
        None => {
            let error = Error::from(error);
            // What is neither the server's word nor the network's is a password exchange that did not come about.
            let kind = if error.kind() == Kind::Connection { Kind::Connection } else { Kind::Authentication };
            error.explain(kind, format!("user `{}` could not log in", url.user))
        }
    }
}

/// Hands the transport on as the encrypted stream that it is.
struct Encrypted;

impl TlsConnect<Transport> for Encrypted {
    type Stream = Transport;
    type Error = io::Error;
    type Future = Ready<io::Result<Transport>>;

    fn connect(self, transport: Transport) -> Self::Future {
        ready(Ok(transport))
    }
}

impl TlsStream for Transport {
    fn channel_binding(&self) -> EndPoint {
        self.end_point.clone().map_or_else(EndPoint::none, EndPoint::tls_server_end_point)
    }
}

impl AsyncRead for Transport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
