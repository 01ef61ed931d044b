//! Which published fixture is used by which test. The page for people is written from this table.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::callbacks::GOLDEN;
use crate::errors::ERRORS;
use crate::support::{path, updating};

/// A fixture, what it shows, and the test that fails when it changes its meaning.
struct Row {
    file: String,
    family: &'static str,
    test: String,
}

/// Fixtures of calls, tokens, files and replies: family, test, files.
#[rustfmt::skip]
const OTHERS: &[(&str, &str, &[&str])] = &[
    ("signature", "callbacks::the_published_signature_vector_verifies_and_a_flipped_bit_does_not", &["callback_signature_vector.json"]),
    ("pre-send reply", "callbacks::replies_are_what_the_vendor_counts_as_success", &["callback_pre_send_reply_allow.json", "callback_pre_send_reply_reject.json"]),
    ("app token", "tokens::the_token_request_and_answer_are_the_published_ones", &["token_request.json", "rest_list_users_response.json"]),
    ("app token", "tokens::the_published_token_is_used_for_four_fifths_of_its_life", &["token_response.json"]),
    ("user token", "tokens::a_users_token_is_inherited_from_the_app", &["token_user_inherit_request.json", "token_user_response.json"]),
    ("user token", "tokens::a_users_token_made_here_is_the_published_example", &["token_user_dynamic_example.json"]),
    ("users", "users::registration_is_the_published_request_with_a_password_nobody_knows", &["rest_register_user_request.json", "rest_register_user_response.json"]),
    ("users", "users::registering_again_is_harmless_in_both_answers_and_updates_the_name", &["rest_register_users_batch_partial_response.json"]),
    ("users", "users::kick_ban_and_unban_call_the_published_paths", &["rest_disconnect_user_response.json", "rest_deactivate_user_response.json", "rest_activate_user_response.json"]),
    ("users", "users::states_come_in_the_order_asked_and_unknown_users_are_offline", &["rest_users_batch_status_request.json", "rest_users_batch_status_response.json"]),
    ("users", "users::waiting_messages_are_counted", &["rest_offline_msg_count_response.json"]),
    ("groups", "groups::groups_and_rooms_are_made_by_the_published_requests", &["rest_group_create_request.json", "rest_group_create_response.json"]),
    ("rooms", "groups::groups_and_rooms_are_made_by_the_published_requests", &["rest_chatroom_create_request.json", "rest_chatroom_create_response.json"]),
    ("groups", "groups::members_are_added_sixty_at_a_time_and_those_in_are_left_alone", &["rest_group_add_members_request.json", "rest_group_add_members_response.json"]),
    ("groups", "groups::an_unknown_group_is_told_from_an_unknown_member", &["rest_group_remove_member_response.json"]),
    ("groups", "groups::members_are_read_to_the_page_that_says_nothing_new", &["rest_group_members_response.json"]),
    ("groups", "groups::an_id_is_looked_up_as_a_group_then_as_a_room", &["rest_group_detail_response.json"]),
    ("send", "messaging::every_body_is_sent_as_published", &["rest_send_message_img_request.json", "rest_send_message_audio_request.json", "rest_send_message_video_request.json", "rest_send_message_file_request.json", "rest_send_message_loc_request.json", "rest_send_message_cmd_request.json", "rest_send_message_custom_request.json"]),
    ("send", "messaging::text_to_users_is_sent_and_answered_as_published", &["rest_send_message_request.json", "rest_send_message_response.json"]),
    ("send", "messaging::groups_and_rooms_are_reached_as_published", &["rest_send_group_message_request.json", "rest_send_group_message_response.json", "rest_send_group_targeted_message_request.json", "rest_send_chatroom_message_request.json", "rest_send_chatroom_message_response.json"]),
    ("send", "messaging::only_for_those_online_is_sent_as_published_without_the_field_the_contract_has_no_place_for", &["rest_send_message_online_only_request.json"]),
    ("recall", "messaging::a_recall_is_the_published_request_without_the_field_the_contract_has_no_place_for", &["rest_recall_message_request.json", "rest_recall_message_response.json"]),
    ("history file", "history::a_published_file_decodes_to_its_golden_messages", &["rest_history_file_response.json", "history_file_sample.jsonl"]),
    ("history file", "history::a_single_line_decodes_and_keeps_its_bytes", &["history_file_line_txt.json"]),
    ("kept callbacks", "kept::slots_and_replays_are_asked_for_as_published", &["rest_callback_storage_info_response.json", "rest_callback_storage_retry_request.json", "rest_callback_storage_retry_response.json"]),
];

/// Published fixtures this adapter has no use for, and why.
const UNUSED: &[(&str, &str)] = &[
    (
        "callback_pre_send_reply_chatroom_level, …_rewrite",
        "replies of a real pre-send hook; the verdict is fixed so far",
    ),
    ("client_*", "client-internal calls of the web SDK"),
    ("rest_broadcast_*, rest_import_*, rest_modify_*, rest_stream_*", "no capability of the provider contract"),
    ("rest_chatfile_*, rest_conversation_delete_*, rest_roaming_delete_*", "no capability of the provider contract"),
    ("rest_global_mute_*, rest_group_mute_*, rest_presence_*", "no capability of the provider contract"),
    (
        "rest_change_password, rest_delete_user, rest_get_user, rest_user_*, rest_offline_msg_status",
        "not asked: the contract needs other calls",
    ),
    ("rest_group_list, rest_joined_groups, rest_disconnect_device", "not asked: the contract needs other calls"),
    (
        "rest_recall_messages_batch_*, rest_register_users_batch_request, rest_send_message_legacy_*",
        "older or batched forms of calls made one by one",
    ),
    ("token_user_password_request", "users log in by a token the app gets for them"),
];

