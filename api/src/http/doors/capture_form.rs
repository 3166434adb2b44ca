//! The form in which people type a static credential: `GET …/capture-schema` in a browser, and
//! `POST /auth/capture-credential`, which sends them back to the application.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use maud::{Markup, html};
use url::Url;

use super::Doors;
use super::capture::{Body, REJECTED};
use crate::application::capture_credential::{CaptureError, CaptureSchema, Captured};
use crate::http::context::RequestContext;
use crate::http::error::ApiError;
use crate::http::form::{Field, Input, STATE, Sent, fields};
use crate::http::headers::no_store;
use crate::http::html::{is_wanted, page};
use crate::http::json::{FormOrJson, RawJson};
use crate::schema::FieldError;

/// What is wrong with what was sent: by field, and as a whole.
#[derive(Default)]
struct Wrong {
    fields: Vec<FieldError>,
    whole: Vec<String>,
}

impl Wrong {
    fn with(errors: Vec<FieldError>, form: &[Field]) -> Self {
        let of_a_field = |error: &FieldError| form.iter().any(|field| is_at(error, field));
        let (fields, others): (Vec<_>, Vec<_>) = errors.into_iter().partition(of_a_field);
        let whole = others.iter();
        Self {
            whole: whole
                .map(|error| format!("The form as a whole {}.", error.message))
                .collect(),
            fields,
        }
    }

    /// The provider refused what was sent.
    fn rejected() -> Self {
        Self {
            fields: Vec::new(),
            whole: vec![REJECTED.to_owned()],
        }
    }

    fn of(&self, field: &Field) -> Option<&str> {
        let mut wrong = self.fields.iter().filter(|error| is_at(error, field));
        wrong.next().map(|error| error.message.as_str())
    }

    fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.whole.is_empty()
    }
}

/// Whether an error is about a field, or about something inside it.
fn is_at(error: &FieldError, field: &Field) -> bool {
    let name = field.name.replace('~', "~0").replace('/', "~1");
    let path = error.path.strip_prefix('/').unwrap_or_default();
    path.split('/').next() == Some(name.as_str())
}

/// The form, empty.
pub(super) fn show(state: &str, capture: &CaptureSchema) -> Response {
    let fields = fields(&capture.schema);
    let form = form(state, &fields, None, &Wrong::default());
    page(StatusCode::OK, &title(capture), &form)
}

/// A refusal for people.
pub(super) fn refusal_page(error: &ApiError) -> Response {
    let advice = match error.code() {
        // Somebody pressed the button twice, say.
        "state_used" => {
            "If you have just connected, all is well: close this page and go back to the application."
        }
        _ => {
            "Nothing was changed. You can close this page, go back to the application and connect again from there."
        }
    };
    let content = html! {
        p role="alert" { (error.message()) }
        p { (advice) }
    };
    error.mark(page(error.status(), "Not connected", &content))
}

fn title(capture: &CaptureSchema) -> String {
    format!("Connect {}", capture.provider_name)
}

fn form(state: &str, fields: &[Field], sent: Option<&Sent>, wrong: &Wrong) -> Markup {
    html! {
        @if !wrong.is_empty() {
            div.summary role="alert" {
                p { "This was not accepted. Nothing was stored; correct it and send it again." }
                @for sentence in &wrong.whole { p { (sentence) } }
            }
        }
        // Relative, since a proxy may have put the doors below a path of its own.
        form method="post" action="../auth/capture-credential" autocomplete="off" {
            input type="hidden" name=(STATE) value=(state);
            @for (number, field) in fields.iter().enumerate() {
                (labelled(number, field, sent.and_then(|sent| sent.value(field)), wrong.of(field)))
            }
            button type="submit" { "Connect" }
        }
        p.help { "What you type is sent to this vault only, and stored encrypted." }
    }
}

