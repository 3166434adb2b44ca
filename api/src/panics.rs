//! Panics: where, never what.

use std::panic::PanicHookInfo;

/// Replaces the hook that prints a panic's message, which may quote anything the program holds, by
/// one that logs the place and the thread alone.
pub fn keep_messages_out_of_the_log() {
    std::panic::set_hook(Box::new(report));
}

fn report(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(
        place = place.as_deref().unwrap_or("unknown"),
        thread = thread.name().unwrap_or("unnamed"),
        "the program panicked"
    );
}
