//! What a ledger does over either database: one suite, run over `SQLite` and over `PostgreSQL`.
//!
//! `PostgreSQL` comes from `TEST_DATABASE_URL`: `scripts/postgres run -- cargo test -p nexus-ledger`.

#[cfg(test)]
mod conformance {
    mod admission;
    mod aggregate;
    mod append_only;
    mod beside;
    mod embedded;
    mod order;
    mod queue;
    mod snapshots;
    mod store;
    mod subscriptions;
    mod verification;

    macro_rules! suite {
        ($database:ident: $($area:ident { $($case:ident)+ })+) => {
            mod $database {
                $(mod $area {
                    $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        let store = crate::conformance::store::Store::$database().await;
                        crate::conformance::$area::$case(&store).await;
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
        order {
            sixty_four_writers_get_gapless_positions_in_the_order_of_their_commits
            what_is_appended_is_what_is_read
            the_events_of_one_append_stand_together
        }
        admission {
            an_expectation_that_does_not_hold_is_a_conflict
            of_two_claims_in_one_batch_the_first_wins
            a_guard_on_a_stream_that_moved_refuses
            a_guard_sees_a_move_earlier_in_its_batch
            a_member_the_database_refuses_hurts_nobody
            a_name_has_one_holder_until_it_is_released
            a_deadline_is_judged_by_the_databases_clock
            what_could_not_be_loaded_again_is_not_appended
        }
        beside {
            a_data_key_comes_with_its_event_and_is_gone_once_shredded
            a_refused_append_stores_no_key
            a_blob_rides_beside_its_event_and_can_be_dropped
            typed_columns_are_stored_beside_the_event
            the_first_value_of_a_setting_stays
        }
        append_only {
            the_log_refuses_to_be_changed
            what_may_be_forgotten_can_be_deleted
        }
        snapshots {
            loading_from_snapshots_equals_replaying_everything
            a_snapshot_of_another_state_version_is_ignored
            a_command_is_decided_anew_when_its_stream_moved
            a_stream_that_cannot_be_decoded_is_named
        }
        subscriptions {
            a_subscriber_misses_nothing_and_repeats_nothing
            a_subscriber_that_reconnects_goes_on_where_it_stopped
            a_waiting_subscriber_is_woken
        }
        queue {
            a_full_queue_is_overloaded_and_loses_nothing_it_accepted
            a_stop_commits_what_was_accepted_and_signs_a_checkpoint
            a_growing_log_is_signed
            a_reopened_log_continues_its_tree
            a_projector_that_fails_rolls_its_batch_back
        }
        verification {
            a_log_nobody_touched_is_verified
            a_tampered_payload_is_found_at_its_position
            a_blob_of_another_event_is_found
            a_rewritten_history_is_found_by_its_checkpoint
            a_log_cut_short_is_found_by_its_checkpoint
            a_checkpoint_by_another_key_is_found
            a_checkpoint_kept_outside_is_compared_too
            a_database_opened_read_only_takes_no_write
        }
    }
}
