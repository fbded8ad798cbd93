//! Which packets get to a receiver whole, whatever QUIC makes use of.
//!
//! A QUIC server answers a long header of a version that it does not know, if it came in 1,200 bytes or more, with the
//! versions that it knows, and keeps nothing (RFC 9000, section 6.1). So datagrams of many lengths that may not be cut on
//! their way are sent, each with an id of its own, and those that are answered have arrived whole.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use quinn::udp::{UdpSockRef, UdpSocketState};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// Lengths of packets, headers included, that links and tunnels have; 1,280 is what each must carry.
const USUAL: [u16; 16] = [
    1_280, 1_320, 1_360, 1_380, 1_400, 1_420, 1_440, 1_450, 1_460, 1_472, 1_480, 1_492, 1_500,
    2_000, 4_000, LONGEST,
];
/// Longer ones are not looked for.
pub(super) const LONGEST: u16 = 9_000;
/// What a receiver answers at the least, as UDP payload.
const LEAST: u16 = 1_200;
/// Packets at once.
const AT_ONCE: u16 = 16;
/// How often one is sent that is not answered: the link may lose some.
const TRIES: usize = 3;
/// How long answers are waited for, beside what a round trip takes.
const PATIENCE: Duration = Duration::from_millis(150);
const LONGEST_PATIENCE: Duration = Duration::from_millis(1_200);

/// A version that nobody has or will have: it makes a server name its own.
const NO_VERSION: [u8; 4] = [0x1a, 0x2a, 0x3a, 0x4a];
const ID_BYTES: usize = 8;
type Id = [u8; ID_BYTES];

/// The longest packet, headers included, that is known to get there whole; `None` where not even the shortest is
/// answered.
pub(super) async fn find(receiver: SocketAddr, round_trip: Duration) -> Option<u16> {
    let headers = if receiver.is_ipv4() { 20 + 8 } else { 40 + 8 };
    let wait = (round_trip * 2 + PATIENCE).min(LONGEST_PATIENCE);
    let socket = open(receiver).await?;
    let shortest = LEAST + headers;
    let sizes: Vec<u16> = std::iter::once(shortest).chain(USUAL).collect();
    let mut best = through(&socket, &sizes, headers, wait).await?;
    // Between that and the next that did not get there.
    let mut end = sizes.iter().copied().filter(|size| *size > best).min().unwrap_or(best);
    while end - best > 1 {
        let step = ((end - best) / AT_ONCE).max(1);
        let sizes: Vec<u16> =
            (1..).map(|n| best + n * step).take_while(|size| *size < end).collect();
        let Some(found) = through(&socket, &sizes, headers, wait).await else {
            end = best + step;
            continue;
        };
        end = end.min(found + step);
        best = found;
    }
    Some(best)
}

async fn open(receiver: SocketAddr) -> Option<UdpSocket> {
    let any: IpAddr = match receiver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    // Nothing is cut on its way, and what the kernel believes of the path does not count.
    let _state = UdpSocketState::new(UdpSockRef::from(&socket)).ok()?;
    socket.connect(receiver).await.ok()?;
    Some(socket)
}

/// The longest of these packets that was answered.
async fn through(socket: &UdpSocket, sizes: &[u16], headers: u16, wait: Duration) -> Option<u16> {
    let mut asked = HashMap::new();
    let mut best = None;
    for _ in 0..TRIES {
        for &size in sizes.iter().filter(|size| best.is_none_or(|best| **size > best)) {
            let id: Id = rand::random();
            // One that is longer than the first link takes fails here.
            if socket.send(&probe(id, usize::from(size - headers))).await.is_ok() {
                asked.insert(id, size);
            }
        }
        let until = Instant::now() + wait;
        let mut answer = [0; 2_048];
        let longest = asked.values().copied().max();
        while best < longest
            && let Ok(heard) = timeout_at(until, socket.recv(&mut answer)).await
        {
            // An error is that of an earlier datagram.
            let Ok(length) = heard else { continue };
            best = best.max(answered(&answer[..length]).and_then(|id| asked.get(&id).copied()));
        }
        if best == longest {
            break;
        }
    }
    best
}

/// A packet of no version, from an id.
fn probe(id: Id, bytes: usize) -> Vec<u8> {
    let to: Id = rand::random();
    let mut packet = vec![0xc0];
    packet.extend_from_slice(&NO_VERSION);
    for id in [to, id] {
        packet.push(ID_BYTES as u8);
        packet.extend_from_slice(&id);
    }
    packet.resize(bytes, 0);
    packet
}

/// The id that versions are named to.
fn answered(packet: &[u8]) -> Option<Id> {
    let (head, rest) = packet.split_first_chunk::<6>()?;
    let is_naming = head[0] & 0x80 != 0 && head[1..5] == [0; 4] && usize::from(head[5]) == ID_BYTES;
    is_naming.then(|| rest.first_chunk().copied()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers as a receiver behind a link that carries so much.
    async fn behind(longest: usize) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut packet = vec![0; 16_000];
            for number in 0.. {
                let (length, from) = socket.recv_from(&mut packet).await.unwrap();
                // Every seventh is lost.
                if length + 28 > longest || number % 7 == 3 {
                    continue;
                }
                let mut answer = vec![0xc0, 0, 0, 0, 0, 8];
                answer.extend_from_slice(&packet[15..23]);
                answer.extend_from_slice(&[8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1]);
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn the_longest_packet_that_gets_there_is_found() {
        for longest in [1_280, 1_412, 1_500, 3_333] {
            let receiver = behind(longest.into()).await;
            let found = find(receiver, Duration::from_millis(1)).await;
            assert_eq!(found, Some(longest));
        }
        assert_eq!(find(behind(1_000).await, Duration::ZERO).await, None);
    }

    #[test]
    fn only_an_answer_is_one() {
        let packet = probe([7; 8], 1_200);
        assert_eq!((packet.len(), answered(&packet)), (1_200, None));
        assert_eq!(answered(&[0xc0, 0, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7]), None);
        assert_eq!(
            answered(&[0xc0, 0, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]),
            Some([1, 2, 3, 4, 5, 6, 7, 8])
        );
        assert_eq!(answered(&[]), None);
    }
}
