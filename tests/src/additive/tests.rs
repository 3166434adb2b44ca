//! Each kind of break is found, and nothing that only adds.

use serde_json::json;

use super::*;
use crate::contract::Contract;

#[test]
fn the_gateway_only_adds_to_what_was_released() {
    let released = crate::nexus::root().join("tests/released/gateway.yaml");
    let released = Contract::read(&released);
    assert_eq!(Contract::gateway().breaks(&released), Vec::<String>::new());
}

fn document() -> Value {
    json!({"paths": {"/a": {
        "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
        "post": {
            "operationId": "makeA",
            "security": [{}, {"apiKey": []}],
            "parameters": [{"name": "wait", "in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": 60, "default": 0}}],
            "requestBody": {"content": {"application/json": {"schema": {
                "allOf": [{"anyOf": [{"required": ["x"]}, {"required": ["y"]}]}],
                "type": "object",
                "required": ["kind"],
                "properties": {
                    "kind": {"type": "string", "enum": ["one", "two"]},
                    "name": {"type": "string", "nullable": true, "maxLength": 9},
                    "list": {"type": "array", "items": {"type": "string"}},
                },
            }}}},
            "responses": {
                "200": {
                    "headers": {"ETag": {"required": true, "schema": {"type": "string"}}},
                    "content": {"application/json": {"schema": {"allOf": [
                        {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}},
                        {"properties": {
                            "status": {"enum": ["pending", "active"]},
                            "count": {"type": "integer", "minimum": 0},
                            "at": {"type": "string", "format": "date-time"},
                        }, "not": {"required": ["secret"]}},
                        {"oneOf": [{"required": ["count"]}, {"required": ["at"]}]},
                    ]}}},
                },
                "404": {},
            },
        },
        "get": {},
    }}})
}

const BODY: &str = "/paths/~1a/post/requestBody/content/application~1json/schema";
const ANSWER: &str = "/paths/~1a/post/responses/200/content/application~1json/schema/allOf";

/// Sets or adds (`Some`) or removes what is at a pointer.
fn changed(pointer: &str, value: Option<Value>) -> Value {
    let mut document = document();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/");
    let parent = document
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("{pointer}"));
    match (parent, value) {
        (Value::Array(items), Some(value)) => items.push(value),
        (Value::Array(items), None) => drop(items.remove(name.parse().unwrap())),
        (parent, Some(value)) => parent[name] = value,
        (parent, None) => drop(parent.as_object_mut().unwrap().remove(&name)),
    }
    document
}

/// What the change breaks; asserts that it is one thing.
#[track_caller]
fn break_of(pointer: &str, value: Option<Value>) -> String {
    let found = breaks(&document(), &changed(pointer, value));
    assert_eq!(found.len(), 1, "{pointer}: {found:#?}");
    found.into_iter().next().unwrap()
}

#[track_caller]
fn assert_adds(pointer: &str, value: Value) {
    let found = breaks(&document(), &changed(pointer, Some(value)));
    assert_eq!(found, Vec::<String>::new(), "{pointer}");
}

#[test]
fn the_same_document_breaks_nothing() {
    assert_eq!(breaks(&document(), &document()), Vec::<String>::new());
}

#[test]
fn a_lost_path_method_status_body_or_header_is_found() {
    for (pointer, sentence) in [
        ("/paths/~1a", "/a is gone"),
        ("/paths/~1a/get", "GET /a is gone"),
        ("/paths/~1a/post/requestBody", "POST /a: its body is gone"),
        (
            "/paths/~1a/post/requestBody/content/application~1json",
            "POST /a: a body of application/json is no longer taken",
        ),
        (
            "/paths/~1a/post/responses/404",
            "POST /a: the answer 404 is gone",
        ),
        (
            "/paths/~1a/post/responses/200/content/application~1json",
            "POST /a: 200: a body of application/json is no longer given",
        ),
        (
            "/paths/~1a/post/responses/200/headers/ETag",
            "POST /a: 200: the header ETag is gone",
        ),
        (
            "/paths/~1a/post/responses/200/headers/ETag/required",
            "POST /a: 200: the header ETag may be absent",
        ),
    ] {
        assert_eq!(break_of(pointer, None), sentence);
    }
}

