//! The stage on which the stories play: one Postgres for the whole suite with a database a story, an embedded index a
//! story, and the engine as its own process, as an operator runs it.

pub(crate) mod http;
pub(crate) mod items;
pub(crate) mod made;
pub(crate) mod outcome;
pub(crate) mod pooler;
pub(crate) mod processes;
pub(crate) mod scripted;
pub(crate) mod search_server;
pub(crate) mod tls;
pub(crate) mod toolchain;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidemill::private_postgres::{Options, PrivatePostgres};

use self::http::Http;
pub(crate) use self::outcome::{Outcome, says};

/// No story waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often something is looked at that is waited for: on few cores a loop that only spins takes from the engine.
const LOOK: Duration = Duration::from_millis(5);

/// Looks until there is something, for a while.
pub(crate) fn await_some<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        match look() {
            None if start.elapsed() < patience => std::thread::sleep(LOOK),
            found => return found,
        }
    }
}

/// The binary under test.
pub(crate) fn tidemill() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.env_remove("STATE_DIRECTORY").stdin(Stdio::null());
    command.env("CACHE_DIRECTORY", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    command
}

/// The suite's Postgres. Stories have a database each; slots and roles are shared by all.
pub(crate) fn postgres() -> &'static PrivatePostgres {
    static POSTGRES: OnceLock<PrivatePostgres> = OnceLock::new();
    POSTGRES.get_or_init(|| {
        let settings = [("max_replication_slots", "200"), ("max_wal_senders", "100"), ("max_connections", "300")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        PrivatePostgres::start(Options { settings, ..Options::default() }).expect("a private Postgres starts")
    })
}

/// A server process whose first line on stdout says where it listens; gone when dropped.
#[derive(Debug)]
pub(crate) struct Index {
    child: Child,
    pub(crate) url: String,
    pub(crate) dir: PathBuf,
}

impl Index {
    pub(crate) fn start(dir: &Path, listen: &str) -> Index {
        let mut child = tidemill()
            .args(["index", "--dir"])
            .arg(dir)
            .args(["--listen", listen])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the index starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("the index says its address");
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).expect("an address").to_owned();
        Index { child, url, dir: dir.to_owned() }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the index was running");
        self.child.wait().expect("it ends");
    }

    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A story's world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) index: Index,
    pub(crate) sql: Sql,
    /// Variables that every command of the story gets.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// Where the database is, if not in the suite's Postgres.
    own: Option<PrivatePostgres>,
}

impl World {
    /// A new database, an empty index, a folder for the configuration and the state.
    pub(crate) fn new(story: &str) -> World {
        World::make(story, None)
    }

    /// The same with a Postgres of its own.
    pub(crate) fn with_postgres(story: &str, postgres: PrivatePostgres) -> World {
        World::make(story, Some(postgres))
    }

    fn make(story: &str, own: Option<PrivatePostgres>) -> World {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{story}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let server = own.as_ref().unwrap_or_else(|| postgres());
        Sql::connect(&server.url()).run(&format!("CREATE DATABASE {name}"));
        let dir = tempfile::tempdir().expect("a folder");
        let index = Index::start(&dir.path().join("index"), "127.0.0.1:0");
        let sql = Sql::connect(&server.url_of(&name));
        World { name, dir, index, sql, variables: Vec::new(), own }
    }

    fn postgres(&self) -> &PrivatePostgres {
        self.own.as_ref().unwrap_or_else(|| postgres())
    }

    /// Stops the story's own Postgres, lets `work` do something with its folder, and starts what is there then.
    pub(crate) fn restart_after(&mut self, work: impl FnOnce(&Path)) {
        self.own.as_mut().expect("a Postgres of its own").restart_after(work).expect("it starts again");
        self.sql = Sql::connect(&self.url());
    }

    pub(crate) fn url(&self) -> String {
        self.postgres().url_of(&self.name)
    }

