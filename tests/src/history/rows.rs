//! Rows of the read models: as they are read, and as the log gives them.

use std::collections::HashMap;

use nexus_domain::stream::StreamKey;
use nexus_ledger::{Backend, RecordedEvent};
use nexus_projections::connections::Connections;
use nexus_projections::providers::Providers;
use nexus_projections::{ConnectionRow, Projection, ProviderRow, ReadStore};

use super::journal::{Row, digest};

/// The row of a stream, by the read models' own look-up; `None` when the database did not answer.
pub(super) async fn look_up(store: &ReadStore, stream: &StreamKey) -> Option<Option<Row>> {
    if stream.stream_type == "provider" {
        let row = store.provider(&stream.id).await.ok()?;
        return Some(row.map(|row| Row {
            sequence: row.sequence,
            position: row.position,
            print: Some(provider_print((*row).clone())),
        }));
    }
    let row = store.connection(&stream.id).await.ok()?;
    Some(row.map(|row| Row {
        sequence: row.sequence,
        position: row.position,
        print: Some(connection_print((*row).clone())),
    }))
}

/// The row of a stream and the newest position of the log, in one snapshot; `None` when the database did not answer.
pub(super) async fn beside_the_log(
    backend: &Backend,
    stream: &StreamKey,
) -> Option<(Option<Row>, Option<u64>)> {
    let (table, key) = match stream.stream_type.as_str() {
        "provider" => ("providers_g1", "id"),
        _ => ("connections_g1", "reference"),
    };
    let query = format!(
        "SELECT (SELECT max(position) FROM events), r.sequence, r.position \
         FROM (SELECT 1 AS one) always LEFT JOIN {table} r ON r.{key} = $1"
    );
    let id = stream.id.clone();
    let (head, sequence, position): (Option<i64>, Option<i64>, Option<i64>) = match backend {
        Backend::Sqlite(database) => database
            .read(move |connection| {
                connection.query_row(&query, [id], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
            })
            .await
            .ok()?,
        Backend::Postgres(database) => {
            let client = database.client().await.ok()?;
            let row = client.query_one(&query, &[&id]).await.ok()?;
            (row.get(0), row.get(1), row.get(2))
        }
    };
    let row = sequence.zip(position).map(|(sequence, position)| Row {
        sequence: sequence.cast_unsigned(),
        position: position.cast_unsigned(),
        print: None,
    });
    Some((row, Some(head.unwrap_or(0).cast_unsigned())))
}

/// The rows that a fold of the log gives.
#[derive(Debug, Default)]
pub(super) struct Folds {
    connections: HashMap<String, ConnectionRow>,
    providers: HashMap<String, ProviderRow>,
}

impl Folds {
    /// The digest of the row after an event; `None` for a stream without rows, and for an event that does not fold.
    pub(super) fn after(&mut self, event: &RecordedEvent) -> Option<u64> {
        if let Some(key) = Connections::key(event) {
            let row = Connections::apply(self.connections.remove(key), event).ok()??;
            self.connections.insert(key.to_owned(), row.clone());
            return Some(connection_print(row));
        }
        let key = Providers::key(event)?;
        let row = Providers::apply(self.providers.remove(key), event).ok()??;
        self.providers.insert(key.to_owned(), row.clone());
        Some(provider_print(row))
    }
}

/// A digest of a row without its ciphertext, which is dropped from the log once it is superseded.
fn connection_print(mut row: ConnectionRow) -> u64 {
    for field in [&mut row.id, &mut row.credential].into_iter().flatten() {
        field.blob = None;
    }
    digest(&[&format!("{row:?}")])
}

fn provider_print(mut row: ProviderRow) -> u64 {
    if let Some(field) = &mut row.secret {
        field.blob = None;
    }
    digest(&[&format!("{row:?}")])
}
