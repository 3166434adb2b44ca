//! Disks that fill up and fail. These need root, the right to mount, and libfiu, so they run only when asked for:
//! `cargo test -p nexus-tests --test disk -- --ignored`, as `scripts/test` does where it can.

use nexus_tests::{
    Cluster, Connected, Database, Nexus, SmallDisk, TestDatabase, TestNexus, fill, until,
};
use serde_json::json;

/// The most reads that may find room on a disk that was filled to the last byte.
const ROOM: usize = 20_000;

async fn captured(nexus: &TestNexus) -> Connected {
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    nexus.capture("weather", json!({"api_key": "k-1"})).await
}

/// Reads until a read cannot be recorded; how many could.
async fn read_until_refused(nexus: &TestNexus, connected: &Connected) -> usize {
    for acknowledged in 0..ROOM {
        let answer = nexus.token(&connected.id).await;
        if answer.status != 200 {
            answer.refused(503, "audit_unavailable");
            return acknowledged;
        }
    }
    panic!("the disk is never full");
}

/// What needs an append is refused, what needs none goes on.
async fn refuses_and_goes_on(nexus: &TestNexus, connected: &Connected) {
    for _ in 0..5 {
        nexus
            .token(&connected.id)
            .await
            .refused(503, "audit_unavailable");
        assert_eq!(nexus.status(&connected.id).await["status"], "active");
    }
    let asked = json!({"workspace_id": "user-1", "provider_name": "weather", "return_url": "http://127.0.0.1:9/"});
    nexus
        .gateway()
        .post("/v1/request-connection", asked)
        .await
        .expect(503);
    nexus.broker().get("/audit?limit=10").await.expect(200);
}

/// Without a restart; the log holds what was acknowledged and nothing that was refused.
async fn recovers(nexus: TestNexus, connected: &Connected, acknowledged: usize) {
    let answer = until("a read is recorded again", || async {
        let answer = nexus.token(&connected.id).await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    assert_eq!(answer.expect(200)["credentials"]["api_key"], "k-1");
    nexus.capture("weather", json!({"api_key": "k-2"})).await;
    let mut nexus = nexus;
    nexus.kill9().await;
    nexus.start_again().await;
    let mut events = 0;
    for path in ["/audit?limit=1", "/v1/audit?limit=1"] {
        events += nexus
            .broker()
            .get(path)
            .await
            .expect(200)
            .as_array()
            .map_or(0, Vec::len);
    }
    assert_eq!(events, 2);
    let verified = nexus.into_stopped().await.verified().await;
    // provider.registered, two requests, two captures, and every acknowledged read.
    assert_eq!(verified.size, 5 + acknowledged as u64 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the right to mount"]
async fn sqlite_on_a_full_disk_refuses_appends_and_goes_on_when_there_is_room() {
    let nexus = Nexus::new(Database::Sqlite);
    let disk = SmallDisk::mount(&nexus.data_dir(), "16m");
    let nexus = nexus.start().await;
    let connected = captured(&nexus).await;
    let ballast = fill(&nexus.data_dir());
    let acknowledged = read_until_refused(&nexus, &connected).await;
    refuses_and_goes_on(&nexus, &connected).await;
    std::fs::remove_file(ballast).expect("room");
    recovers(nexus, &connected, acknowledged).await;
    drop(disk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the right to mount"]
async fn postgresql_on_a_full_disk_refuses_appends_and_goes_on_when_there_is_room() {
    let mut cluster = Cluster::start_on_small_disk("120m").await;
    let nexus = Nexus::over(TestDatabase::at(cluster.url())).start().await;
    let connected = captured(&nexus).await;
    let ballast = fill(cluster.directory());
    let acknowledged = read_until_refused(&nexus, &connected).await;
    std::fs::remove_file(ballast).expect("room");
    // Without room for its own log PostgreSQL ends itself, and is started again as its operator would.
    cluster.stop_immediately().await;
    cluster.start_again().await;
    recovers(nexus, &connected, acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs libfiu"]
async fn what_could_not_be_synchronised_is_not_acknowledged() {
    let nexus = Nexus::new(Database::Sqlite)
        .with_failing_fsync()
        .start()
        .await;
    let connected = captured(&nexus).await;
    nexus.token(&connected.id).await.expect(200);
    nexus.fail_fsync(true);
    refuses_and_goes_on(&nexus, &connected).await;
    nexus.fail_fsync(false);
    recovers(nexus, &connected, 1).await;
}
