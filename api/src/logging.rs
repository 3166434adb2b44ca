//! What the server says as it runs: one line per event, each under the id of the request it belongs to.

use std::cell::RefCell;
use std::fmt;
use std::io::Write;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Format, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;
use crate::http::request_id::RequestId;

mod sink;

use sink::Sink;

thread_local! {
    static REQUEST: RefCell<Option<RequestId>> = const { RefCell::new(None) };
}

/// Runs `work` with every line it logs under a request's id. Cheaper than a span, which is formatted and kept for every
/// request whether or not anything is said in it.
pub fn under<R>(request: &RequestId, work: impl FnOnce() -> R) -> R {
    let outer = REQUEST.replace(Some(request.clone()));
    let done = work();
    REQUEST.set(outer);
    done
}

/// Sends the log to `output`, filtered by `RUST_LOG`, `info` by default. The lines of a busy moment are written
/// together; the guard writes the last ones when it is dropped.
#[must_use]
pub fn start(format: LogFormat, output: impl Write + Send + 'static) -> impl Drop {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let (sink, flushed) = Sink::start(output);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(sink);
    let text = Format::default().with_ansi(false);
    match format {
        LogFormat::Text => builder
            .with_ansi(false)
            .fmt_fields(DefaultFields::new())
            .event_format(WithRequest {
                format: text,
                usual: "\n",
                with_id: |id| format!(" request_id={id}\n"),
            })
            .init(),
        LogFormat::Json => builder
            .fmt_fields(JsonFields::new())
            .event_format(WithRequest {
                format: text.json(),
                usual: "}\n",
                with_id: |id| format!(",\"request_id\":\"{id}\"}}\n"),
            })
            .init(),
    }
    flushed
}

/// A format whose lines end with the id of the request they belong to.
struct WithRequest<F> {
    format: F,
    /// How a line ends otherwise.
    usual: &'static str,
    /// The ending that says an id, which needs no escaping: its characters are few and plain.
    with_id: fn(&str) -> String,
}

impl<F, S, N> FormatEvent<S, N> for WithRequest<F>
where
    F: FormatEvent<S, N>,
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(id) = REQUEST.with_borrow(Clone::clone) else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::with_capacity(256);
        self.format
            .format_event(context, Writer::new(&mut line), event)?;
        match line.strip_suffix(self.usual) {
            Some(start) => {
                writer.write_str(start)?;
                writer.write_str(&(self.with_id)(id.as_str()))
            }
            None => writer.write_str(&line),
        }
    }
}
