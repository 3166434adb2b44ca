//! docs/guide.md is followed as a reader follows it: its commands in one shell, from the top to the bottom, the browser
//! where it says so. What it shows as answers has the form of the real ones.

use nexus_tests::{Database, Reader, RealProvider, TestNexus, root};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_guide_works_and_answers_as_shown() {
    let nexus = TestNexus::start(Database::Sqlite).await;
    let provider = RealProvider::start(&nexus.callback(), 3600).await;
    let guide = std::fs::read_to_string(root().join("docs/guide.md")).expect("the guide");
    let mut reader = Reader::of(&nexus, &provider, &[]);
    let consents = reader.follow(&guide, &nexus, &provider).await;
    assert_eq!(consents, 2, "a consent and a second one");
}
