//! What a panic leaves in the log. A process of its own, because the hook is the process's.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use nexus_api::panics::keep_messages_out_of_the_log;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_is_logged_with_its_place_and_without_its_message() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    keep_messages_out_of_the_log();
    let panicking = std::thread::Builder::new().name("careless".to_owned());
    let secret = "canary-in-a-panic";
    let careless = panicking
        .spawn(move || panic!("cannot use {secret}"))
        .unwrap();
    assert!(careless.join().is_err());
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        text.contains("api/tests/panics.rs:") && text.contains("careless"),
        "{text}"
    );
    assert!(!text.contains("canary"), "{text}");
}
