//! Limits on the number of connections, in total and per address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ahash::HashMap;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The most rejections that are written at once; more connections are closed without an answer.
const REJECTIONS: usize = 64;

/// The file descriptors that are kept free of connections: for rejections, the runtime, Redis, files, and
/// what the application opens.
const RESERVE: usize = REJECTIONS + 64;

/// Counts the open connections.
pub(crate) struct ConnectionLimit {
    most: usize,
    most_of_one: usize,
    open: Mutex<Open>,
    rejections: Arc<Semaphore>,
}

#[derive(Default)]
struct Open {
    all: usize,
    /// The connections per address, for addresses that have any.
    by_address: HashMap<IpAddr, usize>,
    /// The connections without a request, in the order in which they became idle.
    idle: BTreeMap<u64, Arc<Notify>>,
    next: u64,
}

/// Permission for one connection; dropping it lets another client connect.
pub(crate) struct Permit {
    limit: Arc<ConnectionLimit>,
    /// `None` if the connection counts for no address.
    address: Option<IpAddr>,
    /// Its place among the idle ones, while it is one.
    idle: Option<u64>,
    /// Notified when it must make room.
    shed: Arc<Notify>,
}

impl ConnectionLimit {
    /// Raises the process's limit on descriptors as far as it is necessary and allowed. If that is not far enough,
    /// fewer connections than `most` are possible.
    pub(crate) fn new(most: usize, most_of_one: usize) -> Self {
        let descriptors = raise_descriptor_limit(most);
        let (most, most_of_one) = possible(most, most_of_one, descriptors);
        let rejections = Arc::new(Semaphore::new(REJECTIONS));
        Self { most, most_of_one, open: Mutex::default(), rejections }
    }

    /// The most connections.
    pub(crate) const fn most(&self) -> usize {
        self.most
    }

    /// A permit for a connection from this address, if it is known; `None` if a limit is reached. The connection that
    /// has been idle for the longest time makes room for it.
    pub(crate) fn try_acquire(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Permit> {
        let address = address.map(network);
        let mut open = self.open.lock();
        if !open.try_add(address, self.most_of_one) {
            return None;
        }
        if open.all >= self.most && !open.shed_idle() {
            open.remove(address);
            return None;
        }
        open.all += 1;
        Some(Permit { limit: Arc::clone(self), address, idle: None, shed: Arc::default() })
    }

    /// Closes the connection that has been idle for the longest time; `false` if there is none.
    pub(crate) fn shed_idle(&self) -> bool {
        self.open.lock().shed_idle()
    }

    /// A permit to write one rejection. There are few, so that a rejected client costs less than a served
    /// one, and fewer of those that cost more: one of `cost` 2 takes the place of two.
    pub(crate) fn try_reject(&self, cost: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.rejections).try_acquire_many_owned(cost).ok()
    }
}

/// Returns how many descriptors the process may have: so many for connections and a reserve, if the system allows it.
fn raise_descriptor_limit(connections: usize) -> usize {
    let allowed = rlimit::increase_nofile_limit(connections.saturating_add(RESERVE) as u64);
    allowed.map_or(usize::MAX, |allowed| usize::try_from(allowed).unwrap_or(usize::MAX))
}

/// The limits on connections in total and per address, reduced to what so many descriptors allow. Then no address may
/// have more than half of them, unless any could have all before.
fn possible(most: usize, most_of_one: usize, descriptors: usize) -> (usize, usize) {
    let room = descriptors - RESERVE.min(descriptors / 2);
    if most <= room {
        (most, most_of_one)
    } else if most_of_one >= most {
        (room, most_of_one)
    } else {
        (room, most_of_one.min(room.div_ceil(2)))
    }
}

impl Permit {
    /// The connection waits for a request from now on, and may have to make room for others.
    pub(crate) fn set_idle(&mut self) {
        let mut open = self.limit.open.lock();
        let number = open.next;
        open.next += 1;
        open.idle.insert(number, Arc::clone(&self.shed));
        self.idle = Some(number);
    }

    /// The connection has a request, or has become what it is to be. `false` if it was asked to make room before.
    pub(crate) fn set_busy(&mut self) -> bool {
        let number = self.idle.take();
        number.is_none_or(|number| self.limit.open.lock().idle.remove(&number).is_some())
    }

    /// Completes when the connection must make room for others, which it is only asked to while it is idle.
    pub(crate) fn shed(&self) -> impl Future<Output = ()> + use<> {
        let shed = Arc::clone(&self.shed);
        async move { shed.notified().await }
    }

    /// Counts the connection, which counts for no address yet, for this one; `false` if that has reached its limit.
    pub(crate) fn count_for(&mut self, address: IpAddr) -> bool {
        let address = Some(network(address));
        let is_counted = self.limit.open.lock().try_add(address, self.limit.most_of_one);
        if is_counted {
            self.address = address;
        }
        is_counted
    }
}

impl Open {
    /// Counts one connection more for the address; `false` if that would be more than `most`.
    fn try_add(&mut self, address: Option<IpAddr>, most: usize) -> bool {
        let Some(address) = address else { return true };
        let of_one = self.by_address.get(&address).copied().unwrap_or(0);
        if of_one >= most {
            return false;
        }
        self.by_address.insert(address, of_one + 1);
        true
    }

    fn remove(&mut self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let of_one = self.by_address.get_mut(&address).expect("an address with a permit");
        *of_one -= 1;
        if *of_one == 0 {
            self.by_address.remove(&address);
        }
    }

    fn shed_idle(&mut self) -> bool {
        self.idle.pop_first().inspect(|(_, shed)| shed.notify_one()).is_some()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.set_busy();
        let mut open = self.limit.open.lock();
        open.all -= 1;
        open.remove(self.address);
    }
}

/// The address or network by which a client is counted: an internet subscriber typically has one IPv4
/// address, and an IPv6 network with 64 bits of addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::{network, possible};

    #[test]
    fn few_descriptors_leave_a_reserve() {
        assert_eq!(possible(20_000, 10_000, 1 << 20), (20_000, 10_000));
        assert_eq!(possible(20_000, 10_000, 1024), (896, 448));
        assert_eq!(possible(20_000, 100, 1024), (896, 100));
        assert_eq!(possible(20_000, usize::MAX, 1024), (896, usize::MAX));
        assert_eq!(possible(usize::MAX, 10_000, 1 << 20), ((1 << 20) - 128, 10_000));
        assert_eq!(possible(896, 10_000, 1024), (896, 10_000));
        assert_eq!(possible(20_000, 10_000, 60), (30, 15));
        assert_eq!(possible(20_000, 10_000, 1), (1, 1));
    }

    #[test]
    fn an_address_of_ipv6_counts_with_its_network() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
