//! The reading threads: each owns a read-only connection and takes the next job from one queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use rusqlite::Connection;

use super::gate::Gate;

/// A read; it answers whoever sent it by itself.
pub(super) type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the reading threads. They end when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Readers(mpsc::Sender<Job>);

impl Readers {
    /// Starts one thread per connection.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(super) fn start(connections: Vec<Connection>, gate: &Gate) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        for connection in connections {
            let (queue, gate) = (Arc::clone(&queue), gate.clone());
            thread::Builder::new()
                .name("sqlite-reader".to_owned())
                .spawn(move || serve(&connection, &queue, &gate))?;
        }
        Ok(Self(jobs))
    }

    /// Queues a job. One that cannot be served is dropped, and with it the way to its answer.
    pub(super) fn send(&self, job: Job) {
        drop(self.0.send(job));
    }
}

fn serve(connection: &Connection, queue: &Mutex<mpsc::Receiver<Job>>, gate: &Gate) {
    while let Some(job) = next(queue) {
        let _pass = gate.enter_blocking();
        if catch_unwind(AssertUnwindSafe(|| job(connection))).is_err() {
            tracing::error!("a read panicked");
        }
    }
}

/// The next job; the queue is locked while waiting for it, so the threads wait in line.
fn next(queue: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    queue
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv()
        .ok()
}
