//! Bringing the schema up to date. Nodes that start together take turns under an advisory lock.

use tokio_postgres::{Client, Error, GenericClient, Transaction};

use super::describe;
use crate::migrate::{MigrateError, Migration, POSTGRES, TABLE, pending};

/// Advisory lock of whoever migrates. The letters `nexusmig`.
const MIGRATE_LOCK: i64 = i64::from_be_bytes(*b"nexusmig");

/// Applies what is pending. A database that is up to date is only read: the server's role need
/// not be able to change the schema.
///
/// # Errors
/// [`MigrateError`]
pub(super) async fn migrate(client: &mut Client) -> Result<(), MigrateError> {
    while !pending(POSTGRES, &applied(client).await?)?.is_empty() {
        let transaction = client.transaction().await.map_err(failed)?;
        step(&transaction).await?;
        transaction.commit().await.map_err(failed)?;
    }
    Ok(())
}

/// Applies the next migration, unless another node did meanwhile.
async fn step(transaction: &Transaction<'_>) -> Result<(), MigrateError> {
    transaction
        .batch_execute("SET LOCAL statement_timeout = 0")
        .await
        .map_err(failed)?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATE_LOCK])
        .await
        .map_err(failed)?;
    let applied = applied(transaction).await?;
    let Some(migration) = pending(POSTGRES, &applied)?.first() else {
        return Ok(());
    };
    apply(transaction, migration).await.map_err(failed)?;
    tracing::info!(
        number = migration.number,
        name = migration.name,
        "schema migrated"
    );
    Ok(())
}

async fn apply(transaction: &Transaction<'_>, migration: &Migration) -> Result<(), Error> {
    transaction.batch_execute(TABLE).await?;
    transaction.batch_execute(migration.sql).await?;
    let row = "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)";
    transaction
        .execute(
            row,
            &[&migration.number, &migration.name, &migration.checksum()],
        )
        .await
        .map(drop)
}

/// Number and checksum of what was applied, ascending.
async fn applied(client: &impl GenericClient) -> Result<Vec<(i64, String)>, MigrateError> {
    let exists: bool = client
        .query_one("SELECT to_regclass('schema_migrations') IS NOT NULL", &[])
        .await
        .map_err(failed)?
        .get(0);
    if !exists {
        return Ok(Vec::new());
    }
    let rows = client
        .query(
            "SELECT number, checksum FROM schema_migrations ORDER BY number",
            &[],
        )
        .await
        .map_err(failed)?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function of map_err"
)]
fn failed(error: Error) -> MigrateError {
    MigrateError::Failed(describe(&error))
}
