//! The startup of a session: the pinned settings, and each way in which the server may ask who we are.

use bytes::Bytes;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding as Binding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;

use super::super::error::{Error, Kind, Result, ServerError};
use super::super::pins::{PINS, REPLICATION_PINS, TRANSACTION_TIMEOUT_SINCE, not_in_force};
use super::super::url::{ChannelBinding, Url};
use super::{Connection, Mode};
use crate::secret::Secret;

impl Connection {
    pub(super) async fn start(&mut self, url: &Url, replication: bool, end_point: Option<Vec<u8>>) -> Result<()> {
        let mut parameters = vec![
            ("user", url.user.as_str()),
            ("database", url.database.as_str()),
            ("application_name", url.application_name.as_str()),
        ];
        if let Some(options) = &url.options {
            parameters.push(("options", options));
        }
        parameters.extend(PINS);
        if replication {
            parameters.push(("replication", "database"));
            parameters.extend(REPLICATION_PINS);
        }
        frontend::startup_message(parameters, &mut self.output)
            .map_err(|_| Error::new(Kind::Config, "the source url has a zero byte"))?;
        self.flush().await?;
        self.authenticate(url, replication, end_point).await?;
        self.await_ready(url, replication).await?;
        if let Some(name) = not_in_force(|name| self.parameter(name)) {
            return Err(pooler(&format!("the session did not take the setting `{name}`")));
        }
        if self.server_version().is_some_and(|version| version >= TRANSACTION_TIMEOUT_SINCE) {
            self.query("SET transaction_timeout = 0").await?;
        }
        Ok(())
    }

    async fn authenticate(&mut self, url: &Url, replication: bool, end_point: Option<Vec<u8>>) -> Result<()> {
        // Only a server that knows the password can end an exchange, so nothing is bound before that: whoever stands
        // between can offer a mechanism.
        let mut bound = false;
        let mut scram: Option<(ScramSha256, &'static str)> = None;
        loop {
            let (tag, mut body) = self.message().await?;
            match tag {
                b'E' => return Err(refused(url, replication, ServerError::parse(&body))),
                b'R' if body.len() >= 4 => {}
                other => {
                    return Err(Error::protocol(format_args!(
                        "message `{}` at the start: is it Postgres?",
                        char::from(other)
                    )));
                }
            }
            let code = u32::from_be_bytes(body.split_to(4).as_ref().try_into().expect("length checked above"));
            let must_bind = url.channel_binding == ChannelBinding::Require;
            if scram.is_some() && !matches!(code, 11 | 12) {
                return Err(unproved());
            }
            match code {
                0 if must_bind && !bound => return Err(unbound()),
                0 => return Ok(()),
                3 | 5 if must_bind => return Err(unbound()),
                3 => self.password(password(url)?.expose().as_bytes())?,
                5 if body.len() == 4 => {
                    let salt = body.as_ref().try_into().expect("length checked above");
                    let hash = md5_hash(url.user.as_bytes(), password(url)?.expose().as_bytes(), salt);
                    self.password(hash.as_bytes())?;
                }
                10 => {
                    let choice = Mechanism::choose(&body, url.channel_binding, end_point.clone())?;
                    let begun = ScramSha256::new(password(url)?.expose().as_bytes(), choice.binding);
                    frontend::sasl_initial_response(choice.name, begun.message(), &mut self.output).map_err(broken)?;
                    scram = Some((begun, choice.name));
                }
                11 => {
                    let (scram, _) = scram.as_mut().ok_or_else(|| Error::protocol("SCRAM goes on before it began"))?;
                    scram.update(&body).map_err(broken)?;
                    frontend::sasl_response(scram.message(), &mut self.output).map_err(broken)?;
                }
                12 => {
                    // The server proves that it knows the password too.
                    let (mut scram, name) =
                        scram.take().ok_or_else(|| Error::protocol("SCRAM ends before it began"))?;
                    scram.finish(&body).map_err(broken)?;
                    bound = name == SCRAM_SHA_256_PLUS;
                }
                other => return Err(unsupported(other)),
            }
            self.flush().await?;
        }
    }

    fn password(&mut self, password: &[u8]) -> Result<()> {
        frontend::password_message(password, &mut self.output).map_err(broken)
    }

    async fn await_ready(&mut self, url: &Url, replication: bool) -> Result<()> {
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'K' if body.len() >= 8 => {
                    let word = |at: usize| body[at..at + 4].try_into().map(i32::from_be_bytes);
                    self.process_id = word(0).expect("length checked above");
                    self.secret_key = word(4).expect("length checked above");
                }
                b'Z' => {
                    self.mode = Mode::Idle;
                    return Ok(());
                }
                b'E' => return Err(refused(url, replication, ServerError::parse(&body))),
                other => return Err(Error::protocol(format_args!("message `{}` at the start", char::from(other)))),
            }
        }
    }
}

