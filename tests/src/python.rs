//! Python programs that are not ours, each in an environment that `tests/<name>/install` makes.

use std::path::PathBuf;

/// The interpreter that has the libraries which verify session tokens.
pub fn python_with_libraries() -> PathBuf {
    interpreter("jwt-verifiers")
}

/// The interpreter that has the public client of Nexus.
pub fn python_with_the_client() -> PathBuf {
    interpreter("clients")
}

/// In the target directory of this executable; panics when it is not installed.
fn interpreter(environment: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this executable");
    let mut places = own
        .ancestors()
        .map(|place| place.join(environment).join("bin/python"));
    let program = places.find(|program| program.is_file());
    program.unwrap_or_else(|| panic!("run scripts/test, or tests/{environment}/install"))
}
