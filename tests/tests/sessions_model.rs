//! Sessions against a model: whatever agents, users, connections and sessions go through, no session may do more than
//! all of them allow, and none comes back from what ended it.
//!
//! A failure prints the shortest steps that still fail, and the seed that leads there again (`PROPTEST_RNG_SEED`).

use nexus_tests::{Database, on_both_databases};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use sessions_model::steps::{Race, races, walks};
use sessions_model::world::{Case, World};

mod sessions_model {
    pub(crate) mod model;
    pub(crate) mod steps;
    pub(crate) mod world;
}

on_both_databases! {
    no_session_exceeds_what_everybody_allows_or_outlives_it,
    no_session_slips_past_a_narrowing_that_it_races_with,
}

/// How many walks and races there are on each database.
const WALKS: u32 = 20;
const RACES: u32 = 32;

/// Tries values of a strategy until one fails, and shrinks that.
fn all<S: Strategy>(cases: u32, of: &S, holds: impl AsyncFn(S::Value)) {
    let mut config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => fastrand::u64(..),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    let tried = TestRunner::new(config).run(of, |value| {
        block_in_place(|| Handle::current().block_on(holds(value)));
        Ok(())
    });
    if let Err(error) = tried {
        panic!("PROPTEST_RNG_SEED={seed} repeats this: {error}");
    }
}

async fn no_session_exceeds_what_everybody_allows_or_outlives_it(database: Database) {
    let world = World::start(database).await;
    all(WALKS, &walks(), async |steps| {
        let mut case = Case::new(&world);
        for together in steps {
            for step in together {
                case.take(step).await;
            }
            case.check().await;
        }
    });
}

async fn no_session_slips_past_a_narrowing_that_it_races_with(database: Database) {
    let world = World::start(database).await;
    all(RACES, &races(), async |Race { openings, changes }| {
        let mut case = Case::new(&world);
        case.prepare().await;
        case.race(openings, changes).await;
    });
}
