//! One exchange against the document.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::schema::errors;

/// A request and its answer.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The method, upper case.
    pub method: &'a str,
    /// The path, without its query.
    pub path: &'a str,
    /// The query, decoded.
    pub query: &'a [(String, String)],
    /// The request's content type and body.
    pub request: Option<(&'a str, &'a [u8])>,
    /// The answer's status.
    pub status: u16,
    /// The answer's headers.
    pub headers: &'a HeaderMap,
    /// The answer's body.
    pub body: &'a str,
}

pub(super) fn divergences(document: &Value, exchange: &Exchange<'_>) -> Vec<String> {
    let mut found = match find_path(&document["paths"], exchange.path) {
        None => must_be(exchange, 404, "not_found"),
        Some(path) => match path.get(exchange.method.to_ascii_lowercase()) {
            None => wrong_method(exchange),
            Some(operation) => checked(path, operation, exchange),
        },
    };
    if exchange.status >= 400 {
        found.extend(envelope_divergences(exchange));
    }
    found
}

/// The path item whose template fits; a literal segment goes before a parameter.
fn find_path<'a>(paths: &'a Value, path: &str) -> Option<&'a Value> {
    let paths = paths.as_object()?;
    let literal = paths.get(path).filter(|_| !path.contains('{'));
    literal.or_else(|| {
        paths
            .iter()
            .find(|(template, _)| fits(template, path))
            .map(|(_, item)| item)
    })
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(wanted, segment)| {
            if wanted.starts_with('{') {
                !segment.is_empty()
            } else {
                wanted == segment
            }
        })
}

fn must_be(exchange: &Exchange<'_>, status: u16, code: &str) -> Vec<String> {
    let refused = exchange.status == status && json_of(exchange)["error"] == code;
    if refused {
        Vec::new()
    } else {
        vec![format!(
            "is not in the contract, so {status} `{code}`, not {}",
            exchange.status
        )]
    }
}

fn wrong_method(exchange: &Exchange<'_>) -> Vec<String> {
    let mut found = must_be(exchange, 405, "method_not_allowed");
    if !exchange.headers.contains_key("allow") {
        found.push("405 without an Allow header".to_owned());
    }
    found
}

fn checked(path: &Value, operation: &Value, exchange: &Exchange<'_>) -> Vec<String> {
    let Some(response) = operation["responses"].get(exchange.status.to_string()) else {
        return vec![format!("status {} is not in the contract", exchange.status)];
    };
    let mut found = header_divergences(&response["headers"], exchange.headers);
    found.extend(body_divergences(response, exchange));
    if exchange.status < 400 {
        let outside = request_divergences(path, operation, exchange);
        found.extend(
            outside
                .into_iter()
                .map(|error| format!("a request outside the contract was accepted: {error}")),
        );
    }
    found
}

fn header_divergences(documented: &Value, headers: &HeaderMap) -> Vec<String> {
    let documented = documented.as_object().into_iter().flatten();
    documented
        .filter_map(|(name, header)| header_divergence(name, header, headers))
        .collect()
}

fn header_divergence(name: &str, header: &Value, headers: &HeaderMap) -> Option<String> {
    match headers.get(name) {
        None if header["required"] == true => Some(format!("the header {name} is missing")),
        None => None,
        Some(value) => {
            let value = json!(value.to_str().unwrap_or("not text"));
            let wrong = errors(&header["schema"], &value);
            wrong
                .first()
                .map(|error| format!("the header {name}: {error}"))
        }
    }
}

fn body_divergences(response: &Value, exchange: &Exchange<'_>) -> Vec<String> {
    let Some(content) = response.get("content") else {
        return Vec::new();
    };
    let kind = exchange
        .headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("none");
    let Some(body) = content.get(essence(kind)) else {
        return vec![format!(
            "the content type {kind} is not in the contract for {}",
            exchange.status
        )];
    };
    if essence(kind) != "application/json" {
        return Vec::new();
    }
    match serde_json::from_str(exchange.body) {
        Ok(value) => errors(&body["schema"], &value),
        Err(error) => vec![format!("the body is not JSON: {error}")],
    }
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn request_divergences(path: &Value, operation: &Value, exchange: &Exchange<'_>) -> Vec<String> {
    let parameters = [&path["parameters"], &operation["parameters"]];
    let parameters = parameters.into_iter().filter_map(Value::as_array).flatten();
    let mut found: Vec<String> = parameters
        .filter(|parameter| parameter["in"] == "query")
        .flat_map(|parameter| query_divergences(parameter, exchange.query))
        .collect();
    if let Some(documented) = operation.get("requestBody") {
        found.extend(request_body_divergences(documented, exchange.request));
    }
    found
}

fn query_divergences(parameter: &Value, query: &[(String, String)]) -> Vec<String> {
    let name = parameter["name"].as_str().unwrap_or_default();
    match query.iter().find(|(key, _)| key == name) {
        None if parameter["required"] == true => vec![format!("without the parameter {name}")],
        None => Vec::new(),
        Some((_, value)) => errors(&parameter["schema"], &typed(value, &parameter["schema"])),
    }
}

fn typed(value: &str, schema: &Value) -> Value {
    match (schema["type"].as_str(), value.parse::<i64>()) {
        (Some("integer"), Ok(number)) => json!(number),
        _ => json!(value),
    }
}

fn request_body_divergences(documented: &Value, request: Option<(&str, &[u8])>) -> Vec<String> {
    let Some((kind, body)) = request else {
        return vec!["without a body".to_owned()];
    };
    let Some(schema) = documented["content"]
        .get(essence(kind))
        .map(|body| &body["schema"])
    else {
        return vec![format!("with the content type {kind}")];
    };
    match read(essence(kind), body) {
        Ok(value) => errors(schema, &value),
        Err(error) => vec![format!("with a body that is not JSON: {error}")],
    }
}

/// A body as what its schema describes: a form is an object of texts.
fn read(kind: &str, body: &[u8]) -> serde_json::Result<Value> {
    if kind != "application/x-www-form-urlencoded" {
        return serde_json::from_slice(body);
    }
    let fields = url::form_urlencoded::parse(body);
    Ok(fields
        .map(|(name, value)| (name.into_owned(), Value::from(value)))
        .collect())
}

/// What holds for every envelope and no schema can say: its two codes are one, unless the first is OAuth's word, its request
/// id is the header's.
fn envelope_divergences(exchange: &Exchange<'_>) -> Vec<String> {
    let body = json_of(exchange);
    if body.get("error").is_none() {
        return Vec::new();
    }
    let header = exchange
        .headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok());
    let mut found = Vec::new();
    let by_oauth = body.get("error_description").is_some();
    if body["error"] != body["code"] && !by_oauth {
        found.push(format!("`error` and `code` differ: {body}"));
    }
    if body["request_id"].as_str() != header {
        found.push(format!(
            "the envelope's request id is not the header's, {header:?}: {body}"
        ));
    }
    found
}

fn json_of(exchange: &Exchange<'_>) -> Value {
    serde_json::from_str(exchange.body).unwrap_or_default()
}
