//! TLS towards a sink: the system's authorities, or the one that the configuration names; our certificate where it has one.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;
use crate::error::{Error, Result};

pub(super) fn client(tls: &Tls) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(ca) => {
            for certificate in certificates(ca)? {
                roots.add(certificate).map_err(|error| unusable(ca, error))?;
            }
        }
        None => {
            // What the system has and rustls does not take is no reason to trust nothing.
            let (_added, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::failed("TLS cannot be set up").with_cause(error))?
        .with_root_certificates(roots);
    match &tls.identity {
        None => Ok(builder.with_no_client_auth()),
        Some(identity) => {
            let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(|error| unusable(&identity.key, error))?;
            let chain = certificates(&identity.cert)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(&identity.cert, error))
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| unusable(path, error))?;
    if found.is_empty() {
        return Err(Error::failed(format!("`{}` has no certificate in PEM form", path.display())));
    }
    Ok(found)
}

fn unusable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::failed(format!("`{}` cannot be used for TLS", path.display())).with_cause(error)
}
