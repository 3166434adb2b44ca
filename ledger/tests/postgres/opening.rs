//! Which databases are opened, and by whom.

use nexus_ledger::{Expected, Ledger, MigrateError, OpenError};

use super::server::{Server, append, log, open, options, soon, unique};

async fn refusal(server: &Server, parameters: &str) -> OpenError {
    let mut url = server.url.clone();
    url.set_query(Some(parameters));
    match soon(Ledger::open(options(&url))).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn nodes_that_start_together_on_an_empty_database_both_open_it() {
    let server = Server::new().await;
    let nodes = soon(futures::future::join_all((0..4).map(|_| server.open()))).await;
    assert_eq!(
        server.count("SELECT count(*) FROM schema_migrations").await,
        1
    );
    for (sequence, node) in (0..).zip(&nodes) {
        node.append(append("a", Expected::At(sequence)))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let server = Server::new().await;
    server.open().await.stop().await;
    let newer = "INSERT INTO schema_migrations (number, name, checksum) VALUES (99, 'later', 'x')";
    server.client().await.batch_execute(newer).await.unwrap();
    let refused = refusal(&server, "").await;
    assert!(
        matches!(
            refused,
            OpenError::Migrate(MigrateError::NewerSchema { found: 99, .. })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_database_that_would_change_bytes_is_refused() {
    let server =
        Server::with("ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'").await;
    let refused = refusal(&server, "").await;
    assert_eq!(
        refused.to_string(),
        "the database cannot be opened: its encoding is SQL_ASCII; it must be UTF8"
    );
    assert_eq!(
        server
            .count("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            .await,
        0
    );
}

#[tokio::test]
async fn a_server_without_tls_is_refused_when_tls_is_asked_for() {
    let server = Server::new().await;
    if server
        .count("SELECT count(*) FROM pg_settings WHERE name = 'ssl' AND setting = 'on'")
        .await
        > 0
    {
        return;
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let refused = refusal(&server, &format!("sslmode={mode}")).await;
        assert!(
            matches!(&refused, OpenError::Unavailable(cause) if cause.contains("TLS")),
            "{mode}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_damaged_tree_head_is_refused() {
    let server = Server::new().await;
    let ledger = server.open().await;
    ledger.append(append("a", Expected::At(0))).await.unwrap();
    ledger.stop().await;
    let damage = "INSERT INTO log_heads VALUES (2, '\\x00', 0)";
    server.client().await.batch_execute(damage).await.unwrap();
    let refused = refusal(&server, "").await;
    assert!(matches!(refused, OpenError::DamagedHead), "{refused:?}");
}

#[tokio::test]
async fn a_role_that_does_not_own_the_tables_serves_them_and_cannot_change_the_log() {
    let server = Server::new().await;
    server.open().await.stop().await;
    let role = unique();
    let owner = server.client().await;
    let grants = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'canary'; \
         GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {role}; \
         GRANT UPDATE ON snapshots, unique_names, projections TO {role}; \
         GRANT DELETE ON log_heads, sealed_blobs, data_keys, unique_names TO {role}"
    );
    owner.batch_execute(&grants).await.unwrap();
    let mut url = server.url.clone();
    url.set_username(&role).unwrap();
    url.set_password(Some("canary")).unwrap();
    let ledger = soon(open(&url)).await;
    ledger.append(append("a", Expected::At(0))).await.unwrap();
    assert_eq!(log(&ledger).await, [("a".to_owned(), 1)]);
    let client = super::server::connect(&url).await;
    for change in [
        "ALTER TABLE events DISABLE TRIGGER USER",
        "UPDATE events SET actor = 'x'",
        "TRUNCATE events",
    ] {
        assert!(client.batch_execute(change).await.is_err(), "{change}");
    }
    ledger.stop().await;
    drop(client);
}
