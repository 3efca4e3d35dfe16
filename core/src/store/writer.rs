//! Group commit, and the rule of publication: first durable, then answered and seen.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use super::log::{Image, Log};
use super::watchers::Watchers;
use super::{Limits, Mvcc, Revision, StoreError, Txn};
use crate::time::Clock;

/// More transactions than this do not share a flush: while they are decided, readers wait.
const GROUP_MAX: usize = 256;

/// What all handles of a store, its watches and its writer have in common.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    queue: Mutex<Queue>,
    /// Told when the queue gets its first request or is closed.
    work: Condvar,
    clock: Arc<dyn Clock>,
}

pub(super) struct State {
    pub(super) mvcc: Mvcc,
    pub(super) watchers: Watchers,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Request>,
    /// Nobody is left to ask for anything.
    closed: bool,
    /// Nobody is left to do anything.
    abandoned: bool,
}

struct Request {
    txn: Txn,
    answer: Answer,
    answered: bool,
}

impl Request {
    fn is_awaited(&self) -> bool {
        Arc::strong_count(&self.answer.0) > 1
    }

    fn answer(mut self, outcome: Result<Revision, StoreError>) {
        self.answered = true;
        self.answer.give(outcome);
    }
}

impl Drop for Request {
    /// Nobody waits for ever: what is dropped on the way, by a log that panics, is answered like what failed.
    fn drop(&mut self) {
        if !self.answered {
            self.answer.give(Err(ended()));
        }
    }
}

impl Queue {
    fn take_in(&mut self, txn: Txn) -> Answer {
        let answer = Answer::default();
        if self.abandoned {
            answer.give(Err(ended()));
        } else {
            self.requests.push_back(Request { txn, answer: answer.clone(), answered: false });
        }
        answer
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable("the store's writer has ended".to_owned())
}

impl Shared {
    pub(super) fn new(image: Image, limits: Limits, clock: Arc<dyn Clock>) -> Shared {
        let state = State { mvcc: Mvcc::restore(image, limits), watchers: Watchers::default() };
        Shared { state: Mutex::new(state), queue: Mutex::default(), work: Condvar::new(), clock }
    }

    /// Queues a transaction.
    pub(super) fn submit(&self, txn: Txn) -> Answer {
        let mut queue = self.queue.lock();
        let answer = queue.take_in(txn);
        self.work.notify_one();
        answer
    }

    /// Queues transactions, so that nobody else's come between.
    pub(super) fn submit_all(&self, txns: Vec<Txn>) -> Vec<Answer> {
        let mut queue = self.queue.lock();
        let answers = txns.into_iter().map(|txn| queue.take_in(txn)).collect();
        self.work.notify_one();
        answers
    }

    /// Nobody will ask for anything any more: the writer ends once the queue is empty, watches when they have told all.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.work.notify_all();
        let wake = self.state.lock().watchers.close();
        wake.into_iter().for_each(Waker::wake);
    }
}

