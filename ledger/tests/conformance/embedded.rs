//! What holds of the embedded database alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use nexus_ledger::sqlite::Watcher;
use nexus_ledger::{
    Append, Backend, Database, Expected, Ledger, MigrateError, NewEvent, OpenError, RecordedEvent,
};

use super::store::{Store, append, event, log, stream};

fn beside(store: &Store, suffix: &str) -> PathBuf {
    let mut name = store.path().into_os_string();
    name.push(suffix);
    name.into()
}

fn sqlite(ledger: &Ledger) -> &nexus_ledger::sqlite::SqliteDatabase {
    match ledger.backend() {
        Backend::Sqlite(database) => database,
        Backend::Postgres(_) => panic!("not embedded"),
    }
}

/// Writes down what it hears.
#[derive(Default)]
struct Diary(Mutex<Vec<String>>);

impl Diary {
    fn read(&self) -> Vec<String> {
        self.0.lock().unwrap().drain(..).collect()
    }
}

impl Watcher for Diary {
    fn moving(&self, events: &[&RecordedEvent]) {
        let moved = events
            .iter()
            .map(|event| format!("{} {}", event.stream.id, event.sequence));
        self.0.lock().unwrap().extend(moved);
    }

    fn settled(&self) {
        self.0.lock().unwrap().push("settled".to_owned());
    }
}

#[tokio::test]
async fn a_watcher_hears_of_each_commit_before_and_after_it() {
    let store = Store::sqlite().await;
    let ledger = store.open().await;
    let diary = Arc::new(Diary::default());
    let watcher: Weak<Diary> = Arc::downgrade(&diary);
    assert!(sqlite(&ledger).tell(watcher));

    ledger.append(append("a", Expected::At(0))).await.unwrap();
    assert_eq!(diary.read(), ["a 1", "settled"]);
    let two = Append {
        events: vec![event("test.one"), event("test.two")],
        ..append("a", Expected::At(1))
    };
    ledger.append(two).await.unwrap();
    assert_eq!(diary.read(), ["a 2", "a 3", "settled"]);
    // What is refused moves nothing.
    ledger
        .append(append("a", Expected::At(7)))
        .await
        .unwrap_err();
    assert!(diary.read().is_empty());
    drop(diary);
    ledger.append(append("a", Expected::At(3))).await.unwrap();
    ledger.stop().await;
}

#[tokio::test]
async fn nobody_hears_of_what_another_process_may_commit() {
    let store = Store::sqlite().await;
    store.open().await.stop().await;
    let path = store.path();
    let backend = Backend::open_read_only(&Database::Sqlite { path }).await;
    let Ok(Backend::Sqlite(database)) = backend else {
        panic!("it does not open");
    };
    let watcher: Weak<Diary> = Weak::new();
    assert!(!database.tell(watcher));
}

#[tokio::test]
async fn a_second_server_is_refused_until_the_first_stopped() {
    let store = Store::sqlite().await;
    let first = store.open().await;
    let second = Ledger::open(store.options()).await;
    assert!(matches!(second.err(), Some(OpenError::Locked(path)) if path == store.path()));
    first.append(append("a", Expected::At(0))).await.unwrap();
    first.stop().await;
    let next = store.open().await;
    assert_eq!(next.head().position(), 1);
    next.stop().await;
}

#[tokio::test]
async fn only_the_owner_reads_the_files() {
    let store = Store::sqlite().await;
    fs::write(store.path(), "").unwrap();
    fs::set_permissions(store.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let ledger = store.open().await;
    ledger.append(append("a", Expected::At(0))).await.unwrap();
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mode = fs::metadata(beside(&store, suffix))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{suffix}");
    }
    ledger.stop().await;
}

