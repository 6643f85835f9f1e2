//! The sink over HTTP: sends requests to its nodes and reads whole, bounded answers. It decides nothing: what an answer means
//! is `tidemill_settle`'s to say. One thing it does by itself: a secret that is refused is read from its file once more.

use std::fmt;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};

use crate::config::Auth;

/// An answer longer than this is not read to its end: 10,000 failed items with long reasons fit several times.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A node that does not take a connection within this, or within half of `timeout`, is passed over.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// How to reach a sink; made from the configuration.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    pub name: String,
    /// Base URLs without a trailing slash; each may have a path prefix.
    pub urls: Vec<String>,
    pub auth: Auth,
    pub tls: Option<rustls::ClientConfig>,
    pub timeout: Duration,
    pub gzip: bool,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer, or none that can be used.
#[derive(Debug)]
pub struct SinkError {
    kind: SinkErrorKind,
    /// Its name and, where one node is meant, that node's URL.
    sink: String,
    source: Option<Cause>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SinkErrorKind {
    /// No connection was made: nothing of the request was seen by the sink.
    Unreachable,
    /// The certificate was refused: trying again does not help.
    Untrusted,
    /// The request may have been carried out.
    Unknown,
    /// It says that it does not work at present: 429, 5xx.
    Unavailable,
    /// It does not hold any more what a search was to be gone on with, or a part of it was not to be had.
    CutOff,
    /// An answer that is no answer: too long, or not what was asked for.
    Answer,
    /// The client could not be built.
    Options,
}

impl SinkError {
    /// Whether the sink cannot have seen the request.
    pub fn is_unreachable(&self) -> bool {
        matches!(self.kind, SinkErrorKind::Unreachable | SinkErrorKind::Untrusted)
    }

    /// Whether the same, tried again, may succeed.
    pub fn is_transient(&self) -> bool {
        use SinkErrorKind::{CutOff, Unavailable, Unknown, Unreachable};
        matches!(self.kind, Unreachable | Unknown | Unavailable | CutOff)
    }

    /// Whether a person must act before another try can succeed.
    pub fn is_untrusted(&self) -> bool {
        self.kind == SinkErrorKind::Untrusted
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sink = &self.sink;
        match self.kind {
            SinkErrorKind::Unreachable => write!(f, "sink {sink} cannot be reached")?,
            SinkErrorKind::Untrusted => {
                write!(f, "the certificate of sink {sink} is not trusted: name its authority in `tls.ca`")?;
            }
            SinkErrorKind::Unknown => write!(f, "sink {sink} did not answer in full")?,
            SinkErrorKind::Unavailable => write!(f, "sink {sink} is not available")?,
            SinkErrorKind::CutOff => write!(f, "sink {sink} cut off a search for ids, which begins again")?,
            SinkErrorKind::Answer => write!(f, "sink {sink} gave an answer that cannot be used")?,
            SinkErrorKind::Options => write!(f, "sink {sink} cannot be set up")?,
        }
        let mut source = self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static));
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl std::error::Error for SinkError {}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// The header `retry-after`, where it is a number of seconds.
    pub retry_after: Option<Duration>,
    pub body: Bytes,
    /// Whose it is, by its place among the sink's URLs.
    pub(crate) node: usize,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The server's own words, short enough for a message.
    pub fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let mut excerpt: String = text.trim().chars().take(400).collect();
        if excerpt.len() < text.trim().len() {
            excerpt.push('…');
        }
        if excerpt.is_empty() { "an empty answer".to_owned() } else { excerpt }
    }
}

/// One sink. Cheap to clone; all clones share its connections.
#[derive(Clone, Debug)]
pub struct Sink {
    options: Arc<SinkOptions>,
    nodes: Arc<[Node]>,
    /// As its secrets were when they were last read, and the header's value.
    auth: Arc<RwLock<(Auth, Option<HeaderValue>)>>,
    /// The node that is asked next: the one that answered last, or the one behind it if it failed.
    node: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Node {
    client: reqwest::Client,
    /// Where Bulk requests go.
    bulk: Url,
}

/// What a request is for.
#[derive(Clone, Copy, Debug)]
enum To<'a> {
    Bulk,
    Path(&'a str),
}

/// What a request carries.
#[derive(Clone, Debug)]
struct Body {
    bytes: Bytes,
    content_type: &'static str,
    is_gzip: bool,
}

/// The value of the authorization header; `None` within where no credentials are wanted.
fn authorization(auth: &Auth) -> Option<Option<HeaderValue>> {
    let Some(header) = auth.header() else { return Some(None) };
    let mut value = HeaderValue::from_str(header.expose()).ok()?;
    value.set_sensitive(true);
    Some(Some(value))
}

/// A client as all nodes have it; by the proxies that the environment names.
fn builder(options: &SinkOptions) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .timeout(options.timeout)
        .connect_timeout(CONNECT_TIMEOUT_MAX.min(options.timeout / 2))
        .tcp_nodelay(true)
        .http1_only()
        // A redirect could carry credentials and documents to another host.
        .redirect(reqwest::redirect::Policy::none());
    match &options.tls {
        Some(tls) => builder.tls_backend_preconfigured(tls.clone()),
        None => builder,
    }
}

