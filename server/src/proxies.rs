//! The addresses of clients behind proxies.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

/// The proxies that are believed when they name the address of a client.
pub(crate) struct TrustedProxies {
    networks: Vec<IpNet>,
    send_headers: bool,
}

impl TrustedProxies {
    /// With `send_headers` their connections begin with a header of the PROXY protocol.
    pub(crate) const fn new(networks: Vec<IpNet>, send_headers: bool) -> Self {
        Self { networks, send_headers }
    }

    /// Whether a connection from this address must begin with a header of the PROXY protocol.
    pub(crate) fn sends_header(&self, address: IpAddr) -> bool {
        self.send_headers && self.trusts(address)
    }

    /// Whether connections from this address are a proxy's.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The client that a proxy at the address `peer` has sent this request for; `None` if `peer` is the client.
    ///
    /// Each proxy appends the address that it was sent the request from, so only the entries after the last one
    /// of an untrusted address are known to be true, and that one. Without it, or at an entry that is no address, it
    /// is the trusted address before: all clients behind that one count as one.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.trusts(peer) {
            return None;
        }
        let mut client = None;
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        for entry in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
            let Some(address) = parse(entry) else { break };
            client = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        client
    }
}

/// An address, with or without a port, and with or without brackets.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let without_port = || Some(entry.parse::<std::net::SocketAddr>().ok()?.ip());
    let in_brackets = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = entry.parse().ok().or_else(without_port).or_else(in_brackets)?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(peer: &str, lines: &[&str]) -> Option<String> {
        let networks = ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"];
        let proxies =
            TrustedProxies::new(networks.map(|text| text.parse().unwrap()).to_vec(), false);
        let lines = lines.iter().map(|line| {
            let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            (http::header::HeaderName::from_static("x-forwarded-for"), line)
        });
        let found = proxies.client(peer.parse().unwrap(), &lines.collect())?;
        Some(found.to_string())
    }

    #[test]
    fn the_rightmost_untrusted_hop_is_the_client() {
        for (peer, lines, found) in [
            // Nobody who is not trusted is believed.
            ("198.51.100.1", &["203.0.113.1"][..], None),
            ("2001:db8::1", &["203.0.113.1"], None),
            ("11.0.0.1", &["203.0.113.1"], None),
            // One proxy, of each family, with and without ports.
            ("10.1.2.3", &["203.0.113.1"], Some("203.0.113.1")),
            ("::ffff:10.1.2.3", &["203.0.113.1"], Some("203.0.113.1")),
            ("fd00::1", &["2001:db8::5"], Some("2001:db8::5")),
            ("fd00::1", &["[2001:db8::5]"], Some("2001:db8::5")),
            ("fd00::1", &["[2001:db8::5]:443"], Some("2001:db8::5")),
            ("10.1.2.3", &["203.0.113.1:5678"], Some("203.0.113.1")),
            ("10.1.2.3", &["::ffff:203.0.113.1"], Some("203.0.113.1")),
            // Several hops, in one line or in more.
            ("10.1.2.3", &["203.0.113.1, 10.9.9.9,192.0.2.7"], Some("203.0.113.1")),
            ("10.1.2.3", &["203.0.113.1", "10.9.9.9", "192.0.2.7"], Some("203.0.113.1")),
            ("10.1.2.3", &["203.0.113.1,fd00::2 ,\t10.9.9.9"], Some("203.0.113.1")),
            // What the client itself has sent comes before its address.
            ("10.1.2.3", &["198.51.100.9, 203.0.113.1"], Some("203.0.113.1")),
            ("10.1.2.3", &["10.0.0.1, 203.0.113.1, 10.9.9.9"], Some("203.0.113.1")),
            ("10.1.2.3", &["198.51.100.9", "203.0.113.1"], Some("203.0.113.1")),
            // Nobody but proxies: the one that is farthest away.
            ("10.1.2.3", &["10.9.9.9, 10.8.8.8"], Some("10.9.9.9")),
            // Nothing, and nonsense: the last hop that is known.
            ("10.1.2.3", &[], None),
            ("10.1.2.3", &[""], None),
            ("10.1.2.3", &["unknown"], None),
            ("10.1.2.3", &["203.0.113.1, nonsense"], None),
            ("10.1.2.3", &["203.0.113.1,"], None),
            ("10.1.2.3", &["203.0.113.1, nonsense, 10.9.9.9"], Some("10.9.9.9")),
            ("10.1.2.3", &["1.2.3.4.5"], None),
            ("10.1.2.3", &["203.0.113.1 203.0.113.2"], None),
            ("10.1.2.3", &["[10.9.9.9"], None),
            ("10.1.2.3", &["\u{e9}"], None),
        ] {
            assert_eq!(client(peer, lines).as_deref(), found, "{peer} {lines:?}");
        }
    }
}