fn labelled(number: usize, field: &Field, sent: Option<&str>, wrong: Option<&str>) -> Markup {
    let (id, help, error) = (
        format!("field-{number}"),
        format!("help-{number}"),
        format!("wrong-{number}"),
    );
    let described: Vec<&str> = [
        field.help.as_ref().map(|_| help.as_str()),
        wrong.map(|_| error.as_str()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let described = (!described.is_empty()).then(|| described.join(" "));
    html! {
        label for=(id) { (field.label) @if !field.required && field.input != Input::Checkbox { " (optional)" } }
        (control(&id, field, sent, described.as_deref(), wrong.is_some()))
        @if let Some(text) = &field.help { p.help id=(help) { (text) } }
        @if let Some(text) = wrong { p.wrong id=(error) { (field.label) " " (text) "." } }
    }
}

/// A masked field comes back empty: what was typed into it is in no page.
fn control(
    id: &str,
    field: &Field,
    sent: Option<&str>,
    described: Option<&str>,
    wrong: bool,
) -> Markup {
    let (name, value) = (field.form_name(), sent.unwrap_or_default());
    let invalid = wrong.then_some("true");
    let kind = match field.input {
        Input::Masked => "password",
        Input::Checkbox => "checkbox",
        Input::Line | Input::Number | Input::Choice(_) | Input::Json => "text",
    };
    match &field.input {
        Input::Choice(choices) => html! {
            select id=(id) name=(name) required[field.required] aria-describedby=[described] aria-invalid=[invalid] {
                @if !field.required { option value="" {} }
                @for choice in choices { option value=(choice) selected[choice == value] { (choice) } }
            }
        },
        Input::Json => html! {
            textarea id=(id) name=(name) rows="4" required[field.required] spellcheck="false" aria-describedby=[described] aria-invalid=[invalid] {}
        },
        Input::Checkbox => html! {
            input id=(id) name=(name) type=(kind) value="on" checked[sent.is_some()] aria-describedby=[described] aria-invalid=[invalid];
        },
        Input::Masked => html! {
            input id=(id) name=(name) type=(kind) required[field.required] autocomplete="off" spellcheck="false" aria-describedby=[described] aria-invalid=[invalid];
        },
        Input::Line | Input::Number => html! {
            input id=(id) name=(name) type=(kind) value=(value) inputmode=[(field.input == Input::Number).then_some("decimal")] required[field.required] autocomplete="off" spellcheck="false" aria-describedby=[described] aria-invalid=[invalid];
        },
    }
}

/// Takes a credential from a browser's form, or as JSON, and sends the user back to the application.
pub(super) async fn post(
    State(doors): State<Doors>,
    headers: HeaderMap,
    caller: RequestContext,
    body: Result<FormOrJson, ApiError>,
) -> Response {
    match body {
        Ok(FormOrJson::Json(body)) => take_json(&doors, &caller, &body)
            .await
            .unwrap_or_else(|error| refused(&error, &headers)),
        Ok(FormOrJson::Form(body)) => {
            take_form(&doors, &caller, &Sent::parse(&body), &headers).await
        }
        Err(error) => refused(&error, &headers),
    }
}

async fn take_json(
    doors: &Doors,
    caller: &RequestContext,
    body: &RawJson,
) -> Result<Response, ApiError> {
    let (state, fields) = body.parse::<Body>()?.into_parts()?;
    let metadata = caller.metadata("capture_credential");
    let captured = doors
        .application
        .capture_credential(&state, fields, metadata)
        .await?;
    Ok(back(&captured))
}

async fn take_form(
    doors: &Doors,
    caller: &RequestContext,
    sent: &Sent,
    headers: &HeaderMap,
) -> Response {
    let capture = match doors.application.capture_schema(sent.state()).await {
        Ok(capture) => capture,
        Err(error) => return refused(&error.into(), headers),
    };
    let fields = fields(&capture.schema);
    let metadata = caller.metadata("capture_credential");
    let taken =
        doors
            .application
            .capture_credential(sent.state(), sent.credential(&fields), metadata);
    let wrong = match taken.await {
        Ok(captured) => return back(&captured),
        Err(CaptureError::InvalidCredentials(errors)) if is_wanted(headers) => {
            Wrong::with(errors, &fields)
        }
        Err(CaptureError::Rejected) if is_wanted(headers) => Wrong::rejected(),
        Err(error) => return refused(&error.into(), headers),
    };
    let form = form(sent.state(), &fields, Some(sent), &wrong);
    page(StatusCode::BAD_REQUEST, &title(&capture), &form)
}

fn back(captured: &Captured) -> Response {
    back_to(&captured.redirect_url)
}

/// Sends a browser back to the application.
pub(super) fn back_to(url: &Url) -> Response {
    match HeaderValue::from_str(url.as_str()) {
        Ok(location) => no_store((StatusCode::FOUND, [(LOCATION, location)]).into_response()),
        Err(_) => ApiError::internal().into_response(),
    }
}

/// A page for people, an envelope for programs.
pub(super) fn refused(error: &ApiError, headers: &HeaderMap) -> Response {
    if is_wanted(headers) {
        refusal_page(error)
    } else {
        error.clone().into_response()
    }
}
