//! Who waits for several things at once is woken without a word about which of them it was. A bell remembers who has
//! called, so that only those are asked: of hundreds of connections each has its own corner of memory, and to look into
//! all of it at every step costs more than what is to be done there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Rung from anywhere, heard by one task.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Ready, once, when it was rung since the last time.
    pub(crate) fn poll_rung(&self, context: &Context<'_>) -> Poll<()> {
        self.task.register(context.waker());
        if self.take() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether it was rung since the last time.
    pub(crate) fn take(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::Acquire)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

/// A source with a bell of its own: it is asked when it has called, and for the first time.
#[derive(Debug)]
pub(crate) struct Caller {
    bell: Arc<Bell>,
    waker: Waker,
}

impl Default for Caller {
    fn default() -> Self {
        let bell = Arc::new(Bell::default());
        bell.ring();
        Self { waker: bell.clone().into(), bell }
    }
}

impl Caller {
    /// The source is another from now on.
    pub(crate) fn renew(&self) {
        self.bell.ring();
    }

    /// What the source says, if it has called.
    pub(crate) fn poll<T>(&self, context: &Context<'_>, ask: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        if self.bell.poll_rung(context).is_pending() {
            return Poll::Pending;
        }
        let answer = ask(&mut Context::from_waker(&self.waker));
        if answer.is_ready() {
            // There may be more.
            self.bell.ring();
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_asked_first_and_then_when_it_has_called() {
        let (caller, context) = (Caller::default(), Context::from_waker(Waker::noop()));
        let mut asked = 0;
        let mut ask = |answer: Poll<()>| {
            caller.poll(&context, |context| {
                asked += 1;
                assert!(!context.waker().will_wake(Waker::noop()), "it calls by its own bell");
                answer
            })
        };
        assert!(ask(Poll::Pending).is_pending());
        assert!(ask(Poll::Ready(())).is_pending(), "it has not called");
        caller.waker.wake_by_ref();
        assert!(ask(Poll::Ready(())).is_ready());
        assert!(ask(Poll::Pending).is_pending(), "after an answer it is asked again");
        assert!(ask(Poll::Ready(())).is_pending());
        assert_eq!(asked, 3);
    }

    #[test]
    fn a_bell_is_heard_once_however_often_it_was_rung() {
        let (bell, context) = (Bell::default(), Context::from_waker(Waker::noop()));
        assert!(bell.poll_rung(&context).is_pending());
        bell.ring();
        bell.ring();
        assert!(bell.poll_rung(&context).is_ready());
        assert!(bell.poll_rung(&context).is_pending());
        bell.ring();
        assert!(bell.take());
        assert!(!bell.take());
    }
}
