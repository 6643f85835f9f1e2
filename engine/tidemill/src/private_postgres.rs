//! A Postgres server of one's own, for the demo, tests and benches: a temporary directory, logical WAL, a free loopback
//! port, and nothing left behind.
//!
//! The server binaries are looked for, never installed. Postgres refuses to run as root, so under root the server runs as
//! `nobody`. TCP wants a random password, since on a machine with several users a trusting superuser port would be a door
//! to our account; the unix socket trusts, behind a directory that only we can enter.
//!
//! ```text
//! us ──┬─ postgres        own process group: Ctrl-C reaches us first
//!      └─ sh (watchdog)   reads a pipe whose other end we hold
//! ```
//!
//! However we end, `kill -9` included, the kernel closes the pipe, and the watchdog stops the server and removes the
//! directory. Nothing else may hold the pipe's write end: std opens it close-on-exec.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// Longest wait for a server to accept connections: it starts in half a second unless the machine is very busy.
const START_MAX: Duration = Duration::from_secs(60);
/// Another process may take the free port between our look and the server's bind.
const PORT_TRIES: usize = 5;
/// The log's last lines that an error quotes.
const LOG_LINES_MAX: usize = 12;
/// `nobody`, the user that owns nothing.
const NOBODY: u32 = 65534;

const WATCHDOG: &str = r#"
trap '' INT TERM HUP
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
    kill -QUIT "$pid" 2>/dev/null
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
fi
tries=0
until rm -rf -- "$@" 2>/dev/null || [ "$tries" -ge 100 ]; do sleep 0.1; tries=$((tries + 1)); done
"#;

/// What a private server is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder of `initdb` and `postgres`; looked for when absent.
    pub bin: Option<PathBuf>,
    /// Settings as `postgres -c NAME=VALUE` takes them; they win over ours.
    pub settings: Vec<(String, String)>,
    /// Server certificate, where TLS is wanted.
    pub tls: Option<ServerTls>,
    /// Lines of `pg_hba.conf`, in place of ours.
    pub hba: Vec<String>,
    /// Where the temporary directory is made.
    pub parent: Option<PathBuf>,
    /// A folder that goes with the server's, however we end.
    pub beside: Option<PathBuf>,
}

/// Files in PEM, copied into the server's directory.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Signs client certificates.
    pub ca: Option<PathBuf>,
}

/// Why no private server runs.
#[derive(Debug)]
pub struct Error {
    message: String,
    missing: bool,
}

impl Error {
    fn new(message: impl Into<String>) -> Error {
        Error { message: message.into(), missing: false }
    }

