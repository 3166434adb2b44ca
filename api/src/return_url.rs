//! Where people may be sent back to once they have connected an account.

use std::net::IpAddr;

use url::{Host, Url};

/// Why a return URL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReturnUrl {
    /// It is relative, or no URL at all.
    #[error("return_url must be an absolute URL")]
    NotAbsolute,
    /// Its scheme is not one that browsers load pages by.
    #[error("return_url must be an http or https URL")]
    Scheme,
    /// It carries a user name or a password.
    #[error("return_url must not carry a user name or a password")]
    UserInfo,
    /// Its host is neither in `ALLOWED_RETURN_DOMAINS` nor below an entry of it.
    #[error("the host of return_url is not among the allowed return domains")]
    HostNotAllowed,
}

/// An entry that names no domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host name or an IP address")]
pub struct InvalidDomain(pub String);

/// Which hosts a return URL may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnUrlPolicy {
    /// Entries of `ALLOWED_RETURN_DOMAINS`: each allows itself and, being a domain, everything below it.
    domains: Vec<Host>,
    /// `ENFORCE_RETURN_URL`: off, any host is allowed.
    enforce: bool,
    /// Whether loopback hosts are allowed whatever the list says: so while the server itself is bound to loopback.
    loopback: bool,
}

impl ReturnUrlPolicy {
    /// A policy of the comma-separated `domains`.
    pub fn parse(
        domains: &str,
        enforce: bool,
        loopback: bool,
    ) -> Result<ReturnUrlPolicy, InvalidDomain> {
        let entries = domains
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        let domains = entries
            .map(|entry| {
                Host::parse(entry)
                    .map(bare)
                    .map_err(|_| InvalidDomain(entry.to_owned()))
            })
            .collect::<Result<_, _>>()?;
        Ok(ReturnUrlPolicy {
            domains,
            enforce,
            loopback,
        })
    }

    /// The entries, comma-separated, as they are understood.
    #[must_use]
    pub fn domains(&self) -> String {
        self.domains
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Whether hosts are checked at all.
    #[must_use]
    pub fn enforced(&self) -> bool {
        self.enforce
    }

    /// The URL, parsed, when people may be sent there.
    pub fn check(&self, text: &str) -> Result<Url, InvalidReturnUrl> {
        let url = Url::parse(text).map_err(|_| InvalidReturnUrl::NotAbsolute)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidReturnUrl::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidReturnUrl::UserInfo);
        }
        let host = url.host().ok_or(InvalidReturnUrl::NotAbsolute)?.to_owned();
        if self.allows(&bare(host)) {
            Ok(url)
        } else {
            Err(InvalidReturnUrl::HostNotAllowed)
        }
    }

    fn allows(&self, host: &Host) -> bool {
        !self.enforce
            || (self.loopback && is_loopback(host))
            || self.domains.iter().any(|entry| covers(entry, host))
    }
}

/// The URL with parameters appended; its own query and fragment are kept as they are.
#[must_use]
pub fn with_params(url: &Url, params: &[(&str, &str)]) -> Url {
    let mut url = url.clone();
    if !params.is_empty() {
        url.query_pairs_mut().extend_pairs(params);
    }
    url
}

/// Whether a host is this machine by its name or number: `localhost` and names below it (RFC 6761 §6.3), 127.0.0.0/8
/// and `::1`. Nothing is resolved.
#[must_use]
pub fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).to_canonical().is_loopback(),
    }
}

/// The name without the dot that may end a fully qualified one.
fn bare(host: Host) -> Host {
    match host {
        Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(&name).to_owned()),
        address => address,
    }
}

fn covers(entry: &Host, host: &Host) -> bool {
    match (entry, host) {
        (Host::Domain(entry), Host::Domain(host)) => host
            .strip_suffix(entry.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
        (entry, host) => entry == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(domains: &str) -> ReturnUrlPolicy {
        ReturnUrlPolicy::parse(domains, true, false).unwrap()
    }

    #[test]
    fn an_entry_allows_itself_and_what_is_below_it() {
        let policy = policy("example.com, Bücher.example,192.0.2.7");
        for url in [
            "https://example.com/back",
            "http://EXAMPLE.com:8443/back",
            "https://app.example.com",
            "https://a.b.example.com./",
            "https://bücher.example/",
            "https://192.0.2.7/",
        ] {
            assert!(policy.check(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_host_that_only_looks_like_an_entry_is_refused() {
        let policy = policy("example.com,192.0.2.7");
        for url in [
            "https://evilexample.com/",
            "https://example.com.evil.test/",
            "https://evil.test/?example.com",
            "https://evil.test/#.example.com",
            "https://evil.test\\.example.com/",
            "https://1.192.0.2.7.evil.test/",
            "https://192.0.2.70/",
            "http://localhost/",
        ] {
            assert_eq!(
                policy.check(url),
                Err(InvalidReturnUrl::HostNotAllowed),
                "{url}"
            );
        }
    }

    #[test]
    fn only_absolute_http_urls_without_credentials_are_return_urls() {
        let policy = ReturnUrlPolicy::parse("", false, false).unwrap();
        for (url, error) in [
            ("/back", InvalidReturnUrl::NotAbsolute),
            ("//example.com/back", InvalidReturnUrl::NotAbsolute),
            ("", InvalidReturnUrl::NotAbsolute),
            ("https://", InvalidReturnUrl::NotAbsolute),
            ("javascript:alert(1)", InvalidReturnUrl::Scheme),
            ("myapp://back", InvalidReturnUrl::Scheme),
            ("https://user@example.com/", InvalidReturnUrl::UserInfo),
            ("https://:pass@example.com/", InvalidReturnUrl::UserInfo),
        ] {
            assert_eq!(policy.check(url), Err(error), "{url}");
        }
    }

    #[test]
    fn an_empty_list_allows_loopback_hosts_alone_while_bound_to_loopback() {
        let bound = ReturnUrlPolicy::parse("", true, true).unwrap();
        for url in [
            "http://localhost:3000/",
            "http://app.localhost/",
            "http://127.8.0.1/",
            "http://[::1]:3000/",
        ] {
            assert!(bound.check(url).is_ok(), "{url}");
            assert!(policy("").check(url).is_err(), "{url}");
        }
        assert_eq!(
            bound.check("https://example.com/"),
            Err(InvalidReturnUrl::HostNotAllowed)
        );
        assert_eq!(
            bound.check("https://localhost.evil.test/"),
            Err(InvalidReturnUrl::HostNotAllowed)
        );
    }

    #[test]
    fn the_domain_check_can_be_turned_off() {
        let policy = ReturnUrlPolicy::parse("example.com", false, false).unwrap();
        assert!(policy.check("https://anywhere.test/").is_ok());
    }

    #[test]
    fn an_entry_that_is_no_host_is_refused() {
        for entry in [
            "https://example.com",
            "exa mple.com",
            "example.com/path",
            "localhost:3000",
        ] {
            assert_eq!(
                ReturnUrlPolicy::parse(entry, true, true),
                Err(InvalidDomain(entry.to_owned()))
            );
        }
    }

    #[test]
    fn parameters_are_appended_and_the_urls_own_query_and_fragment_stay() {
        let url = Url::parse("https://app.example/back?tab=a%20b&x#top").unwrap();
        let url = with_params(&url, &[("status", "success"), ("error", "a&b")]);
        assert_eq!(
            url.as_str(),
            "https://app.example/back?tab=a%20b&x&status=success&error=a%26b#top"
        );
        let bare = Url::parse("https://app.example/back").unwrap();
        assert_eq!(with_params(&bare, &[]).as_str(), "https://app.example/back");
    }
}
