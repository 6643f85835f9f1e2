//! TLS towards the database, with libpq's meaning of `sslmode`, and the certificate's hash that SCRAM binds a password to.
//!
//! rustls checks more than libpq does in one respect: a certificate must name its host in `subjectAltName`, not only in
//! the common name. It would check too much in another: a self-signed certificate that is its own `sslrootcert`, usual
//! with Postgres, is refused as a CA that serves. Such a one is taken where it is, byte by byte, the file's.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::{Error, Kind, Result};
use super::url::{RootCert, SslMode, Url};

/// How a connection is encrypted; made once a URL, so that its files are read once.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    pub(crate) fn new(url: &Url) -> Result<Option<Tls>> {
        if url.ssl_mode == SslMode::Disable {
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Verifier { trust: Trust::of(url)?, provider: provider.clone() });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(tls_error)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&url.ssl_cert, &url.ssl_key) {
            (Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("sslkey", key, error))?;
                builder.with_client_auth_cert(certificates("sslcert", cert)?, key).map_err(tls_error)?
            }
            _ => builder.with_no_client_auth(),
        };
        // One connection a host and life: a ticket would never be used.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Some(Tls { connector: Arc::new(config).into() }))
    }

    pub(crate) async fn handshake(&self, host: &str, socket: TcpStream) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Error::new(Kind::Config, format!("host `{host}` is no name that a certificate could have")))?;
        self.connector.connect(name, socket).await.map_err(|error| {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(inner) => explain(host, inner.clone()),
                None => Error::io(format!("the TLS handshake with `{host}` was cut"), error),
            }
        })
    }
}

fn tls_error(error: rustls::Error) -> Error {
    Error::new(Kind::Tls, "TLS cannot be set up").because(error)
}

fn explain(host: &str, error: rustls::Error) -> Error {
    let say = match &error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is not signed by a CA that we trust: give the CA's file as `sslrootcert`".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            "its certificate's subjectAltName does not name this host: use the name that it has, or `sslmode=verify-ca`"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired".to_owned()
        }
        rustls::Error::AlertReceived(_) => {
            "it refused our side: is a client certificate (`sslcert`) wanted?".to_owned()
        }
        _ => "the handshake failed".to_owned(),
    };
    Error::new(Kind::Tls, format!("no TLS with `{host}`: {say}")).because(error)
}

fn unreadable(parameter: &str, path: &Path, error: rustls_pki_types::pem::Error) -> Error {
    Error::new(Kind::Config, format!("`{parameter}` file `{}` cannot be used", path.display())).because(error)
}

fn certificates(parameter: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unreadable(parameter, path, error))?;
    if found.is_empty() {
        return Err(Error::new(
            Kind::Config,
            format!("`{parameter}` file `{}` holds no certificate in PEM", path.display()),
        ));
    }
    Ok(found)
}

/// Whom we believe to be the server.
#[derive(Debug)]
enum Trust {
    /// Whoever answers: encryption without knowing with whom.
    Anybody,
    /// Whoever a root vouches for …
    Roots {
        roots: RootCertStore,
        /// … or who is one of them.
        pinned: Vec<CertificateDer<'static>>,
        /// The certificate must also name the host.
        name: bool,
    },
}