    fn io(what: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Error {
        move |error| Error::new(format!("{what}: {error}"))
    }

    /// No server binaries were found: installing Postgres mends it.
    pub fn is_missing(&self) -> bool {
        self.missing
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Finds the folder that holds `postgres` and `initdb`: `TIDEMILL_PG_BIN`, then PATH, then the places where packages put
/// them, newest version first.
pub fn find_bin() -> Result<PathBuf, Error> {
    if let Some(dir) = std::env::var_os("TIDEMILL_PG_BIN") {
        let dir = PathBuf::from(dir);
        return if is_bin(&dir) {
            Ok(dir)
        } else {
            Err(Error::new(format!("TIDEMILL_PG_BIN names `{}`, which has no `postgres` and `initdb`", dir.display())))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.extend(versions("/usr/lib/postgresql", "bin"));
    dirs.extend(versions("/usr", "bin").into_iter().filter(|dir| dir.to_string_lossy().contains("/pgsql-")));
    dirs.push("/usr/local/pgsql/bin".into());
    dirs.extend(versions("/opt/homebrew/opt", "bin"));
    dirs.extend(versions("/usr/local/opt", "bin"));
    dirs.into_iter().find(|dir| is_bin(dir)).map(|dir| real_bin(&dir)).ok_or_else(|| Error {
        message: "no Postgres server was found in PATH or the usual folders: install one (Debian, Ubuntu: `apt-get \
                  install postgresql`; Fedora: `dnf install postgresql-server`; macOS: `brew install postgresql`), or set \
                  TIDEMILL_PG_BIN to the folder that holds `postgres` and `initdb`"
            .into(),
        missing: true,
    })
}

fn is_bin(dir: &Path) -> bool {
    dir.join("postgres").is_file() && dir.join("initdb").is_file()
}

/// A folder of links becomes the folder they lead to, where the other programs are too.
fn real_bin(dir: &Path) -> PathBuf {
    let real = fs::canonicalize(dir.join("postgres")).ok().and_then(|path| path.parent().map(Path::to_owned));
    real.filter(|real| is_bin(real)).unwrap_or_else(|| dir.to_owned())
}

/// `parent/*/sub`, the highest number in the name first; in Homebrew's folder only what is called postgresql.
fn versions(parent: &str, sub: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let digits: String = name.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
        let major: u32 = digits.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        if name.starts_with("postgresql") || name.starts_with("pgsql") || major.to_string() == name {
            found.push((major, entry.path().join(sub)));
        }
    }
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// A running server. Dropping it stops the server and removes its directory.
pub struct PrivatePostgres {
    bin: PathBuf,
    dir: PathBuf,
    settings: Vec<(String, String)>,
    port: u16,
    password: String,
    server: Option<Child>,
    watchdog: Option<(Child, ChildStdin)>,
}

impl fmt::Debug for PrivatePostgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivatePostgres").field("dir", &self.dir).field("port", &self.port).finish_non_exhaustive()
    }
}

impl PrivatePostgres {
    /// Makes a cluster and starts it; blocks for a second or two.
    pub fn start(options: Options) -> Result<PrivatePostgres, Error> {
        let bin = match options.bin {
            Some(bin) if is_bin(&bin) => bin,
            Some(bin) => {
                return Err(Error::new(format!("`{}` has no `postgres` and `initdb`", bin.display())));
            }
            None => find_bin()?,
        };
        let dir = make_dir(options.parent)?;
        let mut postgres = PrivatePostgres {
            bin,
            settings: options.settings,
            port: 0,
            password: random_hex()?,
            server: None,
            watchdog: None,
            dir,
        };
        postgres.watch(options.beside.as_deref())?;
        postgres.init()?;
        postgres.install(&options.hba, options.tls.as_ref())?;
        postgres.launch()?;
        Ok(postgres)
    }

    /// The superuser by TCP, with its password.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// As [`PrivatePostgres::url`], to another database.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// The superuser by the unix socket, which asks for no password.
    pub fn socket_url(&self) -> String {
        format!("postgres://postgres@/postgres?host={}&port={}", self.dir.display(), self.port)
    }

    /// A line to paste into a shell.
    pub fn psql(&self) -> String {
        format!("psql '{}'", self.url())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Holds `data`, the socket and the log; gone once the server is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of the server's binaries.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Stops the server in an orderly way and starts it again on the same port.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.halt(Signal::INT);
        self.run()
    }

    /// Stops the server in an orderly way, lets `work` do something with the folder of its cluster, and starts what is there
    /// then on the same port.
    pub fn restart_after(&mut self, work: impl FnOnce(&Path)) -> Result<(), Error> {
        self.halt(Signal::INT);
        work(&self.dir.join("data"));
        self.run()
    }

    /// Stops the server as a crash would, and starts it again on the same port.
    pub fn crash(&mut self) -> Result<(), Error> {
        self.halt(Signal::QUIT);
        self.run()
    }

    /// Stops the server and removes its directory.
    pub fn stop(mut self) -> Result<(), Error> {
        self.clear()
    }

    fn clear(&mut self) -> Result<(), Error> {
        self.halt(Signal::QUIT);
        let removed = fs::remove_dir_all(&self.dir);
        if let Some((mut child, pipe)) = self.watchdog.take() {
            drop(pipe);
            child.wait().ok();
        }
        // The watchdog removes what we could not: the directory is the server's user's.
        match removed {
            Err(error) if self.dir.exists() => Err(Error::io(self.dir.display())(error)),
            _ => Ok(()),
        }
    }

    fn halt(&mut self, signal: Signal) {
        if let Some(mut child) = self.server.take() {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                kill_process(pid, signal).ok();
            }
            child.wait().ok();
        }
    }

    fn watch(&mut self, beside: Option<&Path>) -> Result<(), Error> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(WATCHDOG).arg("sh").arg(&self.dir).args(beside).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(Error::io("sh"))?;
        let pipe = child.stdin.take().expect("asked for a pipe above");
        self.watchdog = Some((child, pipe));
        Ok(())
    }

    /// A program of the server, as the user that may run it, blind to the caller's own Postgres settings.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        let foreign = |name: &OsString| name.to_string_lossy().starts_with("PG");
        std::env::vars_os().map(|(name, _)| name).filter(foreign).for_each(|name| {
            command.env_remove(name);
        });
        command.env("LC_ALL", "C").current_dir(&self.dir).process_group(0).stdin(Stdio::null());
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn init(&mut self) -> Result<(), Error> {
        let password_file = self.write("password", &self.password)?;
        let mut command = self.command("initdb");
        command.args(["--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]);
        command.args(["--auth-local=trust", "--auth-host=scram-sha-256"]);
        command.arg("--pwfile").arg(&password_file).arg("--pgdata").arg(self.dir.join("data"));
        let output = command.output().map_err(Error::io(self.bin.join("initdb").display()))?;
        fs::remove_file(password_file).ok();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::new(format!("initdb could not make a cluster in `{}`: {said}", self.dir.display())));
        }
        Ok(())
    }

    fn install(&mut self, hba: &[String], tls: Option<&ServerTls>) -> Result<(), Error> {
        if !hba.is_empty() {
            self.write("data/pg_hba.conf", &(hba.join("\n") + "\n"))?;
        }
        let Some(tls) = tls else { return Ok(()) };
        let mut on = vec![("ssl".to_owned(), "on".to_owned())];
        let files =
            [("ssl_cert_file", Some(&tls.cert)), ("ssl_key_file", Some(&tls.key)), ("ssl_ca_file", tls.ca.as_ref())];
        for (setting, from) in files {
            let Some(from) = from else { continue };
            let text = fs::read_to_string(from).map_err(Error::io(from.display()))?;
            let path = self.write(setting, &text)?;
            on.push((setting.to_owned(), path.display().to_string()));
        }
        // In front: a setting of the caller's wins over these too.
        self.settings.splice(0..0, on);
        Ok(())
    }

    /// A file of the server's user that nobody else can read.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let path = self.dir.join(name);
        let write = || {
            let mut open = fs::OpenOptions::new();
            open.create(true).write(true).truncate(true).mode(0o600).open(&path)?.write_all(text.as_bytes())?;
            if geteuid().is_root() { chown(&path, Some(NOBODY), Some(NOBODY)) } else { Ok(()) }
        };
        write().map_err(Error::io(path.display()))?;
        Ok(path)
    }

