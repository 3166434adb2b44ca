//! `nexus-admin audit`: over the Broker, and offline beside a server that serves.
//!
//! - `GET /audit/key`
//! - `GET /audit/checkpoint`
//! - `GET /admin/v1/verification`
//! - `POST /admin/v1/verification`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ed25519_dalek::SigningKey;
use nexus_ledger::checkpoint::Checkpoint;
use nexus_tests::{
    Database, Nexus, Outcome, ScriptedProvider, TestNexus, on_both_databases, until,
};
use serde_json::{Value, json};

on_both_databases! {
    the_server_verifies_its_own_log,
    an_auditor_verifies_while_the_server_serves,
    what_an_auditor_keeps_is_printed,
    the_server_finds_what_was_changed_behind_its_back,
    a_checkpoint_of_another_log_is_not_taken,
    what_cannot_be_read_is_no_verdict,
}

fn printed(outcome: &Outcome) -> &str {
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (Some(0), ""),
        "{}",
        outcome.stdout
    );
    &outcome.stdout
}

fn complaint(outcome: &Outcome, code: i32) -> &str {
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (Some(code), ""),
        "{}",
        outcome.stderr
    );
    &outcome.stderr
}

async fn lived(database: Database) -> TestNexus {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let connected = nexus.connected(&provider, "google").await;
    nexus.token(&connected.id).await.expect(200);
    nexus
}

/// A file with the newest checkpoint, once that covers the log.
async fn saved(nexus: &TestNexus) -> String {
    let note = until("the log is signed", || async {
        let said = nexus.operate(&["audit", "checkpoint"]).await.stdout;
        said.starts_with("nexus\n5\n").then_some(said)
    })
    .await;
    let file = nexus.data_dir().join("saved.checkpoint");
    std::fs::write(&file, note).expect("a file");
    file.display().to_string()
}

async fn the_server_verifies_its_own_log(database: Database) {
    let nexus = lived(database).await;
    let none = nexus.broker().get("/admin/v1/verification").await;
    assert_eq!(none.expect(200), json!({"verification": null}));
    let file = saved(&nexus).await;
    let outcome = nexus
        .operate(&["audit", "verify", "--checkpoint", &file])
        .await;
    let said = printed(&outcome);
    assert!(said.starts_with("verified: 5 events, root "), "{said}");
    assert!(
        said.ends_with(" in the database, 1 kept outside\n"),
        "{said}"
    );
    let status = nexus
        .broker()
        .get("/admin/v1/verification")
        .await
        .expect(200);
    let verification = &status["verification"];
    assert_eq!(
        (
            &verification["state"],
            &verification["size"],
            &verification["signed"]
        ),
        (&json!("done"), &json!(5), &json!(5))
    );
}