/// Whether a URL means this machine, which no proxy can reach for us.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or(host == "localhost" || host.ends_with(".localhost"), |address| address.is_loopback())
}

fn gzip(bytes: &[u8]) -> std::io::Result<Bytes> {
    // The lines of a bulk are much alike: the fastest level takes most of it, and the worker has better to do.
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.into())
}

impl Sink {
    pub fn new(options: SinkOptions) -> Result<Sink, SinkError> {
        let unusable = |why: Cause| SinkError {
            kind: SinkErrorKind::Options,
            sink: format!("`{}`", options.name),
            source: Some(why),
        };
        let authorization = authorization(&options.auth)
            .ok_or_else(|| unusable("the credentials have characters that no header can carry".into()))?;
        let client = |builder: reqwest::ClientBuilder| builder.build().map_err(|error| unusable(Box::new(error)));
        let proxied = client(builder(&options))?;
        let direct = client(builder(&options).no_proxy())?;
        let node = |base: &String| {
            let bulk = Url::parse(&format!("{base}/_bulk?filter_path={}", tidemill_settle::FILTER_PATH))
                .map_err(|error| unusable(Box::new(error)))?;
            Ok(Node { client: if is_loopback(&bulk) { direct.clone() } else { proxied.clone() }, bulk })
        };
        let nodes: Vec<Node> = options.urls.iter().map(node).collect::<Result<_, SinkError>>()?;
        let auth = RwLock::new((options.auth.clone(), authorization));
        Ok(Sink { nodes: nodes.into(), auth: auth.into(), options: options.into(), node: AtomicUsize::new(0).into() })
    }

    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// One Bulk request. Its lines are sent as they are.
    pub async fn bulk(&self, lines: Bytes) -> Result<Answer, SinkError> {
        let is_gzip = self.options.gzip;
        let bytes = match is_gzip {
            false => lines,
            true => {
                let done = tokio::task::spawn_blocking(move || gzip(&lines)).await;
                let cause = |cause: Cause| self.error(SinkErrorKind::Unreachable, "its gzip", Some(cause));
                done.map_err(|error| cause(Box::new(error)))?.map_err(|error| cause(Box::new(error)))?
            }
        };
        self.call(Method::POST, To::Bulk, Some(Body { bytes, content_type: "application/x-ndjson", is_gzip })).await
    }

    pub async fn get(&self, path: &str) -> Result<Answer, SinkError> {
        self.call(Method::GET, To::Path(path), None).await
    }

    /// A request without a body: some that take none refuse even an empty object.
    pub async fn post(&self, path: &str) -> Result<Answer, SinkError> {
        self.call(Method::POST, To::Path(path), None).await
    }

    pub async fn send(&self, method: Method, path: &str, body: &serde_json::Value) -> Result<Answer, SinkError> {
        let bytes = body.to_string().into();
        self.call(method, To::Path(path), Some(Body { bytes, content_type: "application/json", is_gzip: false })).await
    }

    /// One that does not know our credentials is asked once more where their file has others by now.
    async fn call(&self, method: Method, to: To<'_>, body: Option<Body>) -> Result<Answer, SinkError> {
        let answer = self.call_any(method.clone(), to, body.clone()).await?;
        if answer.status == 401 && self.renew().await {
            return self.call_any(method, to, body).await;
        }
        Ok(answer)
    }

    /// Reads the secrets once more; says whether they changed.
    async fn renew(&self) -> bool {
        let auth = Arc::clone(&self.auth);
        let read = move || {
            let known = auth.read().unwrap_or_else(PoisonError::into_inner).0.clone();
            // A file that is being written now may be empty, or gone: the next 401 reads it again.
            let now = known.reload().ok().filter(|now| *now != known)?;
            let header = authorization(&now)?;
            *auth.write().unwrap_or_else(PoisonError::into_inner) = (now, header);
            Some(())
        };
        let renewed = matches!(tokio::task::spawn_blocking(read).await, Ok(Some(())));
        if renewed {
            tracing::info!(sink = self.options.name, "the credentials were read from their file once more");
        }
        renewed
    }

