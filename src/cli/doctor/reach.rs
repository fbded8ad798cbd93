//! Which addresses of a receiver answer, over UDP and over TCP, and whether they let this machine in.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Patient;
use super::answer::{Answer, State};
use super::load::{self, Unmeasured};
use crate::cli::words::in_options;
use crate::congestion::Congestion;
use crate::repair::RepairMode;
use crate::transport::stop_and_wait::SenderSettings;
use crate::transport::tcp::TcpOptions;
use crate::transport::{self, Dial, DialSetup, Transport, TransportError};
use crate::wire::CloseCode;

/// Beyond every time limit of a transport.
const PATIENCE: Duration = Duration::from_secs(25);

/// How often a receiver without room is asked, and after how long again.
pub(super) const TRIES: u32 = 12;
/// See [`TRIES`].
pub(super) const BREATH: Duration = Duration::from_millis(100);

/// What one address said over one transport.
pub(super) struct Reach {
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    pub(super) answer: Answer,
}

/// A way to one address.
pub(super) fn dial(
    patient: &Patient,
    address: SocketAddr,
    transport: Transport,
    congestion: Congestion,
) -> Box<dyn Dial> {
    transport::dial(&DialSetup {
        transport,
        addresses: vec![address],
        host: patient.receiver.host().to_owned(),
        tls: patient.tls.clone(),
        congestion: congestion.factory(),
        repair: RepairMode::Off,
        tcp: TcpOptions::default(),
        stop_and_wait: SenderSettings::default(),
    })
}

/// Tries every address over both, all at once; QUIC's come first in what this gives.
pub(super) async fn all(patient: &Patient, addresses: &[SocketAddr]) -> Vec<Reach> {
    let mut tries = JoinSet::new();
    for transport in [Transport::Quic, Transport::Tcp] {
        for &address in addresses {
            let dial = dial(patient, address, transport, Congestion::default());
            tries.spawn(async move {
                let answer = match timeout(PATIENCE, try_one(&*dial)).await {
                    Ok(answer) => answer,
                    Err(_) => Answer::of(State::Silent, "it began to answer and did not go on"),
                };
                Reach { address, transport, answer }
            });
        }
    }
    let mut reached = tries.join_all().await;
    let place = |reach: &Reach| {
        let place = addresses.iter().position(|address| *address == reach.address);
        (reach.transport != Transport::Quic, place)
    };
    reached.sort_by_key(place);
    reached
}

/// Tries until there is room: a receiver lets a sender have one trial at a time, and each address and transport is one.
async fn try_one(dial: &dyn Dial) -> Answer {
    for _ in 1..TRIES {
        match try_once(dial).await {
            Answer { state: State::Full, .. } => tokio::time::sleep(BREATH).await,
            answer => return answer,
        }
    }
    try_once(dial).await
}

/// Opens a session that stores nothing, and ends it.
async fn try_once(dial: &dyn Dial) -> Answer {
    let began = Instant::now();
    let mut link = match dial.dial().await {
        Ok(link) => link,
        Err(error) => return failed(&error),
    };
    let ms = Some(began.elapsed().as_secs_f64() * 1e3);
    let opened = load::open(&mut link).await;
    let answer = match opened {
        Ok(_) => Answer { state: State::Answers, ms, why: None },
        Err(Unmeasured::Full(why)) => Answer { state: State::Full, ms, why: Some(why) },
        Err(Unmeasured::Older(why)) => Answer { state: State::Older, ms, why: Some(why) },
        Err(Unmeasured::Lost(error)) => Answer { ms, ..failed(&error) },
    };
    link.end.close(CloseCode::Done, "").await;
    dial.linger().await;
    answer
}

fn failed(error: &TransportError) -> Answer {
    let state = match error {
        TransportError::NoAnswer { .. } | TransportError::Silent { .. } => State::Silent,
        TransportError::Refused(_) => State::Refused,
        TransportError::Connect { advice, .. } if advice.contains("route") => State::NoRoute,
        TransportError::Connect { .. } => State::Closed,
        TransportError::ClosedByPeer { code, .. } => match CloseCode::from_number(*code) {
            Some(CloseCode::Busy) => State::Full,
            Some(CloseCode::Revoked) => State::Refused,
            _ => State::Other,
        },
        TransportError::NoneOf(errors) if errors.len() == 1 => return failed(&errors[0]),
        _ => State::Other,
    };
    Answer::of(state, in_options(&error.to_string()).into_owned())
}
