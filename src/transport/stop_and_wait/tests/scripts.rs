//! The two scripts, as their description has them: bare sends, bare `recv(1024)`, threads that
//! block.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a script's `recv` calls returned on one connection: texts as they are, a body as its length
/// and the sum of its bytes.
pub(super) type Heard = Vec<String>;

/// What a text is that the script server cannot make sense of; from there on it waits forever.
pub(super) const STUCK: &str = "stuck";

/// A body as [`Heard`] shows it.
pub(super) fn shown(body: &[u8]) -> String {
    let sum: u64 = body.iter().map(|&byte| u64::from(byte)).sum();
    format!("{} bytes, sum {sum}", body.len())
}

/// Serves `connections`, one after the other, taking `saving` for each frame after its `ok`.
pub(super) fn server(connections: usize, saving: Duration) -> (SocketAddr, JoinHandle<Vec<Heard>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (address, server_on(listener, connections, saving))
}

/// As [`server`], on a socket that listens already.
pub(super) fn server_on(
    listener: TcpListener,
    connections: usize,
    saving: Duration,
) -> JoinHandle<Vec<Heard>> {
    std::thread::spawn(move || {
        (0..connections).map(|_| serve(listener.accept().unwrap().0, saving)).collect()
    })
}

fn serve(mut socket: TcpStream, saving: Duration) -> Heard {
    let mut heard = vec![recv(&mut socket, 1_024)];
    if heard[0].split('|').count() != 2 {
        return heard;
    }
    socket.write_all(b"ok").unwrap();
    loop {
        let header = recv(&mut socket, 1_024);
        heard.push(header.clone());
        let Some((length, _)) = header.split_once('|') else { return stuck(socket, heard) };
        let Ok(length) = length.parse() else { return stuck(socket, heard) };
        socket.write_all(b"ok").unwrap();
        heard.push(shown(&body(&mut socket, length)));
        socket.write_all(b"ok").unwrap();
        std::thread::sleep(saving);
        let command = recv(&mut socket, 1_024);
        heard.push(command.clone());
        match command.as_str() {
            "continue" => {}
            "over" => return heard,
            _ => return stuck(socket, heard),
        }
    }
}

fn body(socket: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let mut piece = vec![0; length / 2];
    while body.len() < length {
        let read = socket.read(&mut piece).unwrap();
        assert!(read > 0, "the body ended early");
        body.extend_from_slice(&piece[..read]);
    }
    body
}

/// The server waits for what never comes, until the client has had enough.
fn stuck(mut socket: TcpStream, mut heard: Heard) -> Heard {
    heard.push(STUCK.to_owned());
    while socket.read(&mut [0; 1_024]).is_ok_and(|read| read > 0) {}
    heard
}

fn recv(socket: &mut TcpStream, most: usize) -> String {
    let mut buffer = vec![0; most];
    let read = socket.read(&mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

/// How the client's `continue` and the header behind it leave its machine.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sends {
    /// In one segment, as Nagle's rule may have it.
    Merged,
    /// Two sends.
    Apart,
}

/// Sends `frames` and says `over`. Returns how many times it was told `ok`; it stops where it is
/// told anything else, or nothing.
pub(super) fn client(
    address: SocketAddr,
    opening: &'static str,
    frames: Vec<(String, Vec<u8>)>,
    sends: Sends,
) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut confirmed = 0;
        let _ = talk(&mut socket, opening, &frames, sends, &mut confirmed);
        confirmed
    })
}

fn talk(
    socket: &mut TcpStream,
    opening: &str,
    frames: &[(String, Vec<u8>)],
    sends: Sends,
    confirmed: &mut usize,
) -> std::io::Result<()> {
    socket.write_all(opening.as_bytes())?;
    await_ok(socket, confirmed)?;
    for (index, (name, body)) in frames.iter().enumerate() {
        let header = format!("{}|{name}", body.len());
        match sends {
            _ if index == 0 => socket.write_all(header.as_bytes())?,
            Sends::Merged => socket.write_all(format!("continue{header}").as_bytes())?,
            Sends::Apart => {
                socket.write_all(b"continue")?;
                socket.write_all(header.as_bytes())?;
            }
        }
        await_ok(socket, confirmed)?;
        for piece in body.chunks(body.len() / 2) {
            socket.write_all(piece)?;
        }
        await_ok(socket, confirmed)?;
    }
    socket.write_all(b"over")
}

fn await_ok(socket: &mut TcpStream, confirmed: &mut usize) -> std::io::Result<()> {
    if recv(socket, 1_024) != "ok" {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    *confirmed += 1;
    Ok(())
}
