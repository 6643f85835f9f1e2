//! How fast the embedded index takes documents, and what searching costs after: `cargo run -p tidemill-embedded --example rate
//! -- [documents] [directory]`. Bulks of 10,000 documents of 400 bytes, two at a time, over HTTP within one process.
#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::time::Instant;

use tidemill_embedded::{Options, Server};

const BULK: usize = 10_000;

fn documents(from: usize, until: usize) -> String {
    let mut body = String::new();
    for id in from..until {
        body.push_str(&format!(
            "{{\"index\":{{\"_index\":\"p\",\"_id\":\"{id}\",\"version\":1,\"version_type\":\"external_gte\"}}}}\n\
             {{\"id\":{id},\"name\":\"Product number {id} in red\",\"description\":\"A thing of quality that has the number {id}, made \
             by hand of wood, steel and glass, and sent to you within {} days of your order wherever you may live; it comes with \
             a guarantee of ten years\",\"price\":{}.99,\"in_stock\":{},\"category\":\"c{}\",\"created_at\":\"2024-01-02T03:04:05.678Z\"}}\n",
            id % 9,
            id % 500,
            id % 3 != 0,
            id % 20
        ));
    }
    body
}

fn resident_mb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap_or(0) / 1024
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let dir = arguments.next().map(Into::into);
    let server = Server::bind(Options { dir, ..Options::default() }).await?;
    let url = format!("http://{}", server.addr());
    tokio::spawn(server.run(std::future::pending()));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let send = |path: &'static str, body: String| {
        let request = client.post(format!("{url}{path}")).header("content-type", "application/json").body(body);
        async move { request.send().await?.error_for_status()?.text().await }
    };
    let mapping = r#"{"mappings":{"properties":{"id":{"type":"long"},"name":{"type":"text"},"description":{"type":"text"},"price":{"type":"double"},"in_stock":{"type":"boolean"},"category":{"type":"keyword"},"created_at":{"type":"date"}}}}"#;
    client.put(format!("{url}/p")).header("content-type", "application/json").body(mapping).send().await?;
    for round in ["new", "the same versions again"] {
        let bodies: Vec<String> =
            (0..count).step_by(BULK).map(|from| documents(from, (from + BULK).min(count))).collect();
        let started = Instant::now();
        for pair in bodies.chunks(2) {
            let two: Vec<_> =
                pair.iter().map(|body| tokio::spawn(send("/_bulk?filter_path=errors", body.clone()))).collect();
            for answer in two {
                assert_eq!(answer.await??, "{\"errors\":false}");
            }
        }
        let rate = count as f64 / started.elapsed().as_secs_f64();
        println!("{round}: {rate:.0} documents/s; {} MB resident", resident_mb());
    }
    for (what, path, body) in [
        ("refresh", "/p/_refresh", ""),
        ("count of all", "/p/_count", ""),
        ("first search by a word (fills the inverted index)", "/p/_search", r#"{"query":{"match":{"name":"red"}}}"#),
        ("second", "/p/_search", r#"{"query":{"match":{"description":"wood number 77"}}}"#),
        ("range over a number", "/p/_search", r#"{"query":{"range":{"id":{"gte":1000}}}}"#),
        ("sorted by a number", "/p/_search", r#"{"sort":[{"price":"desc"}]}"#),
    ] {
        let started = Instant::now();
        send(path, body.to_owned()).await?;
        println!("{what}: {:.1} ms; {} MB resident", started.elapsed().as_secs_f64() * 1e3, resident_mb());
    }
    let started = Instant::now();
    let mut page = send("/p/_search?scroll=1m", r#"{"size":5000}"#.to_owned()).await?;
    let mut hits = 0;
    while page.contains("\"_index\"") {
        hits += page.matches("\"_index\"").count();
        let id = page.split('"').nth(3).unwrap_or_default().to_owned();
        page = send("/_search/scroll", format!("{{\"scroll\":\"1m\",\"scroll_id\":\"{id}\"}}")).await?;
    }
    println!("scroll over all: {hits} documents, {:.0} documents/s", hits as f64 / started.elapsed().as_secs_f64());
    Ok(())
}
