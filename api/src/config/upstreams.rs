//! Which URLs and addresses providers may be reached at.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

use super::access::ranges;
use super::error::ConfigError;
use super::special::is_public;
use crate::return_url::is_loopback;

/// A provider URL that is not safe to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeUrl {
    /// It would send secrets in the clear.
    #[error(
        "must be an https URL; http is allowed only where ALLOW_PRIVATE_UPSTREAMS permits the host"
    )]
    Plain,
    /// It holds a user name or a password.
    #[error("must not hold a user name or a password")]
    UserInfo,
    /// It names an address that is not public.
    #[error(
        "must name a public address; others are allowed only where ALLOW_PRIVATE_UPSTREAMS permits them"
    )]
    Private,
}

/// `ALLOW_PRIVATE_UPSTREAMS`: which addresses that are not public provider URLs may lead to, over plain http, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamRules {
    /// None.
    PublicOnly,
    /// Loopback: the default while the server itself is bound to loopback.
    Loopback,
    /// Those in these ranges.
    Ranges(Vec<IpNet>),
    /// All of them, and plain http anywhere: the operator said `true`.
    Anywhere,
}

impl UpstreamRules {
    /// Reads `true`, `false` or ranges in CIDR notation separated by commas; a lone address is a range of one.
    pub(super) fn parse(
        text: Option<&str>,
        bound_to_loopback: bool,
    ) -> Result<UpstreamRules, ConfigError> {
        match text {
            None if bound_to_loopback => Ok(UpstreamRules::Loopback),
            None => Ok(UpstreamRules::PublicOnly),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(UpstreamRules::Anywhere),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(UpstreamRules::PublicOnly),
            Some(text) => ranges("ALLOW_PRIVATE_UPSTREAMS", text).map(UpstreamRules::Ranges),
        }
    }

