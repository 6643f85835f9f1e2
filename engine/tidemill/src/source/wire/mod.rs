//! Our own end of the Postgres protocol, for what tokio-postgres does not speak (replication) or not fast enough (COPY).
//!
//! ```text
//! socket ─ as much as is there ─► 1 MiB buffer ─► chunk of whole messages + where each is
//!                                     └ the cut tail goes on in the next buffer
//! ```
//!
//! A chunk is handed out as [`Bytes`], so that columns can be views over the very buffer that was read; the buffer
//! is used again once nobody looks at it any more.
//!
//! **Cancellation.** [`Connection::read`] may be dropped at any await: what was read stays in the buffer.
//! [`Connection::flush`] and [`Connection::send_status`] too: what was not written goes out with the next write.
//! [`Connection::query`] may be dropped; the next call first reads its answer to the end.

mod auth;
mod frames;
mod replication;

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(super) use auth::{pooler, refused};
pub use frames::Frames;
pub use replication::{Payload, Status, SystemIdentity, start_replication_sql};

use super::connect::{Connector, Login, Stream, Transport};
use super::error::{Error, Kind, Result, ServerError};
use super::url::Host;

/// What one read takes at most; also the size of a buffer that is made anew.
pub const READ_BYTES: usize = 1 << 20;
/// With less room than this at its end a buffer is given up: small reads cost more than a fresh buffer.
const READ_BYTES_MIN: usize = READ_BYTES / 8;
/// The largest message taken: Postgres itself makes none above 1 GiB.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Ready for a query.
    Idle,
    /// A query's answer is, or may be, under way; left when the server is ready again.
    Busy,
    /// COPY towards us.
    CopyOut,
    /// Replication: COPY both ways.
    CopyBoth,
}

/// A session that speaks the protocol itself.
pub struct Connection {
    stream: Stream,
    input: BytesMut,
    output: BytesMut,
    mode: Mode,
    host: Host,
    process_id: i32,
    secret_key: i32,
    parameters: Vec<(String, String)>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("host", &self.host)
            .field("process_id", &self.process_id)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// A row of a simple query's answer: each value as the server writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row(pub Vec<Option<Bytes>>);

impl Row {
    /// A value as text; `None` where it is null.
    pub fn get(&self, column: usize) -> Result<Option<&str>> {
        let value = self.0.get(column).ok_or_else(|| Error::protocol(format_args!("a row has no column {column}")))?;
        let text = value.as_ref().map(|value| str::from_utf8(value)).transpose();
        text.map_err(|_| Error::protocol(format_args!("column {column} of a row is not UTF-8")))
    }

    /// A value that cannot be null.
    pub fn text(&self, column: usize) -> Result<&str> {
        self.get(column)?.ok_or_else(|| Error::protocol(format_args!("column {column} of a row is null")))
    }

    pub fn parse<T: std::str::FromStr>(&self, column: usize) -> Result<T> {
        let text = self.text(column)?;
        text.parse().map_err(|_| Error::protocol(format_args!("column {column} of a row is not what was asked for")))
    }
}

/// What a wire session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Sql,
    Replication,
}

impl Connector {
    /// A session for COPY and plain statements.
    pub async fn wire(&self) -> Result<Connection> {
        self.session(&Purpose::Sql).await
    }

    /// A session that takes replication commands beside SQL.
    pub async fn replication(&self) -> Result<Connection> {
        self.session(&Purpose::Replication).await
    }
}

impl Login for Purpose {
    type Session = Connection;

    async fn log_in(&self, connector: &Connector, host: &Host, transport: Transport) -> Result<Connection> {
        let Transport { stream, end_point } = transport;
        let mut connection = Connection {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            mode: Mode::Busy,
            host: host.clone(),
            process_id: 0,
            secret_key: 0,
            parameters: Vec::new(),
        };
        connection.start(connector.url(), *self == Purpose::Replication, end_point).await?;
        Ok(connection)
    }

    async fn is_standby(&self, session: &mut Connection) -> Result<bool> {
        let rows = session.query("SELECT pg_catalog.pg_is_in_recovery()").await?;
        Ok(rows.first().ok_or_else(|| Error::protocol("a query without an answer"))?.text(0)? == "t")
    }
}

/// Asks the server to stop what a session is doing, without that session.
#[derive(Clone, Debug)]
pub struct Cancel {
    host: Host,
    process_id: i32,
    secret_key: i32,
}

