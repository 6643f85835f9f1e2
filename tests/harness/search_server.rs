//! A real search server, started by the project's own script on a free port, stopped by its process id.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::await_some;
use super::http::Http;

/// A node needs half a minute; where the script has to download it first, some minutes.
const START_MAX: Duration = Duration::from_secs(600);
const STOP_MAX: Duration = Duration::from_secs(30);
/// What the script says by its status where no JDK fits.
const CANNOT_RUN: i32 = 77;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Product {
    OpenSearch(&'static str),
    Elasticsearch(&'static str),
    /// TLS, and nobody enters without a key.
    SecuredElasticsearch(&'static str),
}

#[derive(Debug)]
pub(crate) struct SearchServer {
    child: Child,
    dir: tempfile::TempDir,
    /// With the key, where one is asked for.
    pub(crate) http: Http,
    /// An API key of one's own, encoded.
    pub(crate) api_key: Option<String>,
}

impl SearchServer {
    /// Starts a server; none where this machine has no JDK for it, which is said, and is a failure where the tests run
    /// unattended.
    pub(crate) fn start(product: Product) -> Option<SearchServer> {
        let dir = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let child = command(product, port, dir.path()).spawn().expect("the script starts");
        let scheme = if matches!(product, Product::SecuredElasticsearch(_)) { "https" } else { "http" };
        let http = Http::open(&format!("{scheme}://localhost:{port}"));
        let mut server = SearchServer { child, dir, http, api_key: None };
        let ready = await_some(START_MAX, || match server.child.try_wait().expect("a child") {
            Some(status) => Some(Err(status.code())),
            None => server.is_ready(product).then_some(Ok(())),
        });
        match ready {
            Some(Ok(())) => {}
            Some(Err(Some(CANNOT_RUN))) => {
                let message = format!("{product:?} was left out: {}", server.log());
                assert!(std::env::var_os("CI").is_none(), "{message}");
                // Past the capture of the test's output: a server that was not tried should be seen.
                let _ = writeln!(std::io::stderr(), "{message}");
                return None;
            }
            Some(Err(status)) => panic!("{product:?} ended with {status:?}: {}", server.log()),
            None => panic!("{product:?} is not ready: {}", server.log()),
        }
        Some(server)
    }

    /// The authority that signed its certificate.
    pub(crate) fn ca(&self) -> Option<PathBuf> {
        Some(self.dir.path().join("data/ca.pem")).filter(|path| path.exists())
    }

    /// The lines of `sink:` in a configuration. The key is in the variable `API_KEY`.
    pub(crate) fn sink(&self) -> String {
        let mut sink = format!("url: {}", self.http.url);
        if self.api_key.is_some() {
            sink.push_str("\nauth: { api_key: \"${API_KEY}\" }");
        }
        if let Some(ca) = self.ca() {
            sink.push_str(&format!("\ntls: {{ ca: {} }}", ca.display()));
        }
        sink
    }

    /// Asks for its health; a secured one is asked for a key first, as it is made.
    fn is_ready(&mut self, product: Product) -> bool {
        if matches!(product, Product::SecuredElasticsearch(_)) && self.api_key.is_none() && !self.make_key() {
            return false;
        }
        let health = self.http.try_call("GET", "/_cluster/health", None);
        let Ok((200, body)) = health else { return false };
        let health: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        health["status"] == "green" || health["status"] == "yellow"
    }

    fn make_key(&mut self) -> bool {
        let Some(ca) = self.ca() else { return false };
        // `tidemill:tidemill-test`, the user that the script makes.
        let user = Http::guarded(&self.http.url, Some("Basic dGlkZW1pbGw6dGlkZW1pbGwtdGVzdA=="), Some(&ca));
        let Ok((200, body)) = user.try_call("POST", "/_security/api_key", Some(&json!({ "name": "tidemill" }))) else {
            return false;
        };
        let made: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let key = made["encoded"].as_str().expect("a key").to_owned();
        self.http = Http::guarded(&self.http.url, Some(&format!("ApiKey {key}")), Some(&ca));
        self.api_key = Some(key);
        true
    }

    /// The last lines that script and server said.
    fn log(&self) -> String {
        let text = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for SearchServer {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        if await_some(STOP_MAX, || self.child.try_wait().ok().flatten()).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn command(product: Product, port: u16, dir: &Path) -> Command {
    let scripts = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/servers"));
    let (script, variable, version, secured) = match product {
        Product::OpenSearch(version) => ("opensearch.sh", "OPENSEARCH_VERSION", version, false),
        Product::Elasticsearch(version) => ("elasticsearch.sh", "ELASTICSEARCH_VERSION", version, false),
        Product::SecuredElasticsearch(version) => ("elasticsearch.sh", "ELASTICSEARCH_VERSION", version, true),
    };
    let log = File::create(dir.join("log")).expect("the folder is writable");
    let mut command = Command::new(scripts.join(script));
    command.arg(port.to_string()).arg(dir.join("data")).env(variable, version);
    command.env("SECURITY", if secured { "1" } else { "0" });
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle")).stderr(log);
    command
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}
