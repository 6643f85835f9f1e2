//! An authority of one's own, and TLS in front of a server that speaks none.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::runtime;

/// Files in PEM: an authority that no system trusts, and a certificate of it for localhost and 127.0.0.1.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn make(dir: &Path) -> Authority {
        let file = |name: &str| dir.join(name);
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let openssl = |args: &[&str]| {
            let output = Command::new("openssl").current_dir(dir).args(args).stdin(Stdio::null()).output();
            let output = output.expect("the program `openssl` is there");
            assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let request = ["req", "-x509", "-days", "30", "-subj", "/CN=Tidemill test authority"];
        openssl(&[&request[..], &key, &["-keyout", "ca.key", "-out", "ca.pem"]].concat());
        let request = ["req", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "request.pem"];
        openssl(&[&request[..], &key].concat());
        let extensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n\
                          extendedKeyUsage=serverAuth,clientAuth\n";
        std::fs::write(file("extensions"), extensions).expect("the folder is writable");
        let sign = ["x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "1"];
        openssl(&[&sign[..], &["-days", "30", "-extfile", "extensions", "-out", "cert.pem"]].concat());
        Authority { ca: file("ca.pem"), cert: file("cert.pem"), key: file("key.pem") }
    }

    /// Serves TLS with this certificate and passes everything on to `target`; gives the address.
    pub(crate) fn serve_before(&self, target: &str) -> String {
        self.serve(target, rustls::ServerConfig::builder().with_no_client_auth())
    }

    /// The same for those alone who have a certificate of this authority.
    pub(crate) fn serve_known_before(&self, target: &str) -> String {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).expect("a file in PEM")).expect("an authority");
        let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("a verifier");
        self.serve(target, rustls::ServerConfig::builder().with_client_cert_verifier(verifier))
    }

    fn serve(
        &self,
        target: &str,
        config: rustls::ConfigBuilder<rustls::ServerConfig, rustls::server::WantsServerCert>,
    ) -> String {
        let certificates = CertificateDer::pem_file_iter(&self.cert).expect("a file in PEM");
        let certificates = certificates.collect::<Result<Vec<_>, _>>().expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("a key");
        let target = target.to_owned();
        runtime().block_on(async {
            let config = config.with_single_cert(certificates, key).expect("key and certificate fit");
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("bound").to_string();
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (acceptor, target) = (acceptor.clone(), target.clone());
                    tokio::spawn(async move {
                        // A client that does not trust us goes away in the handshake.
                        let (Ok(mut client), Ok(mut server)) =
                            (acceptor.accept(client).await, tokio::net::TcpStream::connect(&target).await)
                        else {
                            return;
                        };
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    });
                }
            });
            address
        })
    }
}