impl Cancel {
    /// Sends the request and waits until the server took it; what it does then shows in the session.
    pub async fn send(self) -> std::io::Result<()> {
        let mut request = BytesMut::new();
        frontend::cancel_request(self.process_id, self.secret_key, &mut request);
        let mut stream = match &self.host {
            Host::Unix { dir, port } => Stream::Unix(tokio::net::UnixStream::connect(Host::socket(dir, *port)).await?),
            // Without TLS, as libpq did until 17: the key is good for nothing else.
            Host::Tcp { name, port } => Stream::Tcp(tokio::net::TcpStream::connect((name.as_str(), *port)).await?),
        };
        stream.write_all(&request).await?;
        stream.read_u8().await.map_or(Ok(()), |_| Ok(()))
    }
}

impl Connection {
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The server's process: what `pg_stat_activity` calls it.
    pub fn process_id(&self) -> i32 {
        self.process_id
    }

    pub fn cancel(&self) -> Cancel {
        Cancel { host: self.host.clone(), process_id: self.process_id, secret_key: self.secret_key }
    }

    /// A setting that the server reports by itself.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The server's major version.
    pub fn server_version(&self) -> Option<u32> {
        major(self.parameter("server_version")?)
    }

    /// Runs statements and gives all their rows.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.ask(sql).await?;
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            let (tag, body) = match self.message().await {
                Ok(message) => message,
                // A fatal error comes with the end of the connection, and says more.
                Err(end) => return Err(failed.unwrap_or(end)),
            };
            match tag {
                b'D' => rows.push(row(body)?),
                b'E' => failed = Some(Error::server(ServerError::parse(&body))),
                b'Z' => {
                    self.mode = Mode::Idle;
                    return failed.map_or(Ok(rows), Err);
                }
                b'T' | b'C' | b'I' => {}
                // Leaves the mode busy: the next call reads the copy to its end.
                b'H' | b'W' | b'G' => return Err(Error::protocol("a copy began where rows were asked for")),
                other => return Err(Error::protocol(format_args!("message `{}` in a query", char::from(other)))),
            }
        }
    }

    /// Begins a `COPY … TO STDOUT`; its rows come by [`Connection::read`].
    pub async fn copy_out(&mut self, sql: &str) -> Result<()> {
        self.copy(sql, b'H', Mode::CopyOut).await
    }

    /// Begins `START_REPLICATION`; its messages come by [`Connection::read`].
    pub async fn copy_both(&mut self, sql: &str) -> Result<()> {
        self.copy(sql, b'W', Mode::CopyBoth).await
    }

    async fn copy(&mut self, sql: &str, begins: u8, mode: Mode) -> Result<()> {
        self.ask(sql).await?;
        let mut failed = None;
        loop {
            let (tag, body) = match self.message().await {
                Ok(message) => message,
                Err(end) => return Err(failed.unwrap_or(end)),
            };
            match tag {
                _ if tag == begins => {
                    self.mode = mode;
                    return Ok(());
                }
                b'E' => failed = Some(Error::server(ServerError::parse(&body))),
                b'Z' => {
                    self.mode = Mode::Idle;
                    return Err(failed.unwrap_or_else(|| Error::protocol("a copy did not begin")));
                }
                b'C' => {}
                other => return Err(Error::protocol(format_args!("message `{}` for a copy", char::from(other)))),
            }
        }
    }

    /// The next messages of a copy: at least one, and as many whole ones as were there to read. An empty answer is the
    /// copy's end; the connection is then ready for the next query. May be dropped at any await.
    pub async fn read(&mut self) -> Result<Frames> {
        if !matches!(self.mode, Mode::CopyOut | Mode::CopyBoth) {
            return Err(Error::protocol("a copy was read that was not begun, or has ended"));
        }
        loop {
            let (frames, consumed) = frames::scan(&self.input)?;
            if !frames.is_empty() {
                return Ok(Frames { chunk: self.input.split_to(consumed).freeze(), frames });
            }
            let Some((tag, body)) = self.buffered()? else {
                self.fill().await?;
                continue;
            };
            match tag {
                b'c' if self.mode == Mode::CopyBoth => {
                    self.mode = Mode::CopyOut;
                    frontend::copy_done(&mut self.output);
                    self.flush().await?;
                }
                b'c' | b'C' => {}
                b'E' => {
                    self.mode = Mode::Busy;
                    return Err(Error::server(ServerError::parse(&body)));
                }
                b'Z' => {
                    self.mode = Mode::Idle;
                    return Ok(Frames::default());
                }
                other => return Err(Error::protocol(format_args!("message `{}` in a copy", char::from(other)))),
            }
        }
    }

    /// Ends replication in an orderly way: when this returns, the server has taken every status that was sent. Messages
    /// that come meanwhile are dropped; inside a large transaction they may be many, so give it a limit.
    pub async fn finish(&mut self) -> Result<()> {
        if self.mode == Mode::CopyBoth {
            frontend::copy_done(&mut self.output);
            self.flush().await?;
            // The server's own CopyDone needs no second one of ours.
            self.mode = Mode::CopyOut;
            while !self.read().await?.frames.is_empty() {}
        }
        Ok(())
    }

    /// Writes what waits to be written. May be dropped at any await.
    pub async fn flush(&mut self) -> Result<()> {
        while !self.output.is_empty() {
            let wrote = self.stream.write_buf(&mut self.output).await.map_err(lost)?;
            if wrote == 0 {
                return Err(lost(std::io::ErrorKind::WriteZero.into()));
            }
        }
        self.stream.flush().await.map_err(lost)
    }

    /// Sends a query once the last one's answer is read.
    async fn ask(&mut self, sql: &str) -> Result<()> {
        match self.mode {
            Mode::CopyOut | Mode::CopyBoth => return Err(Error::protocol("a query was asked inside a copy")),
            Mode::Busy => self.settle().await?,
            Mode::Idle => {}
        }
        self.mode = Mode::Busy;
        frontend::query(sql, &mut self.output)
            .map_err(|_| Error::new(Kind::Protocol, "a statement has a zero byte or is too long"))?;
        self.flush().await
    }

    /// Reads up to the end of an answer that nobody waits for.
    async fn settle(&mut self) -> Result<()> {
        self.flush().await?;
        while self.message().await?.0 != b'Z' {}
        self.mode = Mode::Idle;
        Ok(())
    }

    /// The next message that is not one of those that may come at any time.
    async fn message(&mut self) -> Result<(u8, Bytes)> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// A whole message out of the buffer; notices and reported settings are taken in on the way.
    fn buffered(&mut self) -> Result<Option<(u8, Bytes)>> {
        loop {
            let Some(length) = frames::length(&self.input)?.filter(|length| *length <= self.input.len()) else {
                return Ok(None);
            };
            let mut message = self.input.split_to(length).freeze();
            let tag = message[0];
            message.advance(frames::HEADER_BYTES);
            match tag {
                b'S' => self.report(&message),
                b'N' => tracing::debug!(notice = %ServerError::parse(&message), "the database says"),
                b'A' => {}
                _ => return Ok(Some((tag, message))),
            }
        }
    }

    fn report(&mut self, body: &[u8]) {
        let mut parts = body.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            self.parameters.retain(|(known, _)| *known != name);
            self.parameters.push((name, value));
        }
    }

    /// Waits for bytes, then takes all that are there, up to a buffer full.
    async fn fill(&mut self) -> Result<()> {
        self.make_room()?;
        let read = self.stream.read_buf(&mut self.input).await.map_err(lost)?;
        if read == 0 {
            return Err(Error::new(Kind::Connection, "the database closed the connection").transient(true));
        }
        // TLS gives a record at a time, and a socket may have got more meanwhile. An end or an error shows up again at
        // the next call.
        while self.input.len() < READ_BYTES && self.input.capacity() > self.input.len() {
            match self.stream.read_buf(&mut self.input).now_or_never() {
                Some(Ok(read)) if read > 0 => {}
                _ => break,
            }
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<()> {
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
            // A message that does not fit makes the buffer double as its bytes come, not as its header says.
            self.input.reserve(READ_BYTES.max(self.input.len()));
        }
        Ok(())
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::io("the connection to the database was lost", error)
}

/// The major version out of `15.18 (Debian …)`, `17beta1`.
pub(super) fn major(version: &str) -> Option<u32> {
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

fn row(mut body: Bytes) -> Result<Row> {
    let cut = |_| Error::protocol("a row is cut short");
    let count = body.try_get_u16().map_err(cut)?;
    let mut values = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let length = body.try_get_i32().map_err(cut)?;
        values.push(match usize::try_from(length) {
            Err(_) => None,
            Ok(length) if length <= body.len() => Some(body.split_to(length)),
            Ok(_) => return Err(Error::protocol("a row is cut short")),
        });
    }
    Ok(Row(values))
}