    /// The same database as another role.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        let url = self.url();
        let (_, place) = url.rsplit_once('@').expect("a user and a place");
        format!("postgres://{user}:{password}@{place}")
    }

    /// The same database by way of another address.
    pub(crate) fn url_at(&self, address: &str) -> String {
        self.url().replace(&format!("127.0.0.1:{}", self.postgres().port()), address)
    }

    pub(crate) fn postgres_address(&self) -> String {
        format!("127.0.0.1:{}", self.postgres().port())
    }

    /// A file in the story's folder.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("the folder is writable");
        path
    }

    /// Writes `tidemill.yaml`: source and sink of this world, and what the story says of streams.
    pub(crate) fn config(&self, streams: &str) -> PathBuf {
        self.config_to(&self.index.url, streams)
    }

    /// The same with another sink.
    pub(crate) fn config_to(&self, sink_url: &str, streams: &str) -> PathBuf {
        self.config_with(&format!("url: {}", self.url()), &format!("url: {sink_url}"), streams)
    }

    pub(crate) fn config_with(&self, source: &str, sink: &str, streams: &str) -> PathBuf {
        let name = &self.name;
        let indent = |text: &str| text.trim_end().replace('\n', "\n  ");
        let text = format!(
            "source:\n  {}\n  slot: {name}\n  publication: {name}\nsink:\n  {}\n{streams}\nstate: tidemill.db\n",
            indent(source),
            indent(sink)
        );
        self.file("tidemill.yaml", text)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_by("tidemill.yaml", args)
    }

    /// A command with another configuration of the story's folder.
    pub(crate) fn command_by(&self, config: &str, args: &[&str]) -> Command {
        let mut command = tidemill();
        command.args(args).arg("--config").arg(self.dir.path().join(config));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub(crate) fn tidemill(&self, args: &[&str]) -> Outcome {
        Outcome::of(self.command(args))
    }

    /// Drains all that is committed by now; the engine must think that it did well.
    pub(crate) fn catch_up(&self) -> Outcome {
        let outcome = self.tidemill(&["run", "--until-caught-up"]);
        assert_eq!(outcome.code, 0, "{outcome}");
        outcome
    }

    pub(crate) fn start(&self) -> Engine {
        Engine::start(self.command(&["run"]))
    }

    pub(crate) fn http(&self) -> Http {
        Http::open(&self.index.url)
    }

    /// All documents of an index by id.
    pub(crate) fn documents(&self, index: &str) -> BTreeMap<String, Value> {
        self.http().documents(index)
    }

    /// Waits until the index holds just what is asked for.
    #[track_caller]
    pub(crate) fn await_documents(&self, index: &str, right: impl Fn(&BTreeMap<String, Value>) -> bool) {
        self.http().await_documents(index, right);
    }

    pub(crate) fn slot_confirmed(&self) -> String {
        let query =
            format!("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{}'", self.name);
        self.sql.one(&query)
    }

    /// Puts the row aside that the story's slot takes, so that the server's slots suffice for the suite.
    pub(crate) fn drop_slot(&self) {
        let query = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{}' AND NOT active",
            self.name
        );
        self.sql.run(&query);
    }
}

/// One HTTP request to a server that lets everybody in; the answer's status and body as JSON.
pub(crate) fn http(method: &str, url: &str, body: Option<&Value>) -> (u16, Value) {
    Http::open("").call(method, url, body)
}

pub(crate) fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
    })
}

/// A SQL session that says what went wrong where it did.
pub(crate) struct Sql(tokio_postgres::Client);

impl std::fmt::Debug for Sql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sql")
    }
}

impl Sql {
    pub(crate) fn connect(url: &str) -> Sql {
        runtime().block_on(async {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("a connection");
            tokio::spawn(connection);
            Sql(client)
        })
    }

    #[track_caller]
    pub(crate) fn run(&self, sql: &str) {
        if let Err(error) = runtime().block_on(self.0.batch_execute(sql)) {
            panic!("{sql}: {}", error.as_db_error().map_or_else(|| error.to_string(), |error| error.to_string()));
        }
    }

    /// What a `COPY … TO STDOUT` sends.
    #[track_caller]
    pub(crate) fn copy(&self, sql: &str) -> Vec<u8> {
        use futures_util::TryStreamExt;
        runtime().block_on(async {
            let lines = self.0.copy_out(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            lines
                .try_fold(Vec::new(), |all, line| async move { Ok([all, line.to_vec()].concat()) })
                .await
                .expect("the rows")
        })
    }

    #[track_caller]
    pub(crate) fn one(&self, sql: &str) -> String {
        self.rows(sql).pop().unwrap_or_else(|| panic!("{sql}: no row")).remove(0)
    }

    #[track_caller]
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let messages = runtime().block_on(self.0.simple_query(sql)).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let rows = messages.into_iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or("NULL").to_owned()).collect())
            }
            _ => None,
        });
        rows.collect()
    }
}

