//! A database changed behind the server's back, and what `nexus-admin audit verify` finds of it without the server.

use std::fmt::Write as _;

use nexus_ledger::RecordedEvent;
use nexus_ledger::merkle::{Frontier, LeafInput};
use nexus_tests::{Connected, Database, Nexus, ScriptedProvider, TestNexus, on_both_databases};
use serde_json::json;

on_both_databases! {
    a_log_that_nobody_touched_is_verified,
    changed_contents_are_found,
    a_row_that_is_no_event_any_more_is_found,
    a_changed_order_is_found,
    missing_and_added_events_are_found,
    columns_that_auditors_filter_by_are_part_of_it,
    a_changed_tree_head_is_found,
    a_history_rewritten_with_its_hashes_is_found_by_the_checkpoint_that_signs_another,
    a_forged_checkpoint_is_found,
    a_log_cut_back_is_found_by_the_checkpoints_left,
    a_log_cut_back_with_its_checkpoints_is_found_by_one_kept_outside,
    a_blob_moved_to_another_event_is_found_and_never_opens,
    an_older_credential_put_back_never_opens,
}

/// A stopped server's vault: eight events, signed after the fifth and after the eighth.
struct Vault {
    nexus: Nexus,
    /// The newest checkpoint as an auditor saved it.
    saved: String,
}

/// The position of the checkpoint that is taken while the log is half as long.
const HALF: u64 = 5;
/// The last position.
const END: u64 = 8;

async fn lived(database: Database) -> Vault {
    let provider = ScriptedProvider::start().await;
    let mut nexus = TestNexus::start(database).await;
    let connected = nexus.connected(&provider, "google").await;
    nexus.token(&connected.id).await.expect(200);
    nexus.terminate().await;
    nexus.start_again().await;
    nexus.refresh(&connected.id).await.expect(200);
    nexus.terminate().await;
    nexus.start_again().await;
    let saved = nexus.operate(&["audit", "checkpoint"]).await.stdout;
    let vault = Vault {
        nexus: nexus.into_stopped().await,
        saved,
    };
    assert!(vault.saved.starts_with("nexus\n8\n"), "{}", vault.saved);
    vault
}

impl Vault {
    /// Changes something; returns what the verification complains of.
    async fn after(&self, statements: &str) -> String {
        self.nexus.tamper(statements).await;
        self.complaint(&[]).await
    }

    async fn complaint(&self, more: &[&str]) -> String {
        let outcome = self.nexus.verify_offline(more).await;
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (Some(4), ""),
            "{}",
            outcome.stderr
        );
        let said = outcome
            .stderr
            .strip_prefix("nexus-admin: the log diverges at position ");
        said.unwrap_or_else(|| panic!("{}", outcome.stderr))
            .trim_end()
            .to_owned()
    }

    async fn verified(&self, more: &[&str]) -> String {
        let outcome = self.nexus.verify_offline(more).await;
        assert_eq!(
            (outcome.code, outcome.stderr.as_str()),
            (Some(0), ""),
            "{}",
            outcome.stdout
        );
        outcome.stdout
    }

    /// Changes something, looks, and changes it back.
    async fn meanwhile(&self, there: &str, back: &str) -> String {
        let said = self.after(there).await;
        self.nexus.tamper(back).await;
        said
    }

    /// The saved checkpoint's file.
    fn outside(&self) -> String {
        let file = self.nexus.data_dir().join("saved.checkpoint");
        std::fs::write(&file, &self.saved).expect("a file");
        file.display().to_string()
    }
}

async fn a_log_that_nobody_touched_is_verified(database: Database) {
    let vault = lived(database).await;
    let said = vault.verified(&["--checkpoint", &vault.outside()]).await;
    let root = vault.saved.lines().nth(2).expect("a root");
    assert!(
        said.starts_with(&format!("verified: 8 events, root {root}\n")),
        "{said}"
    );
    assert!(
        said.ends_with(" in the database, 1 kept outside\n"),
        "{said}"
    );
}

