//! The harness of the HTTP tests: the real `nexus` binary, misbehaving and real providers, both databases.
//!
//! A test starts a server with [`TestNexus::start`], talks to it through its [`Client`]s, whose every request and answer
//! is checked against `openapi.yaml`, and looks at what is left: the audit trail, the provider's counters, the files.
//!
//! ```no_run
//! use nexus_tests::{Database, TestNexus};
//! use serde_json::json;
//!
//! # async fn example() {
//! let nexus = TestNexus::start(Database::Sqlite).await;
//! let answer = nexus.admin().post("/v1/providers", json!({"name": "weather", "auth_type": "api_key"})).await;
//! answer.expect(201);
//! # }
//! ```
//!
//! [`on_both_databases!`] runs one test on SQLite and on PostgreSQL. The servers come from the target directory of the
//! test's own executable, PostgreSQL from `TEST_DATABASE_URL`: `scripts/test` provides both.

mod additive;
mod answer;
mod browser;
mod chromium;
mod client;
mod cluster;
mod contract;
pub mod crash;
mod database;
mod disk;
mod flow;
mod guide;
pub mod history;
mod jwt;
mod nexus;
mod operator;
mod proxy;
mod python;
mod real;
mod scripted;
mod secrets;
mod sessions;
mod verified;
mod wait;

pub use answer::Answer;
pub use browser::{Browser, Page};
pub use chromium::{Chromium, Link, Seen, SeenField, Sight};
pub use client::{Client, Request};
pub use cluster::Cluster;
pub use contract::{Contract, Exchange};
pub use database::{Database, TestDatabase};
pub use disk::{SmallDisk, fill};
pub use flow::{Connected, Requested};
pub use guide::{Reader, Shown, Step, differences, program, programs, steps};
pub use jwt::Verdicts;
pub use nexus::{Nexus, Outcome, TestNexus, root};
pub use proxy::LossyProxy;
pub use python::{python_with_generators, python_with_libraries, python_with_the_client};
pub use real::{DjangoProvider, Glewlwyd, RealProvider};
pub use scripted::{
    AccountCall, Gate, IdTokenFault, Reply, ScriptedApplication, ScriptedBackend, ScriptedProvider,
    TokenCall, Visit, Wire,
};
pub use secrets::{is_not_in, stored};
pub use wait::until;

/// Runs each named `async fn(Database)` as two tests, one on each database.
///
/// ```text
/// on_both_databases! {
///     a_provider_can_be_registered,
///     a_name_is_taken_once,
/// }
/// ```
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($crate::Database::Sqlite).await;
                }
            )+
        }
        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($crate::Database::Postgres).await;
                }
            )+
        }
    };
}
