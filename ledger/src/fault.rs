//! Fault points: named places where a process can be held still, so that a test kills it exactly there.
//!
//! They exist in builds with `debug_assertions` only; in a release build [`point`] is empty and its names are not in
//! the binary. `NEXUS_FAULT_POINT=refresh.before_send` holds whoever comes to that point first;
//! `NEXUS_FAULT_POINT=writer.before_commit@40` holds the fortieth. The process says `fault point <name> reached` on
//! standard error, once, and that task goes no further; everything else goes on until the signal comes.

/// The environment variable that chooses a point.
pub const VARIABLE: &str = "NEXUS_FAULT_POINT";

/// Every point there is.
pub const POINTS: &[&str] = &[
    "consent.before_send",
    "consent.after_answer",
    "consent.before_commit",
    "consent.after_commit",
    "refresh.before_send",
    "refresh.after_answer",
    "refresh.before_commit",
    "refresh.after_commit",
    "token.before_commit",
    "token.after_commit",
    "writer.before_commit",
    "writer.after_commit",
    "rebuild.after_chunk",
    "rebuild.before_swap",
    "rebuild.after_swap",
];

/// Goes no further if this is the chosen point.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};

    static PASSED: AtomicU64 = AtomicU64::new(0);
    let Some((chosen, number)) = chosen() else {
        return;
    };
    if chosen == name && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *number {
        hold(name);
    }
}

/// Goes no further if this is the chosen point: in this build there is none.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn point(_name: &str) {}

/// The chosen point, and which of those who come to it is held.
#[cfg(debug_assertions)]
fn chosen() -> Option<&'static (String, u64)> {
    static CHOSEN: std::sync::OnceLock<Option<(String, u64)>> = std::sync::OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "not a setting: no release build has it, and `check-config` must not offer it"
    )]
    let read = || std::env::var(VARIABLE).ok().map(|text| parse(&text));
    CHOSEN.get_or_init(read).as_ref()
}

#[cfg(debug_assertions)]
fn parse(text: &str) -> (String, u64) {
    match text.split_once('@') {
        Some((name, number)) => (name.to_owned(), number.parse().unwrap_or(1)),
        None => (text.to_owned(), 1),
    }
}

/// Says so and waits for ever. A time limit around the task cannot end it, and the runtime's other tasks go on.
#[cfg(debug_assertions)]
fn hold(name: &str) {
    use tokio::runtime::{Handle, RuntimeFlavor};

    say(name);
    let wait = || {
        loop {
            std::thread::park();
        }
    };
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
        _ => wait(),
    }
}

#[cfg(debug_assertions)]
#[expect(
    clippy::print_stderr,
    reason = "the line that whoever chose the point waits for"
)]
fn say(name: &str) {
    eprintln!("fault point {name} reached");
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::parse;

    #[test]
    fn a_point_is_a_name_and_the_number_of_the_one_who_is_held() {
        assert_eq!(
            parse("refresh.before_send"),
            ("refresh.before_send".into(), 1)
        );
        assert_eq!(
            parse("writer.before_commit@40"),
            ("writer.before_commit".into(), 40)
        );
    }
}
