//! The writer's session: its settings, its prepared statements, and the two halves of a batch.

use std::time::{Duration, Instant};

use futures::future::{OptionFuture, join};
use futures::try_join;
use nexus_domain::stream::StreamKey;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement};

use super::failure::Failure;
use super::link::Link;
use super::options::PostgresOptions;
use super::read::{self, NEWEST_HEAD};
use super::rows::Rows;
use super::{CONNECT_WITHIN, HEAD_LOCK};
use crate::admission::{Facts, Head, Needs};

/// What stays prepared is planned once, for tables that may be tiny then and large later.
/// A transaction left alone by a node that froze holds up the others for as long as
/// `idle_in_transaction_session_timeout`; they wait longer than that.
const SETTINGS: &str = "SET lock_timeout = '8s'; SET statement_timeout = '10s'; SET idle_in_transaction_session_timeout = '4s'; \
     SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off";

/// How long one half of a batch may take, waiting for the lock included: longer than the server's
/// own limits, so that it ends only what the server cannot.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

const SEQUENCES: &str = "SELECT asked.number, newest.sequence \
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (aggregate_type, aggregate_id, number) \
    CROSS JOIN LATERAL (SELECT e.sequence FROM events e \
        WHERE e.aggregate_type = asked.aggregate_type AND e.aggregate_id = asked.aggregate_id \
        ORDER BY e.sequence DESC LIMIT 1) newest";

const NAMES: &str = "SELECT u.scope, u.name, u.stream_id FROM unnest($1::text[], $2::text[]) AS asked (scope, name) \
    JOIN unique_names u ON u.scope = asked.scope AND u.name = asked.name";

const LEAF: &str = "SELECT leaf FROM events WHERE position = $1";

const INSERT_EVENTS: &str = "INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, \
        payload, metadata, recorded_at, leaf, blob_digest, connection, actor, agent) \
    SELECT n.position, n.aggregate_type, n.aggregate_id, n.sequence, n.event_type, n.event_version, \
        n.payload::json, n.metadata::json, $9::bigint, n.leaf, n.blob_digest, n.connection, n.actor, n.agent \
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], \
        $10::bytea[], $11::bytea[], $12::text[], $13::text[], $14::text[]) \
    AS n (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, \
        leaf, blob_digest, connection, actor, agent)";

const INSERT_BLOBS: &str =
    "INSERT INTO sealed_blobs (position, blob) SELECT * FROM unnest($1::bigint[], $2::bytea[])";

const INSERT_KEYS: &str = "INSERT INTO data_keys (key_id, stream_type, stream_id, kek_id, wrapped, created_at) \
    SELECT n.key_id, n.stream_type, n.stream_id, n.kek_id, n.wrapped, $6::bigint \
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[]) AS n (key_id, stream_type, stream_id, kek_id, wrapped)";

const SHRED_KEYS: &str = "DELETE FROM data_keys WHERE key_id = ANY($1::text[])";

const RELEASE_NAMES: &str = "DELETE FROM unique_names u USING unnest($1::text[], $2::text[], $3::text[]) AS gone (scope, name, stream_id) \
    WHERE u.scope = gone.scope AND u.name = gone.name AND u.stream_id = gone.stream_id";

const TAKE_NAMES: &str = "INSERT INTO unique_names (scope, name, stream_id) SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) \
    ON CONFLICT (scope, name) DO UPDATE SET stream_id = excluded.stream_id";

const STORE_SNAPSHOTS: &str = "INSERT INTO snapshots (aggregate_type, aggregate_id, last_sequence, current_snapshot, payload) \
    SELECT n.aggregate_type, n.aggregate_id, n.last_sequence, 1, n.payload::json \
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) AS n (aggregate_type, aggregate_id, last_sequence, payload) \
    ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE SET last_sequence = excluded.last_sequence, \
        current_snapshot = snapshots.current_snapshot + 1, payload = excluded.payload";

const INSERT_HEAD: &str = "INSERT INTO log_heads (size, frontier, recorded_at) VALUES ($1, $2, $3)";

/// A transaction that holds the head lock, and what was read in it.
pub(super) struct Begun {
    pub(super) facts: Facts,
    /// What the projector asked for.
    pub(super) opened: Vec<Row>,
}