/// Moves transactions from the queue of a [`super::LogStore`] through its log.
///
/// Whoever holds it decides where that happens, for a log may block: a thread of its own, or a simulator between two
/// steps. Dropping it makes every transaction that waits, or comes later, fail as [`StoreError::Unavailable`].
pub struct Writer {
    shared: Arc<Shared>,
    log: Box<dyn Log>,
    /// The log failed, and may hold what nobody was told of.
    in_doubt: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, log: Box<dyn Log>) -> Writer {
        Writer { shared, log, in_doubt: false }
    }

    /// Works until every handle of the store is dropped and every transaction is answered. Blocks.
    pub fn run(&mut self) {
        loop {
            let mut queue = self.shared.queue.lock();
            while queue.requests.is_empty() {
                if queue.closed {
                    return;
                }
                self.shared.work.wait(&mut queue);
            }
            drop(queue);
            self.turn();
        }
    }

    /// Takes what is queued through one flush. Answers whether there was anything.
    pub fn turn(&mut self) -> bool {
        let taken: Vec<Request> = {
            let mut queue = self.shared.queue.lock();
            let len = queue.requests.len().min(GROUP_MAX);
            queue.requests.drain(..len).collect()
        };
        if taken.is_empty() {
            return false;
        }
        // What nobody waits for any more need not be done.
        let group = taken.into_iter().filter(Request::is_awaited).collect::<Vec<_>>();
        if group.is_empty() {
            return true;
        }
        match self.settle_doubt() {
            Ok(()) => self.flush(group),
            Err(error) => group.into_iter().for_each(|request| request.answer(Err(error.clone()))),
        }
        true
    }

    fn flush(&mut self, group: Vec<Request>) {
        let now = self.shared.clock.now();
        let (decided, commits) = {
            let mut state = self.shared.state.lock();
            let mut decide = |request: Request| {
                let before = state.mvcc.pending().len();
                let outcome = state.mvcc.apply(&request.txn, now);
                let wrote = state.mvcc.pending().len() > before;
                (request, outcome, wrote)
            };
            let decided: Vec<_> = group.into_iter().map(&mut decide).collect();
            (decided, state.mvcc.pending().to_vec())
        };
        if !commits.is_empty() {
            // Until it says otherwise, and even if it panics.
            self.in_doubt = true;
            if let Err(error) = self.log.append(&commits) {
                self.shared.state.lock().mvcc.rollback();
                return self.fail(decided, &StoreError::Unavailable(error.to_string()));
            }
            self.in_doubt = false;
        }
        let mut state = self.shared.state.lock();
        let before = state.mvcc.revision();
        state.mvcc.publish(now);
        let wake = state.watchers.notify(before, &commits);
        drop(state);
        decided.into_iter().for_each(|(request, outcome, _)| request.answer(outcome));
        wake.into_iter().for_each(Waker::wake);
        if self.log.wants_snapshot() {
            self.in_doubt = true;
            // If it fails, the next turn tries again, and says so to those who wait for it.
            let _ = self.settle_doubt();
        }
    }

    /// The group's commits did not happen. Who would have been told of one of them, in a conflict, is decided anew.
    fn fail(&self, decided: Vec<(Request, Result<Revision, StoreError>, bool)>, error: &StoreError) {
        let (failed, again): (Vec<_>, Vec<_>) = decided.into_iter().partition(|(_, _, wrote)| *wrote);
        let mut queue = self.shared.queue.lock();
        again.into_iter().rev().for_each(|(request, ..)| queue.requests.push_front(request));
        drop(queue);
        failed.into_iter().for_each(|(request, ..)| request.answer(Err(error.clone())));
    }

    fn settle_doubt(&mut self) -> Result<(), StoreError> {
        if self.in_doubt {
            let view = {
                let mut state = self.shared.state.lock();
                // What a log left that panicked.
                state.mvcc.rollback();
                state.mvcc.view()
            };
            self.log.snapshot(&*view).map_err(|e| StoreError::Unavailable(e.to_string()))?;
            self.in_doubt = false;
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let left: Vec<Request> = {
            let mut queue = self.shared.queue.lock();
            queue.abandoned = true;
            queue.requests.drain(..).collect()
        };
        // Outside of the lock, for it wakes those who wait.
        drop(left);
    }
}

/// What a transaction came to, as soon as that is known.
#[derive(Clone, Default)]
pub(super) struct Answer(Arc<Mutex<Slot>>);

#[derive(Default)]
struct Slot {
    outcome: Option<Result<Revision, StoreError>>,
    waker: Option<Waker>,
}

impl Answer {
    fn give(&self, outcome: Result<Revision, StoreError>) {
        let mut slot = self.0.lock();
        slot.outcome = Some(outcome);
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The outcome, if it is known; only once.
    pub(super) fn take(&self) -> Option<Result<Revision, StoreError>> {
        self.0.lock().outcome.take()
    }
}

impl Future for Answer {
    type Output = Result<Revision, StoreError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.lock();
        match slot.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
