//! Getting in: every way of authentication and every `sslmode`, by both kinds of session.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::server::{Certificates, Database, connector, guarded, own, shared, with_tls};
use crate::source::{Connector, Error, Kind, Url};

/// By both kinds of session; what `pg_stat_ssl` says of the second.
async fn enter(connector: &Connector) -> Result<bool, Error> {
    let sql = connector.sql().await;
    let wire = connector.wire().await;
    match (sql, wire) {
        (Ok(sql), Ok(mut wire)) => {
            let asked = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let by_sql: bool = sql.query_one(asked, &[]).await.unwrap().get(0);
            let by_wire = wire.query(asked).await.unwrap()[0].text(0).unwrap() == "t";
            assert_eq!(by_sql, by_wire);
            Ok(by_wire)
        }
        (Err(by_sql), Err(by_wire)) => {
            assert_eq!(
                (by_sql.kind(), by_sql.is_transient()),
                (by_wire.kind(), by_wire.is_transient()),
                "{by_sql}; {by_wire}"
            );
            Err(by_wire)
        }
        (sql, wire) => panic!("they differ: {sql:?}, {wire:?}"),
    }
}

async fn url(user: &str, host: &str, parameters: &str) -> Result<bool, Error> {
    let url = format!("postgres://{user}@{host}:{}/postgres?{parameters}", guarded().port());
    enter(&Connector::new(url.parse()?)?).await
}

fn ca(name: &str) -> String {
    format!("sslrootcert={}", Certificates::shared().path(name).display())
}

#[tokio::test]
async fn every_way_of_authentication_lets_in_and_keeps_out() {
    for (user, tls) in
        [("trusty", true), ("clear:pass%20word", true), ("md5er:pass%20word", true), ("scram:pass%20word", true)]
    {
        assert_eq!(url(user, "localhost", "sslmode=require").await.unwrap(), tls, "{user}");
        assert!(!url(user, "localhost", "sslmode=disable").await.unwrap(), "{user}");
    }
    for user in ["clear", "md5er", "scram"] {
        let error = url(&format!("{user}:hunter2"), "localhost", "").await.unwrap_err();
        assert_eq!((error.kind(), error.sqlstate()), (Kind::Authentication, Some("28P01")), "{error}");
        assert!(!error.to_string().contains("hunter2"));
        let error = url(user, "localhost", "").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Authentication, "{error}");
    }
    let error = url("nobody", "localhost", "sslmode=disable").await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (Kind::Authentication, Some("28000")), "{error}");
}

#[tokio::test]
async fn channel_binding_binds_where_it_can() {
    let scram = "scram:pass%20word";
    assert!(url(scram, "localhost", "sslmode=require&channel_binding=require").await.unwrap());
    assert!(url(scram, "localhost", "sslmode=require&channel_binding=disable").await.unwrap());
    for user in ["trusty", "md5er:pass%20word", "clear:pass%20word"] {
        let error = url(user, "localhost", "sslmode=require&channel_binding=require").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Authentication, "{error}");
    }
}

/// A server that asks for SCRAM bound to its TLS connection, and lets everybody in after `answers` to what the client sends.
async fn liar(answers: &'static [&'static [u8]]) -> u16 {
    let file = |name| Certificates::shared().path(name);
    let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // A client that goes away in the middle has seen enough.
            tokio::spawn(lie(acceptor.clone(), socket, answers));
        }
    });
    port
}

