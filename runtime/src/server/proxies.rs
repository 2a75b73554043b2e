//! The address of whoever asks, where proxies are between.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

/// Addresses in the header that are looked at: no chain of proxies is as long.
const MAX_HOPS: usize = 32;

/// Whether `address` is one of the proxies.
pub fn is_trusted(proxies: &[IpNet], address: IpAddr) -> bool {
    proxies.iter().any(|network| network.contains(&address))
}

/// The network that counts as one client: whoever has one address of IPv6 has all of its /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// Who asks through `peer`: the last address in `X-Forwarded-For` that no proxy of ours wrote for another one.
/// Whatever stands before it, anybody may have written.
pub fn client(proxies: &[IpNet], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !is_trusted(proxies, peer) {
        return peer;
    }
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|line| text(line)).collect();
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(',')).take(MAX_HOPS);
    let mut client = peer;
    for hop in hops {
        // What is no address ends what can be believed.
        let Some(address) = address(hop.trim()) else { break };
        client = address;
        if !is_trusted(proxies, address) {
            break;
        }
    }
    client
}

fn text(line: &HeaderValue) -> Option<&str> {
    line.to_str().ok()
}

/// An address, which some proxies write with its port.
fn address(text: &str) -> Option<IpAddr> {
    let address = text.parse().or_else(|_| text.parse().map(|address: std::net::SocketAddr| address.ip()));
    let address = address.or_else(|_| text.trim_matches(['[', ']']).parse());
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn only_what_our_proxies_wrote_is_believed() {
        let proxies: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.1/32".parse().unwrap()];
        for (peer, header, expected) in [
            ("9.9.9.9", "1.2.3.4", "9.9.9.9"),
            ("127.0.0.1", "1.2.3.4", "1.2.3.4"),
            ("127.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
            ("127.0.0.1", "6.6.6.6, 1.2.3.4, 10.1.1.1", "1.2.3.4"),
            ("127.0.0.1", "6.6.6.6, junk, 10.1.1.1", "10.1.1.1"),
            ("127.0.0.1", "", "127.0.0.1"),
            ("127.0.0.1", "1.2.3.4:5555", "1.2.3.4"),
            ("127.0.0.1", "[2001:db8::1]:5555", "2001:db8::1"),
            ("10.2.3.4", "::ffff:1.2.3.4", "1.2.3.4"),
        ] {
            let headers =
                HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), header.parse().unwrap())]);
            let found = client(&proxies, peer.parse().unwrap(), &headers);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {header}");
        }
        let mut two = HeaderMap::new();
        two.append("x-forwarded-for", "6.6.6.6".parse().unwrap());
        two.append("x-forwarded-for", "1.2.3.4, 10.0.0.9".parse().unwrap());
        assert_eq!(
            client(&proxies, "127.0.0.1".parse().unwrap(), &two),
            "1.2.3.4".parse::<IpAddr>().unwrap()
        );
    }
}
