//! The house's one-way doors, as `cargo metadata` sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use nexus_tests::root;
use serde_json::Value;

/// The names of what each package of the workspace depends on, for whatever purpose.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| (text(&package["name"]), names(package)))
        .collect()
}

fn names(package: &Value) -> BTreeSet<String> {
    package["dependencies"]
        .as_array()
        .expect("dependencies")
        .iter()
        .map(|dependency| text(&dependency["name"]))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn rooms_open_one_way() {
    let allowed = [
        ("nexus-domain", set(&[])),
        ("nexus-ledger", set(&["nexus-domain"])),
        ("nexus-projections", set(&["nexus-domain", "nexus-ledger"])),
        (
            "nexus-api",
            set(&["nexus-domain", "nexus-ledger", "nexus-projections"]),
        ),
        (
            "nexus-admin",
            set(&["nexus-domain", "nexus-ledger", "nexus-projections"]),
        ),
        (
            "nexus-tests",
            set(&[
                "nexus-domain",
                "nexus-ledger",
                "nexus-projections",
                "nexus-api",
            ]),
        ),
        (
            "nexus-bench",
            set(&["nexus-domain", "nexus-ledger", "nexus-projections"]),
        ),
    ];
    let dependencies = dependencies();
    assert_eq!(
        dependencies
            .keys()
            .map(String::as_str)
            .collect::<BTreeSet<_>>(),
        allowed.iter().map(|(name, _)| *name).collect()
    );
    for (package, allowed) in allowed {
        let rooms: BTreeSet<String> = dependencies[package]
            .iter()
            .filter(|name| dependencies.contains_key(*name))
            .cloned()
            .collect();
        assert!(
            rooms.is_subset(&allowed),
            "{package} opens into {:?}",
            rooms.difference(&allowed)
        );
    }
}

#[test]
fn each_technology_is_named_only_where_it_belongs() {
    let homes: [(&[&str], &[&str]); 6] = [
        (
            &["rusqlite", "tokio-postgres", "sqlx"],
            &[
                "nexus-ledger",
                "nexus-projections",
                "nexus-tests",
                "nexus-bench",
            ],
        ),
        // What is measured beside the vault is made of the same crates.
        (
            &["postgres-es", "sqlite-es"],
            &["nexus-ledger", "nexus-bench"],
        ),
        (
            &["axum", "tower", "tower-http"],
            &["nexus-api", "nexus-bench"],
        ),
        (&["oauth2", "openidconnect"], &["nexus-api"]),
        (
            &["reqwest"],
            &["nexus-api", "nexus-admin", "nexus-tests", "nexus-bench"],
        ),
        (&["chacha20poly1305"], &["nexus-domain"]),
    ];
    let dependencies = dependencies();
    for (crates, homes) in homes {
        for (package, uses) in &dependencies {
            let strangers: Vec<&str> = crates
                .iter()
                .copied()
                .filter(|name| uses.contains(*name))
                .collect();
            assert!(
                strangers.is_empty() || homes.contains(&package.as_str()),
                "{package} names {strangers:?}"
            );
        }
        for name in crates {
            assert!(
                dependencies.values().any(|uses| uses.contains(*name))
                    || ["tower", "sqlx"].contains(name),
                "nobody uses {name}: the rule is stale"
            );
        }
    }
}

#[test]
fn the_domain_can_neither_wait_nor_reach_outside() {
    let dependencies = dependencies();
    let outside = [
        "getrandom",
        "rand",
        "reqwest",
        "rusqlite",
        "sqlx",
        "tokio-postgres",
        "axum",
        "tracing",
        "nexus-ledger",
    ];
    for name in outside {
        assert!(
            !dependencies["nexus-domain"].contains(name),
            "the domain names {name}"
        );
    }
    assert!(
        dependencies["nexus-domain"].contains("cqrs-es"),
        "the names are read"
    );
}