async fn lie(acceptor: TlsAcceptor, mut socket: TcpStream, answers: &[&[u8]]) -> std::io::Result<()> {
    socket.read_exact(&mut [0; 8]).await?;
    socket.write_all(b"S").await?;
    let mut tls = acceptor.accept(socket).await?;
    let length = tls.read_u32().await? as usize;
    tls.read_exact(&mut vec![0; length - 4]).await?;
    for answer in [&b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"[..]].iter().chain(answers) {
        tls.write_u8(b'R').await?;
        tls.write_u32(answer.len() as u32 + 4).await?;
        tls.write_all(answer).await?;
        tls.flush().await?;
        if *answer != b"\0\0\0\0" {
            tls.read_u8().await?;
            let length = tls.read_u32().await? as usize;
            tls.read_exact(&mut vec![0; length - 4]).await?;
        }
    }
    for status in ["server_version\x0015.1\0", "DateStyle\0ISO, MDY\0"] {
        tls.write_u8(b'S').await?;
        tls.write_u32(status.len() as u32 + 4).await?;
        tls.write_all(status.as_bytes()).await?;
    }
    tls.write_all(b"Z\0\0\0\x05I").await?;
    tls.flush().await?;
    tls.read_u8().await.map(drop)
}

#[tokio::test]
async fn a_server_that_did_not_prove_itself_is_not_believed() {
    const OK: &[u8] = b"\0\0\0\0";
    const CLEAR: &[u8] = b"\0\0\0\x03";
    const FINAL: &[u8] = b"\0\0\0\x0cv=AAAA";
    for answers in [&[OK][..], &[CLEAR, OK], &[FINAL, OK]] {
        let port = liar(answers).await;
        for binding in ["require", "prefer"] {
            let url =
                format!("postgres://scram:pass%20word@localhost:{port}/d?sslmode=require&channel_binding={binding}");
            let error = connector(&url).wire().await.unwrap_err();
            assert_eq!(error.kind(), Kind::Authentication, "{binding}, {answers:?}: {error}");
            assert!(!error.is_transient(), "{error}");
            connector(&url).sql().await.unwrap_err();
        }
    }
}