/// The writer's connection with everything prepared.
pub(super) struct Session {
    pub(super) link: Link,
    newest_head: Statement,
    sequences: Statement,
    names: Statement,
    leaf: Statement,
    insert_events: Statement,
    insert_blobs: Statement,
    insert_keys: Statement,
    shred_keys: Statement,
    release_names: Statement,
    take_names: Statement,
    store_snapshots: Statement,
    insert_head: Statement,
}

impl Session {
    /// Connects and prepares.
    ///
    /// # Errors
    /// A sentence without secrets.
    pub(super) async fn open(options: &PostgresOptions) -> Result<Self, String> {
        let began = Instant::now();
        let link = Link::open(options, CONNECT_WITHIN, |_| ()).await?;
        let left = CONNECT_WITHIN.saturating_sub(began.elapsed());
        match tokio::time::timeout(left, Self::prepare(link)).await {
            Ok(prepared) => prepared.map_err(|error| super::describe(&error)),
            Err(_) => Err("the server does not answer".to_owned()),
        }
    }

    async fn prepare(link: Link) -> Result<Self, Error> {
        let client = &link.client;
        let prepared = try_join!(
            client.batch_execute(SETTINGS),
            client.prepare(NEWEST_HEAD),
            client.prepare(SEQUENCES),
            client.prepare(NAMES),
            client.prepare(LEAF),
            client.prepare(INSERT_EVENTS),
            client.prepare(INSERT_BLOBS),
            client.prepare(INSERT_KEYS),
            client.prepare(SHRED_KEYS),
            client.prepare(RELEASE_NAMES),
            client.prepare(TAKE_NAMES),
            client.prepare(STORE_SNAPSHOTS),
            client.prepare(INSERT_HEAD),
        )?;
        let (
            (),
            newest_head,
            sequences,
            names,
            leaf,
            insert_events,
            insert_blobs,
            insert_keys,
            shred_keys,
            release_names,
            take_names,
            store_snapshots,
            insert_head,
        ) = prepared;
        Ok(Self {
            link,
            newest_head,
            sequences,
            names,
            leaf,
            insert_events,
            insert_blobs,
            insert_keys,
            shred_keys,
            release_names,
            take_names,
            store_snapshots,
            insert_head,
        })
    }

    /// Begins a transaction, takes the head lock and reads what the batch needs, in one round
    /// trip, `asked` included. The lock is a statement of its own: a statement's snapshot is older than its wait.
    pub(super) async fn begin(
        &self,
        needs: &Needs,
        asked: Option<&'static str>,
    ) -> Result<Begun, Failure> {
        let client = &self.link.client;
        let (types, ids): (Vec<&str>, Vec<&str>) = needs
            .streams
            .iter()
            .map(|key| (key.stream_type.as_str(), key.id.as_str()))
            .unzip();
        let (scopes, names): (Vec<&str>, Vec<&str>) = needs
            .names
            .iter()
            .map(|(scope, name)| (scope.as_str(), name.as_str()))
            .unzip();
        let opening = begin_statement();
        let streams_asked: [&(dyn ToSql + Sync); 2] = [&types, &ids];
        let names_asked: [&(dyn ToSql + Sync); 2] = [&scopes, &names];
        let (begun, newest, sequences, owners, opened) = futures::join!(
            client.batch_execute(&opening),
            client.query_one(&self.newest_head, &[]),
            client.query(&self.sequences, &streams_asked),
            OptionFuture::from(
                (!names.is_empty()).then(|| client.query(&self.names, &names_asked))
            ),
            OptionFuture::from(asked.map(|sql| async move {
                let statement = client.prepare_cached(sql).await?;
                client.query(&statement, &[]).await
            })),
        );
        // The first failure is the cause; those after it only say that the transaction is aborted.
        let failed = |error: Error| Failure::of(&error);
        begun.map_err(failed)?;
        let newest = read::newest(&newest.map_err(failed)?)
            .ok_or_else(|| Failure::Unable("the newest tree head is damaged".to_owned()))?;
        let streams: Vec<&StreamKey> = needs.streams.iter().collect();
        let facts = Facts {
            head: newest.head,
            now: newest.now,
            sequences: sequences
                .map_err(failed)?
                .iter()
                .filter_map(|row| sequence(row, &streams))
                .collect(),
            names: owners
                .transpose()
                .map_err(failed)?
                .unwrap_or_default()
                .iter()
                .map(owner)
                .collect(),
        };
        let opened = opened.transpose().map_err(failed)?.unwrap_or_default();
        Ok(Begun { facts, opened })
    }

