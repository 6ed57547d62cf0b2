//! Limits on the number of connections, in total and per address.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ahash::HashMap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most rejections that are written at once; more connections are closed without an answer.
const REJECTIONS: usize = 64;

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
}

/// Permission for one connection; dropping it lets another client connect.
pub(crate) struct Permit {
    limit: Arc<ConnectionLimit>,
    /// `None` if the connection counts for no address.
    address: Option<IpAddr>,
}

impl ConnectionLimit {
    pub(crate) fn new(most: usize, most_of_one: usize) -> Self {
        let rejections = Arc::new(Semaphore::new(REJECTIONS));
        Self { most, most_of_one, open: Mutex::default(), rejections }
    }

    /// A permit for a connection from this address, if it is known; `None` if a limit is reached.
    pub(crate) fn try_acquire(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Permit> {
        let address = address.map(network);
        let mut open = self.open.lock();
        if open.all >= self.most || !open.try_add(address, self.most_of_one) {
            return None;
        }
        open.all += 1;
        Some(Permit { limit: Arc::clone(self), address })
    }

    /// A permit to write one rejection. There are few, so that a rejected client costs less than a served
    /// one.
    pub(crate) fn try_reject(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.rejections).try_acquire_owned().ok()
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
}

impl Drop for Permit {
    fn drop(&mut self) {
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
    use super::network;

    #[test]
    fn an_address_of_ipv6_counts_with_its_network() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
