//! Connections that are not sessions yet: how many there may be, and which of them go first.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Where newcomers are looked at. There is always room for one more: the oldest of the address that has
/// the most gives way, since those that mean well are done within a round trip or two.
#[derive(Debug, Clone)]
pub(super) struct Desk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    most_of_one: usize,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
}

/// A newcomer's place.
#[derive(Debug)]
pub(super) struct Seat {
    desk: Desk,
    number: u64,
    go: oneshot::Receiver<()>,
}

impl Desk {
    /// `most` newcomers at once, and `most_of_one` from one address.
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self(Arc::new(Shared { most, most_of_one, seats: Mutex::default() }))
    }

    /// Takes a newcomer in; another may be told to go for it.
    pub(super) fn sit_down(&self, from: IpAddr) -> Seat {
        let from = network(from);
        let (told, go) = oneshot::channel();
        let mut seats = self.seats();
        let same = seats.taken.values().filter(|(of, _)| *of == from).count();
        if same >= self.0.most_of_one {
            seats.send_off(from);
        } else if seats.taken.len() >= self.0.most {
            let crowd = seats.crowd();
            seats.send_off(crowd);
        }
        let number = seats.next;
        seats.next += 1;
        seats.taken.insert(number, (from, told));
        Seat { desk: self.clone(), number, go }
    }

    /// How many there are.
    pub(super) fn taken(&self) -> usize {
        self.seats().taken.len()
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        // The list is whole at every moment, so another thread's panic does not spoil it.
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seats {
    /// The address with the most newcomers.
    fn crowd(&self) -> IpAddr {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        self.taken.values().for_each(|(of, _)| *counts.entry(*of).or_default() += 1);
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        most.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |(address, _)| address)
    }

    /// Tells the oldest from an address to go: what told it is dropped.
    fn send_off(&mut self, from: IpAddr) {
        let oldest = self.taken.iter().find(|(_, (of, _))| *of == from);
        if let Some(number) = oldest.map(|(&number, _)| number) {
            self.taken.remove(&number);
        }
    }
}

impl Seat {
    /// Waits until the newcomer has to go. Cancel safe.
    pub(super) async fn told_to_go(&mut self) {
        // Nothing is ever sent; the sender is dropped.
        let _ = (&mut self.go).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.desk.seats().taken.remove(&self.number);
    }
}

/// What one machine can have of addresses: for IPv6 the network that is given to one site.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_told(seat: &mut Seat) -> bool {
        matches!(seat.go.try_recv(), Err(oneshot::error::TryRecvError::Closed))
    }

    #[test]
    fn the_oldest_of_a_crowd_gives_way() {
        let desk = Desk::new(4, 3);
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let mut quiet = desk.sit_down(address(1));
        let mut crowd: Vec<_> = (0..3).map(|_| desk.sit_down(address(2))).collect();
        let _new = desk.sit_down(address(3));
        assert_eq!(desk.taken(), 4);
        let mut told = || crowd.iter_mut().map(is_told).collect::<Vec<_>>();
        assert_eq!(told(), [true, false, false]);
        // There is room again, and still no address gets more than its part.
        drop(_new);
        let mut more = desk.sit_down(address(2));
        assert_eq!(desk.taken(), 4);
        let _last = desk.sit_down(address(2));
        assert_eq!((told()[1], is_told(&mut more), is_told(&mut quiet)), (true, false, false));
    }

    #[test]
    fn a_site_counts_once() {
        let desk = Desk::new(10, 1);
        let mut first = desk.sit_down("2001:db8::1".parse().unwrap());
        let _second = desk.sit_down("2001:db8::2".parse().unwrap());
        let mut mapped = desk.sit_down("::ffff:192.0.2.1".parse().unwrap());
        let _plain = desk.sit_down("192.0.2.1".parse().unwrap());
        assert_eq!((is_told(&mut first), is_told(&mut mapped), desk.taken()), (true, true, 2));
    }
}
