//! Which provider URLs are safe enough.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

use super::error::ConfigError;
use crate::return_url::is_loopback;

/// A provider URL that would send secrets in the clear.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an https URL; http is allowed only where ALLOW_PRIVATE_UPSTREAMS permits the host"
)]
pub struct InsecureUrl;

/// `ALLOW_PRIVATE_UPSTREAMS`: where provider URLs may be plain http.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamRules {
    /// Nowhere: every URL is https.
    HttpsOnly,
    /// On loopback hosts: the default while the server itself is bound to loopback.
    Loopback,
    /// On hosts that are literal addresses of these ranges, and on `localhost` when loopback is among them.
    Ranges(Vec<IpNet>),
    /// Anywhere: the operator said `true`.
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
            None => Ok(UpstreamRules::HttpsOnly),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(UpstreamRules::Anywhere),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(UpstreamRules::HttpsOnly),
            Some(text) => text
                .split(',')
                .map(range)
                .collect::<Result<_, _>>()
                .map(UpstreamRules::Ranges),
        }
    }

    /// Accepts https URLs, and http ones where the rules permit their host. Nothing is resolved.
    pub fn check(&self, url: &Url) -> Result<(), InsecureUrl> {
        match (url.scheme(), url.host()) {
            ("https", Some(_)) => Ok(()),
            ("http", Some(host)) if self.permits(&host.to_owned()) => Ok(()),
            _ => Err(InsecureUrl),
        }
    }

    fn permits(&self, host: &Host) -> bool {
        match self {
            UpstreamRules::HttpsOnly => false,
            UpstreamRules::Loopback => is_loopback(host),
            UpstreamRules::Ranges(ranges) => in_ranges(host, ranges),
            UpstreamRules::Anywhere => true,
        }
    }
}

fn in_ranges(host: &Host, ranges: &[IpNet]) -> bool {
    let address = match host {
        Host::Ipv4(address) => IpAddr::V4(*address),
        Host::Ipv6(address) => IpAddr::V6(*address).to_canonical(),
        Host::Domain(_) if is_loopback(host) => IpAddr::from([127, 0, 0, 1]),
        Host::Domain(_) => return false,
    };
    ranges.iter().any(|range| range.contains(&address))
}

fn range(text: &str) -> Result<IpNet, ConfigError> {
    let text = text.trim();
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| {
            ConfigError::new(
                "ALLOW_PRIVATE_UPSTREAMS",
                format!("`{text}` is neither true, false nor a range like 10.0.0.0/8"),
            )
        })
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
        assert!(!allowed(ranges, false, "http://idp.internal/token"));
        assert!(allowed(
            Some("127.0.0.0/8"),
            false,
            "http://localhost/token"
        ));
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
