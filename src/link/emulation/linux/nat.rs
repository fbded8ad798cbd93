//! An address translator on the way: it gives the near end's ports others, forgets that, and gives them anew.

use std::collections::HashSet;

/// Connections that are remembered; a test has a handful.
const MOST: usize = 4_096;

/// Ports of the near end as the far end sees them: each is the near one with some bits turned over.
#[derive(Debug, Default)]
pub(super) struct Nat {
    turned: u16,
    /// Near ports of which something went out since the mapping was made. What comes for others is dropped.
    out: HashSet<u16>,
}

impl Nat {
    /// Forgets every mapping, and gives other ports from now on.
    pub(super) fn forget(&mut self) {
        // Never back to one that was used, for as many times as a test may ask for; and far from well-known
        // ports stays what was far.
        self.turned = self.turned.wrapping_add(1) & 0x3ff;
        self.out.clear();
    }

    /// Rewrites a packet of the near end.
    pub(super) fn outward(&mut self, packet: &mut [u8]) {
        if self.turned == 0 {
            return;
        }
        let Some(ports) = ports(packet) else { return };
        let port = u16_at(packet, ports.start);
        if self.out.len() < MOST {
            self.out.insert(port);
        }
        set_port(packet, &ports, ports.start, port ^ self.turned);
    }

    /// Rewrites a packet for the near end; false where nobody behind the translator asked for it.
    pub(super) fn inward(&self, packet: &mut [u8]) -> bool {
        if self.turned == 0 {
            return true;
        }
        let Some(ports) = ports(packet) else { return true };
        let port = u16_at(packet, ports.start + 2) ^ self.turned;
        if !self.out.contains(&port) {
            return false;
        }
        set_port(packet, &ports, ports.start + 2, port);
        true
    }
}

/// Where the ports of a packet are, and its checksum.
struct Ports {
    start: usize,
    checksum: usize,
    is_udp: bool,
}

/// Of an IPv4 packet of UDP or TCP that is the first, or only, fragment.
fn ports(packet: &[u8]) -> Option<Ports> {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let first = *packet.first()?;
    let start = usize::from(first & 15) * 4;
    let (protocol, offset) = (*packet.get(9)?, u16_at(packet, 6) & 0x1fff);
    let checksum = start + if protocol == UDP { 6 } else { 16 };
    let fits = first >> 4 == 4 && offset == 0 && packet.len() >= checksum + 2;
    (fits && matches!(protocol, TCP | UDP)).then_some(Ports {
        start,
        checksum,
        is_udp: protocol == UDP,
    })
}

fn u16_at(packet: &[u8], place: usize) -> u16 {
    packet.get(place..place + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Changes a port and the checksum with it (RFC 1624).
fn set_port(packet: &mut [u8], ports: &Ports, place: usize, port: u16) {
    let before = u16_at(packet, place);
    packet[place..place + 2].copy_from_slice(&port.to_be_bytes());
    let sum = u16_at(packet, ports.checksum);
    if ports.is_udp && sum == 0 {
        // It has none.
        return;
    }
    let mut new = u32::from(!sum) + u32::from(!before) + u32::from(port);
    while new >> 16 != 0 {
        new = (new & 0xffff) + (new >> 16);
    }
    let new = !(new as u16);
    let new = if ports.is_udp && new == 0 { 0xffff } else { new };
    packet[ports.checksum..ports.checksum + 2].copy_from_slice(&new.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP packet from port 1000 to port 2000, with its checksum.
    fn packet(from: u16, to: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend(from.to_be_bytes());
        packet.extend(to.to_be_bytes());
        packet.extend([0, 12, 0, 0, 1, 2, 3, 4]);
        let sum = checksum(&packet);
        packet[26..28].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// Over addresses, protocol, length and the datagram; 0 of a packet that has its own already.
    fn checksum(packet: &[u8]) -> u16 {
        let mut sum = 17 + u32::from(u16_at(packet, 24));
        for place in (12..packet.len()).step_by(2) {
            sum += u32::from(u16_at(packet, place));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn ports_are_others_after_it_forgot_and_answers_to_the_old_are_dropped() {
        let mut nat = Nat::default();
        let mut first = packet(1_000, 2_000);
        nat.outward(&mut first);
        assert_eq!(u16_at(&first, 20), 1_000);
        let mut seen = Vec::new();
        for _ in 0..20 {
            nat.forget();
            let mut old = packet(2_000, *seen.last().unwrap_or(&1_000));
            assert!(!nat.inward(&mut old), "nobody asked for it");
            let mut out = packet(1_000, 2_000);
            nat.outward(&mut out);
            assert_eq!(checksum(&out), 0, "its checksum is right");
            let port = u16_at(&out, 20);
            assert!(!seen.contains(&port));
            seen.push(port);
            let mut answer = packet(2_000, port);
            assert!(nat.inward(&mut answer));
            assert_eq!((u16_at(&answer, 22), checksum(&answer)), (1_000, 0));
        }
    }

    #[test]
    fn what_has_no_ports_is_left_as_it_is() {
        let mut nat = Nat::default();
        nat.forget();
        for bytes in [vec![], vec![0x45; 10], vec![0x60; 40], vec![0x45; 20]] {
            let mut same = bytes.clone();
            nat.outward(&mut same);
            assert!(nat.inward(&mut same));
            assert_eq!(same, bytes);
        }
    }
}