    fn launch(&mut self) -> Result<(), Error> {
        let mut last = None;
        for _ in 0..PORT_TRIES {
            let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
            self.port = free.map_err(Error::io("no free loopback port"))?.port();
            match self.run() {
                Ok(()) => return Ok(()),
                Err(error) if error.message.contains("Address already in use") => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.expect("tried at least once"))
    }

    fn run(&mut self) -> Result<(), Error> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.dir.join("data"));
        let ours = [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", self.dir.display().to_string()),
            ("wal_level", "logical".to_owned()),
            ("max_replication_slots", "20".to_owned()),
            ("max_wal_senders", "20".to_owned()),
            ("fsync", "off".to_owned()),
            ("full_page_writes", "off".to_owned()),
            ("shared_buffers", "64MB".to_owned()),
            ("log_min_messages", "warning".to_owned()),
        ];
        for (name, value) in ours {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(Error::io(self.bin.join("postgres").display()))?;
        let stderr = child.stderr.take().expect("asked for a pipe above");
        self.server = Some(child);
        let ready = follow_log(stderr, self.dir.join("log"));
        match await_ready(&ready) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.halt(Signal::QUIT);
                Err(error)
            }
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        self.clear().ok();
    }
}

/// Copies the server's log into a file for as long as the server lives, and sends its first lines, up to the one that
/// says that it is ready. `LC_ALL=C` keeps that line in English.
fn follow_log(stderr: ChildStderr, path: PathBuf) -> Receiver<String> {
    let (sender, receiver) = sync_channel(64);
    std::thread::spawn(move || {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).ok();
        let mut sender = Some(sender);
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if let Some(file) = &mut file {
                writeln!(file, "{line}").ok();
            }
            let last = is_ready(&line);
            if sender.as_ref().is_some_and(|sender| sender.send(line).is_err()) || last {
                sender = None;
            }
        }
    });
    receiver
}

