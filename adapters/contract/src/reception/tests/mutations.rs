//! Each rule switched off in turn: the checker must notice. A rule that nobody misses is no rule, or the checker is
//! blind.

use super::super::guards::Guards;
use super::drive::Life;

/// Some life breaks a promise without the rule, and the checker says which.
fn is_missed(switch_off: impl Fn(&mut Guards)) {
    let mut guards = Guards::ALL;
    switch_off(&mut guards);
    for seed in 0..40_000 {
        // Without its rules the machine may also stumble over its own assertions; that is not what is asked here.
        let life = std::panic::catch_unwind(|| Life::new(seed, guards).run(60));
        if let Ok(Err(broken)) = life {
            println!("seed {seed}: {broken}");
            return;
        }
    }
    panic!("nobody notices");
}

macro_rules! mutations {
    ($($test:ident: $guard:ident),* $(,)?) => {
        $(#[test] fn $test() { is_missed(|guards| guards.$guard = false); })*
    };
}

mutations! {
    i03_live_waits_is_needed: live_waits,
    i03_ack_before_online_is_needed: ack_before_online,
    i06_save_before_online_is_needed: save_before_online,
    i06_save_before_cursor_is_needed: save_before_cursor,
    i03_one_worker_is_needed: one_worker,
    i02_lease_matches_is_needed: lease_matches,
    i03_go_back_is_needed: go_back,
    i12_pause_is_needed: pause,
    i02_contiguous_is_needed: contiguous,
    i02_no_repeat_is_needed: no_repeat,
    i09_in_flight_is_needed: in_flight,
    i06_mark_stops_is_needed: mark_stops,
    i02_ranges_is_needed: ranges,
    i03_aside_covers_is_needed: aside_covers,
    i03_aside_catches_up_is_needed: aside_catches_up,
    i03_aside_leaves_is_needed: aside_leaves,
    i02_aside_remembers_is_needed: aside_remembers,
    i02_page_repeats_is_needed: page_repeats,
    i06_cursor_owner_is_needed: cursor_owner,
    i12_deadline_is_needed: deadline,
    i02_leave_returns_is_needed: leave_returns,
    i12_poison_is_needed: poison,
    i02_missing_said_is_needed: missing_said,
    i03_concurrent_waits_is_needed: concurrent_waits,
    i03_newest_pages_is_needed: newest_pages,
}
