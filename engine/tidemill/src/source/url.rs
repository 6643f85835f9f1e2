//! The source's URL, as libpq reads it, with the parameters that we honour and no others.
//!
//! `postgres://user:password@host:5432,other/db?sslmode=verify-full&target_session_attrs=read-write`

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::error::{Error, Kind, Result};
use crate::secret::Secret;

/// How long one host may take until it has let us in. libpq waits for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PORT: u16 = 5432;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Tcp {
        name: String,
        port: u16,
    },
    /// The folder that holds the socket.
    Unix {
        dir: PathBuf,
        port: u16,
    },
}

impl Host {
    pub fn socket(dir: &Path, port: u16) -> PathBuf {
        dir.join(format!(".s.PGSQL.{port}"))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Tcp { name, port } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Host::Tcp { name, port } => write!(f, "{name}:{port}"),
            Host::Unix { dir, port } => write!(f, "{}", Host::socket(dir, *port).display()),
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$of])* $variant),+ }

        impl $name {
            const WORDS: &'static [(&'static str, $name)] = &[$(($word, $name::$variant)),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($name::$variant => $word),+ })
            }
        }
    };
}

words!(
    /// Whether the connection is encrypted, and how sure we are of the other end.
    SslMode {
        Disable = "disable",
        /// TLS where the server offers it.
        Prefer = "prefer",
        /// TLS; the certificate is checked only where `sslrootcert` is given.
        Require = "require",
        /// A certificate of a trusted CA, for whatever host.
        VerifyCa = "verify-ca",
        /// A certificate of a trusted CA for this very host.
        VerifyFull = "verify-full",
    }
);

words!(
    /// Which of several hosts will do. We write and replicate in sessions whose defaults we pin, so read-write means
    /// primary and read-only means standby.
    SessionAttributes {
        Any = "any",
        ReadWrite = "read-write",
        ReadOnly = "read-only",
        Primary = "primary",
        Standby = "standby",
        PreferStandby = "prefer-standby",
    }
);

words!(
    /// Whether the password exchange is tied to the TLS connection.
    ChannelBinding {
        Disable = "disable",
        Prefer = "prefer",
        Require = "require",
    }
);

/// The root certificates that a server's certificate must lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootCert {
    File(PathBuf),
    /// What the system trusts.
    System,
}

/// Where the database is and how to get in. Debug and Display never show the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub user: String,
    pub password: Option<Secret>,
    pub hosts: Vec<Host>,
    pub database: String,
    pub ssl_mode: SslMode,
    pub ssl_root_cert: Option<RootCert>,
    pub ssl_cert: Option<PathBuf>,
    pub ssl_key: Option<PathBuf>,
    pub channel_binding: ChannelBinding,
    pub session_attributes: SessionAttributes,
    pub connect_timeout: Duration,
    pub application_name: String,
    /// Settings of the session as `-c name=value`; those that we pin win.
    pub options: Option<String>,
}

const PARAMETERS: &[&str] = &[
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "channel_binding",
    "target_session_attrs",
    "connect_timeout",
    "application_name",
    "options",
];

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Url> {
        Raw::split(text)?.build()
    }
}

impl fmt::Display for Url {
    /// Enough to tell which database it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(Host::to_string).collect();
        write!(f, "postgres://{}@{}/{}", self.user, hosts.join(","), self.database)
    }
}

/// The URL's parts, decoded but not yet understood.
#[derive(Default)]
struct Raw {
    parameters: Vec<(&'static str, String)>,
    hosts: Vec<(String, Option<String>)>,
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Kind::Config, message)
}

/// `text` is never quoted where it may be, or hold, a secret.
fn decode(what: &str, text: &str) -> Result<String> {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        if !rest.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit)) {
            return Err(bad(format!("the source url's {what} has a `%` that starts no escape: write `%25` for `%`")));
        }
        rest = &rest[at + 3..];
    }
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| bad(format!("the source url's {what} is not UTF-8")))?;
    if decoded.contains('\0') {
        return Err(bad(format!("the source url's {what} has a zero byte")));
    }
    Ok(decoded.into_owned())
}