async fn changed_contents_are_found(database: Database) {
    let vault = lived(database).await;
    let bytes = vault.nexus.bytes(&[7; 32]);
    let leaf = "its contents do not have its leaf hash";
    for (column, value) in [
        ("payload", "'{}'"),
        ("metadata", "'{\"actor\":\"somebody\"}'"),
        ("event_type", "'connection.revoked'"),
        ("event_version", "'2'"),
        ("aggregate_id", "'somewhere'"),
        ("recorded_at", "recorded_at + 1"),
        ("leaf", &bytes),
        ("blob_digest", &bytes),
    ] {
        // A copy to restore from, which no statement of the vault's looks at.
        let said = vault
            .meanwhile(
                &format!("CREATE TABLE was AS SELECT * FROM events; UPDATE events SET {column} = {value} WHERE position = 4;"),
                &format!("UPDATE events SET {column} = (SELECT {column} FROM was WHERE position = 4) WHERE position = 4; DROP TABLE was;"),
            )
            .await;
        assert_eq!(said, format!("4: {leaf}"), "{column}");
    }
    vault.verified(&[]).await;
}

async fn a_row_that_is_no_event_any_more_is_found(database: Database) {
    let vault = lived(database).await;
    let short = vault.nexus.bytes(b"short");
    let mut changes = vec![format!("leaf = {short}"), "sequence = -4".to_owned()];
    if database == Database::Sqlite {
        // No character of UTF-8.
        changes.push("payload = CAST(x'ff' AS TEXT)".to_owned());
    }
    for change in changes {
        let said = vault
            .meanwhile(
                &format!("CREATE TABLE was AS SELECT * FROM events; UPDATE events SET {change} WHERE position = 4;"),
                "UPDATE events SET leaf = (SELECT leaf FROM was WHERE position = 4), sequence = (SELECT sequence FROM was WHERE position = 4), payload = (SELECT payload FROM was WHERE position = 4) WHERE position = 4; DROP TABLE was;",
            )
            .await;
        let expected = match database {
            Database::Sqlite => "4: it is not in the form of an event",
            Database::Postgres => "4: its contents do not have its leaf hash",
        };
        assert_eq!(said, expected, "{change}");
    }
    vault.verified(&[]).await;
}

async fn a_changed_order_is_found(database: Database) {
    let vault = lived(database).await;
    let swap = "UPDATE events SET position = 100 WHERE position = 6; UPDATE events SET position = 6 WHERE position = 7; UPDATE events SET position = 7 WHERE position = 100;";
    let said = vault.meanwhile(swap, swap).await;
    assert_eq!(said, "6: its contents do not have its leaf hash");
    // With leaves that fit, the order within the stream gives it away.
    let mut events = vault.nexus.events().await;
    let (sixth, seventh) = (events[5].clone(), events[6].clone());
    events[5] = RecordedEvent {
        position: 6,
        ..seventh
    };
    events[6] = RecordedEvent {
        position: 7,
        ..sixth
    };
    vault.nexus.tamper(swap).await;
    let said = vault.after(&rehashed(&vault.nexus, &mut events)).await;
    assert_eq!(said, "6: its sequence does not follow its stream's last");
}

async fn missing_and_added_events_are_found(database: Database) {
    let vault = lived(database).await;
    let copy = |position: i64| {
        format!(
            "INSERT INTO events SELECT {position}, aggregate_type, aggregate_id, sequence + 90, event_type, event_version, payload, metadata, recorded_at, leaf, blob_digest, connection, actor, agent FROM events WHERE position = 5;"
        )
    };
    let gone = |position: i64| format!("DELETE FROM events WHERE position = {position};");
    let added = vault.meanwhile(&copy(9), &gone(9)).await;
    assert_eq!(added, "9: the newest tree head does not cover it");
    let before = vault.meanwhile(&copy(-1), &gone(-1)).await;
    assert_eq!(before, "0: an event lies before the log's beginning");
    let end = vault.after(&gone(8)).await;
    assert_eq!(end, "8: an event is missing");
    let middle = vault.after(&gone(4)).await;
    assert_eq!(middle, "4: an event is missing");
    let first = vault.after(&gone(1)).await;
    assert_eq!(first, "1: an event is missing");
    let all = vault.after("DELETE FROM events;").await;
    assert_eq!(all, "1: an event is missing");
}

