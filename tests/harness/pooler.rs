//! A stand-in for PgBouncer: what it does with a session that wants to replicate.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::pump;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It refuses the parameter, as it does unless it is told otherwise.
    Refuses,
    /// `ignore_startup_parameters = replication`: the session is an ordinary one.
    Ignores,
}

#[derive(Debug)]
pub(crate) struct Pooler {
    pub(crate) address: String,
}

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

impl Pooler {
    pub(crate) fn before(server: &str, manner: Manner) -> Pooler {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let server = server.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = server.clone();
                // A client that goes away is no concern of the story's.
                std::thread::spawn(move || drop(serve(client, &server, manner)));
            }
        });
        Pooler { address }
    }
}

fn serve(mut client: TcpStream, server: &str, manner: Manner) -> std::io::Result<()> {
    let (code, body) = loop {
        let (code, body) = startup(&mut client)?;
        match code {
            SSL_REQUEST | GSS_REQUEST => client.write_all(b"N")?,
            _ => break (code, body),
        }
    };
    let mut parameters: Vec<&[u8]> = body.split(|byte| *byte == 0).collect();
    let replication = parameters.iter().step_by(2).position(|name| *name == b"replication");
    match (code, replication, manner) {
        (CANCEL_REQUEST, ..) | (_, None, _) => {}
        (_, Some(_), Manner::Refuses) => return refuse(&mut client),
        (_, Some(at), Manner::Ignores) => drop(parameters.drain(2 * at..2 * at + 2)),
    }
    let body = if code == CANCEL_REQUEST { body.clone() } else { parameters.join(&0) };
    let mut server = TcpStream::connect(server)?;
    let length = u32::try_from(body.len() + 8).expect("a short message");
    server.write_all(&[&length.to_be_bytes()[..], &code.to_be_bytes(), &body].concat())?;
    pump(client.try_clone()?, server.try_clone()?, None);
    pump(server, client, None);
    Ok(())
}

/// A message of the start: no tag, its length, a code, the rest.
fn startup(client: &mut TcpStream) -> std::io::Result<(u32, Vec<u8>)> {
    let mut head = [0; 8];
    client.read_exact(&mut head)?;
    let (length, code) = head.split_at(4);
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
    let mut body = vec![0; (number(length) as usize).clamp(8, 1 << 16) - 8];
    client.read_exact(&mut body)?;
    Ok((number(code), body))
}

fn refuse(client: &mut TcpStream) -> std::io::Result<()> {
    let fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: replication\0\0";
    let length = u32::try_from(fields.len() + 4).expect("a short message");
    client.write_all(&[&b"E"[..], &length.to_be_bytes(), fields].concat())?;
    client.shutdown(std::net::Shutdown::Write)
}
