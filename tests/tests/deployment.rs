//! What is deployed has settings that there are: deploy/, and docs/migrating.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use nexus_tests::{Database, Nexus, root};
use serde_json::Value;

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The settings that the server knows; that the documentation has them all is a test of the server's.
fn known() -> BTreeSet<String> {
    let text = text("docs/configuration.md");
    let (settings, ignored) = text
        .split_once("## Accepted and ignored")
        .expect("a section");
    let rows = settings.lines().filter(|line| line.starts_with("| `"));
    let ignored = ignored.lines().find(|line| !line.is_empty());
    let names = rows.filter_map(|row| quoted(row).next());
    let names = names.chain(ignored.into_iter().flat_map(quoted));
    names.map(str::to_owned).collect()
}

/// The rows of a table that has this head, cell by cell.
fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let mut lines = text.lines().skip_while(|line| *line != head);
    assert!(lines.next().is_some(), "no table {head}");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    rows.map(cells).collect()
}

#[test]
fn every_setting_that_one_comes_with_is_known_renamed_or_said_not_to_be() {
    let known = known();
    let rows = table(&text("docs/migrating.md"), "| There | Here | What to do |");
    assert!(rows.len() > 15, "{rows:?}");
    for row in rows {
        let [there, here, what] = row.as_slice() else {
            panic!("{row:?}")
        };
        let names: Vec<&str> = match here.as_str() {
            "the same" | "accepted and ignored" => quoted(there).collect(),
            "not known" => {
                let there = quoted(there).find(|name| known.contains(*name));
                assert_eq!(there, None, "it is known");
                Vec::new()
            }
            _ => quoted(here).collect(),
        };
        let advised =
            quoted(what).filter(|name| name.contains('_') && name.to_uppercase() == **name);
        let unknown: Vec<&str> = names
            .into_iter()
            .chain(advised)
            .filter(|name| !known.contains(*name))
            .collect();
        assert_eq!(unknown, Vec::<&str>::new(), "{there}");
    }
}

/// A service of the compose file.
fn service(name: &str) -> Value {
    let compose: Value = serde_saphyr::from_str(&text("deploy/compose.yaml")).expect("YAML");
    compose["services"][name].clone()
}

/// `${NAME:?why}` as an operator fills it in.
fn filled(value: &str) -> String {
    match value.strip_prefix("${") {
        Some(rest) if rest.starts_with("BASE_URL:?") => "https://vault.example".to_owned(),
        Some(rest) if rest.starts_with("ALLOWED_RETURN_DOMAINS:?") => "app.example".to_owned(),
        Some(_) => panic!("{value} is filled in by nobody"),
        None => value.to_owned(),
    }
}

/// Runs deploy/make-secrets.
fn make_secrets(directory: &Path) -> bool {
    let script = root().join("deploy/make-secrets");
    let made = Command::new(script).arg(directory).output();
    made.expect("a shell").status.success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_composed_vault_takes_its_settings_and_secrets() {
    let directory = tempfile::tempdir().expect("a directory");
    let secrets = directory.path().join("secrets");
    assert!(make_secrets(&secrets));
    let read = |name: &str| fs::read_to_string(secrets.join(name)).expect("a secret");
    let password = read("database-password");
    assert!(read("database-url").contains(&format!(":{password}@postgres:5432/")));

    let nexus = service("nexus");
    let environment = nexus["environment"].as_object().expect("settings");
    let known = known();
    let mut vault = Nexus::new(Database::Sqlite);
    for (name, value) in environment {
        assert!(known.contains(name), "{name}");
        let value = filled(value.as_str().expect("a text"));
        let value = value.replace("/run/secrets", secrets.to_str().expect("text"));
        vault = vault.set(name, &value);
    }
    let shown = vault.run(&["check-config"]).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let url = "DATABASE_URL=postgres://nexus:********@postgres:5432/nexus";
    assert!(shown.stdout.contains(url), "{}", shown.stdout);
    // The database is not there; with another one the same secrets start a vault, which takes the key.
    let started = vault.set("DATABASE_URL_FILE", "").start().await;
    let key = read("api.keys");
    let broker = started.broker_without_key().with_key(key.trim());
    broker.get("/audit").await.expect(200);
    started
        .gateway()
        .get("/v1/token/0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90")
        .await
        .refused(401, "missing_api_key");
}

#[test]
fn a_secret_is_made_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = || -> BTreeMap<String, Vec<u8>> {
        let found = fs::read_dir(directory.path()).expect("files");
        let found = found.map(|file| file.expect("a file"));
        let named = |file: fs::DirEntry| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, fs::read(file.path()).expect("a file"))
        };
        found.map(named).collect()
    };
    assert!(make_secrets(directory.path()));
    let first = files();
    assert!(make_secrets(directory.path()));
    assert_eq!(files(), first);
    let named: BTreeSet<String> = first.into_keys().collect();
    let compose: Value = serde_saphyr::from_str(&text("deploy/compose.yaml")).expect("YAML");
    let secrets = compose["secrets"].as_object().expect("secrets");
    assert_eq!(named, secrets.keys().cloned().collect());
}

#[test]
fn the_unit_and_the_image_set_what_the_server_knows() {
    let known = known();
    let (unit, image) = (text("deploy/nexus.service"), text("deploy/Containerfile"));
    let unit = unit
        .lines()
        .filter_map(|line| line.strip_prefix("Environment="));
    let image = image.lines().filter_map(|line| line.strip_prefix("ENV "));
    let image = image.flat_map(str::split_whitespace);
    let names: Vec<&str> = unit
        .chain(image)
        .filter_map(|setting| setting.split('=').next())
        .collect();
    assert!(names.len() >= 7, "{names:?}");
    for name in names {
        assert!(known.contains(name), "{name}");
    }
}