async fn columns_that_auditors_filter_by_are_part_of_it(database: Database) {
    let vault = lived(database).await;
    let events = vault.nexus.events().await;
    let connection = events[1].stream.id.clone();
    let columns = "the columns that auditors filter by do not say what it says";
    // An event of the connection, and a record of access to it.
    for position in [4, 5] {
        let set = |value: &str| {
            format!("UPDATE events SET connection = {value} WHERE position = {position};")
        };
        let back = set(&format!("'{connection}'"));
        for value in ["NULL", "'another'"] {
            let said = vault.meanwhile(&set(value), &back).await;
            assert_eq!(said, format!("{position}: {columns}"));
        }
    }
    for column in ["actor", "agent"] {
        let set = |value: &str| format!("UPDATE events SET {column} = {value} WHERE position = 3;");
        let said = vault.meanwhile(&set("'somebody'"), &set("NULL")).await;
        assert_eq!(said, format!("3: {columns}"));
    }
    let of_a_provider = vault
        .after(&format!(
            "UPDATE events SET connection = '{connection}' WHERE position = 1;"
        ))
        .await;
    assert_eq!(of_a_provider, format!("1: {columns}"));
}

async fn a_changed_tree_head_is_found(database: Database) {
    let vault = lived(database).await;
    let head = "8: the tree over the events is not the newest head's";
    let back = "UPDATE log_heads SET recorded_at = recorded_at - 1 WHERE size = 8;";
    let later = vault
        .meanwhile(
            "UPDATE log_heads SET recorded_at = recorded_at + 1 WHERE size = 8;",
            back,
        )
        .await;
    assert_eq!(later, head);
    let other = vault.nexus.bytes(&[7; 32]);
    for frontier in [other, vault.nexus.bytes(b"short")] {
        let said = vault
            .after(&format!(
                "UPDATE log_heads SET frontier = {frontier} WHERE size = 8;"
            ))
            .await;
        assert_eq!(said, head);
    }
    let gone = vault.after("DELETE FROM log_heads;").await;
    assert_eq!(gone, "1: the newest tree head does not cover it");
}

/// Statements that give every event the leaf its contents have, and the newest head the tree over them.
fn rehashed(nexus: &Nexus, events: &mut [RecordedEvent]) -> String {
    let (mut tree, mut statements) = (Frontier::default(), String::new());
    for event in events {
        event.leaf = LeafInput {
            position: event.position,
            stream: &event.stream,
            sequence: event.sequence,
            event_type: &event.event_type,
            event_version: &event.event_version,
            recorded_at: event.recorded_at.as_micros(),
            payload: &event.payload,
            metadata: &event.metadata,
            blob_digest: event.blob_digest,
        }
        .hash();
        tree.push(event.leaf);
        let leaf = nexus.bytes(&event.leaf);
        write!(
            statements,
            "UPDATE events SET leaf = {leaf} WHERE position = {};",
            event.position
        )
        .expect("a text");
    }
    let frontier = nexus.bytes(&tree.to_bytes());
    statements
        + &format!(
            "UPDATE log_heads SET frontier = {frontier} WHERE size = {};",
            tree.size()
        )
}

async fn a_history_rewritten_with_its_hashes_is_found_by_the_checkpoint_that_signs_another(
    database: Database,
) {
    let vault = lived(database).await;
    let honest = vault.nexus.events().await;
    for (changed, signed, agreed) in [(7, END, HALF), (3, HALF, 0)] {
        let mut events = honest.clone();
        let event = &mut events[changed - 1];
        event.event_version = String::from("2");
        let forged = format!(
            "UPDATE events SET event_version = '1'; UPDATE events SET event_version = '2' WHERE position = {changed};{}",
            rehashed(&vault.nexus, &mut events)
        );
        let said = vault.after(&forged).await;
        let (position, told) = said.split_once(": ").expect("a position");
        // A checkpoint was taken in between only where a second passed in between.
        let (position, last): (u64, _) = (
            position.parse().expect("a number"),
            told.rsplit(' ').next().expect("a number"),
        );
        let last: u64 = last.parse().expect("a number");
        assert!(told.starts_with("a checkpoint in the database signs other events; the last checkpoint that agrees is of position "), "{said}");
        assert!(
            (changed as u64..=signed).contains(&position)
                && (agreed..changed as u64).contains(&last),
            "{said}"
        );
    }
    // Without the checkpoints nothing inside tells; one kept outside does.
    vault.nexus.tamper("DELETE FROM checkpoints;").await;
    let said = vault.verified(&[]).await;
    assert!(said.contains("not signed yet: 8 at the end"), "{said}");
    let said = vault.complaint(&["--checkpoint", &vault.outside()]).await;
    assert_eq!(
        said,
        "8: a checkpoint kept outside signs other events; the last checkpoint that agrees is of position 0"
    );
}

