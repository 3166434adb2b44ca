//! Servers that go away and come back.

use futures::FutureExt;
use nexus_ledger::postgres::lock_head;
use nexus_ledger::{AppendError, Expected};

use super::proxy::Proxy;
use super::server::{Server, WAITING, append, log, open, soon};

#[tokio::test]
async fn sessions_that_ended_while_idle_are_replaced_without_an_error() {
    let server = Server::new().await;
    let ledger = server.open().await;
    for sequence in 0..5 {
        soon(ledger.append(append("a", Expected::At(sequence))))
            .await
            .unwrap();
        server.end_sessions().await;
    }
    assert_eq!(soon(log(&ledger)).await.len(), 5);
}

#[tokio::test]
async fn a_session_that_ends_while_it_waits_for_the_lock_appends_once() {
    let server = Server::new().await;
    let ledger = server.open().await;
    ledger.append(append("a", Expected::At(0))).await.unwrap();
    let mut client = server.client().await;
    let transaction = client.transaction().await.unwrap();
    lock_head(&transaction).await.unwrap();
    let mut waiting = std::pin::pin!(ledger.append(append("a", Expected::At(1))));
    assert!(waiting.as_mut().now_or_never().is_none());
    server.until(WAITING, 1).await;
    let end = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_locks \
         WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(server.count(end).await, 1);
    transaction.commit().await.unwrap();
    assert_eq!(soon(waiting).await.unwrap().position(), 2);
    assert_eq!(log(&ledger).await.len(), 2);
}

#[tokio::test]
async fn while_the_server_is_away_appends_are_unavailable_and_afterwards_they_are_not() {
    let server = Server::new().await;
    let proxy = Proxy::before(&server.url).await;
    let ledger = open(&proxy.url).await;
    let mut subscription = ledger.subscribe(1);
    ledger.append(append("a", Expected::At(0))).await.unwrap();
    assert_eq!(soon(subscription.next()).await.unwrap().position, 1);
    proxy.set_up(false);
    for _ in 0..3 {
        let refused = soon(ledger.append(append("a", Expected::At(1)))).await;
        assert!(
            matches!(refused, Err(AppendError::Unavailable(_))),
            "{refused:?}"
        );
    }
    proxy.set_up(true);
    let again = async {
        loop {
            match ledger.append(append("a", Expected::At(1))).await {
                Err(AppendError::Unavailable(_)) => {}
                outcome => return outcome.unwrap(),
            }
        }
    };
    assert_eq!(soon(again).await.position(), 2);
    assert_eq!(soon(subscription.next()).await.unwrap().position, 2);
    assert_eq!(log(&ledger).await.len(), 2);
}

#[tokio::test]
async fn an_append_that_breaks_before_its_commit_is_unavailable_and_not_in_the_log() {
    let server = Server::new().await;
    let ledger = server.open().await;
    ledger.append(append("a", Expected::At(0))).await.unwrap();
    let killer = "CREATE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$; \
         CREATE TRIGGER end_session AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION end_session()";
    let client = server.client().await;
    client.batch_execute(killer).await.unwrap();
    let broken = soon(ledger.append(append("a", Expected::At(1)))).await;
    assert!(broken.is_err(), "{broken:?}");
    client
        .batch_execute("DROP TRIGGER end_session ON events")
        .await
        .unwrap();
    assert_eq!(
        soon(ledger.append(append("a", Expected::At(1))))
            .await
            .unwrap()
            .position(),
        2
    );
}