#[tokio::test]
async fn each_sslmode_means_what_libpq_means() {
    let user = "trusty";
    for (host, parameters, outcome) in [
        ("localhost", "sslmode=disable".to_owned(), Ok(false)),
        ("localhost", "sslmode=prefer".to_owned(), Ok(true)),
        ("localhost", "sslmode=require".to_owned(), Ok(true)),
        ("localhost", format!("sslmode=require&{}", ca("ca.pem")), Ok(true)),
        ("localhost", format!("sslmode=require&{}", ca("other.pem")), Err("not signed by a CA that we trust")),
        ("127.0.0.1", format!("sslmode=verify-ca&{}", ca("ca.pem")), Ok(true)),
        ("127.0.0.1", format!("sslmode=verify-ca&{}", ca("other.pem")), Err("not signed by a CA that we trust")),
        ("localhost", format!("sslmode=verify-full&{}", ca("ca.pem")), Ok(true)),
        ("127.0.0.1", format!("sslmode=verify-full&{}", ca("ca.pem")), Err("does not name this host")),
        ("localhost", format!("sslmode=verify-full&{}", ca("other.pem")), Err("not signed by a CA that we trust")),
    ] {
        match (url(user, host, &parameters).await, outcome) {
            (Ok(tls), Ok(expected)) => assert_eq!(tls, expected, "{host} {parameters}"),
            (Err(error), Err(says)) => {
                assert!(error.to_string().contains(says) && error.kind() == Kind::Tls, "{parameters}: {error}");
                assert!(!error.is_transient());
            }
            (other, _) => panic!("{host} {parameters}: {other:?}"),
        }
    }
    // Only plain is let in, and `prefer` finds that out.
    assert!(!url("plain:pass%20word", "localhost", "sslmode=prefer").await.unwrap());
    assert_eq!(
        url("plain:pass%20word", "localhost", "sslmode=require").await.unwrap_err().kind(),
        Kind::Authentication
    );
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_wanted() {
    let plain = shared().url();
    assert!(!enter(&connector(&format!("{plain}?sslmode=prefer"))).await.unwrap());
    let error = enter(&connector(&format!("{plain}?sslmode=require"))).await.unwrap_err();
    assert!(error.kind() == Kind::Tls && error.to_string().contains("ssl = on"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_lets_in() {
    let path = |name| Certificates::shared().path(name).display().to_string();
    let files = format!("sslmode=require&sslcert={}&sslkey={}", path("client.pem"), path("client.key"));
    assert!(url("certy", "localhost", &files).await.unwrap());
    assert_eq!(url("certy", "localhost", "sslmode=require").await.unwrap_err().kind(), Kind::Authentication);
    for missing in
        ["sslrootcert=/nowhere.pem&sslmode=require", "sslmode=require&sslcert=/nowhere.pem&sslkey=/nowhere.key"]
    {
        let error = url("certy", "localhost", missing).await.unwrap_err();
        assert!(error.kind() == Kind::Config && error.to_string().contains("/nowhere"), "{error}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_its_own_root() {
    let certificates = Certificates::shared();
    certificates.make("self", "/CN=localhost", &["-addext", "subjectAltName=DNS:localhost"]);
    // RSA with SHA-384: another hash for the channel binding.
    let rsa = ["-newkey", "rsa:2048", "-sha384", "-addext", "subjectAltName=DNS:localhost"];
    certificates.make("rsa", "/CN=localhost", &rsa);
    for name in ["self", "rsa"] {
        let file = |end: &str| certificates.path(&format!("{name}.{end}"));
        let server = with_tls(&file("pem"), &file("key"));
        let go = async |host: &str, root: &str| {
            let parameters = format!("sslmode=verify-full&channel_binding=require&sslrootcert={root}");
            let url = format!("postgres://scram:pass%20word@{host}:{}/postgres?{parameters}", server.port());
            enter(&connector(&url)).await
        };
        assert!(go("localhost", file("pem").to_str().unwrap()).await.unwrap());
        assert_eq!(go("127.0.0.1", file("pem").to_str().unwrap()).await.unwrap_err().kind(), Kind::Tls);
        assert_eq!(go("localhost", certificates.path("ca.pem").to_str().unwrap()).await.unwrap_err().kind(), Kind::Tls);
    }
}

#[tokio::test]
async fn hosts_are_tried_in_turn() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (dir, port) = (shared().dir().display(), shared().port());
    let go = async |hosts: &str, wants: &str| {
        enter(&connector(&format!("postgres://postgres@/postgres?{hosts}&target_session_attrs={wants}"))).await
    };
    let both = format!("host=127.0.0.1,{dir}&port={closed},{port}");
    for wants in ["any", "primary", "read-write", "prefer-standby"] {
        go(&both, wants).await.unwrap();
    }
    for wants in ["standby", "read-only"] {
        let error = go(&both, wants).await.unwrap_err();
        assert_eq!(error.kind(), Kind::SessionAttributes, "{error}");
        assert!(error.is_transient() && error.to_string().contains("is a primary"), "{error}");
        assert!(error.to_string().contains(&format!("127.0.0.1:{closed}")), "{error}");
    }
    let error = go(&format!("host=127.0.0.1&port={closed}"), "any").await.unwrap_err();
    assert!(error.kind() == Kind::Connection && error.is_transient(), "{error}");
    // A server that refuses us is the answer, whatever else there is.
    let error = go(&format!("host={dir},127.0.0.1&port={port},{closed}&dbname=nowhere"), "any").await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (Kind::Database, false), "{error}");
}

#[tokio::test]
async fn a_host_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=1&sslmode=disable");
    let error = enter(&connector(&url)).await.unwrap_err();
    assert!(error.kind() == Kind::Connection && error.is_transient(), "{error}");
    assert!(error.to_string().contains("within 1s"), "{error}");
}

#[tokio::test]
async fn a_poolers_refusal_is_told_from_a_servers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pooler = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let length = socket.read_u32().await.unwrap() as usize;
            socket.read_exact(&mut vec![0; length - 4]).await.unwrap();
            let fields = b"SFATAL\0C08P01\0Munsupported startup parameter: extra_float_digits\0\0";
            socket.write_u8(b'E').await.unwrap();
            socket.write_u32(fields.len() as u32 + 4).await.unwrap();
            socket.write_all(fields).await.unwrap();
        }
    });
    let error = enter(&connector(&format!("postgres://u@127.0.0.1:{port}/d?sslmode=disable"))).await.unwrap_err();
    assert!(error.kind() == Kind::Pooler && error.to_string().contains("extra_float_digits"), "{error}");
    assert!(!error.is_transient());
    pooler.abort();
}

