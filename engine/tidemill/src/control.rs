//! How commands reach a running engine: a Unix socket beside the state, on which one JSON object a line asks and one
//! answers.
//!
//! ```text
//!   tidemill pause x ──{"command":"pause","stream":"x"}──► engine: Call ──► whoever does it
//!                    ◄──{"ok":…} or {"error":…}──────────┘
//! ```
//!
//! Invariant: only the engine that holds the state's lock serves, so a socket that is there when it starts is a dead one's.
//! The socket is its user's alone.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::error::{Error, Result};

/// A request is a few names; a longer line is none of ours.
const REQUEST_BYTES_MAX: u64 = 1 << 20;
/// An answer may list many letters.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Commands at one time; further ones wait.
const CONNECTIONS_MAX: usize = 16;
/// Requests that wait for the engine.
const CALLS_MAX: usize = 16;
/// Who connects has this long to ask.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// `sockaddr_un` has room for 107 bytes and a zero; 103 on some systems.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// What a command asks of a running engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    Status,
    Pause {
        stream: String,
    },
    Resume {
        stream: String,
    },
    Backfill {
        stream: String,
    },
    /// Somebody marked dead letters beside the engine: counts those that wait anew.
    CountDeadLetters,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(Value),
    Error(Refusal),
}

#[derive(Debug, Serialize, Deserialize)]
struct Refusal {
    message: String,
    /// The exit code that the command ends with.
    code: u8,
}

/// A request on its way to whoever does it, with the way back.
#[derive(Debug)]
pub struct Call {
    pub request: Request,
    reply: oneshot::Sender<Result<Value>>,
}

impl Call {
    /// Answers; nobody minds when the command has gone away.
    pub fn answer(self, result: Result<impl Serialize>) {
        let result = result.and_then(|answer| {
            serde_json::to_value(answer).map_err(|error| Error::failed("the answer has no JSON form").with_cause(error))
        });
        let _ = self.reply.send(result);
    }
}

/// Where the socket is: beside the state, however long the path.
struct SocketPath {
    path: PathBuf,
    /// Through which a path that is too long is reached; it is needed until the socket is bound or connected.
    _folder: Option<File>,
}

impl SocketPath {
    /// The socket's name in the folder.
    fn of(state: &Path) -> PathBuf {
        let mut name = state.as_os_str().to_owned();
        name.push(".sock");
        name.into()
    }

    /// A path that fits into a socket's address.
    fn reach(socket: &Path) -> io::Result<SocketPath> {
        if socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(SocketPath { path: socket.to_owned(), _folder: None });
        }
        use std::os::fd::AsRawFd as _;
        let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the path is too long for a socket");
        let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else { return Err(too_long()) };
        let folder = File::open(folder)?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX || !Path::new("/proc/self/fd").is_dir() {
            return Err(too_long());
        }
        Ok(SocketPath { path, _folder: Some(folder) })
    }
}