/// How a SCRAM exchange is bound to its TLS connection, if at all.
struct Mechanism {
    name: &'static str,
    binding: Binding,
}

impl Mechanism {
    fn choose(offered: &Bytes, wants: ChannelBinding, end_point: Option<Vec<u8>>) -> Result<Mechanism> {
        let offers = |name: &str| offered.split(|byte| *byte == 0).any(|offer| offer == name.as_bytes());
        let end_point = end_point.filter(|_| wants != ChannelBinding::Disable);
        match end_point {
            Some(data) if offers(SCRAM_SHA_256_PLUS) => {
                Ok(Mechanism { name: SCRAM_SHA_256_PLUS, binding: Binding::tls_server_end_point(data) })
            }
            _ if wants == ChannelBinding::Require => Err(unbound()),
            _ if !offers(SCRAM_SHA_256) => {
                Err(Error::new(Kind::Authentication, "the server wants a SASL mechanism other than SCRAM-SHA-256"))
            }
            // Says that we could have: a server that could have too then knows that somebody took its offer away.
            Some(_) => Ok(Mechanism { name: SCRAM_SHA_256, binding: Binding::unrequested() }),
            None => Ok(Mechanism { name: SCRAM_SHA_256, binding: Binding::unsupported() }),
        }
    }
}

fn password(url: &Url) -> Result<&Secret> {
    url.password.as_ref().ok_or_else(|| {
        let message = format!(
            "the server asks user `{}` for a password and none is given: put it into the url, or \
                               into `source.password`",
            url.user
        );
        Error::new(Kind::Authentication, message)
    })
}

fn unbound() -> Error {
    let message = "channel_binding=require, but the server did not ask for SCRAM-SHA-256-PLUS over TLS: somebody may \
                   stand between, or the role's password is not SCRAM";
    Error::new(Kind::Authentication, message)
}

fn unproved() -> Error {
    let message = "the server broke off the password exchange before it proved that it knows the password: somebody may \
                   stand between";
    Error::new(Kind::Authentication, message)
}

fn unsupported(code: u32) -> Error {
    let name = match code {
        2 => "Kerberos V5",
        6 => "SCM credentials",
        7 | 8 => "GSSAPI",
        9 => "SSPI",
        _ => "an unknown method",
    };
    let message =
        format!("the server wants authentication by {name}, which is not there: allow scram-sha-256 in pg_hba.conf");
    Error::new(Kind::Authentication, message)
}

fn broken(error: std::io::Error) -> Error {
    Error::new(Kind::Authentication, "the password exchange failed").because(error)
}

pub(in super::super) fn pooler(what: &str) -> Error {
    let message = format!(
        "{what}: a connection pooler stands between, and replication needs a direct connection; give \
                           the database's own address as `source.url`"
    );
    Error::new(Kind::Pooler, message)
}

/// Tells a refusal at the start by its code, which is the same in every language.
pub(in super::super) fn refused(url: &Url, replication: bool, error: ServerError) -> Error {
    let (user, database) = (&url.user, &url.database);
    let error = Error::server(error);
    let said = error.server_error().map(|error| error.message.clone()).unwrap_or_default();
    match error.sqlstate().unwrap_or_default().to_owned().as_str() {
        // PgBouncer and its like, which have one language.
        "08P01" => pooler(&format!("the session's startup was refused ({said})")),
        _ if said.contains("unsupported startup parameter") => {
            pooler(&format!("the session's startup was refused ({said})"))
        }
        "28P01" => error.explain(Kind::Authentication, format!("wrong password for user `{user}`")),
        "28000" => error.explain(Kind::Authentication, format!("user `{user}` is not let into database `{database}`")),
        "3D000" => error.explain(Kind::Database, format!("database `{database}` is not there")),
        "42501" if replication => {
            let sql = format!("ALTER ROLE {} REPLICATION;", super::super::quote::ident(user));
            let message = format!(
                "user `{user}` may not replicate: let an administrator run `{sql}` (hosted: grant the \
                                   provider's replication role)"
            );
            error.explain(Kind::NoReplicationPrivilege, message).with_sql(sql)
        }
        "53300" if replication => {
            let message = "no connection is free for replication: raise max_wal_senders (or max_connections, or the \
                           role's own limit)";
            error.explain(Kind::NoFreeSender, message)
        }
        _ => error.during("the session did not start"),
    }
}
