//! Refusals for people: whatever refuses at a door for browsers is a page there, and for programs the envelope.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::Method;
use http::header::VARY;
use maud::{Markup, html};

use super::error::{ApiError, complete};
use super::html::{is_wanted, page, varies};
use super::request_id::RequestId;

/// Shows browsers the refusals of the router's routes, also those of the guards before them and of the framework. The
/// router must have a route.
pub(super) fn with_pages<S>(router: Router<S>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    router.route_layer(from_fn(shown))
}

async fn shown(request: Request, next: Next) -> Response {
    let wanted = is_wanted(request.headers());
    let method = request.method().clone();
    let id = request.extensions().get::<RequestId>().cloned();
    let id = id.as_ref().map_or("", RequestId::as_str);
    let mut response = complete(next.run(request).await, id);
    let Some(error) = response.extensions().get::<ApiError>().cloned() else {
        return response;
    };
    if wanted {
        return refusal(&error, &method, id);
    }
    response.headers_mut().insert(VARY, varies());
    response
}

/// What there is to say of a refusal to somebody who did not write the program.
struct Explained {
    title: &'static str,
    happened: &'static str,
    advice: &'static str,
}

const AGAIN: &str = "Go back to the application that sent you here, and connect again from there.";

/// A form is not to be reloaded, which would send it as it was.
fn later(method: &Method) -> &'static str {
    if method.is_safe() {
        "Wait a little, then reload this page. Should it say that the link was used, go back to the application."
    } else {
        "Wait a little, then go back, fill in the form anew and send it again. Should it say that the link was used, go back to the application."
    }
}

fn explained(error: &ApiError, method: &Method) -> Explained {
    match error.code() {
        "state_used" => Explained {
            title: "This link was used already",
            happened: "A link to connect an account works once. This one has done its work.",
            // Somebody pressed the button twice, say.
            advice: "If you have just connected, all is well: close this page and go back to the application. If not, start again from there.",
        },
        "invalid_state" => Explained {
            title: "This link is not valid",
            happened: "It has expired, was cut short on its way here, or is not from this vault. Nothing was changed.",
            advice: AGAIN,
        },
        "missing_params" | "invalid_field" => Explained {
            title: "This address is incomplete",
            happened: "What should have come with you from the provider is missing or damaged. Nothing was changed.",
            advice: AGAIN,
        },
        "provider_not_found" => Explained {
            title: "There is no such provider any more",
            happened: "It was removed from this vault after your link was made. Nothing was changed.",
            advice: "Tell the people who run the application that sent you here.",
        },
        "rate_limited" => Explained {
            title: "Too many attempts",
            happened: "This was tried too often from your network in a short time.",
            advice: "Your link stays good until its time is over. Go back, and try again once you have waited.",
        },
        "overloaded" | "database_unavailable" | "starting" => Explained {
            title: "The vault is not available now",
            happened: "It cannot do its work at the moment. The fault is not yours.",
            advice: later(method),
        },
        "body_too_large" => Explained {
            title: "That is too much",
            happened: "What was sent is larger than any credential may be. Nothing was stored.",
            advice: "Go back to the form, and look at what you paste into it.",
        },
        // The address of a form that came back, opened anew.
        "method_not_allowed" => Explained {
            title: "There is nothing to see here",
            happened: "This address takes what a form sends, and shows nothing by itself.",
            advice: "Go back to the form, or to the application that sent you here.",
        },
        _ if error.status().is_client_error() => Explained {
            title: "That was not accepted",
            happened: "The vault cannot use what was sent. Nothing was changed.",
            advice: AGAIN,
        },
        _ => Explained {
            title: "That did not work",
            happened: "Something went wrong in the vault. The fault is not yours.",
            advice: AGAIN,
        },
    }
}

fn refusal(error: &ApiError, method: &Method, request_id: &str) -> Response {
    let Explained {
        title,
        happened,
        advice,
    } = explained(error, method);
    let content: Markup = html! {
        p role="alert" { (happened) }
        @if let Some(seconds) = error.waits() {
            p { "It makes sense to try again in " (spoken(seconds)) "." }
        }
        h2 { "What to do" }
        p { (advice) }
        p.help { "If you ask somebody for help, tell them this:" }
        dl.reference {
            dt { "What" } dd { code { (error.code()) } }
            dt { "Request" } dd { code { (request_id) } }
        }
    };
    error.mark(page(error.status(), title, &html! { (title) }, &content))
}

fn spoken(seconds: u64) -> String {
    match seconds {
        0..=1 => "a second".to_owned(),
        seconds => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::extract::Query;
    use axum::routing::get;
    use http::StatusCode;
    use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
    use http::request::Builder;
    use tower::ServiceExt;

    use super::*;

    async fn busy() -> ApiError {
        ApiError::overloaded().retry_after(7)
    }

    async fn number(_: Query<[(String, u32); 1]>) {}

    async fn ask(path: &str, accept: &str) -> (Response, String) {
        send(Request::get(path), accept).await
    }

    async fn send(request: Builder, accept: &str) -> (Response, String) {
        let routes = Router::new()
            .route("/busy", get(busy).post(busy))
            .route("/number", get(number))
            .route("/fine", get(async || "fine"));
        let request = request
            .header(ACCEPT, accept)
            .extension(RequestId::parse("r-1").unwrap());
        let request = request.body(Body::empty()).unwrap();
        let response = with_pages(routes).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (Response::from_parts(parts, Body::empty()), text)
    }

    #[tokio::test]
    async fn a_browser_is_told_what_happened_and_what_to_do() {
        let (response, text) = ask("/busy", "text/html").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "7");
        for expected in [
            "<h1>The vault is not available now</h1>",
            "in 7 seconds.",
            "reload this page",
            "<code>overloaded</code>",
            "<code>r-1</code>",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[tokio::test]
    async fn nobody_is_told_to_reload_what_a_form_was_sent_to() {
        let (response, text) = send(Request::post("/busy"), "text/html").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("go back, fill in the form anew"), "{text}");
        assert!(!text.contains("reload"), "{text}");
    }

    #[tokio::test]
    async fn what_the_framework_refuses_is_a_page_too() {
        let (response, text) = ask("/number?%GG", "text/html").await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(text.contains("This address is incomplete"), "{text}");
    }

    #[tokio::test]
    async fn a_program_gets_the_envelope() {
        let (response, text) = ask("/busy", "*/*").await;
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(response.headers()[VARY], "accept");
        assert!(text.contains(r#""request_id":"r-1""#), "{text}");
    }

    #[tokio::test]
    async fn what_is_no_refusal_passes() {
        assert_eq!(ask("/fine", "text/html").await.1, "fine");
    }
}
