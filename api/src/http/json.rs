//! JSON bodies, in and out.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::error::ApiError;

/// How long a request body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// The largest request body a JSON door reads.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// How a path to the document itself is spelt by the library that follows paths.
const WHOLE: &str = ".";

/// A JSON body: as an extractor a request's, as an answer a response's.
///
/// Extracting refuses with 415 `unsupported_media_type`, 413 `body_too_large`, 400 `invalid_json` (with `line` and
/// `column`) and 400 `invalid_field` (with `field`, the path of the member that has the wrong type). No refusal repeats
/// what was sent. Unknown members are ignored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

/// The bytes of a JSON body, its content type and size checked, not yet parsed. For doors that treat an empty body
/// apart. Zeroed on drop, since credentials arrive in such bodies.
pub struct RawJson(Zeroizing<Vec<u8>>);

impl RawJson {
    /// Whether the body holds nothing but white space.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(u8::is_ascii_whitespace)
    }

    /// The body as a `T`; refuses like [`Json`].
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        self.check_syntax()?;
        let mut deserializer = serde_json::Deserializer::from_slice(&self.0);
        serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| refusal(&error.path().to_string(), error.inner()))
    }

    /// Refuses what is not one JSON document, or not an object: serde would take `["a"]` for `{"name": "a"}`.
    fn check_syntax(&self) -> Result<(), ApiError> {
        serde_json::from_slice::<IgnoredAny>(&self.0).map_err(|error| refusal(WHOLE, &error))?;
        let first = self.0.iter().find(|byte| !byte.is_ascii_whitespace());
        if first == Some(&b'{') {
            Ok(())
        } else {
            Err(wrong_field(WHOLE))
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for RawJson {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<RawJson, ApiError> {
        if !is_json(&essence(request.headers())) {
            return Err(ApiError::unsupported_media_type());
        }
        read(request, state).await.map(RawJson)
    }
}

/// The bytes of a form (`application/x-www-form-urlencoded`), its size checked, not yet parsed; refuses anything else with
/// 400 `unsupported_media_type`. Zeroed on drop, since tokens arrive in such bodies.
pub(super) struct RawForm(pub(super) Zeroizing<Vec<u8>>);

impl<S: Send + Sync> FromRequest<S> for RawForm {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<RawForm, ApiError> {
        if !is_form(request.headers()) {
            return Err(ApiError::not_a_form());
        }
        read(request, state).await.map(RawForm)
    }
}

/// The body of a door that browsers post forms to and programs JSON; refuses like [`RawJson`].
pub(super) enum FormOrJson {
    /// `application/x-www-form-urlencoded`, not yet parsed.
    Form(Zeroizing<Vec<u8>>),
    /// JSON.
    Json(RawJson),
}

impl<S: Send + Sync> FromRequest<S> for FormOrJson {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<FormOrJson, ApiError> {
        if is_form(request.headers()) {
            return read(request, state).await.map(FormOrJson::Form);
        }
        RawJson::from_request(request, state)
            .await
            .map(FormOrJson::Json)
    }
}

/// The whole body, if it is small enough and arrives in time.
async fn read<S: Send + Sync>(
    mut request: Request,
    state: &S,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    DefaultBodyLimit::max(MAX_BODY_BYTES).apply(&mut request);
    let reading = Bytes::from_request(request, state);
    let Ok(read) = tokio::time::timeout(BODY_WITHIN, reading).await else {
        return Err(ApiError::invalid_json(
            "The request body did not arrive in time.",
        ));
    };
    let bytes = read.map_err(|error| unread(&error))?;
    Ok(Zeroizing::new(bytes.into()))
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Json<T>, ApiError> {
        RawJson::from_request(request, state)
            .await?
            .parse()
            .map(Json)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                (StatusCode::OK, [(CONTENT_TYPE, "application/json")], body).into_response()
            }
            Err(error) => {
                tracing::error!(%error, "an answer could not be serialized");
                ApiError::internal().into_response()
            }
        }
    }
}

/// The content type without its parameters, in lower case.
fn essence(headers: &HeaderMap) -> String {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// Whether a request's body is said to be a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    essence(headers) == "application/x-www-form-urlencoded"
}