impl Raw {
    fn split(text: &str) -> Result<Raw> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or_else(|| bad("the source url must begin with `postgres://`"))?;
        if rest.contains('#') {
            return Err(bad("the source url has a `#`: write `%23` for it"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains(':') && !authority.contains('@') && text.contains('@') {
            // Else a part of the password would be taken for a port or a parameter, and quoted in the error.
            return Err(bad(
                "the source url has a `/`, `?` or `@` that is not a separator: in a password or value write `%2F`, \
                            `%3F`, `%40`",
            ));
        }
        let mut raw = Raw::default();
        let hosts = match authority.rsplit_once('@') {
            Some((user, hosts)) => {
                let (user, password) = user.split_once(':').map_or((user, None), |(u, p)| (u, Some(p)));
                raw.set("user", decode("user", user)?);
                if let Some(password) = password {
                    raw.set("password", decode("password", password)?);
                }
                hosts
            }
            None => authority,
        };
        for host in hosts.split(',').filter(|_| !hosts.is_empty()) {
            raw.hosts.push(split_port(host)?);
        }
        raw.set("dbname", decode("database", path)?);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode("parameter", name)?;
            let known = PARAMETERS.iter().find(|known| **known == name).ok_or_else(|| unknown(&name))?;
            raw.set(known, decode(known, value)?);
        }
        Ok(raw)
    }

    fn set(&mut self, name: &'static str, value: String) {
        self.parameters.retain(|(known, _)| *known != name);
        if !value.is_empty() {
            self.parameters.push((name, value));
        }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.parameters.iter().position(|(known, _)| *known == name)?;
        Some(self.parameters.swap_remove(at).1)
    }

    fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)], default: T) -> Result<T> {
        let Some(value) = self.take(name) else { return Ok(default) };
        words.iter().find(|(word, _)| *word == value).map(|(_, known)| *known).ok_or_else(|| {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            bad(format!("the source url's `{name}` cannot be `{value}`: it is one of {}", known.join(", ")))
        })
    }

    fn hosts(&mut self) -> Result<Vec<Host>> {
        if let Some(hosts) = self.take("host") {
            let old: Vec<_> = self.hosts.drain(..).collect();
            let port = |at: usize| old.get(at).or(old.first()).and_then(|(_, port)| port.clone());
            self.hosts = hosts.split(',').enumerate().map(|(at, host)| (host.to_owned(), port(at))).collect();
        }
        if let Some(ports) = self.take("port") {
            let ports: Vec<_> = ports.split(',').collect();
            if ports.len() != 1 && ports.len() != self.hosts.len() {
                return Err(bad("the source url gives several ports but not one for each host"));
            }
            for (at, (_, port)) in self.hosts.iter_mut().enumerate() {
                *port = Some(ports.get(at).unwrap_or(&ports[0]).to_string());
            }
        }
        if self.hosts.is_empty() {
            return Err(bad(
                "the source url names no host: write `postgres://user@host/database`, or `?host=/folder` for a unix \
                            socket",
            ));
        }
        std::mem::take(&mut self.hosts).into_iter().map(|(name, port)| host(name, port.as_deref())).collect()
    }

    fn build(mut self) -> Result<Url> {
        let user = self.take("user");
        let user = user.ok_or_else(|| bad("the source url names no user: write `postgres://user@host/database`"))?;
        let root = self.take("sslrootcert").map(|path| match path.as_str() {
            "system" => RootCert::System,
            _ => RootCert::File(path.into()),
        });
        let url = Url {
            hosts: self.hosts()?,
            database: self.take("dbname").unwrap_or_else(|| user.clone()),
            user,
            password: self.take("password").map(Secret::new),
            ssl_mode: self.word("sslmode", SslMode::WORDS, SslMode::Prefer)?,
            ssl_root_cert: root,
            ssl_cert: self.take("sslcert").map(PathBuf::from),
            ssl_key: self.take("sslkey").map(PathBuf::from),
            channel_binding: self.word("channel_binding", ChannelBinding::WORDS, ChannelBinding::Prefer)?,
            session_attributes: self.word("target_session_attrs", SessionAttributes::WORDS, SessionAttributes::Any)?,
            connect_timeout: seconds(self.take("connect_timeout"))?,
            application_name: self.take("application_name").unwrap_or_else(|| "tidemill".into()),
            options: self.take("options"),
        };
        url.check()?;
        Ok(url)
    }
}