async fn a_forged_checkpoint_is_found(database: Database) {
    let vault = lived(database).await;
    let note = |note: &str| format!("UPDATE checkpoints SET note = '{note}' WHERE size = {END};");
    let signature = "8: its checkpoint is not signed by the key";
    let altered = vault.saved.replace("nexus\n8\n", "nexus\n7\n");
    let other = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let checkpoint =
        nexus_ledger::checkpoint::Checkpoint::parse(&vault.saved).expect("a checkpoint");
    let elsewhere = nexus_ledger::checkpoint::Checkpoint {
        origin: "elsewhere".to_owned(),
        ..checkpoint.clone()
    };
    for forged in [
        altered,
        checkpoint.sign(&other),
        elsewhere.sign(&other),
        "nothing".to_owned(),
    ] {
        assert_eq!(vault.after(&note(&forged)).await, signature, "{forged}");
    }
    let moved = vault.after(&format!("UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE size = {HALF}) WHERE size = {END};")).await;
    assert!(
        moved.starts_with("8: a checkpoint in the database signs other events"),
        "{moved}"
    );
    // Another public key agrees with none; the first one shows it.
    vault.nexus.tamper(&note(&vault.saved)).await;
    let key = nexus_ledger::checkpoint::VerifierKey::of("nexus", &other).to_string();
    let outcome = vault
        .nexus
        .admin_command(&["audit", "verify", "--offline", "--public-key", &key])
        .await;
    assert_eq!(outcome.code, Some(4), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("its checkpoint is not signed by the key"),
        "{}",
        outcome.stderr
    );
    // A forged one is not accepted from outside either; that says nothing about the log.
    let file = vault.outside();
    std::fs::write(&file, checkpoint.sign(&other)).expect("a file");
    let outcome = vault.nexus.verify_offline(&["--checkpoint", &file]).await;
    assert_eq!(
        (outcome.code, outcome.stderr),
        (
            Some(1),
            format!("nexus-admin: {file}: the checkpoint is not signed by this key\n")
        )
    );
}

async fn a_log_cut_back_is_found_by_the_checkpoints_left(database: Database) {
    let vault = lived(database).await;
    let said = vault
        .after(&format!(
            "DELETE FROM events WHERE position > {HALF}; DELETE FROM log_heads WHERE size > {HALF};"
        ))
        .await;
    let (told, size) = said.rsplit_once(" signs ").expect("a size");
    assert_eq!(told, "6: it is missing, and a checkpoint in the database");
    let size: u64 = size
        .split_once(' ')
        .expect("a number")
        .0
        .parse()
        .expect("a number");
    assert!((HALF + 1..=END).contains(&size), "{said}");
}

async fn a_log_cut_back_with_its_checkpoints_is_found_by_one_kept_outside(database: Database) {
    let vault = lived(database).await;
    let tables = [
        ("events", "position"),
        ("log_heads", "size"),
        ("checkpoints", "size"),
    ];
    let cut = tables.map(|(table, column)| format!("DELETE FROM {table} WHERE {column} > {HALF};"));
    vault.nexus.tamper(&cut.concat()).await;
    let said = vault.verified(&[]).await;
    assert!(
        said.starts_with("verified: 5 events"),
        "nothing inside tells: {said}"
    );
    let said = vault.complaint(&["--checkpoint", &vault.outside()]).await;
    assert_eq!(
        said,
        "6: it is missing, and a checkpoint kept outside signs 8 events"
    );
}

