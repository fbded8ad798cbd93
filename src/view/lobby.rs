//! How many connections there are of whom: nobody who reaches the port keeps the others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of other machines at once. What is left beside them is for this machine: whoever asks `/readyz` here
/// is to be answered.
pub(super) const MOST_OTHERS: usize = 224;

/// Connections of one address at once. A browser has six and a page's; several may be behind one address.
pub(super) const MOST_OF_ONE: usize = 64;

/// Who is connected.
#[derive(Debug, Clone, Default)]
pub(super) struct Lobby(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A place in the lobby, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    lobby: Lobby,
    of: Option<IpAddr>,
}

impl Lobby {
    /// Lets somebody in; `None` where there are enough of that address, or of all others. This machine's own are
    /// not counted.
    pub(super) fn enter(&self, peer: IpAddr) -> Option<Entry> {
        let peer = whose(peer);
        if peer.is_loopback() {
            return Some(Entry { lobby: self.clone(), of: None });
        }
        let mut counts = self.counts();
        let all: usize = counts.values().sum();
        let of_one = counts.get(&peer).copied().unwrap_or(0);
        if all >= MOST_OTHERS || of_one >= MOST_OF_ONE {
            return None;
        }
        counts.insert(peer, of_one + 1);
        Some(Entry { lobby: self.clone(), of: Some(peer) })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(of) = self.of else { return };
        let mut counts = self.lobby.counts();
        let left = counts.get(&of).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => counts.remove(&of),
            left => counts.insert(of, left),
        };
    }
}

/// Of IPv6 a machine has all addresses of a network.
fn whose(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::from((u128::from(address) >> 64 << 64).to_be_bytes())
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_keeps_nobody_else_out() {
        let lobby = Lobby::default();
        let greedy: IpAddr = "192.0.2.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let mut held: Vec<_> = (0..256).filter_map(|_| lobby.enter(greedy)).collect();
        assert_eq!(held.len(), MOST_OF_ONE);
        assert!(lobby.enter(mapped).is_none(), "the same address");
        assert!(lobby.enter("192.0.2.2".parse().unwrap()).is_some());
        held.pop();
        assert!(lobby.enter(mapped).is_some(), "one has gone");
    }

    #[test]
    fn a_network_of_ipv6_is_one_machine_and_this_one_has_places_of_its_own() {
        let lobby = Lobby::default();
        let address = |net: u16, host: u16| IpAddr::from([0x2001, 0xdb8, 0, net, 0, 0, 0, host]);
        let of_one = (0..256).filter_map(|host| lobby.enter(address(1, host)));
        let held: Vec<_> = of_one.collect();
        assert_eq!(held.len(), MOST_OF_ONE);
        let others = (2..200).flat_map(|net| (0..2).map(move |host| (net, host)));
        let others = others.filter_map(|(net, host)| lobby.enter(address(net, host)));
        assert_eq!(others.collect::<Vec<_>>().len() + held.len(), MOST_OTHERS);
        let here = ["127.0.0.1", "::1", "::ffff:127.0.0.1"].map(|text| text.parse().unwrap());
        for _ in 0..300 {
            assert!(here.iter().all(|peer| lobby.enter(*peer).is_some()));
        }
        drop(held);
        assert!(lobby.counts().is_empty(), "nothing is left of who has gone");
    }
}
