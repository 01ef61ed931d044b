//! One suite for every provider, emulated or real: the text of the contract's documentation, as cases.
//!
//! Implement [`World`] for the place where your provider can be tried (an emulator, or a real account), and call
//! [`run`] with every case of [`CASES`], or let [`provider_suite!`] make a named test of each. Cases choose themselves
//! by the provider's accessors and limits: what it does not support is called too, to see the refusal. A case that
//! cannot apply is reported as skipped with its reason, never as passed.
//!
//! [`Mutant`] wraps a provider and breaks it in one way. Each mutant must be caught by the case that names it: a suite
//! that lets one through proves nothing.

mod cases;
mod mutant;
mod world;

pub use cases::{CASES, Case, Failure, Outcome, run};
pub use mutant::{MUTATIONS, Mutant, Mutation};
pub use world::{Accepted, Fault, World};

/// Makes a named test of every case. `$make` is an async function that returns a `Box<dyn World>`.
///
/// The caller provides the runtime: `$test` is its test attribute, such as `tokio::test`.
#[macro_export]
macro_rules! provider_suite {
    ($test:meta, $make:path) => {
        $crate::provider_suite!(@ $test, $make,
            probe_accepts_good_credentials, probe_refuses_wrong_credentials,
            sends_are_accepted_once_and_acknowledged_for_each_recipient, groups_and_rooms_are_not_confused,
            bodies_arrive_whole, what_cannot_be_carried_is_refused_unsent, a_lost_answer_is_not_repeated,
            a_rate_limit_may_be_tried_again, a_page_of_html_means_unavailable, an_expired_token_is_renewed,
            callbacks_come_out_once_and_in_order, a_wrong_signature_is_refused, nothing_unknown_is_lost,
            a_mark_comes_back_and_leaves_no_trace, a_recall_has_one_key, paging_reaches_every_message_once,
            files_and_callbacks_agree, users_are_made_once, groups_hold_their_members
        );
    };
    (@ $test:meta, $make:path, $($case:ident),*) => {
        $(
            #[$test]
            async fn $case() {
                let world = $make().await;
                match $crate::run(stringify!($case), &*world).await {
                    Ok($crate::Outcome::Passed) => {}
                    Ok($crate::Outcome::Skipped(reason)) => println!("SKIPPED {}: {reason}", stringify!($case)),
                    Err(failure) => panic!("{failure}"),
                }
            }
        )*

        #[test]
        fn the_suite_is_whole() {
            let named = [$(stringify!($case)),*];
            let all: Vec<&str> = $crate::CASES.iter().map(|case| case.name).collect();
            assert_eq!(named.as_slice(), all.as_slice());
        }
    };
}
