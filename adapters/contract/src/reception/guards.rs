//! Every rule the machine keeps, by name, so that the tests can switch one off and see the checker notice.

macro_rules! guards {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        #[cfg(test)]
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Guards {
            $($(#[$doc])* pub(crate) $name: bool,)*
        }

        #[cfg(not(test))]
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Guards;

        /// A rule is a constant outside of tests: it costs nothing and cannot be switched off.
        #[cfg(not(test))]
        #[allow(clippy::unused_self, reason = "the test form reads a field")]
        impl Guards {
            pub(super) const ALL: Self = Self;
            $(#[inline(always)] pub(super) const fn $name(self) -> bool { true })*
        }

        #[cfg(test)]
        impl Guards {
            pub(crate) const ALL: Self = Self { $($name: true,)* };
            $(pub(super) const fn $name(self) -> bool { self.$name })*
        }
    };
}

guards! {
    /// Live events wait until the subscriber is online.
    live_waits,
    /// Online only when everything up to the tail is acknowledged.
    ack_before_online,
    /// Online only when that acknowledgement is durable.
    save_before_online,
    /// The cursor moves when the store has confirmed it, not when it was asked to.
    save_before_cursor,
    /// A conversation is out to one worker at a time.
    one_worker,
    /// An acknowledgement counts only under the lease the event is out with.
    lease_matches,
    /// What a worker holds behind a failed event of the same conversation comes again, behind it.
    go_back,
    /// A conversation waits out the pause before a retry.
    pause,
    /// Events are taken only where the last ones ended.
    contiguous,
    /// Events already taken are not taken again.
    no_repeat,
    /// No more than `max_in_flight` are out.
    in_flight,
    /// The low-water mark stops below the first event that is not acknowledged.
    mark_stops,
    /// Acknowledged ranges above the mark are remembered over a restart.
    ranges,
    /// What belongs to a conversation set aside does not go out beside it.
    aside_covers,
    /// A redriven conversation is whole only when the redrive has caught up.
    aside_catches_up,
    /// A conversation set aside does not hold the tail.
    aside_leaves,
    /// A redrive leaves out what was acknowledged.
    aside_remembers,
    /// A repeated pull gets its open page again.
    page_repeats,
    /// A cursor acknowledges only what its worker leased.
    cursor_owner,
    /// A delivery not acknowledged in time comes again.
    deadline,
    /// What a worker that left had out comes again.
    leave_returns,
    /// The poison policy ends the tries.
    poison,
    /// Removed history is reported, and passed.
    missing_said,
    /// In concurrent reception a live event waits for the backlog of its conversation.
    concurrent_waits,
    /// Under newest-first, pages of a conversation come whole and the newest page first.
    newest_pages,
}