    /// Judges a URL as it is written: its scheme, and its host if that is an address. Where a name leads is judged when
    /// a connection is made, by [`permits`](Self::permits).
    pub fn check(&self, url: &Url) -> Result<(), UnsafeUrl> {
        let plain = match url.scheme() {
            "https" => false,
            "http" => true,
            _ => return Err(UnsafeUrl::Plain),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UnsafeUrl::UserInfo);
        }
        let address = match url.host() {
            None => return Err(UnsafeUrl::Plain),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(host @ Host::Domain(_)) if is_loopback(&host.to_owned()) => {
                IpAddr::from([127, 0, 0, 1])
            }
            Some(Host::Domain(_)) if plain && !self.names_may_be_plain() => {
                return Err(UnsafeUrl::Plain);
            }
            Some(Host::Domain(_)) => return Ok(()),
        };
        match self.permits(address, plain) {
            true => Ok(()),
            false if plain => Err(UnsafeUrl::Plain),
            false => Err(UnsafeUrl::Private),
        }
    }

    /// Whether a connection may be made to an address, `plain` without TLS.
    #[must_use]
    pub fn permits(&self, address: IpAddr, plain: bool) -> bool {
        let address = address.to_canonical();
        let allowed = match self {
            UpstreamRules::PublicOnly => false,
            UpstreamRules::Loopback => address.is_loopback(),
            UpstreamRules::Ranges(ranges) => ranges.iter().any(|range| range.contains(&address)),
            UpstreamRules::Anywhere => true,
        };
        allowed || (!plain && is_public(address))
    }

    /// Whether a name could lead to where plain http is allowed.
    fn names_may_be_plain(&self) -> bool {
        matches!(self, UpstreamRules::Ranges(_) | UpstreamRules::Anywhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(setting: Option<&str>, loopback: bool, url: &str) -> bool {
        UpstreamRules::parse(setting, loopback)
            .unwrap()
            .check(&Url::parse(url).unwrap())
            .is_ok()
    }

    #[test]
    fn https_is_always_allowed_and_other_schemes_never() {
        assert!(allowed(None, false, "https://idp.example/token"));
        assert!(!allowed(Some("true"), true, "ftp://idp.example/token"));
    }

    #[test]
    fn http_is_allowed_on_loopback_hosts_while_bound_to_loopback() {
        assert!(allowed(None, true, "http://127.0.0.1:3000/token"));
        assert!(allowed(None, true, "http://localhost:3000/token"));
        assert!(!allowed(None, true, "http://idp.example/token"));
        assert!(!allowed(None, false, "http://127.0.0.1:3000/token"));
        assert!(!allowed(Some("false"), true, "http://127.0.0.1:3000/token"));
    }

    #[test]
    fn http_is_allowed_inside_the_ranges_given() {
        let ranges = Some("10.0.0.0/8, fd00::/8,192.0.2.7");
        assert!(allowed(ranges, false, "http://10.1.2.3/token"));
        assert!(allowed(ranges, false, "http://[fd00::1]/token"));
        assert!(allowed(ranges, false, "http://[::ffff:10.1.2.3]/token"));
        assert!(allowed(ranges, false, "http://192.0.2.7/token"));
        assert!(!allowed(ranges, true, "http://127.0.0.1/token"));
        assert!(!allowed(ranges, false, "http://11.1.2.3/token"));
        // Where the name leads is judged when a connection is made.
        assert!(allowed(ranges, false, "http://idp.internal/token"));
        assert!(allowed(ranges, false, "https://10.1.2.3/token"));
        assert!(allowed(
            Some("127.0.0.0/8"),
            false,
            "http://localhost/token"
        ));
    }

    /// Nothing that is written like this is called, whatever a provider or its documents say.
    #[test]
    fn hostile_urls_are_refused() {
        let hostile = [
            "http://idp.example/",
            "http://203.0.113.9/",
            "ftp://idp.example/",
            "file:///etc/passwd",
            "gopher://idp.example/",
            "data:text/plain,x",
            "https://user@idp.example/",
            "https://user:pass@idp.example/",
            "https://idp.example@127.0.0.1/",
            "https://:pass@idp.example/",
            "https://localhost/",
            "https://LOCALHOST/",
            "https://idp.localhost/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://127.255.255.254/",
            "https://2130706433/",
            "https://017700000001/",
            "https://0177.0.0.1/",
            "https://0x7f.1/",
            "https://0x7f000001/",
            "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
            "https://127\u{3002}0\u{3002}0\u{3002}1/",
            "https://%31%32%37.0.0.1/",
            "https://0/",
            "https://0.0.0.0/",
            "https://10.0.0.1/",
            "https://10.1/",
            "https://100.64.0.1/",
            "https://100.100.100.200/",
            "https://168.63.129.16/",
            "https://169.254.169.254/latest/meta-data/",
            "https://2852039166/",
            "https://0xa9fea9fe/",
            "https://172.16.0.1/",
            "https://172.31.255.255/",
            "https://192.0.0.192/",
            "https://192.0.2.1/",
            "https://192.168.1.1/",
            "https://198.18.0.1/",
            "https://198.51.100.1/",
            "https://203.0.113.1/",
            "https://224.0.0.1/",
            "https://240.0.0.1/",
            "https://255.255.255.255/",
            "https://[::]/",
            "https://[::1]/",
            "https://[::127.0.0.1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[64:ff9b::10.0.0.1]/",
            "https://[64:ff9b:1::1]/",
            "https://[100::1]/",
            "https://[2001::1]/",
            "https://[2001:db8::1]/",
            "https://[2002:7f00:1::]/",
            "https://[2002:a9fe:a9fe::1]/",
            "https://[3fff::1]/",
            "https://[5f00::1]/",
            "https://[fc00::1]/",
            "https://[fd00:ec2::254]/",
            "https://[fe80::1]/",
            "https://[fec0::1]/",
            "https://[ff02::1]/",
        ];
        for url in hostile {
            assert!(!allowed(None, false, url), "{url}");
        }
        for url in [
            "https://idp.example/",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/",
        ] {
            assert!(allowed(None, false, url), "{url}");
        }
    }

    #[test]
    fn a_range_that_is_none_is_named() {
        let error = UpstreamRules::parse(Some("10.0.0.0/33"), true).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("ALLOW_PRIVATE_UPSTREAMS: `10.0.0.0/33`")
        );
    }
}
