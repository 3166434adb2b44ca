//! The read models over both databases: whatever happened, a rebuild makes the rows that the
//! append transactions made, and the audit queries return what the log holds.
//!
//! `PostgreSQL` comes from `TEST_DATABASE_URL`: `scripts/postgres run -- cargo test -p nexus-projections`.

#[cfg(test)]
mod rebuild {
    mod audit;
    mod histories;
    mod history;
    mod operations;
    mod store;

    macro_rules! suite {
        ($database:ident: $($area:ident { $($case:ident)+ })+) => {
            mod $database {
                $(mod $area {
                    $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        let store = crate::rebuild::store::Store::$database().await;
                        crate::rebuild::$area::$case(&store).await;
                    })+
                })+
            }
        };
    }

    macro_rules! over_both_databases {
        ($($cases:tt)+) => {
            suite!(sqlite: $($cases)+);
            suite!(postgres: $($cases)+);
        };
    }

    over_both_databases! {
        operations {
            a_rebuild_while_appends_go_on_loses_nothing
            tampered_rows_are_counted_and_repaired
            an_interrupted_rebuild_goes_on_where_it_was
            the_generation_before_is_dropped
            an_undecodable_event_stops_a_rebuild_with_its_position
            an_unknown_read_model_is_refused
        }
        audit {
            the_trail_is_the_log_newest_first
            names_select_events_and_older_names_do_too
            since_selects_by_the_time_of_recording
            an_empty_log_has_an_empty_trail
        }
    }
}
