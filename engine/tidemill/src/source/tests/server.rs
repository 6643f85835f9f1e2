//! Real servers for this module's tests: few, shared, each test in a database of its own.
//!
//! The servers live as long as the test process; their watchdogs clear up after it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::private_postgres::{Options, PrivatePostgres, ServerTls};
use crate::source::{Connector, Session};

/// The server that most tests share. None of them may hold a transaction open on it: slots would wait.
pub(super) fn shared() -> &'static PrivatePostgres {
    static SERVER: OnceLock<PrivatePostgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let settings = vec![("max_replication_slots".into(), "60".into()), ("max_wal_senders".into(), "60".into())];
        PrivatePostgres::start(Options { settings, ..Options::default() }).unwrap()
    })
}

/// A server of the test's own.
pub(super) fn own(settings: &[(&str, &str)]) -> PrivatePostgres {
    let settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    PrivatePostgres::start(Options { settings, ..Options::default() }).unwrap()
}

/// A new database and a superuser's session in it.
pub(super) struct Database {
    pub(super) name: String,
    pub(super) connector: Connector,
    pub(super) sql: Session,
    server: String,
}

impl Database {
    pub(super) async fn on(server: &PrivatePostgres) -> Database {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let admin = connector(&server.socket_url()).sql().await.unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
        let url = server.socket_url().replace("/postgres?", &format!("/{name}?"));
        let connector = connector(&url);
        let sql = connector.sql().await.unwrap();
        Database { name, connector, sql, server: url }
    }

    pub(super) async fn run(&self, statements: &str) {
        self.sql.batch_execute(statements).await.unwrap();
    }

    /// Another role in the same database.
    pub(super) fn as_role(&self, role: &str) -> Connector {
        connector(&self.server.replace("postgres://postgres@", &format!("postgres://{role}@")))
    }
}

pub(super) fn connector(url: &str) -> Connector {
    Connector::new(url.parse().unwrap()).unwrap()
}

/// Certificates as an operator would make them.
pub(super) struct Certificates(tempfile::TempDir);

impl Certificates {
    pub(super) fn shared() -> &'static Certificates {
        static MADE: OnceLock<Certificates> = OnceLock::new();
        MADE.get_or_init(|| {
            let certificates = Certificates(tempfile::tempdir().unwrap());
            certificates.make("ca", "/CN=ca", &["-addext", "basicConstraints=critical,CA:TRUE"]);
            certificates.make("other", "/CN=other", &["-addext", "basicConstraints=critical,CA:TRUE"]);
            certificates.signed("server", "/CN=localhost", "subjectAltName=DNS:localhost");
            certificates.signed("client", "/CN=certy", "subjectAltName=DNS:client");
            certificates
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn make(&self, name: &str, subject: &str, more: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-nodes", "-days", "2"]);
        if !more.contains(&"-newkey") {
            command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        }
        command.args(["-subj", subject, "-keyout"]).arg(self.path(&format!("{name}.key")));
        command.arg("-out").arg(self.path(&format!("{name}.pem"))).args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn signed(&self, name: &str, subject: &str, san: &str) {
        let (ca, key) = (self.path("ca.pem"), self.path("ca.key"));
        let by = ["-CA", ca.to_str().unwrap(), "-CAkey", key.to_str().unwrap()];
        self.make(name, subject, &[&by[..], &["-addext", san, "-addext", "basicConstraints=CA:FALSE"]].concat());
    }
}

/// A server with TLS and a role for each way in.
pub(super) fn guarded() -> &'static PrivatePostgres {
    static SERVER: OnceLock<PrivatePostgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let certificates = Certificates::shared();
        with_tls(&certificates.path("server.pem"), &certificates.path("server.key"))
    })
}

pub(super) fn with_tls(cert: &Path, key: &Path) -> PrivatePostgres {
    let hba = [
        "local all all trust",
        "host all trusty 127.0.0.1/32 trust",
        "host all clear 127.0.0.1/32 password",
        "host all md5er 127.0.0.1/32 md5",
        "hostssl all certy 127.0.0.1/32 cert",
        "hostnossl all plain 127.0.0.1/32 scram-sha-256",
        "host all scram 127.0.0.1/32 scram-sha-256",
    ];
    let tls = ServerTls { cert: cert.into(), key: key.into(), ca: Some(Certificates::shared().path("ca.pem")) };
    let hba = hba.iter().map(|line| line.to_string()).collect();
    let server = PrivatePostgres::start(Options { hba, tls: Some(tls), ..Options::default() }).unwrap();
    // A thread of its own: the caller may be inside a runtime.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let admin = connector(&server.socket_url()).sql().await.unwrap();
                let roles = "SET password_encryption = 'md5'; CREATE ROLE md5er LOGIN PASSWORD 'pass word'; \
                             SET password_encryption = 'scram-sha-256'; CREATE ROLE clear LOGIN PASSWORD 'pass word'; \
                             CREATE ROLE plain LOGIN PASSWORD 'pass word'; CREATE ROLE scram LOGIN PASSWORD 'pass word'; \
                             CREATE ROLE trusty LOGIN; CREATE ROLE certy LOGIN";
                admin.batch_execute(roles).await.unwrap();
            });
        });
    });
    server
}
