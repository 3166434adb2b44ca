//! Several nodes on one database.

use futures::FutureExt;
use nexus_ledger::postgres::lock_head;
use nexus_ledger::{AppendError, Expected, verify};
use tokio_postgres::AsyncMessage;

use super::server::{Server, WAITING, append, log, pooled, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_interleave_without_gaps() {
    let server = Server::new().await;
    let nodes = [server.open().await, server.open().await];
    let writers = (0..32).map(|writer| {
        let ledger = nodes[writer % 2].clone();
        tokio::spawn(async move {
            for sequence in 0..10 {
                ledger
                    .append(append(&format!("w{writer}"), Expected::At(sequence)))
                    .await
                    .unwrap();
            }
        })
    });
    for written in soon(futures::future::join_all(writers)).await {
        written.unwrap();
    }
    assert_eq!(log(&nodes[0]).await.len(), 320);
    assert_eq!(
        verify::verify(nodes[1].backend(), None).await.unwrap().size,
        320
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_claims_by_two_nodes_one_wins() {
    let server = Server::new().await;
    let nodes = [server.open().await, server.open().await];
    for sequence in 0..20 {
        let claims = nodes
            .iter()
            .map(|ledger| ledger.append(append("a", Expected::At(sequence))));
        let outcomes = soon(futures::future::join_all(claims)).await;
        assert_eq!(
            outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
            1,
            "{outcomes:?}"
        );
        let lost = outcomes.into_iter().find_map(Result::err);
        assert_eq!(
            lost,
            Some(AppendError::Conflict {
                actual: sequence + 1
            })
        );
    }
}

#[tokio::test]
async fn a_subscriber_on_one_node_sees_what_the_other_appends() {
    let server = Server::new().await;
    let (writing, reading) = (server.open().await, server.open().await);
    let mut subscription = reading.subscribe(1);
    for sequence in 0..5 {
        let appended = writing
            .append(append("a", Expected::At(sequence)))
            .await
            .unwrap();
        assert_eq!(soon(subscription.next()).await.unwrap(), appended.events[0]);
    }
}

#[tokio::test]
async fn the_head_of_every_node_follows_the_log() {
    let server = Server::new().await;
    let (writing, watching) = (server.open().await, server.open().await);
    let mut head = watching.watch();
    writing.append(append("a", Expected::At(0))).await.unwrap();
    let seen = soon(head.wait_for(|head| head.position() == 1))
        .await
        .unwrap()
        .clone();
    assert_eq!(seen, writing.head());
}

#[tokio::test]
async fn other_nodes_are_told_the_position_after_the_commit() {
    let server = Server::new().await;
    let ledger = server.open().await;
    let (client, mut connection) =
        tokio_postgres::connect(server.url.as_str(), tokio_postgres::NoTls)
            .await
            .unwrap();
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) =
            futures::future::poll_fn(|context| connection.poll_message(context)).await
        {
            if let AsyncMessage::Notification(notification) = message {
                sender.send(notification.payload().to_owned()).unwrap();
            }
        }
    });
    client.batch_execute("LISTEN nexus_ledger").await.unwrap();
    ledger.append(append("a", Expected::At(0))).await.unwrap();
    assert_eq!(soon(told.recv()).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn nobody_appends_while_another_holds_the_head_lock() {
    let server = Server::new().await;
    let (ledger, other) = (server.open().await, server.open().await);
    let mut client = pooled(&other).await;
    let transaction = client.transaction().await.unwrap();
    lock_head(&transaction).await.unwrap();
    let mut waiting = std::pin::pin!(ledger.append(append("a", Expected::At(0))));
    assert!(waiting.as_mut().now_or_never().is_none());
    server.until(WAITING, 1).await;
    assert_eq!(server.count("SELECT count(*) FROM events").await, 0);
    assert!(waiting.as_mut().now_or_never().is_none());
    transaction.commit().await.unwrap();
    assert_eq!(soon(waiting).await.unwrap().position(), 1);
}

#[tokio::test]
async fn what_was_read_before_the_lock_was_free_does_not_decide() {
    let server = Server::new().await;
    let ledger = server.open().await;
    ledger.append(append("a", Expected::At(0))).await.unwrap();
    let mut client = server.client().await;
    let transaction = client.transaction().await.unwrap();
    lock_head(&transaction).await.unwrap();
    let mut waiting = std::pin::pin!(ledger.append(append("a", Expected::At(1))));
    assert!(waiting.as_mut().now_or_never().is_none());
    server.until(WAITING, 1).await;
    let move_on = "INSERT INTO events SELECT 2, aggregate_type, aggregate_id, 2, event_type, event_version, payload, metadata, recorded_at, leaf \
         FROM events; INSERT INTO log_heads SELECT 2, frontier, recorded_at FROM log_heads";
    transaction.batch_execute(move_on).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(
        soon(waiting).await.unwrap_err(),
        AppendError::Conflict { actual: 2 }
    );
}
