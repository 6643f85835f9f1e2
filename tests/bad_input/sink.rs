//! The sink: not there, not letting us in, not to be trusted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{PRODUCTS, both_refuse, documents_are_right, is_mended, shop};
use crate::harness::scripted::{Answer, ScriptedSink};
use crate::harness::search_server::free_port;
use crate::harness::tls::Authority;
use crate::harness::{Index, World, says};

fn configure_sink(world: &World, sink: &str) {
    world.config_with(&format!("url: {}", world.url()), sink, PRODUCTS);
}

#[test]
fn it_is_not_there_at_start() {
    let mut world = shop("sink_gone");
    let address = format!("127.0.0.1:{}", free_port());
    configure_sink(&world, &format!("url: http://{address}"));
    let before = world.made();
    world.tidemill(&["check"]).refused(1, &["sink", "main", &address]);
    assert_eq!(world.made(), before);

    let mut engine = world.start();
    engine.await_log("cannot be reached|not there|refused");
    assert!(says(&engine.log(), "sink"), "{}", engine.log());
    assert!(engine.runs(), "it waits");
    world.index = Index::start(&world.dir.path().join("late"), &address);
    world.await_documents("products", |documents| documents.len() == 2);
    documents_are_right(&world);
    assert_eq!(engine.stop(), 0);
    is_mended(&world);
    world.drop_slot();
}

fn unauthorized() -> Answer {
    let reason = "unable to authenticate with provided credentials";
    let error = json!({ "type": "security_exception", "reason": reason });
    Answer {
        headers: vec![("content-type", "application/json"), ("www-authenticate", "ApiKey")],
        ..Answer::json(401, &json!({ "error": error, "status": 401 }))
    }
}

#[test]
fn it_does_not_know_us() {
    let world = shop("sink_401");
    // `id:right`, encoded.
    let sink = ScriptedSink::before(&world.index.url, |request| {
        (request.header("authorization") != Some("ApiKey aWQ6cmlnaHQ=")).then(unauthorized)
    });
    configure_sink(&world, &format!("url: {}\nauth: {{ api_key: \"id:hunter2\" }}", sink.url));
    let documents = world.documents("products");
    for args in [&["check"][..], &["run", "--until-caught-up"]] {
        let outcome = world.tidemill(args);
        outcome.refused(1, &["main", "401", "auth|key|credentials"]);
        assert!(!outcome.to_string().contains("hunter2"), "{outcome}");
        assert_eq!(world.documents("products"), documents);
    }
    configure_sink(&world, &format!("url: {}\nauth: {{ api_key: \"id:right\" }}", sink.url));
    world.tidemill(&["resume", "products"]).succeeded();
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn it_lets_us_in_no_longer() {
    let world = shop("sink_403");
    let locked = Arc::new(AtomicBool::new(false));
    let lock = Arc::clone(&locked);
    let sink = ScriptedSink::before(&world.index.url, move |request| {
        let reason =
            "action [indices:data/write/bulk] is unauthorized for API key id [x] of user [y] on indices [products]";
        let error = json!({ "type": "security_exception", "reason": reason });
        let refuses = request.is_bulk() && lock.load(Ordering::SeqCst);
        refuses.then(|| Answer::json(403, &json!({ "error": error, "status": 403 })))
    });
    configure_sink(&world, &format!("url: {}", sink.url));
    let mut engine = world.start();
    engine.await_log("streaming");
    world.await_documents("products", |documents| documents.len() == 2);

    locked.store(true, Ordering::SeqCst);
    let confirmed = world.slot_confirmed();
    world.sql.run("UPDATE products SET in_stock = true WHERE id = 2; DELETE FROM products WHERE id = 1");
    engine.await_log("security_exception");
    engine.await_log("pause|waits");
    let status = world.tidemill(&["status", "--json"]).succeeded().json();
    let stream = &status["streams"][0];
    assert_eq!((&stream["name"], &stream["state"]), (&json!("products"), &json!("paused")), "{status}");
    let reason = stream["reason"].as_str().unwrap_or_default();
    assert!(says(reason, "403|security_exception") && says(reason, "grant|resume"), "{status}");
    assert_eq!(stream["dead_letters"], json!(0), "it is not the document's fault: {status}");
    let held = format!("SELECT '{confirmed}'::pg_lsn <= '{}'::pg_lsn", world.slot_confirmed());
    assert_eq!(world.sql.one(&held), "t");
    documents_are_right(&world);

    locked.store(false, Ordering::SeqCst);
    world.tidemill(&["resume", "products"]).succeeded();
    world.await_documents("products", |documents| documents.keys().collect::<Vec<_>>() == ["2", "3"]);
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// With the paused stream the end is not reached, and its exit code says so.
#[test]
fn it_refuses_one_index_only() {
    let world = shop("sink_403_item");
    let locked = Arc::new(AtomicBool::new(true));
    let lock = Arc::clone(&locked);
    let sink = ScriptedSink::before(&world.index.url, move |request| {
        if !request.is_bulk() || !lock.load(Ordering::SeqCst) {
            return None;
        }
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let actions = body.lines().filter(|line| line.starts_with("{\"index\"") || line.starts_with("{\"delete\""));
        let item = |line: &str| {
            let kind = if line.starts_with("{\"index\"") { "index" } else { "delete" };
            let reason = "action [indices:data/write/bulk[s]] is unauthorized";
            json!({ kind: { "_index": "products", "status": 403, "error": { "type": "security_exception", "reason": reason } } })
        };
        let items: Vec<_> = actions.map(item).collect();
        Some(Answer::json(200, &json!({ "took": 1, "errors": true, "items": items })))
    });
    configure_sink(&world, &format!("url: {}", sink.url));
    world.tidemill(&["run", "--until-caught-up"]).refused(1, &["products", "paused", "security_exception"]);
    assert!(world.documents("products").is_empty());
    locked.store(false, Ordering::SeqCst);
    world.tidemill(&["resume", "products"]).succeeded();
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn its_certificate_is_not_trusted() {
    let world = shop("sink_tls");
    let authority = Authority::make(world.dir.path());
    let address = authority.serve_before(world.index.address());
    configure_sink(&world, &format!("url: https://{address}"));
    let documents = world.documents("products");
    for args in [&["check"][..], &["run", "--until-caught-up"]] {
        world.tidemill(args).refused(1, &["main", "certificate", "tls.ca"]);
        assert_eq!(world.documents("products"), documents);
    }
    configure_sink(&world, &format!("url: https://{address}\ntls: {{ ca: ca.pem }}"));
    world.tidemill(&["resume", "products"]).succeeded();
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn its_authority_is_no_file() {
    let world = shop("sink_ca");
    let authority = Authority::make(world.dir.path());
    let address = authority.serve_before(world.index.address());
    configure_sink(&world, &format!("url: https://{address}\ntls: {{ ca: none.pem }}"));
    both_refuse_with_either(&world, &["none.pem", "tls.ca|ca"]);
    configure_sink(&world, &format!("url: https://{address}\ntls: {{ ca: ca.pem }}"));
    is_mended(&world);
    world.drop_slot();
}

/// A file beside the configuration may count as the configuration or as the world.
#[track_caller]
fn both_refuse_with_either(world: &World, words: &[&str]) {
    let code = world.tidemill(&["check"]).code;
    assert!(matches!(code, 1 | 2), "exit {code}");
    both_refuse(world, code, words);
}