    /// Sends every row of a batch; one answer, the first failure. All statements are sent when
    /// this is first polled, so that what is polled after it comes after them.
    pub(super) async fn write(&self, rows: &Rows<'_>) -> Result<(), Error> {
        let client = &self.link.client;
        let (events, blobs, keys, names, snapshots) = (
            &rows.events,
            &rows.blobs,
            &rows.keys,
            &rows.names,
            &rows.snapshots,
        );
        let (parameters, blob_parameters, key_parameters) = (
            events.parameters(&rows.recorded_at),
            blobs.parameters(),
            keys.parameters(&rows.recorded_at),
        );
        let (release_parameters, take_parameters, snapshot_parameters) = (
            names.released.parameters(),
            names.taken.parameters(),
            snapshots.parameters(),
        );
        let shredded = rows.shredded.as_slice();
        let answers = futures::join!(
            client.execute(&self.insert_events, &parameters),
            some(!blobs.is_empty(), || client
                .execute(&self.insert_blobs, &blob_parameters)),
            some(!keys.is_empty(), || client
                .execute(&self.insert_keys, &key_parameters)),
            some(!shredded.is_empty(), || client
                .execute_raw(&self.shred_keys, [shredded])),
            some(!names.released.is_empty(), || client
                .execute(&self.release_names, &release_parameters)),
            some(!names.taken.is_empty(), || client
                .execute(&self.take_names, &take_parameters)),
            some(!snapshots.is_empty(), || client
                .execute(&self.store_snapshots, &snapshot_parameters)),
        );
        answers.0?;
        for answer in [
            answers.1, answers.2, answers.3, answers.4, answers.5, answers.6,
        ] {
            answer.transpose()?;
        }
        Ok(())
    }

    /// Moves the head and commits. The head's row proves that the transaction was not aborted up
    /// to the COMMIT behind it: the answer to the COMMIT of an aborted one is no error.
    pub(super) async fn commit(&self, head: &Head) -> Result<(), Error> {
        let client = &self.link.client;
        let (size, frontier) = (head.position().cast_signed(), head.tree.to_bytes());
        let (moved, committed) = join(
            client.execute(&self.insert_head, &[&size, &frontier, &head.recorded_at]),
            client.batch_execute("COMMIT"),
        )
        .await;
        moved?;
        committed
    }

    /// The leaf at a position, once no writer is at work; `None` when the log ends before it.
    pub(super) async fn leaf_at(&self, position: u64) -> Result<Option<Vec<u8>>, Error> {
        let client = &self.link.client;
        let opening = begin_statement();
        let position = position.cast_signed();
        let asked: [&(dyn ToSql + Sync); 1] = [&position];
        let (begun, leaf, ended) = futures::join!(
            client.batch_execute(&opening),
            client.query_opt(&self.leaf, &asked),
            client.batch_execute("ROLLBACK"),
        );
        begun?;
        let leaf = leaf?;
        ended?;
        Ok(leaf.map(|row| row.get(0)))
    }
}

fn begin_statement() -> String {
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on; SELECT pg_advisory_xact_lock({HEAD_LOCK})"
    )
}

fn some<F: Future>(wanted: bool, make: impl FnOnce() -> F) -> OptionFuture<F> {
    wanted.then(make).into()
}

fn sequence(row: &Row, streams: &[&StreamKey]) -> Option<(StreamKey, u64)> {
    let (number, sequence): (i64, i64) = (row.get(0), row.get(1));
    let asked = streams.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
    Some(((*asked).clone(), sequence.cast_unsigned()))
}

fn owner(row: &Row) -> ((String, String), String) {
    ((row.get(0), row.get(1)), row.get(2))
}