impl Url {
    /// What each part allows may not go together.
    fn check(&self) -> Result<()> {
        let verified = matches!(self.ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull);
        if self.ssl_cert.is_some() != self.ssl_key.is_some() {
            return Err(bad("the source url must give both `sslcert` and `sslkey`, or neither"));
        }
        if self.ssl_root_cert == Some(RootCert::System) && self.ssl_mode != SslMode::VerifyFull {
            // Anybody gets a certificate of a public CA for some name.
            return Err(bad("the source url's `sslrootcert=system` needs `sslmode=verify-full`"));
        }
        if self.ssl_root_cert.is_none() && self.ssl_mode == SslMode::VerifyCa {
            return Err(bad("the source url's `sslmode=verify-ca` needs `sslrootcert`, or else `sslmode=verify-full`"));
        }
        if let Some(Host::Unix { dir, .. }) =
            self.hosts.iter().find(|host| matches!(host, Host::Unix { .. }) && verified)
        {
            return Err(bad(format!(
                "the source url asks for `sslmode={}` on the unix socket in `{}`, which has no TLS",
                self.ssl_mode,
                dir.display()
            )));
        }
        if self.channel_binding == ChannelBinding::Require && self.ssl_mode == SslMode::Disable {
            return Err(bad("the source url's `channel_binding=require` needs TLS: `sslmode=require` or better"));
        }
        Ok(())
    }
}

fn unknown(name: &str) -> Error {
    let near = PARAMETERS.iter().max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    let near = near.expect("the list has entries");
    bad(format!("the source url's parameter `{name}` is not known: did you mean `{near}`?"))
}

fn seconds(text: Option<String>) -> Result<Duration> {
    let Some(text) = text else { return Ok(CONNECT_TIMEOUT) };
    match text.parse() {
        Ok(0) | Err(_) => {
            Err(bad(format!("the source url's `connect_timeout` must be seconds, at least 1, not `{text}`")))
        }
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

fn split_port(text: &str) -> Result<(String, Option<String>)> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']').ok_or_else(|| bad("the source url's host has `[` without `]`"))?;
            (name, rest.strip_prefix(':'))
        }
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    Ok((decode("host", name)?, port.filter(|port| !port.is_empty()).map(str::to_owned)))
}

