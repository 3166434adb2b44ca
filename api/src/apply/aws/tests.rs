use http::{HeaderMap, Method};
use serde_json::{Value, json};
use url::Url;

use super::*;
use crate::apply::tests::typed;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn request(method: Method, url: &str, headers: &[(&'static str, &str)]) -> Applied {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    Applied {
        method,
        url: Url::parse(url).unwrap(),
        headers: map,
        body: Vec::new(),
    }
}

fn authorization(request: &Applied) -> (&str, &str) {
    let text = request.headers["authorization"].to_str().unwrap();
    let (scope, rest) = text.split_once(", SignedHeaders=").unwrap();
    assert!(
        scope.starts_with("AWS4-HMAC-SHA256 Credential=AK"),
        "{scope}"
    );
    rest.split_once(", Signature=").unwrap()
}

type Case = (
    &'static str,
    Method,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const VANILLA: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

/// From AWS's own suite of signing tests (awslabs/aws-c-auth, `tests/aws-signing-test-suite/v4`), all of
/// 2015-08-30T12:36:00Z, us-east-1, the service `service`: name, method, path, headers, signature.
const SUITE: &[Case] = &[
    ("get-vanilla", Method::GET, "/", &[], VANILLA),
    (
        "get-relative-normalized",
        Method::GET,
        "/example/..",
        &[],
        VANILLA,
    ),
    (
        "get-unreserved",
        Method::GET,
        "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        &[],
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    (
        "get-vanilla-query-order-key-case",
        Method::GET,
        "/?Param2=value2&Param1=value1",
        &[],
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    (
        "get-vanilla-query-order-encoded",
        Method::GET,
        "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
        &[],
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
    ),
    (
        "get-vanilla-empty-query-key",
        Method::GET,
        "/?Param1=value1",
        &[],
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    ),
    (
        "get-vanilla-query-unreserved",
        Method::GET,
        "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        &[],
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    (
        "get-vanilla-utf8-query",
        Method::GET,
        "/?ሴ=bar",
        &[],
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
    (
        "get-header-value-trim",
        Method::GET,
        "/",
        &[("my-header1", "value1"), ("my-header2", "\"a   b   c\"")],
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    (
        "get-header-key-duplicate",
        Method::GET,
        "/",
        &[
            ("my-header1", "value2"),
            ("my-header1", "value2"),
            ("my-header1", "value1"),
        ],
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    (
        "post-vanilla",
        Method::POST,
        "/",
        &[],
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    (
        "post-vanilla-query",
        Method::POST,
        "/?Param1=value1",
        &[],
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    ),
    (
        "post-header-value-case",
        Method::POST,
        "/",
        &[("my-header1", "VALUE1")],
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
];

#[test]
fn the_published_suite_comes_out() {
    let keys = json!({"access_key": "AKIDEXAMPLE", "secret_key": SECRET, "session_token": ""});
    for (name, method, path, headers, signature) in SUITE {
        let url = format!("https://example.amazonaws.com{path}");
        let mut request = request(method.clone(), &url, headers);
        signed_with(&mut request, keys.clone()).unwrap();
        assert_eq!(authorization(&request).1, *signature, "{name}");
        assert_eq!(request.headers["x-amz-date"], "20150830T123600Z");
    }
}

fn signed_with(request: &mut Applied, keys: Value) -> Result<(), ApplyError> {
    let now = Timestamp::parse_rfc3339("2015-08-30T12:36:00Z").unwrap();
    sign(request, Fields(&typed(keys)), "service", "us-east-1", now)
}

/// `get-vanilla-with-session-token` of the same suite.
#[test]
fn a_sessions_token_is_sent_and_signed() {
    let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
    let mut request = request(Method::GET, "https://example.amazonaws.com/", &[]);
    let keys = json!({"access_key": "AKIDEXAMPLE", "secret_key": SECRET, "session_token": token});
    signed_with(&mut request, keys).unwrap();
    let signature = "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8";
    assert_eq!(
        authorization(&request),
        ("host;x-amz-date;x-amz-security-token", signature)
    );
    assert_eq!(request.headers["x-amz-security-token"], token);
    assert!(request.headers["x-amz-security-token"].is_sensitive());
}

/// The examples of the Amazon S3 API reference, "Authenticating requests: using the Authorization header".
#[test]
fn s3_has_the_bodys_hash_and_takes_paths_as_they_are() {
    let range = [("range", "bytes=0-9")];
    let stored = [
        ("date", "Fri, 24 May 2013 00:00:00 GMT"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
    ];
    for (method, path, headers, body, signature) in [
        (
            Method::GET,
            "/test.txt",
            &range[..],
            "",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            Method::PUT,
            "/test%24file.text",
            &stored,
            "Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            Method::GET,
            "/?lifecycle",
            &[],
            "",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            Method::GET,
            "/?max-keys=2&prefix=J",
            &[],
            "",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let mut request = request(
            method,
            &format!("https://examplebucket.s3.amazonaws.com{path}"),
            headers,
        );
        request.body = body.as_bytes().to_vec();
        let keys = typed(
            json!({"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}),
        );
        let now = Timestamp::parse_rfc3339("2013-05-24T00:00:00Z").unwrap();
        sign(&mut request, Fields(&keys), "s3", "us-east-1", now).unwrap();
        assert_eq!(authorization(&request).1, signature, "{path}");
    }
}

#[test]
fn an_earlier_signature_goes() {
    let old = [
        ("x-amz-date", "old"),
        ("authorization", "old"),
        ("x-amz-security-token", "old"),
        ("x-amz-content-sha256", "old"),
    ];
    let mut request = request(Method::GET, "https://example.amazonaws.com/", &old);
    signed_with(
        &mut request,
        json!({"access_key": "AKIDEXAMPLE", "secret_key": SECRET}),
    )
    .unwrap();
    assert_eq!(authorization(&request).1, VANILLA);
    assert_eq!(request.headers.len(), 2);
}

#[test]
fn what_cannot_be_sent_or_is_missing_is_named() {
    for (keys, expected) in [
        (
            json!({"secret_key": "s"}),
            "the credential has no text `access_key`",
        ),
        (
            json!({"access_key": "A"}),
            "the credential has no text `secret_key`",
        ),
        (
            json!({"access_key": "A\r\nB", "secret_key": "s"}),
            "the field `access_key` must be",
        ),
        (
            json!({"access_key": "A", "secret_key": "s", "session_token": "t\n"}),
            "the field `session_token` must be",
        ),
    ] {
        let mut request = request(Method::GET, "https://example.amazonaws.com/", &[]);
        let error = signed_with(&mut request, keys).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_header_that_is_no_text_cannot_be_signed() {
    let mut request = request(Method::GET, "https://example.amazonaws.com/", &[]);
    let bytes = http::HeaderValue::from_bytes(b"\xff").unwrap();
    request.headers.insert("x-bytes", bytes);
    let refused = signed_with(&mut request, json!({"access_key": "A", "secret_key": "s"}));
    assert_eq!(refused, Err(ApplyError::Unsignable));
}
