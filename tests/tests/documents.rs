//! The documents and the routes are the same set.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nexus_tests::{Client, Contract, Database, TestNexus, until};
use serde_json::{Value, json};

/// Doors that both surfaces have.
const SHARED: [&str; 7] = [
    "/auth/callback",
    "/auth/capture-credential",
    "/auth/capture-schema",
    "/docs",
    "/docs/{file}",
    "/health",
    "/livez",
];

/// A path of a template.
fn filled(template: &str) -> String {
    template
        .replace("{id}", "0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90")
        .replace("{name}", "connections")
        .replace("{file}", "start.js")
}

/// Asks every documented door, and every other method at the same paths; that the answers are documented is checked by
/// the client, and so is that a method which is not documented is 405.
async fn ask_all(client: &Client, contract: &Contract) {
    let operations = contract.operations();
    let paths: BTreeSet<&String> = operations.iter().map(|(_, path)| path).collect();
    for path in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let answer = client.request(method, &filled(path)).send().await;
            let documented = operations.contains(&(method.to_owned(), path.clone()));
            // Not every answer is JSON.
            let body: Value = serde_json::from_str(&answer.text).unwrap_or_default();
            let absent = ["not_found", "method_not_allowed"].map(Value::from);
            let there = !absent.contains(&body["error"]);
            assert_eq!(
                documented, there,
                "{method} {path} answered {}",
                answer.text
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_door_is_there_and_no_other_method() {
    let nexus = TestNexus::start(Database::Sqlite).await;
    // Before the first checkpoint there is nothing at its door.
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    until("a checkpoint is taken", || async {
        let checkpoint = nexus.broker().get("/audit/checkpoint").await;
        (checkpoint.status == 200).then_some(())
    })
    .await;
    ask_all(&nexus.admin(), Contract::gateway()).await;
    ask_all(&nexus.broker(), Contract::broker()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_door_of_one_surface_is_on_the_other() {
    let nexus = TestNexus::start(Database::Sqlite).await;
    let gateway = Contract::gateway().operations();
    let broker = Contract::broker().operations();
    let shared: BTreeSet<&str> = gateway
        .intersection(&broker)
        .map(|(_, path)| path.as_str())
        .collect();
    assert_eq!(shared, BTreeSet::from(SHARED));
    for (client, foreign) in [
        (nexus.admin(), broker.difference(&gateway)),
        (nexus.broker(), gateway.difference(&broker)),
    ] {
        for (method, path) in foreign {
            let answer = client.request(method, &filled(path)).send().await;
            answer.refused(404, "not_found");
        }
    }
}

/// A route that nobody documented would be asked by no test, so the source is asked.
#[test]
fn every_route_in_the_source_is_documented() {
    let doors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/src/http/doors");
    let mut routes = BTreeSet::from(["/auth/callback".to_owned()]);
    for file in fs::read_dir(doors).expect("the doors") {
        let source = fs::read_to_string(file.expect("a file").path()).expect("text");
        for call in source.split(".route(").skip(1) {
            if let Some(path) = call.trim_start().strip_prefix('"') {
                let (path, _) = path.split_once('"').expect("a literal ends");
                routes.insert(path.to_owned());
            }
        }
    }
    let documented = Contract::gateway().operations().into_iter();
    let documented = documented.chain(Contract::broker().operations());
    let documented: BTreeSet<String> = documented.map(|(_, path)| path).collect();
    assert_eq!(routes, documented);
}

/// What a test file says in its head that it is about: doors as `METHOD /path`.
fn doors_of(source: &str) -> BTreeSet<(String, String)> {
    let head = source.lines().take_while(|line| line.starts_with("//!"));
    let head: String = head.collect();
    let doors = head.split('`').skip(1).step_by(2);
    let doors = doors.filter_map(|door| door.split_once(' '));
    doors
        .filter(|(_, path)| path.starts_with('/'))
        .map(|(method, path)| (method.to_owned(), path.to_owned()))
        .collect()
}

#[test]
fn every_door_has_tests_that_are_named_after_it() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut named = BTreeSet::new();
    for file in fs::read_dir(tests).expect("the tests") {
        let path = file.expect("a file").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            named.extend(doors_of(&fs::read_to_string(path).expect("text")));
        }
    }
    let operations = Contract::gateway().operations().into_iter();
    let operations = operations.chain(Contract::broker().operations());
    let missing: Vec<_> = operations
        .filter(|operation| !named.contains(operation))
        .collect();
    assert_eq!(missing, []);
}