/// The engine's end.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Listens beside the state, whose lock the caller holds. Calls come out of the receiver.
    pub fn start(state: &Path) -> Result<(Server, mpsc::Receiver<Call>)> {
        let socket = SocketPath::of(state);
        let refuse = |error: io::Error| {
            Error::failed(format!("the socket `{}` for commands cannot be made", socket.display())).with_cause(error)
        };
        match std::fs::symlink_metadata(&socket) {
            Ok(there) if there.file_type().is_socket() => std::fs::remove_file(&socket).map_err(refuse)?,
            Ok(_) => {
                let message = format!("`{}` is in the way of the socket for commands: move it away", socket.display());
                return Err(Error::failed(message));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refuse(error)),
        }
        let reached = SocketPath::reach(&socket).map_err(refuse)?;
        let listener = UnixListener::bind(&reached.path).map_err(refuse)?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).map_err(refuse)?;
        let (calls, receiver) = mpsc::channel(CALLS_MAX);
        let accepting = tokio::spawn(accept(listener, calls));
        Ok((Server { socket, accepting }, receiver))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn accept(listener: UnixListener, calls: mpsc::Sender<Call>) {
    let room = std::sync::Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, calls).await {
                        tracing::debug!(%error, "a command went away");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: let others give some back.
                tracing::warn!(%error, "a command could not be heard");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// One question, one answer.
async fn converse(stream: UnixStream, calls: mpsc::Sender<Call>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(REQUEST_TIME_MAX, read.read_line(&mut line)).await??;
    let result = match serde_json::from_str(&line) {
        Ok(request) => ask(request, &calls).await,
        Err(error) => {
            Err(Error::failed("the engine does not know this request: is it of another version?").with_cause(error))
        }
    };
    let answer = match result {
        Ok(value) => Answer::Ok(value),
        Err(error) => Answer::Error(Refusal { message: error.to_string(), code: error.exit_code() }),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await
}

async fn ask(request: Request, calls: &mpsc::Sender<Call>) -> Result<Value> {
    let stopping = || Error::failed("the engine is stopping: ask again when it runs");
    let (reply, answer) = oneshot::channel();
    calls.send(Call { request, reply }).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?
}

/// Asks the engine that runs with this state. `None`: there is none.
pub fn send(state: &Path, request: &Request, timeout: Duration) -> Result<Option<Value>> {
    let socket = SocketPath::of(state);
    let connected =
        SocketPath::reach(&socket).and_then(|reached| std::os::unix::net::UnixStream::connect(&reached.path));
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => {
            let message =
                format!("the engine's socket `{}` cannot be reached: run as the engine's user", socket.display());
            return Err(Error::failed(message).with_cause(error));
        }
    };
    let lost = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::transient(format!(
            "the engine did not answer within {} s: it may be busy, ask again",
            timeout.as_secs()
        )),
        _ => Error::transient("the engine went away before it answered: ask again").with_cause(error),
    };
    let line =
        serde_json::to_string(request).map_err(|e| Error::failed("the request has no JSON form").with_cause(e))?;
    let timeouts = stream.set_read_timeout(Some(timeout)).and_then(|()| stream.set_write_timeout(Some(timeout)));
    timeouts.and_then(|()| writeln!(stream, "{line}")).map_err(lost)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut answer).map_err(lost)?;
    if answer.is_empty() {
        return Err(lost(io::ErrorKind::UnexpectedEof.into()));
    }
    match serde_json::from_str(&answer) {
        Ok(Answer::Ok(value)) => Ok(Some(value)),
        Ok(Answer::Error(Refusal { message, code: 2 })) => Err(Error::usage(message)),
        Ok(Answer::Error(Refusal { message, .. })) => Err(Error::failed(message)),
        Err(error) => {
            Err(Error::failed("the engine's answer makes no sense: is it of another version?").with_cause(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    async fn send_from_thread(state: &Path, request: Request) -> Result<Option<Value>> {
        let state = state.to_owned();
        tokio::task::spawn_blocking(move || send(&state, &request, TIMEOUT)).await.unwrap()
    }

    fn pause(stream: &str) -> Request {
        Request::Pause { stream: stream.to_owned() }
    }

    /// An engine that pauses the stream `a` and knows no other.
    fn engine(mut calls: mpsc::Receiver<Call>) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            while let Some(call) = calls.recv().await {
                let result = match &call.request {
                    Request::Pause { stream } if stream == "a" => Ok(serde_json::json!({ "paused": "a" })),
                    Request::Pause { stream } => Err(Error::usage(format!("there is no stream `{stream}`"))),
                    _ => Err(Error::failed("not now")),
                };
                call.answer(result);
            }
        })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn commands_are_answered() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("tidemill.db");
        assert_eq!(send_from_thread(&state, Request::Status).await.unwrap(), None);
        let (server, calls) = Server::start(&state).unwrap();
        let engine = engine(calls);
        let answer = send_from_thread(&state, pause("a")).await.unwrap();
        assert_eq!(answer, Some(serde_json::json!({ "paused": "a" })));
        let error = send_from_thread(&state, pause("b")).await.unwrap_err();
        assert!(error.is_usage() && error.to_string() == "there is no stream `b`", "{error}");
        let error = send_from_thread(&state, Request::CountDeadLetters).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("not now", 1));
        drop(server);
        assert_eq!(send_from_thread(&state, Request::Status).await.unwrap(), None);
        engine.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dead_engines_socket_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("tidemill.db");
        // What a killed engine leaves: a socket that nobody listens on.
        drop(std::os::unix::net::UnixListener::bind(SocketPath::of(&state)).unwrap());
        assert_eq!(send_from_thread(&state, Request::Status).await.unwrap(), None);
        let (server, calls) = Server::start(&state).unwrap();
        let mode = std::fs::metadata(SocketPath::of(&state)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let engine = engine(calls);
        assert!(send_from_thread(&state, pause("a")).await.unwrap().is_some());
        drop(server);
        engine.await.unwrap();

        std::fs::write(SocketPath::of(&state), "precious").unwrap();
        let message = Server::start(&state).unwrap_err().to_string();
        assert!(
            message.ends_with("tidemill.db.sock` is in the way of the socket for commands: move it away"),
            "{message}"
        );
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(flavor = "multi_thread")]
    async fn a_long_path_is_reached_too() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("x".repeat(200));
        std::fs::create_dir(&folder).unwrap();
        let state = folder.join("tidemill.db");
        let (server, calls) = Server::start(&state).unwrap();
        let engine = engine(calls);
        assert!(send_from_thread(&state, pause("a")).await.unwrap().is_some());
        drop(server);
        assert!(!SocketPath::of(&state).exists());
        engine.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nonsense_is_answered_and_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("tidemill.db");
        let (_server, calls) = Server::start(&state).unwrap();
        let _engine = engine(calls);
        for line in [
            "\n",
            "{}\n",
            "{\"command\":\"explode\"}\n",
            "{\"command\":\"pause\",\"stream\":\"a\",\"x\":1}\n",
            "\u{0}\n",
        ] {
            let mut stream = UnixStream::connect(SocketPath::of(&state)).await.unwrap();
            stream.write_all(line.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(
                answer.starts_with("{\"error\":{\"message\":\"the engine does not know this request"),
                "{line:?}: {answer}"
            );
        }
        assert!(send_from_thread(&state, pause("a")).await.unwrap().is_some());
    }
}
