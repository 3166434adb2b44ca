//! `nexus-cli plan` and `apply`: the requests it makes for a manifest, and how it finds what has changed.

use std::collections::BTreeMap;

use nexus_tests::Answer;
use serde_json::{Map, Value, json};

use super::habit::{Habit, Read, reads};

/// The fields of a manifest that it sends even when they are empty.
const ALWAYS: [&str; 2] = ["enable_discovery", "scopes"];

/// What it would do.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    create: Vec<Value>,
    /// By id, the changed fields.
    update: BTreeMap<String, Map<String, Value>>,
    /// Ids of what is not in the manifest.
    orphans: Vec<String>,
}

impl Plan {
    /// How many it would create and delete, and which fields it would update.
    pub(crate) fn summary(&self) -> (usize, Vec<Vec<&str>>, usize) {
        let updates = self.update.values();
        let updates = updates
            .map(|changed| changed.keys().map(String::as_str).collect())
            .collect();
        (self.create.len(), updates, self.orphans.len())
    }
}

/// A provider of a manifest as it is sent: what is not given stays away, but for two fields.
pub(crate) fn provider(given: &Value) -> Value {
    let mut sent = given.as_object().expect("an object").clone();
    let nothing = [json!(false), Value::Null];
    for (name, nothing) in ALWAYS.into_iter().zip(nothing) {
        sent.entry(name).or_insert(nothing);
    }
    sent.into()
}

/// Compares a manifest with what there is.
pub(crate) async fn plan(cli: &Habit, manifest: &[Value]) -> Plan {
    let live = live(cli).await;
    let mut plan = Plan::default();
    for wanted in manifest {
        let Some(profile) = live.get(text(&wanted["name"])) else {
            plan.create.push(wanted.clone());
            continue;
        };
        let changed = changed(wanted, profile);
        if !changed.is_empty() {
            plan.update.insert(text(&profile["id"]).to_owned(), changed);
        }
    }
    let named = |name: &str| manifest.iter().any(|wanted| wanted["name"] == name);
    let orphans = live.iter().filter(|(name, _)| !named(name));
    plan.orphans = orphans
        .map(|(_, profile)| text(&profile["id"]).to_owned())
        .collect();
    plan
}

/// Does what was planned; returns what each request was answered.
pub(crate) async fn apply(cli: &Habit, plan: &Plan, prune: bool) -> Vec<Answer> {
    let mut answers = Vec::new();
    for wanted in &plan.create {
        let body = json!({"profile": wanted});
        answers.push(cli.ask("POST", "/providers", Some(&body)).await);
    }
    for (id, changed) in &plan.update {
        let body = Value::Object(changed.clone());
        answers.push(
            cli.ask("PATCH", &format!("/providers/{id}"), Some(&body))
                .await,
        );
    }
    for id in plan.orphans.iter().filter(|_| prune) {
        answers.push(cli.ask("DELETE", &format!("/providers/{id}"), None).await);
    }
    answers
}

/// Every profile by its name: one list, then each by its id.
async fn live(cli: &Habit) -> BTreeMap<String, Value> {
    let list = cli.get("/providers").await.expect(200);
    let mut live = BTreeMap::new();
    for listed in list.as_array().expect("a list") {
        let path = format!("/providers/{}", text(&listed["id"]));
        let id = ("/id", Read::Is(listed["id"].clone()));
        let profile = reads(&cli.get(&path).await, 200, &[id]);
        live.insert(text(&listed["name"]).to_owned(), profile);
    }
    live
}

/// The fields that differ as JSON; nothing wanted and nothing there are alike.
fn changed(wanted: &Value, profile: &Value) -> Map<String, Value> {
    let wanted = wanted.as_object().expect("an object").iter();
    let differ = wanted.filter(|(name, value)| {
        let there = profile.get(name.as_str()).unwrap_or(&Value::Null);
        let both_empty = there.is_null() && (**value == json!([]) || **value == json!(""));
        name.as_str() != "name" && *value != there && !both_empty
    });
    differ
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}
