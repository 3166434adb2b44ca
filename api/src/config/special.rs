//! Addresses that are not public: the IANA special-purpose registries of IPv4 and IPv6 (RFC 6890 and its successors).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// First address and prefix length of what is not globally reachable.
const NOT_PUBLIC_V4: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8),        // this network
    ([10, 0, 0, 0], 8),       // private
    ([100, 64, 0, 0], 10),    // shared
    ([127, 0, 0, 0], 8),      // loopback
    ([168, 63, 129, 16], 32), // a cloud's metadata service, at an address that looks public
    ([169, 254, 0, 0], 16),   // link-local, where clouds keep their metadata
    ([172, 16, 0, 0], 12),    // private
    ([192, 0, 0, 0], 24),     // protocol assignments
    ([192, 0, 2, 0], 24),     // documentation
    ([192, 88, 99, 0], 24),   // 6to4 relays, withdrawn
    ([192, 168, 0, 0], 16),   // private
    ([198, 18, 0, 0], 15),    // benchmarks
    ([198, 51, 100, 0], 24),  // documentation
    ([203, 0, 113, 0], 24),   // documentation
    ([224, 0, 0, 0], 4),      // multicast
    ([240, 0, 0, 0], 4),      // reserved, broadcast
];

/// The same within `2000::/3`; everything outside it is not public, but for [`NAT64`].
const NOT_PUBLIC_V6: &[([u16; 8], u32)] = &[
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // protocol assignments, Teredo
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation
];
const GLOBAL_UNICAST: ([u16; 8], u32) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
/// An IPv4 address is in the last 32 bits (RFC 6052).
const NAT64: ([u16; 8], u32) = ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
/// An IPv4 address follows the prefix (RFC 3056).
const SIX_TO_FOUR: ([u16; 8], u32) = ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);

/// Whether an address is reachable from everywhere. One that holds another is as public as that.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) if within(address, NAT64) => is_public_v4(embedded(address, 0)),
        IpAddr::V6(address) if within(address, SIX_TO_FOUR) => is_public_v4(embedded(address, 80)),
        IpAddr::V6(address) => {
            within(address, GLOBAL_UNICAST)
                && !NOT_PUBLIC_V6.iter().any(|range| within(address, *range))
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !NOT_PUBLIC_V4.iter().any(|(first, length)| {
        let first = Ipv4Addr::from(*first).to_bits();
        (bits ^ first).leading_zeros() >= *length
    })
}

fn within(address: Ipv6Addr, (first, length): ([u16; 8], u32)) -> bool {
    (address.to_bits() ^ Ipv6Addr::from(first).to_bits()).leading_zeros() >= length
}

/// The IPv4 address that so many bits follow.
fn embedded(address: Ipv6Addr, following: u32) -> Ipv4Addr {
    let bits = (address.to_bits() >> following) & u128::from(u32::MAX);
    Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_as_public_as_the_one_it_holds() {
        for (address, public) in [
            ("1.1.1.1", true),
            ("172.32.0.1", true),
            ("172.31.0.1", false),
            ("168.63.129.17", true),
            ("::ffff:1.1.1.1", true),
            ("::ffff:10.0.0.1", false),
            ("64:ff9b::1.1.1.1", true),
            ("64:ff9b::169.254.169.254", false),
            ("2002:101:101::1", true),
            ("2002:a00:1::1", false),
            ("2606:4700:4700::1111", true),
            ("2001:4860:4860::8888", true),
            ("2001:1ff::1", false),
            ("2001:200::1", true),
            ("4000::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }
}