#[tokio::test]
async fn a_dropped_ledger_frees_the_file() {
    let store = Store::sqlite().await;
    let ledger = store.open().await;
    ledger.append(append("a", Expected::At(0))).await.unwrap();
    let mut ended = ledger.watch();
    drop(ledger);
    while ended.changed().await.is_ok() {}
    let next = loop {
        match Ledger::open(store.options()).await {
            Ok(ledger) => break ledger,
            Err(OpenError::Locked(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(log(&next).await.len(), 1);
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_write_ahead_log_stays_small_under_overlapping_readers() {
    let store = Store::sqlite().await;
    let ledger = store.open().await;
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                while ledger.head().position() < 6_000 {
                    ledger.read(1, 500).await.unwrap();
                }
            })
        })
        .collect();
    let mut largest = 0;
    let large = format!("\"{}\"", "x".repeat(20_000));
    for round in 0..600 {
        let events = (0..10)
            .map(|_| NewEvent {
                payload: large.clone(),
                ..event("a.large")
            })
            .collect();
        ledger
            .append(Append::new(
                stream(&round.to_string()),
                Expected::At(0),
                events,
            ))
            .await
            .unwrap();
        largest = largest.max(fs::metadata(beside(&store, "-wal")).unwrap().len());
    }
    futures::future::try_join_all(readers).await.unwrap();
    assert!(
        largest < 60 << 20,
        "120 MB went through a log of {largest} bytes"
    );
    ledger.stop().await;
    assert_eq!(
        fs::metadata(beside(&store, "-wal")).map_or(0, |file| file.len()),
        0,
        "emptied at the stop"
    );
}

#[tokio::test]
async fn work_on_the_writing_connection_is_a_transaction_between_batches() {
    let store = Store::sqlite().await;
    let ledger = store.open().await;
    let put = |name: &'static str| {
        move |connection: &rusqlite::Connection| {
            connection.execute("INSERT INTO vault_settings VALUES (?1, 'x')", [name])
        }
    };
    assert_eq!(sqlite(&ledger).write(put("kept")).await.unwrap(), 1);
    let failed = sqlite(&ledger).write(move |connection| {
        put("rolled back")(connection)?;
        connection.execute("INSERT INTO nothing VALUES (1)", [])
    });
    failed.await.unwrap_err();
    sqlite(&ledger)
        .write::<(), _>(|_| panic!("as a test does"))
        .await
        .unwrap_err();
    let names = sqlite(&ledger).read(|connection| {
        connection.query_row("SELECT group_concat(name) FROM vault_settings", [], |row| {
            row.get::<_, String>(0)
        })
    });
    assert_eq!(names.await.unwrap(), "kept");
    ledger.append(append("a", Expected::At(0))).await.unwrap();
    sqlite(&ledger)
        .read(|connection| connection.execute("DELETE FROM vault_settings", []))
        .await
        .unwrap_err();
    ledger.stop().await;
    sqlite(&ledger).write(put("late")).await.unwrap_err();
}

#[tokio::test]
async fn a_schema_of_a_newer_program_is_refused() {
    let store = Store::sqlite().await;
    store.open().await.stop().await;
    store
        .run(
            "INSERT INTO schema_migrations VALUES (99, 'future', 'x')",
            "",
        )
        .await
        .unwrap();
    let outcome = Ledger::open(store.options()).await.err();
    assert!(
        matches!(
            outcome,
            Some(OpenError::Migrate(MigrateError::NewerSchema {
                found: 99,
                ..
            }))
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_changed_schema_and_a_damaged_head_are_refused() {
    let store = Store::sqlite().await;
    let ledger = store.open().await;
    ledger.append(append("a", Expected::At(0))).await.unwrap();
    ledger.stop().await;
    store.lift_triggers().await;
    store
        .run("UPDATE log_heads SET frontier = x'00'", "")
        .await
        .unwrap();
    assert!(matches!(
        Ledger::open(store.options()).await.err(),
        Some(OpenError::DamagedHead)
    ));
    store
        .run("UPDATE schema_migrations SET checksum = 'x'", "")
        .await
        .unwrap();
    assert!(matches!(
        Ledger::open(store.options()).await.err(),
        Some(OpenError::Migrate(MigrateError::Changed { number: 1 }))
    ));
}
