//! Where lines go: through at once when it is quiet, together when it is not.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others; also what a killed process may lose.
const TOGETHER: Duration = Duration::from_millis(5);
/// Lines that fill so many bytes are written without waiting.
const ENOUGH: usize = 64 << 10;

/// Lines on their way out; clones share them.
#[derive(Clone)]
pub(super) struct Sink(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    something: Condvar,
}

struct Waiting {
    lines: Vec<u8>,
    written: Instant,
    stopped: bool,
    output: Box<dyn Write + Send>,
}

impl Waiting {
    /// A log that cannot be written has nowhere to say so.
    fn write_out(&mut self) {
        drop(self.output.write_all(&self.lines));
        drop(self.output.flush());
        self.lines.clear();
        self.written = Instant::now();
    }
}

/// Writes what is left when it is dropped, and each line at once from then on.
pub(super) struct Flushed(Sink);

impl Drop for Flushed {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.stopped = true;
        waiting.write_out();
        self.0.0.something.notify_one();
    }
}

impl Sink {
    /// Starts the thread that writes what waited long enough.
    pub(super) fn start(output: impl Write + Send + 'static) -> (Self, Flushed) {
        let sink = Self(Arc::new(Shared {
            waiting: Mutex::new(Waiting {
                lines: Vec::with_capacity(ENOUGH),
                written: Instant::now(),
                stopped: false,
                output: Box::new(output),
            }),
            something: Condvar::new(),
        }));
        let own = sink.clone();
        let started = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || own.write_in_time());
        if started.is_err() {
            sink.lock().stopped = true;
        }
        (sink.clone(), Flushed(sink))
    }

    fn write_in_time(&self) {
        let mut waiting = self.lock();
        while !waiting.stopped {
            let due = waiting.written + TOGETHER;
            let now = Instant::now();
            waiting = if waiting.lines.is_empty() {
                let woken = self.0.something.wait(waiting);
                woken.unwrap_or_else(PoisonError::into_inner)
            } else if now < due {
                let slept = self.0.something.wait_timeout(waiting, due - now);
                slept.unwrap_or_else(PoisonError::into_inner).0
            } else {
                waiting.write_out();
                waiting
            };
        }
    }

    fn take(&self, line: &[u8], urgent: bool) {
        let mut waiting = self.lock();
        let first = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        if urgent
            || waiting.stopped
            || waiting.lines.len() >= ENOUGH
            || waiting.written.elapsed() >= TOGETHER
        {
            waiting.write_out();
        } else if first {
            self.0.something.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One event's way into the sink; a line comes in one piece.
pub(super) struct Line {
    sink: Sink,
    urgent: bool,
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.sink.take(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            sink: self.clone(),
            urgent: false,
        }
    }

    /// Warnings and errors are out before whatever they warn of happens.
    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        Line {
            sink: self.clone(),
            urgent: *metadata.level() <= Level::WARN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Output {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().concat()).unwrap()
        }
    }

    #[test]
    fn every_line_comes_out_once_and_in_order() {
        let output = Output::default();
        let (sink, flushed) = Sink::start(output.clone());
        let mut expected = String::new();
        for number in 0..1_000 {
            let line = format!("{number}\n");
            sink.take(line.as_bytes(), number % 100 == 0);
            expected += &line;
        }
        drop(flushed);
        assert_eq!(output.text(), expected);
        let writes = output.0.lock().unwrap().len();
        assert!(
            writes < 1_000,
            "{writes} writes: nothing was written together"
        );
    }

    #[test]
    fn a_warning_takes_what_waits_before_it_along() {
        let output = Output::default();
        let (sink, _flushed) = Sink::start(output.clone());
        sink.take(b"a\n", false);
        sink.take(b"b\n", false);
        sink.take(b"warning\n", true);
        assert_eq!(output.text(), "a\nb\nwarning\n");
    }

    #[test]
    fn after_the_end_every_line_is_written_at_once() {
        let output = Output::default();
        let (sink, flushed) = Sink::start(output.clone());
        drop(flushed);
        sink.take(b"late\n", false);
        assert_eq!(output.text(), "late\n");
    }
}
