//! The usual way to serve an audited credential: select it, insert an audit row, answer; one pooled connection per
//! request. It neither encrypts nor checks a key, so it does less than the vault does.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::ValueEnum;
use deadpool_postgres::{Manager, Pool};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio_postgres::NoTls;

use crate::bare::serve;

/// Pooled connections; more did not make it faster on two cores.
const POOL: u32 = 32;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Engine {
    Sqlite,
    Postgres,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which database.
    #[arg(long)]
    engine: Engine,
    /// The database: a file that does not exist yet, or a URL of an empty database.
    #[arg(long)]
    database: String,
    /// The file of ids.
    #[arg(long)]
    ids: std::path::PathBuf,
    /// The file with the body that is stored for each id.
    #[arg(long)]
    body: std::path::PathBuf,
}

const SCHEMA: &str = "
    CREATE TABLE credentials (id text PRIMARY KEY, body text NOT NULL);
    CREATE TABLE audit (id text NOT NULL, event text NOT NULL, metadata text NOT NULL, at bigint NOT NULL);
    CREATE INDEX audit_id ON audit (id);";
const SELECT: &str = "SELECT body FROM credentials WHERE id = $1";
const INSERT: &str = "INSERT INTO audit (id, event, metadata, at) VALUES ($1, 'credential.retrieved', '{\"door\":\"token\"}', 0)";

pub(crate) async fn run(arguments: Arguments) {
    let ids = std::fs::read_to_string(&arguments.ids).expect("the ids");
    let ids: Vec<String> = ids.lines().map(str::to_owned).collect();
    let body = std::fs::read_to_string(&arguments.body).expect("the body");
    match arguments.engine {
        Engine::Sqlite => sqlite(&arguments.database, &ids, &body).await,
        Engine::Postgres => postgres(&arguments.database, &ids, &body).await,
    }
}

async fn postgres(url: &str, ids: &[String], body: &str) {
    let manager = Manager::new(url.parse().expect("a URL"), NoTls);
    let pool = Pool::builder(manager)
        .max_size(POOL as usize)
        .build()
        .expect("a pool");
    let client = pool.get().await.expect("a connection");
    client.batch_execute(SCHEMA).await.expect("the schema");
    client
        .execute(
            "INSERT INTO credentials SELECT id, $2 FROM unnest($1::text[]) id",
            &[&ids, &body],
        )
        .await
        .expect("the rows");
    drop(client);
    serve(
        Router::new()
            .route("/{id}", get(from_postgres))
            .with_state(pool),
    )
    .await;
}

async fn from_postgres(State(pool): State<Pool>, Path(id): Path<String>) -> Response {
    let client = pool.get().await.expect("a connection");
    let select = client.prepare_cached(SELECT).await.expect("prepared");
    let insert = client.prepare_cached(INSERT).await.expect("prepared");
    let found = client.query_opt(&select, &[&id]).await.expect("an answer");
    let Some(row) = found else {
        return StatusCode::NOT_FOUND.into_response();
    };
    client.execute(&insert, &[&id]).await.expect("recorded");
    json(row.get(0))
}

async fn sqlite(path: &str, ids: &[String], body: &str) {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(std::time::Duration::from_secs(30));
    let pool = SqlitePoolOptions::new()
        .max_connections(POOL)
        .connect_with(options)
        .await
        .expect("a pool");
    sqlx::raw_sql(SCHEMA)
        .execute(&pool)
        .await
        .expect("the schema");
    let mut transaction = pool.begin().await.expect("a transaction");
    for id in ids {
        sqlx::query("INSERT INTO credentials VALUES ($1, $2)")
            .bind(id)
            .bind(body)
            .execute(&mut *transaction)
            .await
            .expect("a row");
    }
    transaction.commit().await.expect("the rows");
    serve(
        Router::new()
            .route("/{id}", get(from_sqlite))
            .with_state(pool),
    )
    .await;
}

async fn from_sqlite(State(pool): State<sqlx::SqlitePool>, Path(id): Path<String>) -> Response {
    let found: Option<String> = sqlx::query_scalar(SELECT)
        .bind(&id)
        .fetch_optional(&pool)
        .await
        .expect("an answer");
    let Some(body) = found else {
        return StatusCode::NOT_FOUND.into_response();
    };
    sqlx::query(INSERT)
        .bind(&id)
        .execute(&pool)
        .await
        .expect("recorded");
    json(body)
}

fn json(body: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}