impl Trust {
    fn of(url: &Url) -> Result<Trust> {
        let name = url.ssl_mode == SslMode::VerifyFull;
        let pinned = match (&url.ssl_root_cert, url.ssl_mode) {
            (_, SslMode::Disable | SslMode::Prefer) | (None, SslMode::Require) => return Ok(Trust::Anybody),
            (Some(RootCert::File(path)), _) => certificates("sslrootcert", path)?,
            (Some(RootCert::System) | None, _) => return Trust::system(),
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(pinned.iter().cloned());
        Ok(Trust::Roots { roots, pinned, name })
    }

    fn system() -> Result<Trust> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(Error::new(
                Kind::Tls,
                "this system has no trusted root certificates: give the CA's file as `sslrootcert`",
            ));
        }
        Ok(Trust::Roots { roots, pinned: Vec::new(), name: true })
    }
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Trust::Roots { roots, pinned, name } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let cert = ParsedCertificate::try_from(end_entity)?;
        if pinned.iter().any(|pinned| pinned == end_entity) {
            in_its_time(end_entity, now)?;
        } else {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&cert, roots, intermediates, now, algorithms)?;
        }
        if *name {
            verify_server_name(&cert, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    // The handshake's signature is checked in every mode: without it not even channel binding would mean anything.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The data of `tls-server-end-point` (RFC 5929): the certificate hashed by its own signature's hash function, SHA-256 in
/// place of what is weaker. `None` where that is not defined, for instance Ed25519.
pub(crate) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let algorithm = der::Certificate::parse(certificate)?.signature_algorithm;
    let (oid, parameters) = der::take(algorithm, der::OID)?;
    Some(match hash_of(oid, parameters)? {
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

fn hash_of(oid: &[u8], parameters: &[u8]) -> Option<Hash> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
    const ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
    let (last, family) = oid.split_last()?;
    match (family, last) {
        (RSA, 4 | 5 | 11) | (ECDSA_SHA2, 2) | (SHA2, 1) => Some(Hash::Sha256),
        (RSA, 12) | (ECDSA_SHA2, 3) | (SHA2, 2) => Some(Hash::Sha384),
        (RSA, 13) | (ECDSA_SHA2, 4) | (SHA2, 3) => Some(Hash::Sha512),
        (RSA, 10) => {
            // RSASSA-PSS: the hash is the first of its parameters, SHA-1 when absent.
            let (fields, _) = der::take(parameters, der::SEQUENCE)?;
            let Some((tagged, _)) = der::take(fields, 0xa0) else { return Some(Hash::Sha256) };
            let (algorithm, _) = der::take(tagged, der::SEQUENCE)?;
            let (oid, _) = der::take(algorithm, der::OID)?;
            if oid.starts_with(SHA2) { hash_of(oid, &[]) } else { Some(Hash::Sha256) }
        }
        _ if oid == ECDSA_SHA1 => Some(Hash::Sha256),
        _ => None,
    }
}

fn in_its_time(certificate: &[u8], now: UnixTime) -> Result<(), rustls::Error> {
    let validity = der::Certificate::parse(certificate).and_then(|certificate| certificate.validity());
    let (from, to) = validity.ok_or(CertificateError::BadEncoding)?;
    let now = der::timestamp(now.as_secs());
    match () {
        () if now < from => Err(CertificateError::NotValidYet.into()),
        () if now > to => Err(CertificateError::Expired.into()),
        () => Ok(()),
    }
}

/// As much of DER as it takes to find two fields of a certificate that rustls has already read.
mod der {
    pub(super) const OID: u8 = 0x06;
    pub(super) const SEQUENCE: u8 = 0x30;

    /// The content of the first value, which must have this tag, and what follows it.
    pub(super) fn take(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let (&found, rest) = bytes.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=127 => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        (found == tag).then(|| rest.split_at_checked(length))?
    }

    pub(super) struct Certificate<'a> {
        signed: &'a [u8],
        pub(super) signature_algorithm: &'a [u8],
    }

    impl<'a> Certificate<'a> {
        pub(super) fn parse(bytes: &'a [u8]) -> Option<Certificate<'a>> {
            let (parts, _) = take(bytes, SEQUENCE)?;
            let (signed, rest) = take(parts, SEQUENCE)?;
            let (signature_algorithm, _) = take(rest, SEQUENCE)?;
            Some(Certificate { signed, signature_algorithm })
        }

        /// From when and to when it holds, as [`timestamp`] writes it.
        pub(super) fn validity(&self) -> Option<(String, String)> {
            let rest = take(self.signed, 0xa0).map_or(self.signed, |(_, rest)| rest);
            let (_serial, rest) = take(rest, 0x02)?;
            let (_algorithm, rest) = take(rest, SEQUENCE)?;
            let (_issuer, rest) = take(rest, SEQUENCE)?;
            let (validity, _) = take(rest, SEQUENCE)?;
            let (from, rest) = time(validity)?;
            Some((from, time(rest)?.0))
        }
    }

    fn time(bytes: &[u8]) -> Option<(String, &[u8])> {
        if let Some((text, rest)) = take(bytes, 0x17) {
            // UTCTime has two digits of the year, from 1950 on.
            let text = str::from_utf8(text).ok()?;
            let century = if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" };
            return Some((format!("{century}{text}"), rest));
        }
        let (text, rest) = take(bytes, 0x18)?;
        Some((str::from_utf8(text).ok()?.to_owned(), rest))
    }

    /// Seconds since 1970 as `YYYYMMDDHHMMSSZ`, which sorts as time does.
    pub(super) fn timestamp(seconds: u64) -> String {
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // The civil calendar in eras of 400 years that begin in March.
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
        let year = year + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_the_civil_one() {
        for (seconds, text) in [
            (0, "19700101000000Z"),
            (951_782_400, "20000229000000Z"),
            (1_709_251_199, "20240229235959Z"),
            (4_102_444_800, "21000101000000Z"),
        ] {
            assert_eq!(der::timestamp(seconds), text);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_hash() {
        for bytes in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x05\x30\x00\x30\x00\x00", &[0x30; 64]] {
            assert_eq!(server_end_point(bytes), None);
        }
    }
}