/// A running engine; killed when dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Engine {
    pub(crate) fn start(mut command: Command) -> Engine {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the engine starts");
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let copy = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut line = String::new();
            while matches!(lines.read_line(&mut line), Ok(1..)) {
                copy.lock().expect("no panic while held").push_str(&std::mem::take(&mut line));
            }
        });
        Engine { child, log }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no panic while held").clone()
    }

    /// Waits for words in the log.
    #[track_caller]
    pub(crate) fn await_log(&mut self, words: &str) {
        let ended = await_some(PATIENCE, || match says(&self.log(), words) {
            true => Some(None),
            false => self.child.try_wait().expect("a child").map(Some),
        });
        match ended {
            Some(None) => {}
            // Its last words may be on their way.
            Some(Some(status)) => {
                let said = await_some(Duration::from_secs(1), || says(&self.log(), words).then_some(()));
                assert!(said.is_some(), "ended with {status} before it said `{words}`: {}", self.log());
            }
            None => panic!("never said `{words}`: {}", self.log()),
        }
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(status.success());
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the engine was running");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM; waits for the end and gives the exit code.
    pub(crate) fn stop(mut self) -> i32 {
        self.signal("TERM");
        self.wait()
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> i32 {
        let status = await_some(PATIENCE, || self.child.try_wait().expect("a child"));
        status.unwrap_or_else(|| panic!("does not end: {}", self.log())).code().unwrap_or(-1)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A TCP proxy that can be told to cut, to stall and to let pass: for requests whose end the engine never hears.
#[derive(Debug)]
pub(crate) struct Stall {
    pub(crate) address: String,
    hold: Arc<Mutex<bool>>,
    held: Arc<AtomicU32>,
}

impl Stall {
    /// Passes everything on to `target`; answers are held back while [`Stall::hold`] says so.
    pub(crate) fn before(target: &str) -> Stall {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let hold = Arc::new(Mutex::new(false));
        let held = Arc::new(AtomicU32::new(0));
        let (target, flag, count) = (target.to_owned(), Arc::clone(&hold), Arc::clone(&held));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = std::net::TcpStream::connect(&target) else { continue };
                pump(client.try_clone().expect("a clone"), server.try_clone().expect("a clone"), None);
                pump(server, client, Some((Arc::clone(&flag), Arc::clone(&count))));
            }
        });
        Stall { address, hold, held }
    }

    pub(crate) fn hold(&self, hold: bool) {
        *self.hold.lock().expect("no panic while held") = hold;
    }

    /// Waits until an answer is being held back.
    pub(crate) fn await_held(&self) {
        let start = Instant::now();
        while self.held.load(Ordering::SeqCst) == 0 {
            assert!(start.elapsed() < PATIENCE, "no answer came to be held");
            std::thread::yield_now();
        }
    }
}

pub(crate) type Gate = Option<(Arc<Mutex<bool>>, Arc<AtomicU32>)>;

pub(crate) fn pump(mut from: std::net::TcpStream, mut to: std::net::TcpStream, gate: Gate) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if let Some((hold, held)) = &gate
                && *hold.lock().expect("no panic while held")
            {
                held.fetch_add(1, Ordering::SeqCst);
                while *hold.lock().expect("no panic while held") {
                    std::thread::yield_now();
                }
            }
            if to.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
}

/// A sink that answers some requests itself: with a status, where the path holds a word.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) url: String,
    rule: Arc<Mutex<Option<(&'static str, u16)>>>,
    hits: Arc<AtomicU32>,
}

impl Faults {
    /// Passes everything on to `target`, until [`Faults::answer`] says otherwise.
    pub(crate) fn before(target: &str) -> Faults {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let rule = Arc::new(Mutex::new(None));
        let hits = Arc::new(AtomicU32::new(0));
        let (target, at, count) = (target.to_owned(), Arc::clone(&rule), Arc::clone(&hits));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, at, count) = (target.clone(), Arc::clone(&at), Arc::clone(&count));
                std::thread::spawn(move || serve(&client, &target, &at, &count));
            }
        });
        Faults { url, rule, hits }
    }

    /// Requests whose path holds `word` get this status from now on, and an empty object.
    pub(crate) fn answer(&self, word: &'static str, status: u16) {
        *self.rule.lock().expect("no panic while held") = Some((word, status));
    }

    pub(crate) fn pass(&self) {
        *self.rule.lock().expect("no panic while held") = None;
    }

    /// Waits until this many requests got an answer that was not the sink's.
    pub(crate) fn await_hits(&self, count: u32) {
        let start = Instant::now();
        while self.hits.load(Ordering::SeqCst) < count {
            assert!(start.elapsed() < PATIENCE, "only {} requests came", self.hits.load(Ordering::SeqCst));
            std::thread::yield_now();
        }
    }
}

/// One connection: request after request, each whole.
fn serve(client: &std::net::TcpStream, target: &str, rule: &Mutex<Option<(&'static str, u16)>>, hits: &AtomicU32) {
    let mut client = BufReader::new(client);
    while let Some((head, body)) = message(&mut client) {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let rule = rule.lock().expect("no panic while held").filter(|(word, _)| path.contains(word));
        let answer = match rule {
            Some((_, status)) => {
                hits.fetch_add(1, Ordering::SeqCst);
                format!("HTTP/1.1 {status} Fault\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}")
                    .into_bytes()
            }
            None => {
                let Ok(mut server) = std::net::TcpStream::connect(target) else { return };
                let sent = server.write_all(head.as_bytes()).and_then(|()| server.write_all(&body));
                let Some((head, body)) = sent.ok().and_then(|()| message(&mut BufReader::new(&server))) else { return };
                [head.into_bytes(), body].concat()
            }
        };
        if client.get_mut().write_all(&answer).is_err() {
            return;
        }
    }
}

/// The next HTTP message: its head, and as many bytes as its content-length says.
fn message(from: &mut BufReader<&std::net::TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(from.read_line(&mut head), Ok(1..)) {
            return None;
        }
    }
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut body).ok()?;
    Some((head, body))
}
