//! The form in which people type a static credential: `GET …/capture-schema` in a browser, and
//! `POST /auth/capture-credential`, which sends them back to the application.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use maud::{Markup, html};
use serde_json::Value;
use url::Url;

use super::Doors;
use super::capture::{Body, REJECTED};
use crate::application::capture_credential::{CaptureError, CaptureSchema, Captured};
use crate::http::context::RequestContext;
use crate::http::error::ApiError;
use crate::http::form::{Choice, Field, Input, STATE, Sent, fields};
use crate::http::headers::no_store;
use crate::http::html::{is_wanted, page};
use crate::http::json::{FormOrJson, RawJson, is_form};
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

/// The form, as yet untouched.
pub(super) fn show(state: &str, capture: &CaptureSchema) -> Response {
    let fields = fields(&capture.schema);
    shown(
        StatusCode::OK,
        state,
        capture,
        &fields,
        None,
        &Wrong::default(),
    )
}

fn shown(
    status: StatusCode,
    state: &str,
    capture: &CaptureSchema,
    fields: &[Field],
    sent: Option<&Sent>,
    wrong: &Wrong,
) -> Response {
    let name = &capture.provider_name;
    let title = if wrong.is_empty() {
        format!("Connect {name}")
    } else {
        format!("Not accepted: Connect {name}")
    };
    let heading = html! { "Connect " bdi { (name) } };
    let content = html! {
        @if !wrong.is_empty() { (summary(fields, wrong)) }
        (introduction(capture))
        (form(state, fields, sent, wrong))
        (promise(capture))
    };
    page(status, &title, &heading, &content)
}

/// What is wrong, each with a way to its field. It has the focus, so that it is read first.
fn summary(fields: &[Field], wrong: &Wrong) -> Markup {
    html! {
        div.summary role="alert" tabindex="-1" autofocus {
            p { strong { "This was not accepted." } " Nothing was stored. Correct it and send it again; what is hidden has to be typed anew." }
            @for sentence in &wrong.whole { p { (sentence) } }
            @if !wrong.fields.is_empty() {
                ul {
                    @for (number, field) in fields.iter().enumerate() {
                        @if let Some(text) = wrong.of(field) {
                            li { a href={ "#" (id("field", number)) } { bdi { (field.label) } " " (text) } }
                        }
                    }
                }
            }
        }
    }
}

fn introduction(capture: &CaptureSchema) -> Markup {
    let text = capture.schema.get("description").and_then(Value::as_str);
    html! {
        p {
            "Enter what gives access to " bdi { (capture.provider_name) } "."
            @if let Some(host) = &capture.returns_to { " Then you go back to " bdi.host { (host) } "." }
        }
        @if let Some(text) = text { p dir="auto" { (text) } }
    }
}

/// What becomes of what is typed.
fn promise(capture: &CaptureSchema) -> Markup {
    html! {
        section.promise aria-labelledby="promise" {
            h2 #promise { "What happens to what you enter" }
            ul {
                @if capture.may_be_tried { li { "The vault tries it at " bdi { (capture.provider_name) } " first." } }
                li { "It is stored encrypted." }
                li { "It is given only to programs that hold this connection, and each time is recorded." }
            }
        }
    }
}

fn form(state: &str, fields: &[Field], sent: Option<&Sent>, wrong: &Wrong) -> Markup {
    html! {
        // Relative, since a proxy may have put the doors below a path of its own.
        form method="post" action="../auth/capture-credential" autocomplete="off" {
            input type="hidden" name=(STATE) value=(state);
            @for (number, field) in fields.iter().enumerate() {
                (labelled(number, field, sent, wrong.of(field)))
            }
            button type="submit" { "Connect" }
        }
    }
}

fn id(kind: &str, number: usize) -> String {
    format!("{kind}-{number}")
}

