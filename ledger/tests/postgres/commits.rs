//! Answers to COMMIT that never come, and answers that mean nothing.

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use nexus_ledger::postgres::DedicatedClient;
use nexus_ledger::{
    AppendError, Expected, Ledger, ProjectError, Projector, RecordedEvent, Writes, verify,
};

use super::proxy::{Lost, Proxy};
use super::server::{Server, append, log, open, options, soon};

/// A ledger behind a proxy, and the server around it.
async fn behind_a_proxy() -> (Server, Proxy, Ledger) {
    let server = Server::new().await;
    let proxy = Proxy::before(&server.url).await;
    let ledger = open(&proxy.url).await;
    ledger
        .append(append("first", Expected::At(0)))
        .await
        .unwrap();
    (server, proxy, ledger)
}

async fn is_sound(ledger: &Ledger, size: u64) {
    assert_eq!(
        verify::verify(ledger.backend(), None).await.unwrap().size,
        size
    );
}

fn ids(log: &[(String, u64)]) -> Vec<&str> {
    log.iter().map(|(id, _)| id.as_str()).collect()
}

#[tokio::test]
async fn a_commit_that_went_through_without_an_answer_is_a_success_and_there_once() {
    let (_server, proxy, ledger) = behind_a_proxy().await;
    proxy.lose_commit(true).cut_at_once();
    let appended = soon(ledger.append(append("a", Expected::At(0))))
        .await
        .unwrap();
    assert_eq!(appended.position(), 2);
    assert_eq!(ids(&log(&ledger).await), ["first", "a"]);
    is_sound(&ledger, 2).await;
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_appended_again_once() {
    let (_server, proxy, ledger) = behind_a_proxy().await;
    proxy.lose_commit(false).cut_at_once();
    let appended = soon(ledger.append(append("a", Expected::At(0))))
        .await
        .unwrap();
    assert_eq!(appended.position(), 2);
    assert_eq!(ids(&log(&ledger).await), ["first", "a"]);
    is_sound(&ledger, 2).await;
}

#[tokio::test]
async fn a_lost_append_whose_place_another_node_took_is_appended_behind_it() {
    let (server, proxy, ledger) = behind_a_proxy().await;
    let other = server.open().await;
    let mut lost = proxy.lose_commit(false);
    let between = async {
        lost.happened().await;
        other.append(append("b", Expected::At(0))).await.unwrap();
        lost.cut();
    };
    let (appended, ()) =
        soon(async { futures::join!(ledger.append(append("a", Expected::At(0))), between) }).await;
    assert_eq!(appended.unwrap().position(), 3);
    assert_eq!(ids(&log(&ledger).await), ["first", "b", "a"]);
    is_sound(&ledger, 3).await;
}

#[tokio::test]
async fn a_lost_append_is_decided_anew_against_what_another_node_appended() {
    let (server, proxy, ledger) = behind_a_proxy().await;
    let other = server.open().await;
    let mut lost = proxy.lose_commit(false);
    let between = async {
        lost.happened().await;
        other.append(append("a", Expected::At(0))).await.unwrap();
        lost.cut();
    };
    let (appended, ()) =
        soon(async { futures::join!(ledger.append(append("a", Expected::At(0))), between) }).await;
    assert_eq!(appended.unwrap_err(), AppendError::Conflict { actual: 1 });
    assert_eq!(log(&ledger).await.len(), 2);
}

#[tokio::test]
async fn a_commit_that_went_through_is_found_behind_what_another_node_appended() {
    let (server, proxy, ledger) = behind_a_proxy().await;
    let other = server.open().await;
    let mut lost = proxy.lose_commit(true);
    let between = async {
        lost.happened().await;
        other.append(append("b", Expected::At(0))).await.unwrap();
        lost.cut();
    };
    let (appended, ()) =
        soon(async { futures::join!(ledger.append(append("a", Expected::At(0))), between) }).await;
    assert_eq!(appended.unwrap().position(), 2);
    assert_eq!(ids(&log(&other).await), ["first", "a", "b"]);
    is_sound(&other, 3).await;
}

#[tokio::test]
async fn an_outcome_that_cannot_be_found_out_is_said_to_be_unknown() {
    let (server, proxy, ledger) = behind_a_proxy().await;
    let mut lost = proxy.lose_commit(true);
    let outage = async {
        lost.happened().await;
        proxy.set_up(false);
        lost.cut();
    };
    let (appended, ()) =
        soon(async { futures::join!(ledger.append(append("a", Expected::At(0))), outage) }).await;
    assert!(
        matches!(appended, Err(AppendError::OutcomeUnknown(_))),
        "{appended:?}"
    );
    assert_eq!(server.count("SELECT count(*) FROM events").await, 2);
}

#[tokio::test]
async fn a_failure_that_a_read_model_hides_is_not_taken_for_a_success() {
    let server = Server::new().await;
    let ledger = Ledger::open(nexus_ledger::Options {
        projector: Some(Box::new(Hiding)),
        ..options(&server.url)
    })
    .await
    .unwrap();
    let outcome = soon(ledger.append(append("a", Expected::At(0)))).await;
    assert!(
        matches!(outcome, Err(AppendError::Unavailable(_))),
        "{outcome:?}"
    );
    assert_eq!(server.count("SELECT count(*) FROM events").await, 0);
}

/// Its statement fails, and it says that all is well: COMMIT then answers `ROLLBACK`.
struct Hiding;

impl Projector for Hiding {
    fn apply_sqlite(
        &mut self,
        _: &rusqlite::Connection,
        _: &[&RecordedEvent],
    ) -> Result<(), ProjectError<rusqlite::Error>> {
        Ok(())
    }

    fn apply_postgres<'a>(
        &'a mut self,
        client: &'a DedicatedClient,
        _: &'a [tokio_postgres::Row],
        _: &'a [&'a RecordedEvent],
    ) -> BoxFuture<'a, Result<Writes<'a>, ProjectError<tokio_postgres::Error>>> {
        let writes = async move {
            assert!(client.batch_execute("SELECT 1 / 0").await.is_err());
            Ok(())
        };
        ready(Ok(writes.boxed())).boxed()
    }
}

impl Lost {
    /// The client learns of it as soon as it has happened.
    fn cut_at_once(self) {
        self.cut();
    }
}