/// Two connections with a captured key each, and one that nobody touches.
async fn captured(database: Database) -> (TestNexus, [Connected; 3]) {
    let nexus = TestNexus::start(database).await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let mut connections = Vec::new();
    for key in ["one", "two", "three"] {
        connections.push(nexus.capture("weather", json!({"api_key": key})).await);
    }
    (nexus, connections.try_into().expect("three"))
}

/// The blobs and references of two rows, exchanged.
fn exchanged(table: &str, key: &str, columns: &[&str], [one, two]: [&str; 2]) -> String {
    let mut statements = format!("CREATE TABLE was AS SELECT * FROM {table};");
    for (to, from) in [(one, two), (two, one)] {
        let set: Vec<String> = columns
            .iter()
            .map(|column| format!("{column} = (SELECT {column} FROM was WHERE {key} = {from})"))
            .collect();
        write!(
            statements,
            "UPDATE {table} SET {} WHERE {key} = {to};",
            set.join(", ")
        )
        .expect("a text");
    }
    statements + "DROP TABLE was;"
}

async fn a_blob_moved_to_another_event_is_found_and_never_opens(database: Database) {
    let (mut nexus, [one, two, three]) = captured(database).await;
    for (id, key) in [(&one, "one"), (&two, "two")] {
        let body = nexus.token(&id.id).await.expect(200);
        assert_eq!(body["credentials"]["api_key"], key);
    }
    nexus.terminate().await;
    let quoted = [&one, &two].map(|connected| format!("'{}'", connected.reference()));
    let references = [quoted[0].as_str(), quoted[1].as_str()];
    // First the ciphertext alone, then together with what names its key and version.
    for columns in [
        &["credential_blob"][..],
        &["credential_sealed", "credential_position"],
    ] {
        let swap = exchanged("connections_g1", "reference", columns, references);
        nexus.settings().tamper(&swap).await;
        nexus.start_again().await;
        for id in [&one.id, &two.id] {
            nexus.token(id).await.refused(500, "secret_unreadable");
        }
        let body = nexus.token(&three.id).await.expect(200);
        assert_eq!(body["credentials"]["api_key"], "three");
        nexus.terminate().await;
    }
    // Beside the events, where a rebuild would take them from.
    let events = nexus.settings().events().await;
    let mut with_blob = events
        .iter()
        .filter(|event| event.event_type == "connection.credential_captured");
    let mut position = || with_blob.next().expect("an event").position.to_string();
    let positions = [position(), position()];
    let swap = exchanged(
        "sealed_blobs",
        "position",
        &["blob"],
        [&positions[0], &positions[1]],
    );
    nexus.settings().tamper(&swap).await;
    let outcome = nexus.settings().verify_offline(&[]).await;
    let expected = format!(
        "nexus-admin: the log diverges at position {}: its sealed blob does not have the digest it commits to\n",
        positions[0]
    );
    assert_eq!((outcome.code, outcome.stderr), (Some(4), expected));
}

async fn an_older_credential_put_back_never_opens(database: Database) {
    let provider = ScriptedProvider::start().await;
    let mut nexus = TestNexus::start(database).await;
    let (connected, other) = (
        nexus.connected(&provider, "google").await,
        nexus.connect(&provider, "google").await,
    );
    nexus.terminate().await;
    let kept = "CREATE TABLE kept AS SELECT * FROM connections_g1;";
    nexus.settings().tamper(kept).await;
    nexus.start_again().await;
    nexus.refresh(&connected.id).await.expect(200);
    nexus.terminate().await;
    let reference = connected.reference();
    for columns in [
        &["credential_blob"][..],
        &["credential_sealed", "credential_position"],
    ] {
        for column in columns {
            let back = format!(
                "UPDATE connections_g1 SET {column} = (SELECT {column} FROM kept WHERE reference = '{reference}') WHERE reference = '{reference}';"
            );
            nexus.settings().tamper(&back).await;
        }
        nexus.start_again().await;
        nexus
            .token(&connected.id)
            .await
            .refused(500, "secret_unreadable");
        nexus
            .refresh(&connected.id)
            .await
            .refused(500, "secret_unreadable");
        nexus.token(&other.id).await.expect(200);
        nexus.terminate().await;
    }
    assert_eq!(
        provider.refreshes().len(),
        1,
        "a refresh token that does not open is not redeemed"
    );
}
