//! How a receiver is reached: several addresses, none that answers, addresses of one link.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::support::{Place, Receiver};

/// Far less than the eight seconds of a handshake that nobody answers.
const AT_ONCE: Duration = Duration::from_secs(6);

#[test]
fn a_port_that_nobody_listens_on_is_told_at_once() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    for host in ["127.0.0.1", "::1"] {
        let Ok(closed) = UdpSocket::bind((host, 0)) else { continue };
        let address = closed.local_addr().unwrap().to_string();
        drop(closed);
        for transport in ["quic", "tcp", "stop-and-wait"] {
            let began = Instant::now();
            let args = ["send", &address, "visible", "--transport", transport, "--retry-for", "0s"];
            let pin = ["--pin", &place.pin("receiver")];
            let pin: &[&str] = if transport == "stop-and-wait" { &[] } else { &pin };
            place
                .run(&[&args[..], pin].concat())
                .expect(1)
                .says(&address)
                .says("efused")
                .says("nothing listens there");
            assert!(began.elapsed() < AT_ONCE, "{transport} took {:?}", began.elapsed());
        }
    }
}
