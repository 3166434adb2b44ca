//! What an error of the database means for a batch.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::Severity;

/// How a batch failed before its COMMIT could have taken effect.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database refuses what one of the members holds; the session goes on.
    Refused(String),
    /// The database is not able to; the session goes on.
    Unable(String),
    /// The session is broken.
    Broken(String),
}

/// SQLSTATE classes and codes that the *data* causes: retrying changes nothing, and a batch must be
/// halved to find the member. Everything else is the database's condition.
const DATA: [&str; 6] = [
    "21", // cardinality violation
    "22", // data exception
    "23", // integrity constraint violation
    "44", // WITH CHECK OPTION violation
    "54", // program limit exceeded, such as an index row that is too large
    "P0", // raised by a trigger
];

impl Failure {
    /// Judges an error that a statement before COMMIT answered.
    pub(super) fn of(error: &Error) -> Self {
        let cause = describe(error);
        match error.as_db_error() {
            Some(said) if said.parsed_severity() == Some(Severity::Error) => {
                let is_data = DATA
                    .iter()
                    .any(|class| said.code().code().starts_with(class));
                if is_data {
                    Self::Refused(cause)
                } else {
                    Self::Unable(cause)
                }
            }
            _ => Self::Broken(cause),
        }
    }
}

/// The error in one line. The server's detail is left out: it quotes values.
pub(super) fn describe(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", said.message(), said.code().code());
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
