//! `GET /v1/capture-schema`, `POST /v1/capture-credential`

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::VARY;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Doors, capture_form};
use crate::application::capture_credential::{CaptureError, CaptureSchema};
use crate::http::context::RequestContext;
use crate::http::error::ApiError;
use crate::http::headers::no_store;
use crate::http::html::{is_wanted, varies};
use crate::http::json::Json;

#[derive(Deserialize)]
pub(super) struct SchemaQuery {
    #[serde(default)]
    state: String,
}

/// The body of a capture.
#[derive(Deserialize)]
pub(super) struct Body {
    #[serde(default)]
    state: String,
    credentials: Option<Map<String, Value>>,
}

/// What a person is told whose credential was tried.
pub(super) const REJECTED: &str = "The provider did not accept these credentials.";

impl From<CaptureError> for ApiError {
    fn from(error: CaptureError) -> Self {
        match error {
            CaptureError::State(error) => error.into(),
            CaptureError::InvalidCredentials(fields) => {
                let fields: Vec<Value> = fields
                    .iter()
                    .map(|field| json!({"path": field.path, "message": field.message}))
                    .collect();
                Self::invalid_credentials("The credentials do not fit the provider's schema.")
                    .with("fields", fields)
            }
            CaptureError::Rejected => Self::credentials_rejected(REJECTED),
        }
    }
}

impl Body {
    /// The state and the credential.
    pub(super) fn into_parts(self) -> Result<(String, Map<String, Value>), ApiError> {
        let fields = self.credentials.ok_or_else(|| {
            ApiError::missing_fields("credentials are needed.")
                .with("fields", json!(["credentials"]))
        })?;
        Ok((self.state, fields))
    }
}

/// What the user has to fill in: a form for browsers, for programs the schema.
pub(super) async fn get_schema(
    State(doors): State<Doors>,
    headers: HeaderMap,
    Query(query): Query<SchemaQuery>,
) -> Result<Response, ApiError> {
    let capture = doors.application.capture_schema(&query.state).await?;
    let mut response = if is_wanted(&headers) {
        capture_form::show(&query.state, &capture)
    } else {
        described(capture)
    };
    response.headers_mut().insert(VARY, varies());
    Ok(response)
}

/// The schema itself, the provider's name, and the schema again.
fn described(capture: CaptureSchema) -> Response {
    let mut body = match &capture.schema {
        Value::Object(schema) => schema.clone(),
        _ => Map::new(),
    };
    body.insert("provider_name".to_owned(), capture.provider_name.into());
    body.insert("schema".to_owned(), capture.schema);
    no_store(Json(body).into_response())
}

/// Takes a static credential.
pub(super) async fn post_credential(
    State(doors): State<Doors>,
    caller: RequestContext,
    Json(body): Json<Body>,
) -> Result<Response, ApiError> {
    let (state, fields) = body.into_parts()?;
    let captured = doors
        .application
        .capture_credential(&state, fields, caller.metadata("capture_credential"))
        .await?;
    let answer = json!({"connection_id": captured.connection_id, "status": "success", "redirect_url": captured.redirect_url.as_str()});
    Ok(no_store(Json(answer).into_response()))
}
