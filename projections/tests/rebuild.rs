//! The read models over both databases: whatever happened, a rebuild makes the rows that the
//! append transactions made, and the audit queries return what the log holds.
//!
//! `PostgreSQL` comes from `TEST_DATABASE_URL`: `scripts/postgres run -- cargo test -p nexus-projections`.

#[cfg(test)]
mod rebuild {
    mod audit;
    mod histories;
    mod history;
    mod known;
    mod operations;
    mod outdated;
    mod standings;
    mod store;
    mod verification;

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
            a_rebuilt_table_is_the_live_one_byte_for_byte
            a_rebuild_that_was_overtaken_says_so_and_does_no_harm
            a_rebuild_tells_its_rate_and_how_long_appends_waited
            the_generation_before_is_dropped
            an_undecodable_event_stops_a_rebuild_with_its_position
            an_unknown_read_model_is_refused
        }
        verification {
            rows_that_are_what_the_log_says_are_clean
            altered_missing_and_invented_rows_are_found_and_left_alone
            what_a_row_says_of_itself_does_not_hide_it
            appends_that_go_on_are_no_differences
            rows_of_another_version_are_not_compared
            an_undecodable_event_stops_a_verification_with_its_position
        }
        outdated {
            rows_of_an_older_version_serve_and_are_kept_until_they_are_rebuilt
            rows_that_do_not_decode_any_more_are_folded_from_the_log
            rows_of_a_newer_version_are_not_written
        }
        standings {
            a_standing_follows_its_connection
            a_standing_survives_more_changes_than_are_sorted_out
        }
        known {
            a_session_that_was_looked_up_follows_its_row
            an_agent_that_was_looked_up_follows_its_row
            a_look_through_open_sessions_leaves_out_those_opened_later
        }
        audit {
            the_trail_is_the_log_newest_first
            names_select_events_and_older_names_do_too
            since_selects_by_the_time_of_recording
            an_empty_log_has_an_empty_trail
        }
    }
}