const SOURCES: &[(&str, &str)] = &[
    ("callbacks", include_str!("callbacks.rs")),
    ("tokens", include_str!("tokens.rs")),
    ("users", include_str!("users.rs")),
    ("groups", include_str!("groups.rs")),
    ("messaging", include_str!("messaging.rs")),
    ("history", include_str!("history.rs")),
    ("kept", include_str!("kept.rs")),
];

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for name in GOLDEN {
        let family = if name.starts_with("callback_pre_send") {
            "pre-send callback"
        } else if name.starts_with("callback_post_send") {
            "message callback"
        } else {
            "event callback"
        };
        rows.push(Row { file: format!("{name}.json"), family, test: format!("callbacks::{name}") });
    }
    for (name, ..) in ERRORS {
        let test = "errors::every_published_error_body_means_what_the_table_says".to_owned();
        rows.push(Row { file: format!("{name}.json"), family: "error", test });
    }
    for (family, test, files) in OTHERS {
        rows.extend(files.iter().map(|file| Row { file: (*file).to_owned(), family, test: (*test).to_owned() }));
    }
    rows.sort_by(|one, other| one.file.cmp(&other.file));
    rows
}

pub(crate) fn knows(file: &str) -> bool {
    rows().iter().any(|row| row.file == file)
}

fn published() -> BTreeSet<String> {
    std::fs::read_dir(path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json") || name.ends_with(".jsonl"))
        .collect()
}

#[test]
fn every_fixture_is_used_by_a_test_and_every_row_names_a_fixture() {
    let rows = rows();
    let named: BTreeSet<String> = rows.iter().map(|row| row.file.clone()).collect();
    assert_eq!(named.len(), rows.len(), "a fixture stands in two rows");
    assert_eq!(named, published());
    for (_, test, files) in OTHERS {
        let (module, name) = test.split_once("::").unwrap();
        let source = SOURCES.iter().find(|(of, _)| *of == module).unwrap().1;
        let at = source.find(&format!("fn {name}(")).unwrap_or_else(|| panic!("{test} does not exist"));
        let end = source[at..].find("\n}\n").map_or(source.len(), |end| at + end);
        for file in *files {
            // History tests reach some fixtures through a function above them.
            let place = if module == "history" { source } else { &source[at..end] };
            assert!(place.contains(&format!("\"{file}\"")), "{test} does not use {file}");
        }
    }
}

#[test]
fn every_golden_file_belongs_to_a_fixture() {
    let mut expected: BTreeSet<String> = GOLDEN.iter().map(|name| format!("{name}.json")).collect();
    expected.extend(["history_file_sample.json".to_owned(), "history_file_line_txt.json".to_owned()]);
    let found: BTreeSet<String> = std::fs::read_dir(path("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, expected);
}

/// Envelope fields that no code reads must not change unseen either.
#[test]
fn every_fixture_is_byte_for_byte_the_published_one() {
    let mut sums = String::new();
    for file in published() {
        let digest = hex::encode(Sha256::digest(std::fs::read(path(&file)).unwrap()));
        writeln!(sums, "{digest}  {file}").unwrap();
    }
    let kept = std::fs::read_to_string(path("SHA256SUMS")).unwrap();
    for (now, then) in sums.lines().zip(kept.lines()) {
        assert_eq!(now, then, "a fixture was changed, added or removed");
    }
    assert_eq!(sums.lines().count(), kept.lines().count());
}

#[test]
fn the_coverage_page_is_up_to_date() {
    let mut page = String::from(
        "# Huanxin: what the tests cover\n\n\
         Written from the table in `adapters/huanxin/tests/vendor/coverage.rs`; `UPDATE_GOLDEN=1 cargo test -p \
         switchboard-huanxin` writes it anew. Fixtures are in `adapters/huanxin/fixtures`, golden events beside them.\n\n\
         | Family | Fixture | Test |\n|---|---|---|\n",
    );
    let mut rows = rows();
    rows.sort_by(|one, other| (one.family, &one.file).cmp(&(other.family, &other.file)));
    for row in &rows {
        writeln!(page, "| {} | `{}` | `{}` |", row.family, row.file, row.test).unwrap();
    }
    page.push_str("\n## Bodies\n\n| Body | Sent | Decoded from callbacks and history |\n|---|---|---|\n");
    for (body, sent, decoded) in [
        ("text", "`rest_send_message_request`", "`callback_post_send_txt`"),
        ("image", "`rest_send_message_img_request`", "`callback_post_send_img`"),
        ("audio", "`rest_send_message_audio_request`", "`callback_post_send_audio`"),
        ("video", "`rest_send_message_video_request`", "`callback_post_send_video`"),
        ("file", "`rest_send_message_file_request`", "`callback_post_send_file`"),
        ("location", "`rest_send_message_loc_request`", "`callback_post_send_loc`"),
        ("command", "`rest_send_message_cmd_request`", "`callback_post_send_cmd`"),
        ("custom", "`rest_send_message_custom_request`", "`callback_post_send_custom`"),
        ("combined", "as clients send it; no request is published", "`callback_post_send_combine`"),
    ] {
        writeln!(page, "| {body} | {sent} | {decoded} |").unwrap();
    }
    writeln!(page, "\n## Published and not used here\n\n| Fixtures | Why |\n|---|---|").unwrap();
    for (files, why) in UNUSED {
        writeln!(page, "| `{files}` | {why} |").unwrap();
    }
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/coverage-huanxin.md");
    if updating() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), page, "run the tests with UPDATE_GOLDEN=1");
}