#[test]
fn a_new_name_of_an_operation_is_found() {
    let found = break_of("/paths/~1a/post/operationId", Some(json!("createA")));
    assert_eq!(found, "POST /a: makeA is called createA");
}

#[test]
fn a_key_that_is_newly_needed_is_found() {
    assert_eq!(
        break_of("/paths/~1a/post/security/0", None),
        "POST /a: {} no longer suffices"
    );
    let both = json!([{"apiKey": [], "other": []}]);
    assert_eq!(
        breaks(
            &document(),
            &changed("/paths/~1a/post/security", Some(both))
        )
        .len(),
        2
    );
    let open = break_of("/paths/~1a/get/security", Some(json!([{"apiKey": []}])));
    assert_eq!(open, "GET /a: {} no longer suffices");
    let everywhere = breaks(
        &document(),
        &changed("/security", Some(json!([{"apiKey": []}]))),
    );
    assert_eq!(everywhere, ["GET /a: {} no longer suffices"]);
    assert_adds("/paths/~1a/post/security", json!([{}]));
}

#[test]
fn a_parameter_that_is_lost_or_newly_needed_is_found() {
    let list = "/paths/~1a/post/parameters";
    assert_eq!(
        break_of(&format!("{list}/0"), None),
        "POST /a: the query parameter wait is gone"
    );
    assert_eq!(
        break_of(&format!("{list}/0/required"), Some(json!(true))),
        "POST /a: the query parameter wait is needed"
    );
    let needed = json!({"name": "more", "in": "query", "required": true, "schema": {}});
    assert_eq!(
        break_of(&format!("{list}/-"), Some(needed)),
        "POST /a: the query parameter more is needed"
    );
    assert_adds(
        &format!("{list}/-"),
        json!({"name": "more", "in": "query", "schema": {}}),
    );
}

#[test]
fn a_parameter_that_is_read_otherwise_is_found() {
    let schema = "/paths/~1a/post/parameters/0/schema";
    let wait = "POST /a: the query parameter wait";
    assert_eq!(
        break_of(&format!("{schema}/default"), Some(json!(5))),
        format!("{wait}: the default is 5, not 0")
    );
    assert_eq!(
        break_of(&format!("{schema}/maximum"), Some(json!(30))),
        format!("{wait}: maximum is 30, not 60")
    );
    assert_eq!(
        break_of(&format!("{schema}/minimum"), Some(json!(1))),
        format!("{wait}: minimum is 1, not 0")
    );
    assert_adds(&format!("{schema}/maximum"), json!(90));
}

