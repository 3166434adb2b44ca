//! Bringing the schema up to date. Nodes that start together take turns under an advisory lock.

use tokio_postgres::types::ToSql;
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
    take_turn(transaction).await.map_err(failed)?;
    let rows = rows(transaction).await.map_err(failed)?;
    let Some(migration) = pending(POSTGRES, &rows)?.first() else {
        return Ok(());
    };
    apply(transaction, migration).await.map_err(failed)?;
    let Migration { number, name, .. } = migration;
    tracing::info!(number, name, "schema migrated");
    Ok(())
}

/// Waits for the lock, then makes the table unless it is there. The table is not looked for
/// beforehand: the session may remember from before its wait that there was none.
async fn take_turn(transaction: &Transaction<'_>) -> Result<(), Error> {
    let no_limit = "SET LOCAL statement_timeout = 0";
    transaction.batch_execute(no_limit).await?;
    let lock = "SELECT pg_advisory_xact_lock($1)";
    transaction.execute(lock, &[&MIGRATE_LOCK]).await?;
    transaction.batch_execute(TABLE).await
}

async fn apply(transaction: &Transaction<'_>, migration: &Migration) -> Result<(), Error> {
    transaction.batch_execute(migration.sql).await?;
    let row = "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)";
    let Migration { number, name, .. } = migration;
    let values: [&(dyn ToSql + Sync); 3] = [number, name, &migration.checksum()];
    transaction.execute(row, &values).await.map(drop)
}

/// What was applied; nothing when the table is not there.
async fn applied(client: &Client) -> Result<Vec<(i64, String)>, MigrateError> {
    let exists = "SELECT to_regclass('schema_migrations') IS NOT NULL";
    let exists = client.query_one(exists, &[]).await.map_err(failed)?;
    if !exists.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    rows(client).await.map_err(failed)
}

/// Number and checksum of what was applied, ascending.
async fn rows(client: &impl GenericClient) -> Result<Vec<(i64, String)>, Error> {
    let all = "SELECT number, checksum FROM schema_migrations ORDER BY number";
    let rows = client.query(all, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function of map_err"
)]
fn failed(error: Error) -> MigrateError {
    MigrateError::Failed(describe(&error))
}
