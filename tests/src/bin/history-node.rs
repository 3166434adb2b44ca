//! One node of a history's run on PostgreSQL: a process of its own that writes, reads and keeps journals.

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    nexus_tests::history::serve().await;
}