fn is_ready(line: &str) -> bool {
    line.ends_with("database system is ready to accept connections")
}

fn await_ready(log: &Receiver<String>) -> Result<(), Error> {
    let until = Instant::now() + START_MAX;
    let mut lines: Vec<String> = Vec::new();
    loop {
        match log.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) if is_ready(&line) => return Ok(()),
            Ok(line) => lines.push(line),
            Err(end) => {
                let what = match end {
                    RecvTimeoutError::Timeout => format!("the private Postgres was not ready after {START_MAX:?}"),
                    RecvTimeoutError::Disconnected => "the private Postgres ended while starting".to_owned(),
                };
                let tail = lines.split_off(lines.len().saturating_sub(LOG_LINES_MAX)).join("\n");
                return Err(Error::new(format!("{what}; its log says:\n{tail}")));
            }
        }
    }
}

fn make_dir(parent: Option<PathBuf>) -> Result<PathBuf, Error> {
    // Under root, TMPDIR may lead through a folder that `nobody` cannot enter.
    let usual = || if geteuid().is_root() { PathBuf::from("/tmp") } else { std::env::temp_dir() };
    let dir = parent.unwrap_or_else(usual).join(format!("tidemill-postgres-{}", random_hex()?));
    fs::DirBuilder::new().mode(0o700).create(&dir).map_err(Error::io(dir.display()))?;
    if geteuid().is_root() {
        chown(&dir, Some(NOBODY), Some(NOBODY)).map_err(Error::io(dir.display()))?;
    }
    Ok(dir)
}

/// 64 bits from the kernel.
fn random_hex() -> Result<String, Error> {
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(Error::io("/dev/urandom"))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn one(url: &str, sql: &str) -> String {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        let task = tokio::spawn(connection);
        let value = client.query_one(sql, &[]).await.unwrap().get(0);
        drop(client);
        task.await.unwrap().unwrap();
        value
    }

    #[tokio::test]
    async fn a_server_starts_restarts_and_leaves_nothing() {
        let mut postgres = PrivatePostgres::start(Options {
            settings: vec![("wal_sender_timeout".into(), "7s".into())],
            ..Options::default()
        })
        .unwrap();
        assert_eq!(one(&postgres.url(), "SHOW wal_level").await, "logical");
        assert_eq!(one(&postgres.socket_url(), "SHOW wal_sender_timeout").await, "7s");
        let wrong = postgres.url().replace(&postgres.password, "wrong");
        assert!(tokio_postgres::connect(&wrong, tokio_postgres::NoTls).await.is_err());
        postgres.crash().unwrap();
        assert_eq!(one(&postgres.url(), "SHOW fsync").await, "off");

        let (dir, pid) = (postgres.dir().to_owned(), postgres.server.as_ref().unwrap().id());
        postgres.stop().unwrap();
        assert!(!dir.exists());
        assert!(kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::URG).is_err(), "the server is gone");
    }

    #[test]
    fn the_watchdog_clears_up_after_one_who_was_killed() {
        let mut postgres = PrivatePostgres::start(Options::default()).unwrap();
        let dir = postgres.dir().to_owned();
        let (mut watchdog, pipe) = postgres.watchdog.take().unwrap();
        // What the kernel does for a process that was killed.
        drop(pipe);
        postgres.server.take().unwrap().wait().unwrap();
        watchdog.wait().unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn a_server_that_cannot_start_says_why() {
        let settings = vec![("shared_buffers".into(), "pancakes".into())];
        let error = PrivatePostgres::start(Options { settings, ..Options::default() }).unwrap_err();
        assert!(error.to_string().contains("shared_buffers"), "{error}");
        let error = PrivatePostgres::start(Options { bin: Some("/nowhere".into()), ..Options::default() }).unwrap_err();
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }
}
