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

#[tokio::test]
async fn a_name_without_an_address_is_looked_up_until_it_has_one() {
    let (found, now) = listener().await;
    let why = "the network is not up yet".to_owned();
    let none = Err(TransportError::Resolve { host: "receiver".to_owned(), why });
    let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(none));
    let answers = answer.clone();
    let look_up: LookUp = Box::new(move || {
        let answer = answers.lock().unwrap().clone();
        Box::pin(std::future::ready(answer))
    });
    let dial = ByName::new(Vec::new(), None, Box::new(lead), look_up);
    for _ in 0..2 {
        let error = dial.dial().await.map(drop).unwrap_err();
        assert!(error.may_pass() && error.to_string().contains("not up yet"), "{error}");
    }
    *answer.lock().unwrap() = Ok(vec![now]);
    let _link = dial.dial().await.unwrap();
    found.accept().await.unwrap();
}
