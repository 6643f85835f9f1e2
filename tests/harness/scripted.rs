//! A sink that a story writes the lines for: it answers what it is told to, and passes the rest on to a real index.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use super::runtime;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A header's value; the name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_bulk(&self) -> bool {
        self.path.split('?').next().is_some_and(|path| path.ends_with("/_bulk"))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Answer {
        Answer { status, headers: vec![("content-type", "application/json")], body: body.to_string() }
    }
}

#[derive(Debug)]
pub(crate) struct ScriptedSink {
    pub(crate) url: String,
}

impl ScriptedSink {
    /// Answers by the script; a request for which it has no line goes to the index at `target`.
    pub(crate) fn before(
        target: &str,
        script: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
    ) -> ScriptedSink {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (target, script) = (target.to_owned(), Arc::new(script));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, script) = (target.clone(), Arc::clone(&script));
                std::thread::spawn(move || {
                    let mut client = BufReader::new(client);
                    while let Some(request) = read(&mut client) {
                        let answer = script(&request).unwrap_or_else(|| pass(&target, request));
                        if write(client.get_mut(), &answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        ScriptedSink { url }
    }
}

/// None where the client is gone, or sends what is no request.
fn read(client: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        client.read_line(&mut line).ok().filter(|count| *count > 0).map(|_| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    // One who takes this for a proxy names the host as well.
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest[rest.find('/')?..].to_owned(),
        None => target.to_owned(),
    };
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    request.body = vec![0; length];
    client.read_exact(&mut request.body).ok()?;
    Some(request)
}

fn pass(target: &str, request: Request) -> Answer {
    let client = super::http::Http::open(target).client;
    let passed = runtime().block_on(async {
        let method = request.method.parse::<reqwest::Method>().expect("a method");
        let mut to = client.request(method, format!("{target}{}", request.path));
        if let Some(kind) = request.header("content-type") {
            to = to.header("content-type", kind);
        }
        if let Some(encoding) = request.header("content-encoding") {
            to = to.header("content-encoding", encoding);
        }
        let answer = to.body(request.body.clone()).send().await?;
        let status = answer.status().as_u16();
        answer.text().await.map(|body| (status, body))
    });
    let (status, body) = passed.unwrap_or_else(|error| (502, error.to_string()));
    Answer { status, headers: vec![("content-type", "application/json")], body }
}

fn write(client: &mut TcpStream, answer: &Answer) -> std::io::Result<()> {
    let headers: String = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("HTTP/1.1 {} Scripted\r\n{headers}content-length: {}\r\n\r\n", answer.status, answer.body.len());
    client.write_all(head.as_bytes())?;
    client.write_all(answer.body.as_bytes())
}