fn host(name: String, port: Option<&str>) -> Result<Host> {
    let port = match port {
        None => PORT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| bad("the source url's port must be a number from 1 to 65535"))?,
    };
    if name.is_empty() {
        return Err(bad("the source url has an empty host"));
    }
    Ok(if name.starts_with('/') { Host::Unix { dir: name.into(), port } } else { Host::Tcp { name, port } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(name: &str, port: u16) -> Host {
        Host::Tcp { name: name.into(), port }
    }

    fn unix(dir: &str, port: u16) -> Host {
        Host::Unix { dir: dir.into(), port }
    }

    #[test]
    fn hosts_are_read_as_libpq_reads_them() {
        for (text, hosts) in [
            ("postgres://u@h/d", vec![tcp("h", 5432)]),
            ("postgresql://u@h:1/d", vec![tcp("h", 1)]),
            ("postgres://u@h:1,i:2,j/d", vec![tcp("h", 1), tcp("i", 2), tcp("j", 5432)]),
            ("postgres://u@[::1]:7/d", vec![tcp("::1", 7)]),
            ("postgres://u@%2Fvar%2Frun/d", vec![unix("/var/run", 5432)]),
            ("postgres://u@/d?host=/tmp&port=9", vec![unix("/tmp", 9)]),
            ("postgres://u@:6/d?host=/tmp", vec![unix("/tmp", 6)]),
            ("postgres://u@/d?host=a,/b&port=1,2", vec![tcp("a", 1), unix("/b", 2)]),
            ("postgres://u@a,b/d?port=3", vec![tcp("a", 3), tcp("b", 3)]),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().hosts, hosts, "{text}");
        }
    }

    #[test]
    fn parts_are_decoded() {
        let url: Url = "postgres://us%40er:p%3Aa%2F%C3%9F@h/my%20db?application_name=x%26y&options=-c%20a%3Db&\
                        connect_timeout=3&target_session_attrs=read-write&channel_binding=require&sslmode=verify-full&\
                        sslrootcert=/ca.pem&sslcert=c&sslkey=k"
            .parse()
            .unwrap();
        assert_eq!((url.user.as_str(), url.password.as_ref().unwrap().expose()), ("us@er", "p:a/ß"));
        assert_eq!((url.database.as_str(), url.application_name.as_str()), ("my db", "x&y"));
        assert_eq!((url.options.as_deref(), url.connect_timeout), (Some("-c a=b"), Duration::from_secs(3)));
        assert_eq!((url.ssl_mode, url.channel_binding), (SslMode::VerifyFull, ChannelBinding::Require));
        assert_eq!(url.ssl_root_cert, Some(RootCert::File("/ca.pem".into())));
        assert_eq!(url.session_attributes, SessionAttributes::ReadWrite);
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let url: Url = "postgres://ann@h".parse().unwrap();
        assert_eq!((url.database.as_str(), url.ssl_mode, url.password), ("ann", SslMode::Prefer, None));
        let url: Url = "postgres://h/d?user=bob&password=x".parse().unwrap();
        assert_eq!((url.user.as_str(), url.password), ("bob", Some(Secret::new("x"))));
    }

    #[test]
    fn no_output_shows_the_password() {
        let url: Url = "postgres://u:hunter2@h/d".parse().unwrap();
        assert!(!format!("{url:?} {url} {:?} {}", url.password, Secret::new("hunter2")).contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            ("mysql://u@h/d", "postgres://"),
            ("postgres://h/d", "names no user"),
            ("postgres://u@/d", "names no host"),
            ("postgres://u@h:0/d", "port"),
            ("postgres://u@h:hunter2x@/d", "names no host"),
            ("postgres://u@h:x/d", "65535"),
            ("postgres://u:hun/ter2@h/d", "%2F"),
            ("postgres://u:hun?ter2=x@h/d", "%3F"),
            ("postgres://u@a,,b/d", "empty host"),
            ("postgres://u@[::1/d", "`]`"),
            ("postgres://u:hunter2%@h/d", "`%25`"),
            ("postgres://u:hunter2%00@h/d", "zero byte"),
            ("postgres://u:hunter2%FF@h/d", "password is not UTF-8"),
            ("postgres://u:hunter2#@h/d", "`%23`"),
            ("postgres://u@h/d?sslmod=require", "did you mean `sslmode`"),
            ("postgres://u@h/d?sslmode=allow", "verify-full"),
            ("postgres://u@h/d?connect_timeout=0", "at least 1"),
            ("postgres://u@h/d?sslcert=x", "sslkey"),
            ("postgres://u@h/d?sslmode=verify-ca", "sslrootcert"),
            ("postgres://u@h/d?sslmode=require&sslrootcert=system", "verify-full"),
            ("postgres://u@/d?host=/tmp&sslmode=verify-full", "unix socket"),
            ("postgres://u@h/d?sslmode=disable&channel_binding=require", "needs TLS"),
            ("postgres://u@a,b,c/d?port=1,2", "several ports"),
        ] {
            let error = text.parse::<Url>().unwrap_err();
            assert!(error.to_string().contains(says), "{text}: {error}");
            assert!(!error.to_string().contains("hun") && !error.to_string().contains("ter2"), "{error}");
            assert_eq!(error.kind(), Kind::Config);
        }
    }
}