#[test]
fn a_narrower_body_is_found() {
    let sent = |pointer: &str, value| break_of(&format!("{BODY}{pointer}"), value);
    let at = "POST /a: body";
    assert_eq!(
        sent("/required/-", Some(json!("name"))),
        format!("{at}: name is needed")
    );
    assert_eq!(
        sent("/properties/name", None),
        format!("{at}: name is gone")
    );
    assert_eq!(
        sent("/properties/name/type", Some(json!("integer"))),
        format!("{at}: name: is of type \"integer\", not \"string\"")
    );
    assert_eq!(
        sent("/properties/name/nullable", None),
        format!("{at}: name: may no longer be null")
    );
    assert_eq!(
        sent("/properties/name/maxLength", Some(json!(8))),
        format!("{at}: name: maxLength is 8, not 9")
    );
    assert_eq!(
        sent("/properties/name/minLength", Some(json!(1))),
        format!("{at}: name: minLength is 1")
    );
    assert_eq!(
        sent("/properties/name/pattern", Some(json!("^a"))),
        format!("{at}: name: pattern is \"^a\"")
    );
    assert_eq!(
        sent("/properties/name/enum", Some(json!(["a"]))),
        format!("{at}: name: only [\"a\"] are left")
    );
    assert_eq!(
        sent("/properties/kind/enum/0", None),
        format!("{at}: kind: \"one\" is gone")
    );
    assert_eq!(
        sent("/properties/list/items/type", Some(json!("object"))),
        format!("{at}: list: items: is of type \"object\", not \"string\"")
    );
    assert_eq!(
        sent("/additionalProperties", Some(json!(false))),
        format!("{at}: further members are refused")
    );
    assert_eq!(
        sent("/not", Some(json!({"required": ["z"]}))),
        format!("{at}: {{\"required\":[\"z\"]}} is refused")
    );
    assert_eq!(
        sent("/allOf/0/anyOf/1", None),
        format!("{at}: one of its alternatives is gone")
    );
    assert_eq!(
        sent("/oneOf", Some(json!([{"required": ["z"]}]))),
        format!("{at}: it must be one of further alternatives")
    );
    assert_eq!(
        break_of("/paths/~1a/post/requestBody/required", Some(json!(true))),
        "POST /a: a body is needed"
    );
    assert_eq!(
        break_of(
            "/paths/~1a/get/requestBody",
            Some(json!({"required": true}))
        ),
        "GET /a: a body is needed"
    );
}

#[test]
fn a_wider_body_is_none() {
    let adds = |pointer: &str, value| assert_adds(&format!("{BODY}{pointer}"), value);
    adds("/required", json!([]));
    adds("/properties/more", json!({"type": "string"}));
    adds("/properties/kind/enum/-", json!("three"));
    adds("/properties/kind/nullable", json!(true));
    adds("/allOf/0/anyOf/-", json!({"required": ["z"]}));
    adds("/properties/name/maxLength", json!(10));
}

#[test]
fn an_answer_that_holds_less_or_other_things_is_found() {
    let answered = |pointer: &str, value| break_of(&format!("{ANSWER}{pointer}"), value);
    let at = "POST /a: 200";
    assert_eq!(
        answered("/0/required", None),
        format!("{at}: status may be absent")
    );
    assert_eq!(
        answered("/1/properties/count", None),
        format!("{at}: count is gone")
    );
    assert_eq!(
        answered("/1/properties/count/type", Some(json!("string"))),
        format!("{at}: count: is of type \"string\", not \"integer\"")
    );
    assert_eq!(
        answered("/1/properties/count/minimum", Some(json!(-1))),
        format!("{at}: count: minimum is -1, not 0")
    );
    assert_eq!(
        answered("/1/properties/count/nullable", Some(json!(true))),
        format!("{at}: count: may be null")
    );
    assert_eq!(
        answered("/1/properties/at/format", None),
        format!("{at}: at: format is no longer \"date-time\"")
    );
    assert_eq!(
        answered("/1/properties/status/enum/1", None),
        format!("{at}: status: \"active\" is gone")
    );
    assert_eq!(
        answered("/1/not", None),
        format!("{at}: {{\"required\":[\"secret\"]}} is no longer kept out")
    );
    assert_eq!(
        answered("/2/oneOf/0", None),
        format!("{at}: one of its alternatives is gone")
    );
    assert_eq!(
        answered("/2", None),
        format!("{at}: its alternatives are gone")
    );
}

#[test]
fn an_answer_that_holds_more_is_none() {
    let adds = |pointer: &str, value| assert_adds(&format!("{ANSWER}{pointer}"), value);
    adds("/0/required/-", json!("count"));
    adds("/1/properties/more", json!({"type": "string"}));
    adds("/1/properties/status/enum/-", json!("failed"));
    adds("/1/properties/count/minimum", json!(1));
    adds("/2/oneOf/-", json!({"required": ["more"]}));
    assert_adds("/paths/~1a/post/responses/409", json!({}));
    assert_adds("/paths/~1b", json!({"get": {}}));
}
