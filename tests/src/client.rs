//! An HTTP client that holds every exchange against the contract.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use url::Url;

use crate::answer::Answer;
use crate::contract::{Contract, Exchange};

/// Talks to one surface. Panics when a request or an answer departs from the surface's contract.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    contract: &'static Contract,
    key: Option<String>,
    record: Record,
}

/// The answers of several clients, kept once that is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Option<Vec<Answer>>>>);

impl Record {
    /// Keeps every answer from now on.
    pub(crate) fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    /// What was kept.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone().unwrap_or_default()
    }

    fn keep(&self, answer: &Answer) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answers) = kept.as_mut() {
            answers.push(answer.clone());
        }
    }
}

impl Client {
    /// A client of the surface at `base`, which keeps `contract`; sends no key.
    pub fn new(base: Url, contract: &'static Contract) -> Client {
        Client {
            base,
            contract,
            key: None,
            record: Record::default(),
        }
    }

    /// The same client, with an API key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Client {
        Client {
            key: Some(key.to_owned()),
            ..self.clone()
        }
    }

    /// The same client, whose answers are kept with those of others.
    pub(crate) fn with_record(self, record: &Record) -> Client {
        Client {
            record: record.clone(),
            ..self
        }
    }

    /// Where the surface listens.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// A request to a path, which may have a query.
    pub fn request(&self, method: &str, path: &str) -> Request {
        let method = method.parse().expect("a method");
        let url = self.base.join(path).expect("a path");
        Request {
            method,
            url,
            headers: Vec::new(),
            body: None,
            client: self.clone(),
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send().await
    }

    /// POST of a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.request("POST", path).json(&body).send().await
    }

    /// PATCH of a JSON body.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.request("PATCH", path).json(&body).send().await
    }

    /// PUT of a JSON body.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.request("PUT", path).json(&body).send().await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path).send().await
    }

    /// GET of an absolute URL at this surface, as a browser follows one.
    pub async fn visit(&self, url: &Url) -> Answer {
        self.request("GET", url.as_str()).send().await
    }
}

/// A request under construction.
#[derive(Debug)]
pub struct Request {
    method: Method,
    url: Url,
    headers: Vec<(String, String)>,
    body: Option<(String, Vec<u8>)>,
    client: Client,
}

impl Request {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Request {
        self.body("application/json", body.to_string())
    }

    /// Sets a body of any kind.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Request {
        self.body = Some((content_type.to_owned(), body.into()));
        self
    }

    /// Sends it; panics when no answer came or the exchange departs from the contract.
    pub async fn send(self) -> Answer {
        self.try_send().await.expect("the server answers")
    }

    /// Sends it; an error is a connection that broke, as it does when the server is killed.
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let response = self.to_http().send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let request = format!("{} {}", self.method, self.url.path());
        let answer = Answer {
            request,
            status,
            headers,
            text,
        };
        self.check(&answer);
        self.client.record.keep(&answer);
        Ok(answer)
    }

    fn to_http(&self) -> reqwest::RequestBuilder {
        let mut request = http().request(self.method.clone(), self.url.clone());
        if let Some(key) = &self.client.key {
            request = request.header("x-api-key", key);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some((content_type, body)) = &self.body {
            request = request
                .header("content-type", content_type)
                .body(body.clone());
        }
        request
    }

    fn check(&self, answer: &Answer) {
        let query: Vec<(String, String)> = self.url.query_pairs().into_owned().collect();
        let found = self.client.contract.divergences(&Exchange {
            method: self.method.as_str(),
            path: self.url.path(),
            query: &query,
            request: self
                .body
                .as_ref()
                .map(|(kind, body)| (kind.as_str(), body.as_slice())),
            status: answer.status,
            headers: &answer.headers,
            body: &answer.text,
        });
        assert!(
            found.is_empty(),
            "{} departs from the contract: {found:#?}\n{}",
            answer.request,
            answer.text
        );
    }
}

/// The HTTP client of the harness: follows nothing, keeps no cookies.
pub(crate) fn http() -> reqwest::Client {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // Another client in this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_mins(1))
        .pool_max_idle_per_host(0)
        .no_proxy()
        .build()
        .expect("a client")
}