async fn an_auditor_verifies_while_the_server_serves(database: Database) {
    let nexus = TestNexus::start(database).await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let connected = nexus.capture("weather", json!({"api_key": "k"})).await;
    let (stop, reads) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let gateway = nexus.gateway();
    let reading = tokio::spawn({
        let (stop, reads) = (Arc::clone(&stop), Arc::clone(&reads));
        async move {
            let path = format!("/v1/token/{}", connected.id);
            while !stop.load(Ordering::Relaxed) {
                gateway.get(&path).await.expect(200);
                reads.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    for _ in 0..5 {
        let before = reads.load(Ordering::Relaxed);
        let outcome = nexus.settings().verify_offline(&[]).await;
        let said = printed(&outcome);
        let size = said
            .strip_prefix("verified: ")
            .and_then(|rest| rest.split(' ').next());
        let size: usize = size.expect("a size").parse().expect("a number");
        assert!(size > before, "{size} events after {before} reads");
        until("the server has served meanwhile", || {
            std::future::ready((reads.load(Ordering::Relaxed) > before).then_some(()))
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    reading.await.expect("every read was answered");
    // Nothing of the reading stayed with the server.
    nexus
        .register(json!({"name": "after", "auth_type": "api_key"}))
        .await;
    let stopped = nexus.into_stopped().await;
    assert!(stopped.verified().await.size > 5);
}

async fn what_an_auditor_keeps_is_printed(database: Database) {
    let nexus = lived(database).await;
    let key = nexus.operate(&["audit", "key"]).await;
    assert_eq!(
        printed(&key),
        format!("{}\n", nexus.settings().public_key())
    );
    let key_file = nexus.data_dir().join("public.key");
    std::fs::write(&key_file, printed(&key)).expect("a file");
    let kept = key_file.display().to_string();
    let offline = ["audit", "verify", "--offline", "--public-key-file", &kept];
    printed(&nexus.settings().admin_command(&offline).await);
    let file = saved(&nexus).await;
    let note = std::fs::read_to_string(file).expect("the note");
    let checkpoint = Checkpoint::parse(&note).expect("a checkpoint");
    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("nexus", 5));
    for door in ["/audit/key", "/audit/checkpoint"] {
        nexus
            .broker_without_key()
            .get(door)
            .await
            .refused(401, "missing_api_key");
        nexus.admin().get(door).await.refused(404, "not_found");
    }
}

async fn the_server_finds_what_was_changed_behind_its_back(database: Database) {
    let mut nexus = lived(database).await;
    nexus.terminate().await;
    let change = "UPDATE events SET metadata = '{\"actor\":\"nobody\"}' WHERE position = 2";
    nexus.settings().tamper(change).await;
    nexus.start_again().await;
    let outcome = nexus.operate(&["audit", "verify"]).await;
    assert_eq!(
        complaint(&outcome, 4),
        "nexus-admin: the log diverges at position 2: its contents do not have its leaf hash\n"
    );
    let status = nexus
        .broker()
        .get("/admin/v1/verification")
        .await
        .expect(200);
    assert_eq!(status["verification"]["state"], "diverged");
    assert_eq!(status["verification"]["position"], 2);
}

async fn a_checkpoint_of_another_log_is_not_taken(database: Database) {
    let nexus = TestNexus::start(database).await;
    let forged = Checkpoint {
        origin: "nexus".to_owned(),
        size: 0,
        root: [7; 32],
    }
    .sign(&SigningKey::from_bytes(&[9; 32]));
    let body = json!({"checkpoints": [forged]});
    let refused = nexus.broker().post("/admin/v1/verification", body).await;
    assert_eq!(
        refused.refused(400, "invalid_field")["field"],
        "checkpoints[0]"
    );
    let status = nexus.broker().get("/admin/v1/verification").await;
    assert_eq!(status.expect(200)["verification"], Value::Null);
    nexus
        .broker_without_key()
        .post("/admin/v1/verification", json!({}))
        .await
        .refused(401, "missing_api_key");
}

async fn what_cannot_be_read_is_no_verdict(database: Database) {
    let fresh = Nexus::new(database);
    std::fs::create_dir(fresh.data_dir()).expect("a directory");
    let key = nexus_ledger::checkpoint::VerifierKey::of("nexus", &SigningKey::from_bytes(&[9; 32]));
    let key = key.to_string();
    let verify = ["audit", "verify", "--offline", "--public-key", &key];
    let said = fresh.admin_command(&verify).await;
    assert!(complaint(&said, 1).starts_with("nexus-admin: "), "{said:?}");
    let left: Vec<_> = std::fs::read_dir(fresh.data_dir())
        .expect("a directory")
        .collect();
    assert!(left.is_empty(), "nothing is made: {left:?}");
    let nowhere = [
        "--database-url",
        "postgres://nobody:canary@127.0.0.1:1/none",
    ];
    let said = fresh.admin_command(&[&verify[..], &nowhere].concat()).await;
    let told = complaint(&said, 1);
    assert!(
        told.contains("the database cannot be opened") && !told.contains("canary"),
        "{told}"
    );
    let usage = fresh.admin_command(&["audit", "verify", "--offline"]).await;
    complaint(&usage, 2);
    let usage = fresh
        .admin_command(&["audit", "verify", "--offline", "--public-key", "nonsense"])
        .await;
    assert_eq!(
        complaint(&usage, 1),
        "nexus-admin: the public key is of no use: it is not a verifier key of the form name+hash+key\n"
    );
}
