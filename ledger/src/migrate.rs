//! The schema's migrations: numbered files, each applied once, in order, in its own transaction.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// What was applied, in both databases.
pub(crate) const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (number bigint PRIMARY KEY, name text NOT NULL, checksum text NOT NULL)";

/// The migrations of `SQLite`.
pub(crate) const SQLITE: &[Migration] = &[Migration {
    number: 1,
    name: "ledger",
    sql: include_str!("../../migrations/sqlite/0001_ledger.sql"),
}];

/// The migrations of `PostgreSQL`; the same numbers and names as [`SQLITE`]'s.
pub(crate) const POSTGRES: &[Migration] = &[Migration {
    number: 1,
    name: "ledger",
    sql: include_str!("../../migrations/postgres/0001_ledger.sql"),
}];

/// Why the schema does not fit this program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MigrateError {
    /// A newer program migrated this database.
    #[error("the database has schema {found}, this program knows {known}; run the newer program")]
    NewerSchema {
        /// The newest migration in the database.
        found: i64,
        /// The newest migration of this program.
        known: i64,
    },
    /// An applied migration is not the one this program has.
    #[error("migration {number} in the database differs from this program's")]
    Changed {
        /// Its number.
        number: i64,
    },
    /// The database refused a migration; it was rolled back.
    #[error("the schema could not be brought up to date: {0}")]
    Failed(String),
}

/// One step of the schema.
#[derive(Debug)]
pub(crate) struct Migration {
    /// Its place in the order, from 1.
    pub(crate) number: i64,
    /// What it is called in its file's name.
    pub(crate) name: &'static str,
    /// Its statements.
    pub(crate) sql: &'static str,
}

impl Migration {
    /// SHA-256 of its statements, in hexadecimal.
    pub(crate) fn checksum(&self) -> String {
        Sha256::digest(self.sql)
            .iter()
            .fold(String::with_capacity(64), |mut hex, byte| {
                let _infallible = write!(hex, "{byte:02x}");
                hex
            })
    }
}

/// The tail of `known` that is still to apply to a database that `applied` these (number,
/// checksum), in ascending order.
///
/// # Errors
/// [`MigrateError::NewerSchema`], [`MigrateError::Changed`]
pub(crate) fn pending<'a>(
    known: &'a [Migration],
    applied: &[(i64, String)],
) -> Result<&'a [Migration], MigrateError> {
    let newest = known.last().map_or(0, |migration| migration.number);
    if let Some((found, _)) = applied.last()
        && *found > newest
    {
        return Err(MigrateError::NewerSchema {
            found: *found,
            known: newest,
        });
    }
    for (migration, (number, checksum)) in known.iter().zip(applied) {
        if migration.number != *number || migration.checksum() != *checksum {
            return Err(MigrateError::Changed { number: *number });
        }
    }
    Ok(known.get(applied.len()..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Migration] = &[
        Migration {
            number: 1,
            name: "one",
            sql: "SELECT 1",
        },
        Migration {
            number: 2,
            name: "two",
            sql: "SELECT 2",
        },
    ];

    fn applied(numbers: &[usize]) -> Vec<(i64, String)> {
        numbers
            .iter()
            .map(|index| (KNOWN[*index].number, KNOWN[*index].checksum()))
            .collect()
    }

    #[test]
    fn what_was_not_applied_is_pending() {
        let numbers = |applied: &[(i64, String)]| {
            pending(KNOWN, applied)
                .map(|rest| rest.iter().map(|step| step.number).collect::<Vec<_>>())
        };
        assert_eq!(numbers(&[]), Ok(vec![1, 2]));
        assert_eq!(numbers(&applied(&[0])), Ok(vec![2]));
        assert_eq!(numbers(&applied(&[0, 1])), Ok(vec![]));
    }

    #[test]
    fn a_newer_or_a_changed_schema_is_refused() {
        let mut newer = applied(&[0, 1]);
        newer.push((3, "x".into()));
        assert_eq!(
            pending(KNOWN, &newer).err(),
            Some(MigrateError::NewerSchema { found: 3, known: 2 })
        );
        let changed = vec![(1, "x".to_owned())];
        assert_eq!(
            pending(KNOWN, &changed).err(),
            Some(MigrateError::Changed { number: 1 })
        );
        let skipped = applied(&[1]);
        assert_eq!(
            pending(KNOWN, &skipped).err(),
            Some(MigrateError::Changed { number: 2 })
        );
    }

    #[test]
    fn both_databases_have_the_same_migrations() {
        let names = |migrations: &[Migration]| {
            migrations
                .iter()
                .map(|step| (step.number, step.name))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(SQLITE), names(POSTGRES));
    }
}
