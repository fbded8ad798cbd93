//! Our sender against the script server.

use std::time::{Duration, Instant};

use super::super::{SenderSettings, StopAndWaitDial};
use super::in_time;
use super::scripts::{STUCK, server, server_on, shown};
use super::sessions::{Frames, Sent, frames, send};
use crate::transport::{Dial, TransportError};

/// Long enough that a loaded machine does not merge what should come apart.
fn settings() -> SenderSettings {
    SenderSettings { gap: Duration::from_millis(300), ..SenderSettings::default() }
}

async fn send_to(
    address: std::net::SocketAddr,
    settings: SenderSettings,
    sources: &[(&str, Frames)],
) -> Sent {
    let dial = StopAndWaitDial::new(address, settings);
    in_time(async { send(dial.dial().await.unwrap(), sources).await }).await
}

/// What a script hears of one source.
fn expected(source: &str, frames: &Frames) -> Vec<String> {
    let mut heard = vec![format!("{source}|{source}")];
    for (at, (name, body)) in frames.iter().enumerate() {
        if at > 0 {
            heard.push("continue".to_owned());
        }
        heard.push(format!("{}|{name}", body.len()));
        heard.push(shown(body));
    }
    heard.push("over".to_owned());
    heard
}

#[tokio::test]
async fn the_script_hears_exactly_what_a_script_would_say() {
    // The server takes its time for saving, so that what is not kept apart lies merged by then.
    let (address, server) = server(1, Duration::from_millis(50));
    let frames = frames(4, "png");
    let sent = send_to(address, settings(), &[("visible", frames.clone())]).await;
    assert_eq!(server.join().unwrap(), [expected("visible", &frames)]);
    assert_eq!(sent.stored[&0], [0, 1, 2, 3]);
    assert_eq!(sent.totals[&0], 4);
}

#[tokio::test]
async fn without_the_gap_the_script_gets_stuck() {
    // The same server and no gap: proof that the test above can fail, and that a server which falls
    // silent is given up.
    let (address, server) = server(1, Duration::from_millis(500));
    let settings =
        SenderSettings { gap: Duration::ZERO, reply: Duration::from_secs(2), ..settings() };
    let sent = send_to(address, settings, &[("visible", frames(2, "png"))]).await;
    let heard = &server.join().unwrap()[0];
    assert_eq!(heard[3..], ["continue1003|1.png", STUCK]);
    assert_eq!(sent.stored[&0], [0]);
    assert!(matches!(sent.cause, Some(TransportError::Lost { .. })), "{:?}", sent.cause);
}

#[tokio::test]
async fn two_sources_take_turns_at_a_server_that_serves_one() {
    let (address, server) = server(2, Duration::ZERO);
    // Shorter than the first source takes: waiting for one's turn is no silence.
    let settings = SenderSettings { reply: Duration::from_millis(600), ..settings() };
    let sources = [("visible", frames(4, "jpg")), ("infrared", frames(3, "png"))];
    let sent = send_to(address, settings, &sources).await;
    let heard = server.join().unwrap();
    assert_eq!(heard, sources.clone().map(|(name, frames)| expected(name, &frames)));
    assert_eq!((sent.totals[&0], sent.totals[&1]), (4, 3));
}

#[tokio::test]
async fn frames_that_the_script_would_never_finish_are_refused_here() {
    let (address, server) = server(1, Duration::ZERO);
    let mut frames = frames(2, "png");
    frames.push(("one.png".to_owned(), vec![1]));
    frames.push(("none.png".to_owned(), vec![]));
    frames.push(("a|b.png".to_owned(), vec![1; 10]));
    let sent = send_to(address, settings(), &[("visible", frames.clone())]).await;
    frames.truncate(2);
    assert_eq!(server.join().unwrap(), [expected("visible", &frames)]);
    let reasons: Vec<_> = sent.refused.iter().map(|refusal| refusal.reason.clone()).collect();
    assert_eq!(reasons.len(), 3);
    assert!(reasons[0].contains("one.png") && reasons[0].contains("2 bytes or more"));
    assert!(reasons[1].contains("none.png") && reasons[1].contains("2 bytes or more"));
    assert!(reasons[2].contains("a|b.png") && reasons[2].contains('|'));
}

#[tokio::test]
async fn a_source_without_frames_needs_no_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dial = StopAndWaitDial::new(address, settings());
    let link = dial.dial().await.unwrap();
    let source = crate::wire::SourceId(0);
    link.messages.send(super::sessions::hello(&["visible"])).await.unwrap();
    link.messages.send(super::sessions::end_of_run(source, 0, 0)).await.unwrap();
    let mut incoming = link.incoming;
    let _welcome = in_time(incoming.recv()).await;
    let totals = crate::wire::Totals { source, stored: 0, already: 0 };
    assert_eq!(in_time(incoming.recv()).await, Some(crate::wire::Message::Totals(totals)));
}

#[tokio::test]
async fn a_connection_that_waited_too_long_for_its_source_is_replaced() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let dial = StopAndWaitDial::new(address, settings());
    let link = dial.dial().await.unwrap();
    drop(listener.accept().unwrap());
    let server = server_on(listener, 1, Duration::ZERO);
    let frames = frames(1, "png");
    let sent = in_time(send(link, &[("visible", frames.clone())])).await;
    assert_eq!(server.join().unwrap(), [expected("visible", &frames)]);
    assert_eq!(sent.totals[&0], 1);
}

#[tokio::test]
async fn another_protocol_is_named() {
    let (address, server) = wrong_server(b"HTTP/1.1 400 Bad Request\r\n");
    let sent = send_to(address, settings(), &[("visible", frames(1, "png"))]).await;
    let cause = sent.cause.unwrap();
    assert!(matches!(cause, TransportError::Protocol { .. }), "{cause}");
    assert!(cause.to_string().contains("HTTP/1.1"), "{cause}");
    server.join().unwrap();
}

#[tokio::test]
async fn a_server_that_closes_is_named() {
    let (address, server) = wrong_server(b"");
    let sent = send_to(address, settings(), &[("visible", frames(1, "png"))]).await;
    let cause = sent.cause.unwrap();
    assert!(cause.may_pass(), "{cause}");
    server.join().unwrap();
}

/// Reads the opening, gives one answer and closes.
fn wrong_server(answer: &'static [u8]) -> (std::net::SocketAddr, std::thread::JoinHandle<()>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 1_024]).unwrap();
        socket.write_all(answer).unwrap();
    });
    (address, serving)
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let settings = SenderSettings { reply: Duration::from_millis(300), ..settings() };
    let begun = Instant::now();
    let sent = send_to(address, settings, &[("visible", frames(1, "png"))]).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let cause = sent.cause.unwrap();
    assert!(cause.to_string().contains("opening"), "{cause}");
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let dial = StopAndWaitDial::new(address, settings());
    let error = in_time(dial.dial()).await.unwrap_err();
    assert!(matches!(error, TransportError::Connect { .. }), "{error}");
}