fn labelled(number: usize, field: &Field, sent: Option<&Sent>, wrong: Option<&str>) -> Markup {
    let (id, help, error) = (id("field", number), id("help", number), id("wrong", number));
    let described: Vec<&str> = [
        field.help.as_ref().map(|_| help.as_str()),
        wrong.map(|_| error.as_str()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let described = (!described.is_empty()).then(|| described.join(" "));
    let is_checkbox = field.input == Input::Checkbox;
    // What was unchecked or emptied stays so.
    let value = match sent {
        Some(sent) => sent.value(field),
        None => field.initial.as_deref(),
    };
    let label = html! {
        label for=(id) dir="auto" { (field.label) @if !field.required && !is_checkbox { span.optional { " (optional)" } } }
    };
    let control = control(&id, field, value, described.as_deref(), wrong.is_some());
    html! {
        div.field {
            @if is_checkbox { div.check { (control) (label) } } @else { (label) }
            @if let Some(text) = &field.help { p.help id=(help) dir="auto" { (text) } }
            @if let Some(text) = wrong { p.wrong id=(error) { bdi { (field.label) } " " (text) "." } }
            @if !is_checkbox { (control) }
        }
    }
}

/// A masked field comes back empty: what was typed into it is in no page.
fn control(
    id: &str,
    field: &Field,
    value: Option<&str>,
    described: Option<&str>,
    wrong: bool,
) -> Markup {
    let name = field.form_name();
    let invalid = wrong.then_some("true");
    let filled = field.autocomplete;
    let is_number = matches!(field.input, Input::Number | Input::Masked { number: true });
    let keyboard = is_number.then_some("decimal");
    match &field.input {
        Input::Choice(choices) => html! {
            @let is_chosen = |choice: &Choice| value == Some(choice.form_value().as_str());
            select id=(id) name=(name) dir="auto" required[field.required] autocomplete=(filled) aria-describedby=[described] aria-invalid=[invalid] {
                // Nothing is chosen for people that nobody named.
                @if !field.required || !choices.iter().any(is_chosen) { option value="" { "Choose…" } }
                @for choice in choices {
                    option value=(choice.form_value()) selected[is_chosen(choice)] { (choice.label) }
                }
            }
        },
        Input::Json => html! {
            textarea id=(id) name=(name) rows="4" required[field.required] autocomplete=(filled) autocapitalize="none" spellcheck="false" aria-describedby=[described] aria-invalid=[invalid] {}
        },
        Input::Checkbox => html! {
            input id=(id) name=(name) type="checkbox" value="on" checked[value.is_some()] aria-describedby=[described] aria-invalid=[invalid];
        },
        Input::Masked { .. } => html! {
            input id=(id) name=(name) type="password" inputmode=[keyboard] required[field.required] autocomplete=(filled) autocapitalize="none" spellcheck="false" aria-describedby=[described] aria-invalid=[invalid];
        },
        Input::Line | Input::Number => html! {
            input id=(id) name=(name) type="text" value=(value.unwrap_or_default()) dir="auto" inputmode=[keyboard] required[field.required] autocomplete=(filled) autocapitalize="none" spellcheck="false" aria-describedby=[described] aria-invalid=[invalid];
        },
    }
}

/// Takes a credential from a browser's form, or as JSON, and sends the user back to the application.
pub(super) async fn post(
    State(doors): State<Doors>,
    headers: HeaderMap,
    caller: RequestContext,
    body: FormOrJson,
) -> Result<Response, ApiError> {
    match body {
        FormOrJson::Json(body) => take_json(&doors, &caller, &body).await,
        FormOrJson::Form(body) => take_form(&doors, &caller, &Sent::parse(&body), &headers).await,
    }
}

/// Has browsers forget the page that was typed into, whatever becomes of the form that it sent. Chromium keeps pages whole
/// for its back button, `no-store` or not, unless a cookie of theirs has changed since; this one says nothing.
pub(super) async fn forgetting(request: Request, next: Next) -> Response {
    let is_form = is_form(request.headers());
    let mut response = next.run(request).await;
    if is_form {
        response.headers_mut().append(SET_COOKIE, SENT);
    }
    response
}

/// For every path: the form is at two, and a proxy may have put the doors below a path of its own.
const SENT: HeaderValue =
    HeaderValue::from_static("nexus-form=sent; Path=/; Max-Age=1; HttpOnly; SameSite=Strict");

/// A form that came back stands at this address, so people open it anew: they get a page, too.
pub(super) async fn only_post() -> ApiError {
    ApiError::method_not_allowed().allow(HeaderValue::from_static("POST"))
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
) -> Result<Response, ApiError> {
    let capture = doors.application.capture_schema(sent.state()).await?;
    let fields = fields(&capture.schema);
    let metadata = caller.metadata("capture_credential");
    let taken =
        doors
            .application
            .capture_credential(sent.state(), sent.credential(&fields), metadata);
    let wrong = match taken.await {
        Ok(captured) => return Ok(back(&captured)),
        Err(CaptureError::InvalidCredentials(errors)) if is_wanted(headers) => {
            Wrong::with(errors, &fields)
        }
        Err(CaptureError::Rejected) if is_wanted(headers) => Wrong::rejected(),
        Err(error) => return Err(error.into()),
    };
    let status = StatusCode::BAD_REQUEST;
    Ok(shown(
        status,
        sent.state(),
        &capture,
        &fields,
        Some(sent),
        &wrong,
    ))
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
