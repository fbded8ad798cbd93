use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use super::*;
use crate::transport::stop_and_wait::{SenderSettings, StopAndWaitDial};

type Answer = Result<Vec<SocketAddr>, TransportError>;

/// The transport that needs no other end to have a session.
fn lead(addresses: Vec<SocketAddr>, last: Option<SocketAddr>) -> Racing {
    Racing::new(addresses, last, |address| {
        Box::new(StopAndWaitDial::new(address, SenderSettings::default()))
    })
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn a_receiver_that_has_moved_is_found_by_its_name() {
    let ((old, before), (new, now)) = (listener().await, listener().await);
    let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Ok(vec![now])));
    let answers = answer.clone();
    let look_up: LookUp = Box::new(move || {
        let answer = answers.lock().unwrap().clone();
        Box::pin(std::future::ready(answer))
    });
    let dial = ByName::new(vec![before], None, Box::new(lead), look_up);
    // The first session is with the addresses given: they have just been looked up.
    let _first = dial.dial().await.unwrap();
    old.accept().await.unwrap();
    drop(old);
    let _second = dial.dial().await.unwrap();
    new.accept().await.unwrap();
    // Without a name service the receiver is where it was.
    let why = "no name service".to_owned();
    *answer.lock().unwrap() = Err(TransportError::Resolve { host: "receiver".to_owned(), why });
    let _third = dial.dial().await.unwrap();
    new.accept().await.unwrap();
    assert!(!dial.proves_content());
}
