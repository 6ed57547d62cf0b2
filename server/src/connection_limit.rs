//! Limits on the number of connections, in total and per address.

use std::fmt;
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
pub struct Permit {
    limit: Arc<ConnectionLimit>,
    address: IpAddr,
}

impl ConnectionLimit {
    pub(crate) fn new(most: usize, most_of_one: usize) -> Self {
        let rejections = Arc::new(Semaphore::new(REJECTIONS));
        Self { most, most_of_one, open: Mutex::default(), rejections }
    }

    /// A permit for a connection from this address; `None` if a limit is reached.
    pub(crate) fn try_acquire(self: &Arc<Self>, address: IpAddr) -> Option<Permit> {
        let address = network(address);
        let mut open = self.open.lock();
        if open.all >= self.most {
            return None;
        }
        let of_one = open.by_address.get(&address).copied().unwrap_or(0);
        if of_one >= self.most_of_one {
            return None;
        }
        open.by_address.insert(address, of_one + 1);
        open.all += 1;
        Some(Permit { limit: Arc::clone(self), address })
    }

    /// A permit to write one rejection. There are few, so that a rejected client costs less than a served
    /// one.
    pub(crate) fn try_reject(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.rejections).try_acquire_owned().ok()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.limit.open.lock();
        open.all -= 1;
        let of_one = open.by_address.get_mut(&self.address).expect("an address with a permit");
        *of_one -= 1;
        if *of_one == 0 {
            open.by_address.remove(&self.address);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("address", &self.address).finish_non_exhaustive()
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
