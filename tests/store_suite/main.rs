//! One suite for every store: what the trait documents promise, over memory and SQLite alike, and what SQLite alone
//! has to prove. Tests of an invariant carry its number.

#![allow(clippy::unwrap_used, reason = "tests")]

mod backfill;
mod coverage;
mod fixture;
mod history;
mod journal;
mod outbox;
mod recalls;
mod receipts;
mod same;
mod setbacks;
mod sqlite;
mod subscribers;
mod tables;
mod timelines;
mod variants;

/// Runs each of the functions over each store.
macro_rules! suite {
    ($($module:ident::$name:ident,)*) => {
        mod over_memory {
            $(#[tokio::test]
            async fn $name() {
                crate::$module::$name(&crate::fixture::memory()).await;
            })*
        }

        mod over_sqlite {
            $(#[tokio::test]
            async fn $name() {
                let file = crate::fixture::File::new();
                let store = file.open().await;
                crate::$module::$name(&store).await;
                switchboard_contract::storage::Store::close(store.as_ref()).await;
            })*
        }

        /// With the indexes by conversation close behind the journal, so that the sweep goes on all the time.
        mod over_sqlite_sweeping {
            $(#[tokio::test]
            async fn $name() {
                let file = crate::fixture::File::new();
                let store = file.open_behind(2).await;
                crate::$module::$name(&store).await;
                switchboard_contract::storage::Store::close(store.as_ref()).await;
            })*
        }
    };
}

suite! {
    journal::i04_sequences_have_no_gap_and_positions_come_in_order,
    journal::i05_one_event_from_sixteen_tasks_is_one_row,
    journal::i05_a_repeat_is_told_apart_by_content_and_source,
    journal::i05_repeats_within_one_commit_count,
    variants::contradicting_callbacks_are_quarantined_once,
    variants::i05_only_messages_and_edits_can_contradict_themselves,
    variants::variants_are_read_back_in_order,
    variants::whoever_asks_for_what_is_missing_leaves_none,
    journal::listeners_hear_of_commits_in_order,
    journal::reading_goes_on_behind_a_position,
    journal::a_conversation_is_read_from_either_end,
    journal::the_backlog_names_each_conversation_with_its_range,
    journal::trimming_keeps_numbers_and_forgets_rows,
    journal::a_time_finds_its_position,
    journal::an_event_is_found_by_key_and_by_id,
    journal::consumed_marks_only_rise,
    journal::tenants_are_strangers,
    recalls::i02_a_recall_buries_what_came_before,
    recalls::i02_a_recall_buries_what_comes_later,
    recalls::a_recall_and_its_target_in_one_commit,
    recalls::a_recall_by_our_id,
    recalls::the_recall_allots_the_id,
    recalls::events_learn_our_id_of_their_target,
    recalls::a_buried_message_stays_buried,
    history::i08_paging_returns_each_message_once,
    history::i08_messages_that_come_meanwhile_neither_skip_nor_repeat,
    history::bounds_and_filters_hold,
    history::conversations_are_listed_in_order,
    outbox::a_send_is_accepted_once,
    outbox::i07_a_client_key_holds_within_a_batch,
    outbox::a_step_is_taken_from_the_expected_state_only,
    outbox::i05_a_commit_whose_leg_moved_on_writes_nothing,
    outbox::open_legs_come_in_order,
    outbox::i11_open_legs_of_one_tenant_skip_those_of_others,
    outbox::a_failed_leg_may_be_queued_again,
    outbox::only_queued_legs_are_rerouted,
    outbox::legs_are_found_by_every_id,
    receipts::early_receipts_wait_for_their_send,
    receipts::receipts_of_what_is_nobodys_send_do_not_wait,
    receipts::i11_the_receipts_of_one_tenant_push_out_no_others,
    receipts::a_commit_that_is_refused_notes_nothing,
    subscribers::a_subscriber_keeps_its_cursors,
    subscribers::i06_a_cursor_never_moves_back,
    subscribers::parked_conversations_and_attempts_are_kept,
    subscribers::whoever_was_away_too_long_is_expired,
    subscribers::a_removed_subscriber_is_gone,
    subscribers::a_rewound_subscriber_starts_over,
    backfill::jobs_and_their_parts_are_kept_in_order,
    backfill::i08_a_page_and_where_its_job_stands_are_written_as_one,
    backfill::traffic_is_kept_and_forgotten,
    coverage::what_files_brought_is_counted,
    coverage::hours_are_kept_and_replaced,
    coverage::known_keys_are_found_in_lists,
    coverage::messages_are_counted_by_app_time_and_place,
    coverage::windows_are_kept_and_closed,
    coverage::signs_of_life_only_rise,
    coverage::i11_an_app_knows_for_whom_it_was_served,
    coverage::a_whole_journal_has_no_holes,
    coverage::ranges_of_conversations_are_laid_over_one_another,
    setbacks::setbacks_are_kept_replaced_and_cleared,
    setbacks::setbacks_are_listed_by_every_filter,
    setbacks::a_dead_letter_stands_or_falls_with_its_step,
    tables::bindings_keep_the_older_pair,
    tables::a_taken_business_id_is_a_conflict,
    tables::provisioned_things_are_remembered,
    tables::users_and_groups_are_kept,
    tables::a_page_never_splits_one_id,
    tables::the_quarantine_is_bounded,
    tables::the_quarantine_keeps_every_reason,
    tables::settings_are_written_once,
    tables::every_tenant_is_known,
    tables::a_closed_store_says_so,
    timelines::a_line_has_its_place_and_its_readers,
    timelines::i07_a_senders_key_is_written_once,
    timelines::both_ways_of_spreading_show_the_same,
    timelines::a_change_and_its_line_are_one,
    timelines::conversations_are_listed_with_what_is_unread,
    timelines::groups_accounts_and_devices_are_kept,
}
