//! The published contract, and whether an exchange keeps it.

mod check;
mod document;
mod schema;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

pub use check::Exchange;

use crate::additive;
use crate::nexus::root;

/// The methods that doors may have.
pub(crate) const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// An OpenAPI 3.0.3 document with its references resolved.
#[derive(Debug)]
pub struct Contract {
    document: Value,
}

impl Contract {
    /// The Gateway's contract, `openapi.yaml`.
    pub fn gateway() -> &'static Contract {
        static GATEWAY: OnceLock<Contract> = OnceLock::new();
        GATEWAY.get_or_init(|| Contract::read(&root().join("openapi.yaml")))
    }

    /// The Broker's contract, `broker-admin/openapi.yaml`.
    pub fn broker() -> &'static Contract {
        static BROKER: OnceLock<Contract> = OnceLock::new();
        BROKER.get_or_init(|| Contract::read(&root().join("broker-admin/openapi.yaml")))
    }

    /// Reads a document; panics when it is not one.
    pub fn read(path: &Path) -> Contract {
        Contract {
            document: document::read(path),
        }
    }

    /// How an exchange departs from the contract; empty when it keeps it.
    pub fn divergences(&self, exchange: &Exchange<'_>) -> Vec<String> {
        check::divergences(&self.document, exchange)
    }

    /// Every operation of the document: its method, upper case, and the template of its path.
    pub fn operations(&self) -> BTreeSet<(String, String)> {
        let paths = self.document["paths"].as_object().expect("paths").iter();
        let operations = paths.flat_map(|(path, item)| {
            let methods = METHODS.iter().filter(|method| item.get(**method).is_some());
            methods.map(|method| (method.to_ascii_uppercase(), path.clone()))
        });
        operations.collect()
    }

    /// What a client of an earlier version of the document would miss in this one; empty when this one only adds.
    pub fn breaks(&self, released: &Contract) -> Vec<String> {
        additive::breaks(&released.document, &self.document)
    }

    /// Every example in the document that does not satisfy the schema beside it, and every body without an example.
    pub fn wrong_examples(&self) -> Vec<String> {
        schema::wrong_examples(&self.document)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderValue};
    use serde_json::json;

    use super::*;

    #[test]
    fn every_example_satisfies_the_schema_beside_it() {
        assert_eq!(Contract::gateway().wrong_examples(), Vec::<String>::new());
        assert_eq!(Contract::broker().wrong_examples(), Vec::<String>::new());
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    fn divergences(
        method: &str,
        path: &str,
        status: u16,
        more: &[(&'static str, &'static str)],
        body: &Value,
    ) -> Vec<String> {
        let mut pairs = vec![
            ("x-request-id", "r-1"),
            ("content-type", "application/json"),
        ];
        pairs.extend_from_slice(more);
        Contract::gateway().divergences(&Exchange {
            method,
            path,
            query: &[],
            request: None,
            status,
            headers: &headers(&pairs),
            body: &body.to_string(),
        })
    }

    /// What a status comes with.
    const KEPT: &[(&str, &str)] = &[("cache-control", "private, no-cache")];

    fn envelope(code: &str) -> Value {
        json!({"error": code, "code": code, "message": "A sentence.", "request_id": "r-1"})
    }

    #[test]
    fn a_conforming_answer_passes() {
        let status = json!({"status": "pending", "something_new": 1});
        assert_eq!(
            divergences("GET", "/v1/check-connection/x", 200, KEPT, &status),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_undocumented_status_code_or_value_is_a_divergence() {
        let teapot = divergences(
            "GET",
            "/v1/check-connection/x",
            418,
            &[],
            &envelope("teapot"),
        );
        assert!(teapot[0].contains("418"), "{teapot:?}");
        let code = divergences("POST", "/v1/refresh/x", 400, &[], &envelope("invalid_json"));
        assert!(code[0].contains("invalid_json"), "{code:?}");
        let value = divergences(
            "GET",
            "/v1/check-connection/x",
            200,
            KEPT,
            &json!({"status": "sleeping"}),
        );
        assert!(value[0].contains("sleeping"), "{value:?}");
    }

    #[test]
    fn a_missing_header_is_a_divergence() {
        let token = json!({"strategy": {"type": "oauth2"}, "credentials": {}, "scope": "", "connection_id": "x", "provider": "p"});
        let wrong = divergences(
            "GET",
            "/v1/token/x",
            200,
            &[("cache-control", "no-store")],
            &token,
        );
        assert!(wrong[0].contains("Pragma"), "{wrong:?}");
        let busy = divergences("GET", "/v1/token/x", 503, &[], &envelope("overloaded"));
        assert!(busy[0].contains("Retry-After"), "{busy:?}");
    }

    #[test]
    fn a_refresh_token_in_an_answer_is_a_divergence() {
        let token = json!({"strategy": {"type": "oauth2"}, "credentials": {"refresh_token": "r"}, "scope": "", "connection_id": "x", "provider": "p"});
        let headers = [("cache-control", "no-store"), ("pragma", "no-cache")];
        assert_eq!(
            divergences("GET", "/v1/token/x", 200, &headers, &token).len(),
            1
        );
    }

    #[test]
    fn unknown_paths_and_methods_have_their_own_rules() {
        assert_eq!(
            divergences("GET", "/v1/nowhere", 404, &[], &envelope("not_found")),
            Vec::<String>::new()
        );
        assert_eq!(
            divergences("GET", "/v1/nowhere", 200, &[], &json!({})).len(),
            1
        );
        let no_allow = divergences(
            "DELETE",
            "/livez",
            405,
            &[],
            &envelope("method_not_allowed"),
        );
        assert!(no_allow[0].contains("Allow"), "{no_allow:?}");
        let allow = [("allow", "GET,HEAD")];
        assert_eq!(
            divergences(
                "DELETE",
                "/livez",
                405,
                &allow,
                &envelope("method_not_allowed")
            ),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_request_outside_the_contract_must_be_refused() {
        let wrong = json!({"workspace_id": 7}).to_string();
        let done = json!({"authUrl": "http://a.test/", "auth_url": "http://a.test/", "connection_id": "0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90", "state": "0123456789abcdef", "scopes": [], "provider_id": "0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90", "expires_at": "2026-11-24T15:04:05Z"});
        let found = Contract::gateway().divergences(&Exchange {
            method: "POST",
            path: "/v1/request-connection",
            query: &[],
            request: Some(("application/json", wrong.as_bytes())),
            status: 200,
            headers: &headers(&[
                ("x-request-id", "r-1"),
                ("content-type", "application/json"),
            ]),
            body: &done.to_string(),
        });
        assert!(found[0].contains("was accepted"), "{found:?}");
    }
}
