//! Names resolved once, and every address judged before a connection is made to it.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::config::UpstreamRules;

/// A name leads to an address that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name leads to an address that is not allowed")]
pub(super) struct Forbidden;

impl Forbidden {
    /// Whether it is why something else failed.
    pub(super) fn caused(error: &(dyn Error + 'static)) -> bool {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.is::<Forbidden>() {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// A name leads nowhere.
#[derive(Debug, thiserror::Error)]
#[error("the name could not be resolved")]
pub(super) struct Unresolved(#[source] io::Error);

type Lookup = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;

/// Resolves names for a client that connects to nothing but the answers of this.
#[derive(Clone)]
pub(super) struct GuardedResolver {
    rules: UpstreamRules,
    /// Whether it connects without TLS.
    plain: bool,
    lookup: Arc<Lookup>,
}

impl GuardedResolver {
    /// Over the system's resolver.
    pub(super) fn new(rules: UpstreamRules, plain: bool) -> Self {
        Self::over(rules, plain, |name| {
            Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
        })
    }

    pub(super) fn over(
        rules: UpstreamRules,
        plain: bool,
        lookup: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            rules,
            plain,
            lookup: Arc::new(lookup),
        }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let found = (resolver.lookup)(name.as_str().to_owned())
                .await
                .map_err(Unresolved)?;
            let permitted =
                |address: &SocketAddr| resolver.rules.permits(address.ip(), resolver.plain);
            // One bad answer spoils all: whoever gives it is not to be trusted with the others.
            if found.iter().all(permitted) {
                Ok(Box::new(found.into_iter()) as Addrs)
            } else {
                Err(Forbidden.into())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;
    use crate::upstream::http::Http;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        let parsed = texts.iter().map(|text| text.parse::<IpAddr>().unwrap());
        parsed.map(|address| SocketAddr::new(address, 0)).collect()
    }

    async fn resolved(rules: UpstreamRules, plain: bool, texts: &[&str]) -> bool {
        let found = addresses(texts);
        let resolver = GuardedResolver::over(rules, plain, move |_| {
            let found = found.clone();
            Box::pin(async move { Ok(found) })
        });
        match resolver.resolve("idp.example".parse().unwrap()).await {
            Ok(_) => true,
            Err(error) => {
                assert!(Forbidden::caused(&*error));
                false
            }
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_one_forbidden_address_is_refused() {
        let public = UpstreamRules::PublicOnly;
        assert!(resolved(public.clone(), false, &["8.8.8.8", "2606:4700::1111"]).await);
        for bad in [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
        ] {
            assert!(!resolved(public.clone(), false, &[bad]).await, "{bad}");
            assert!(
                !resolved(public.clone(), false, &["8.8.8.8", bad]).await,
                "{bad}"
            );
        }
        assert!(!resolved(public, true, &["8.8.8.8"]).await, "without TLS");
    }

    #[tokio::test]
    async fn private_addresses_are_reached_where_the_operator_says_so() {
        let ranges = UpstreamRules::Ranges(vec!["10.0.0.0/8".parse().unwrap()]);
        for plain in [true, false] {
            assert!(resolved(ranges.clone(), plain, &["10.1.2.3"]).await);
            assert!(!resolved(ranges.clone(), plain, &["10.1.2.3", "192.168.0.1"]).await);
        }
        assert!(resolved(UpstreamRules::Loopback, true, &["127.0.0.1", "::1"]).await);
        assert!(resolved(UpstreamRules::Anywhere, true, &["192.168.0.1"]).await);
    }

    /// The first answer is good, the second is not: a connection is made to the first, or to none.
    #[tokio::test]
    async fn a_name_that_changes_its_mind_is_asked_once_for_each_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(0));
        let count = Arc::clone(&asked);
        let rules = UpstreamRules::Ranges(vec!["127.0.0.1/32".parse().unwrap()]);
        let resolver = GuardedResolver::over(rules, true, move |_| {
            let mut asked = count.lock().unwrap();
            *asked += 1;
            let answer = addresses(&[if *asked == 1 {
                "127.0.0.1"
            } else {
                "127.0.0.2"
            }]);
            Box::pin(async move { Ok(answer) })
        });
        crate::upstream::http::install_tls();
        let client = Http::client(Duration::from_secs(10), resolver).unwrap();
        let url = format!("http://idp.example:{port}/");
        let first = tokio::spawn(client.get(&url).send());
        let (connection, _) = listener.accept().await.unwrap();
        drop(connection);
        assert!(!Forbidden::caused(&first.await.unwrap().unwrap_err()));
        let second = client.get(&url).send().await.unwrap_err();
        assert!(Forbidden::caused(&second), "{second:?}");
        assert_eq!(*asked.lock().unwrap(), 2);
    }
}
