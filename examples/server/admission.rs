//! How many connections there may be: in all, and from one address.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ahash::HashMap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Server;
use super::options::Options;

/// How many may be told at once that there is no place; the others find the connection closed.
const TOLD: usize = 64;

/// Who is there.
pub(crate) struct Admission {
    most: usize,
    most_of_one: usize,
    taken: Mutex<Taken>,
    told: Arc<Semaphore>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Those of one address; only the addresses that have any.
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place, which is free again when this is dropped.
pub(crate) struct Place {
    server: Arc<Server>,
    address: IpAddr,
}

impl Admission {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            most: options.connections,
            most_of_one: options.connections_per_address,
            taken: Mutex::default(),
            told: Arc::new(Semaphore::new(TOLD)),
        }
    }

    /// A place for a connection from this address; `None` when there is none.
    pub(crate) fn admit(server: &Arc<Server>, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let Admission { most, most_of_one, taken, .. } = &server.admission;
        let mut taken = taken.lock();
        if taken.all >= *most {
            return None;
        }
        let of_one = taken.by_address.get(&address).copied().unwrap_or(0);
        if of_one >= *most_of_one {
            return None;
        }
        taken.by_address.insert(address, of_one + 1);
        taken.all += 1;
        Some(Place { server: Arc::clone(server), address })
    }

    /// The right to tell somebody that there is no place. Few have it at once, or who is refused
    /// would cost as much as who is served.
    pub(crate) fn refuse(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.told).try_acquire_owned().ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.server.admission.taken.lock();
        taken.all -= 1;
        let of_one = taken.by_address.get_mut(&self.address).expect("an admitted address");
        *of_one -= 1;
        if *of_one == 0 {
            taken.by_address.remove(&self.address);
        }
    }
}

/// Whom an address belongs to: a subscriber has one of IPv4, and 64 bits' worth of IPv6.
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