/// `application/json` or any `application/…+json`.
fn is_json(essence: &str) -> bool {
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn unread(rejection: &BytesRejection) -> ApiError {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            ApiError::body_too_large()
        }
        _ => ApiError::invalid_json("The request body could not be read to its end."),
    }
}

/// The parser's own sentence quotes the value it stumbled over, so it stays here.
fn refusal(path: &str, error: &serde_json::Error) -> ApiError {
    match error.classify() {
        Category::Data => wrong_field(path),
        Category::Syntax | Category::Eof | Category::Io => {
            let place = format!("line {}, column {}", error.line(), error.column());
            ApiError::invalid_json(format!("The request body is not valid JSON ({place})."))
                .with("line", error.line())
                .with("column", error.column())
        }
    }
}

fn wrong_field(path: &str) -> ApiError {
    if path == WHOLE {
        return ApiError::invalid_field("The request body does not have the form this door takes.")
            .with("field", "");
    }
    ApiError::invalid_field(format!("`{path}` does not have the type it must have."))
        .with("field", path)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Sent {
        name: String,
        #[serde(default)]
        nested: Vec<Inner>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        count: u32,
    }

    async fn extract(content_type: Option<&str>, body: impl Into<Body>) -> Result<Sent, ApiError> {
        let mut request = Request::post("/");
        if let Some(kind) = content_type {
            request = request.header(CONTENT_TYPE, kind);
        }
        let request = request.body(body.into()).unwrap();
        Json::<Sent>::from_request(request, &())
            .await
            .map(|Json(sent)| sent)
    }

    async fn refused(content_type: Option<&str>, body: impl Into<Body>) -> (u16, Value) {
        let response = extract(content_type, body)
            .await
            .unwrap_err()
            .into_response();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    const JSON: Option<&str> = Some("application/json");

    #[tokio::test]
    async fn a_body_of_the_right_form_is_taken_and_unknown_members_are_ignored() {
        let body = r#"{"name":"a","other":1,"nested":[{"count":2}]}"#;
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/merge-patch+json",
        ] {
            let sent = extract(Some(kind), body).await.unwrap();
            assert_eq!(
                sent,
                Sent {
                    name: "a".to_owned(),
                    nested: vec![Inner { count: 2 }]
                }
            );
        }
    }

    #[tokio::test]
    async fn another_or_no_content_type_is_unsupported() {
        for kind in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
        ] {
            let (status, body) = refused(kind, "{}").await;
            assert_eq!(
                (status, &body["code"]),
                (415, &json!("unsupported_media_type"))
            );
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_too_large() {
        let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(MAX_BODY_BYTES));
        let (status, body) = refused(JSON, long).await;
        assert_eq!((status, &body["code"]), (413, &json!("body_too_large")));
    }

    #[tokio::test]
    async fn broken_json_is_located() {
        let (status, body) = refused(JSON, "{\n  \"name\": oops}").await;
        assert_eq!((status, &body["code"]), (400, &json!("invalid_json")));
        assert_eq!((&body["line"], &body["column"]), (&json!(2), &json!(11)));

        for broken in ["", "{", "{} trailing", "\u{feff}{}"] {
            let (_, body) = refused(JSON, broken).await;
            assert_eq!(body["code"], "invalid_json", "{broken:?}");
        }
    }

    #[tokio::test]
    async fn a_wrong_type_names_its_field_and_never_the_value() {
        let (status, body) = refused(JSON, r#"{"name":"a","nested":[{"count":"s3cret"}]}"#).await;
        assert_eq!((status, &body["code"]), (400, &json!("invalid_field")));
        assert_eq!(body["field"], "nested[0].count");
        assert!(!body.to_string().contains("s3cret"));
    }

    #[tokio::test]
    async fn a_document_that_is_no_object_has_the_wrong_form() {
        for document in [r#"["s3cret"]"#, "null", "1"] {
            let (_, body) = refused(JSON, document).await;
            assert_eq!(
                (&body["code"], &body["field"]),
                (&json!("invalid_field"), &json!(""))
            );
        }
    }

    #[tokio::test]
    async fn an_empty_body_can_be_told_apart() {
        let request = Request::post("/")
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(" \n"));
        assert!(
            RawJson::from_request(request.unwrap(), &())
                .await
                .unwrap()
                .is_empty()
        );
    }
}