    /// Asks the node whose turn it is; when it takes no connection, the others in turn. One that failed otherwise may have
    /// done what was asked, so that only the next request goes to another: the same lines, if they are sent again.
    async fn call_any(&self, method: Method, to: To<'_>, body: Option<Body>) -> Result<Answer, SinkError> {
        let nodes = self.options.urls.len();
        let first = self.node.load(Ordering::Relaxed);
        let mut tried = 0;
        loop {
            let node = (first + tried) % nodes;
            let result = self.call_node(node, method.clone(), to, body.clone()).await;
            tried += 1;
            match result {
                Err(error) if error.kind == SinkErrorKind::Unreachable && tried < nodes => {}
                result => {
                    match &result {
                        Ok(answer) if answer.status < 500 => self.node.store(node, Ordering::Relaxed),
                        _ => self.pass_over(first, node),
                    }
                    return result;
                }
            }
        }
    }

    /// Leaves a node that failed, unless another request has found one that works meanwhile.
    fn pass_over(&self, first: usize, failed: usize) {
        let next = (failed + 1) % self.options.urls.len();
        let moved = self.node.compare_exchange(first, next, Ordering::Relaxed, Ordering::Relaxed);
        if moved.is_ok() && next != failed {
            tracing::debug!(sink = self.options.name, node = self.options.urls[next], "another node is asked next");
        }
    }

    async fn call_node(
        &self,
        node: usize,
        method: Method,
        to: To<'_>,
        body: Option<Body>,
    ) -> Result<Answer, SinkError> {
        let base = &self.options.urls[node];
        let Node { client, bulk } = &self.nodes[node];
        let mut request = match to {
            To::Bulk => client.request(method, bulk.clone()),
            To::Path(path) => client.request(method, format!("{base}{path}")),
        };
        if let Some(authorization) = &self.auth.read().unwrap_or_else(PoisonError::into_inner).1 {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(Body { bytes, content_type, is_gzip }) = body {
            request = request.header(CONTENT_TYPE, content_type).body(bytes);
            if is_gzip {
                request = request.header(CONTENT_ENCODING, "gzip");
            }
        }
        let mut response = request.send().await.map_err(|error| self.failed(base, error))?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut answer = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(base, error))? {
            if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                let source = format!("more than {} MiB", ANSWER_BYTES_MAX >> 20);
                return Err(self.error(SinkErrorKind::Answer, base, Some(source.into())));
            }
            answer.extend_from_slice(&chunk);
        }
        let retry_after = retry_after.map(Duration::from_secs);
        Ok(Answer { status: status.as_u16(), retry_after, body: answer.freeze(), node })
    }

    fn failed(&self, base: &str, error: reqwest::Error) -> SinkError {
        let kind = match error.is_connect() {
            true if is_certificate_error(&error) => SinkErrorKind::Untrusted,
            true => SinkErrorKind::Unreachable,
            false => SinkErrorKind::Unknown,
        };
        self.error(kind, base, Some(Box::new(error.without_url())))
    }

    fn error(&self, kind: SinkErrorKind, base: &str, source: Option<Cause>) -> SinkError {
        SinkError { kind, sink: format!("`{}` at {base}", self.options.name), source }
    }

    /// An answer that was asked for and is not what it should be.
    pub(crate) fn unusable(&self, path: &str, answer: &Answer) -> SinkError {
        let kind = match answer.status {
            408 | 429 | 500..=599 => SinkErrorKind::Unavailable,
            _ => SinkErrorKind::Answer,
        };
        self.refused(kind, path, answer)
    }

    /// A search that has to begin again.
    pub(crate) fn cut_off(&self, path: &str, answer: &Answer) -> SinkError {
        self.refused(SinkErrorKind::CutOff, path, answer)
    }

    fn refused(&self, kind: SinkErrorKind, path: &str, answer: &Answer) -> SinkError {
        let status = StatusCode::from_u16(answer.status).map_or_else(|_| answer.status.to_string(), |s| s.to_string());
        let base = &self.options.urls[answer.node];
        self.error(kind, base, Some(format!("{path} answered {status}: {}", answer.excerpt()).into()))
    }
}

/// Looks through all causes; an io::Error hides the error inside it from them.
fn is_certificate_error(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref::<rustls::Error>() {
        return true;
    }
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| is_certificate_error(inner)) || error.source().is_some_and(is_certificate_error)
}