#[tokio::test]
async fn no_default_of_a_role_or_database_reaches_a_session() {
    let db = Database::on(shared()).await;
    for (name, value) in [
        ("DateStyle", "'German, DMY'"),
        ("IntervalStyle", "sql_standard"),
        ("extra_float_digits", "-10"),
        ("TimeZone", "'Asia/Kathmandu'"),
        ("bytea_output", "escape"),
        ("client_encoding", "LATIN1"),
        ("standard_conforming_strings", "off"),
        ("row_security", "on"),
        ("statement_timeout", "1"),
        ("lock_timeout", "1"),
        ("idle_in_transaction_session_timeout", "1"),
        ("default_transaction_read_only", "on"),
        ("search_path", "nowhere"),
    ] {
        db.run(&format!("ALTER DATABASE {} SET {name} = {value}", db.name)).await;
        db.run("SET default_transaction_read_only = off").await;
    }
    let asked = "SELECT '2024-01-31'::date::text, '1 day 2:03'::interval::text, (0.1::float8 + 0.2)::text, \
                 '2024-01-31 00:00+01'::timestamptz::text, '\\x00ff'::bytea::text, 'a\\b', current_setting('row_security'), \
                 current_setting('statement_timeout'), current_setting('transaction_read_only'), \
                 current_setting('client_encoding')";
    let expected = [
        "2024-01-31",
        "P1DT2H3M",
        "0.30000000000000004",
        "2024-01-30 23:00:00+00",
        "\\x00ff",
        "a\\b",
        "off",
        "0",
        "off",
        "UTF8",
    ];
    let mut users = (*db.connector.url()).clone();
    users.options = Some("-c DateStyle=SQL -c extra_float_digits=0 -c work_mem=5MB".into());
    for connector in [db.connector.clone(), Connector::new(users).unwrap()] {
        for replication in [false, true] {
            let mut wire = if replication { connector.replication().await } else { connector.wire().await }.unwrap();
            let rows = wire.query(asked).await.unwrap();
            let found: Vec<_> = (0..expected.len()).map(|column| rows[0].text(column).unwrap()).collect();
            assert_eq!(found, expected);
        }
        let row = connector.sql().await.unwrap().query_one(asked, &[]).await.unwrap();
        let found: Vec<&str> = (0..expected.len()).map(|column| row.get(column)).collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_password_may_come_beside_the_url() {
    let url: Url = format!("postgres://postgres@127.0.0.1:{}/postgres", shared().port()).parse().unwrap();
    let whole: Url = shared().url().parse().unwrap();
    let connector = Connector::new(url).unwrap();
    assert_eq!(enter(&connector).await.unwrap_err().kind(), Kind::Authentication);
    enter(&connector.with_password(whole.password.unwrap())).await.unwrap();
}

#[tokio::test]
async fn a_server_that_starts_or_stops_is_waited_for() {
    let mut server = own(&[]);
    let connector = connector(&server.socket_url());
    let mut wire = connector.wire().await.unwrap();
    let sql = connector.sql().await.unwrap();
    server.crash().unwrap();
    let error = wire.query("SELECT 1").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let error = Error::from(sql.query("SELECT 1", &[]).await.unwrap_err());
    assert!(error.is_transient(), "{error}");
    enter(&connector).await.unwrap();
}
