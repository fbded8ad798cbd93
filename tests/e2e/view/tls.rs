//! The view over TLS, for those with certain certificates: curl, `watch`, and a page's WebSocket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};

use framelane::Identity;
use framelane::identity::{EarlyData, ReceiverAddress, ReceiverTrust, client_config};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::support::{PATIENCE, Viewed, ask, jpeg, push};
use crate::support::{Place, skipped};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A connection of whoever has this identity, who trusts the receiver by its pin. The receiver's verdict comes with
/// the first answer.
fn connect(place: &Place, identity: &Identity, to: SocketAddr) -> Tls {
    let receiver: ReceiverAddress = to.into();
    let trust = ReceiverTrust::pinned(receiver, place.identity("receiver").pin());
    let config = client_config(identity, trust, &[b"http/1.1"], EarlyData::Off).tcp();
    let name = ServerName::from(to.ip());
    let socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket)
}

fn get(stream: &mut Tls, to: SocketAddr, path: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A pin that nobody brings lets nobody in, and what is told at either end says whose certificate it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_certain_certificates_look() {
    let place = Place::new();
    let (viewer, stranger) = (place.identity("viewer"), place.identity("stranger"));
    let allow = format!("desk={}", viewer.pin());
    let viewed = Viewed::start(&place, &["--view-allow", &allow]);
    let at = viewed.view;
    let camera = viewed.camera(&place, &["visible"]).await;
    push(&camera, "visible", "0.jpg", jpeg(0)).await;

    let state = get(&mut connect(&place, &viewer, at), at, "/state").unwrap();
    assert!(state.starts_with("HTTP/1.1 200"), "{state}");
    assert!(state.contains("\"stored\":1"), "{state}");
    assert!(get(&mut connect(&place, &stranger, at), at, "/state").is_err());
    let refused = viewed
        .receiver
        .process()
        .stderr_line(|line| line.contains("was turned away").then(|| line.to_owned()));
    assert!(refused.contains(&stranger.pin().to_string()), "{refused}");

    // A page's WebSocket comes through the same door, and a frame with it.
    let stream = connect(&place, &viewer, at);
    let (mut socket, _) = tungstenite::client(format!("wss://{at}/ws"), stream).unwrap();
    let told = socket.read().unwrap();
    assert!(told.is_text(), "{told:?}");

    // Somebody who comes by plain HTTP is told where it is.
    let plain = ask(at, "GET", "/state", &[]);
    assert_eq!(plain.status, 400);
    assert!(plain.text().contains("https://"), "{}", plain.text());

    // `watch`, with the right certificate, with another, and by the wrong scheme.
    let (url, pin) = (format!("https://{at}/"), place.pin("receiver"));
    let watch = |more: &[&str]| place.run(&[&["watch", "--once"], more].concat());
    watch(&[&url, "--pin", &pin, "--certs", "viewer"]).expect(0).prints(" 1 stored, ");
    let own = format!("--view-allow {}", stranger.pin());
    watch(&[&url, "--pin", &pin, "--certs", "stranger"]).expect(1).says(&own);
    watch(&[&url, "--certs", "viewer"]).expect(1).says(&format!("--pin {pin}"));
    watch(&[&at.to_string()]).expect(1).says("https://");
    watch(&[&at.to_string(), "--pin", &pin]).expect(2).says("write https://");
    camera.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_looks_with_a_certificate_and_not_without() {
    let place = Place::new();
    let viewer = place.pin("viewer");
    let viewed = Viewed::start(&place, &["--view-allow", &viewer]);
    let camera = viewed.camera(&place, &["visible"]).await;
    push(&camera, "visible", "0.jpg", jpeg(3)).await;
    let curl = |with: &[&str]| -> Option<Output> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60", "--cacert"]);
        curl.arg(place.path("receiver/cert.pem")).args(with);
        curl.arg(format!("https://{}/visible/latest", viewed.view)).output().ok()
    };
    let file = |name: &str| place.path(name).display().to_string();
    let (cert, key) = (file("viewer/cert.pem"), file("viewer/key.pem"));
    let Some(seen) = curl(&["--cert", &cert, "--key", &key]) else {
        return skipped("no curl to look with");
    };
    assert_eq!(seen.stdout, jpeg(3), "{}", String::from_utf8_lossy(&seen.stderr));
    let refused = curl(&[]).unwrap();
    assert!(!refused.status.success() && refused.stdout.is_empty());
    let told = viewed
        .receiver
        .process()
        .stderr_line(|line| line.contains("was turned away").then(|| line.to_owned()));
    assert!(told.contains("no certificate"), "{told}");
    camera.finish().await;
}

/// With a token in place of certificates: its cookie goes over TLS alone.
#[test]
fn a_token_over_tls() {
    let place = Place::new();
    let secret = "a-token-of-this-test";
    std::fs::write(place.path("token"), secret).unwrap();
    let viewed = Viewed::start(&place, &["--view-tls", "--view-token-file", "token"]);
    let (at, anybody) = (viewed.view, place.identity("anybody"));
    let without = get(&mut connect(&place, &anybody, at), at, "/state").unwrap();
    assert!(without.starts_with("HTTP/1.1 401"), "{without}");
    let path = format!("/?token={secret}");
    let first = get(&mut connect(&place, &anybody, at), at, &path).unwrap();
    assert!(first.contains("SameSite=Lax; Secure"), "{first}");
    let (url, pin) = (format!("https://{at}"), place.pin("receiver"));
    let watch = ["watch", "--once", &url, "--pin", &pin, "--certs", "anybody"];
    place.run(&watch).expect(1).says("--token-file");
    place.run(&[&watch[..], &["--token-file", "token"]].concat()).expect(0);
}
