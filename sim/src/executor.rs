//! One thread, one queue, one order: [`Executor`].

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use orlop_core::{Clock, ManualClock, Timestamp};
use parking_lot::Mutex;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs futures on a virtual clock: first come, first served; time moves only when nobody can go on, and then to the
/// earliest moment for which somebody waits.
pub struct Executor {
    clock: ManualClock,
    tasks: Vec<Option<Task>>,
    signals: Vec<Arc<Signal>>,
    ready: Arc<Mutex<VecDeque<usize>>>,
    polls: u64,
}

struct Signal {
    task: usize,
    queued: Mutex<bool>,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        let mut queued = self.queued.lock();
        if !*queued {
            *queued = true;
            self.ready.lock().push_back(self.task);
        }
    }
}

impl Executor {
    /// An executor that moves `clock`.
    pub fn new(clock: ManualClock) -> Executor {
        Executor { clock, tasks: Vec::new(), signals: Vec::new(), ready: Arc::default(), polls: 0 }
    }

    /// Adds a task, to be run after those that are ready now.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let number = self.tasks.len();
        self.tasks.push(Some(Box::pin(task)));
        let signal = Arc::new(Signal { task: number, queued: Mutex::new(false), ready: self.ready.clone() });
        self.signals.push(signal.clone());
        signal.wake();
    }

    /// How often a task was run.
    pub fn polls(&self) -> u64 {
        self.polls
    }

    /// Runs until nothing more can happen before `end`, and moves the clock there.
    pub fn run_until(&mut self, end: Timestamp) {
        loop {
            while let Some(task) = self.next() {
                self.poll(task);
            }
            match self.clock.next_deadline() {
                Some(at) if at <= end => self.clock.advance_to(at),
                _ => break,
            }
        }
        self.clock.advance_to(end);
        while let Some(task) = self.next() {
            self.poll(task);
        }
    }

    /// Runs until `future` completes, at most until `end`.
    pub fn block_on<T: Send + 'static>(
        &mut self,
        future: impl Future<Output = T> + Send + 'static,
        end: Timestamp,
    ) -> Option<T> {
        let answer = Arc::new(Mutex::new(None));
        let slot = answer.clone();
        self.spawn(async move {
            let value = future.await;
            *slot.lock() = Some(value);
        });
        loop {
            while let Some(task) = self.next() {
                self.poll(task);
                if let Some(value) = answer.lock().take() {
                    return Some(value);
                }
            }
            match self.clock.next_deadline() {
                Some(at) if at <= end => self.clock.advance_to(at),
                _ => return None,
            }
        }
    }

    fn next(&self) -> Option<usize> {
        self.ready.lock().pop_front()
    }

    fn poll(&mut self, number: usize) {
        let signal = self.signals[number].clone();
        // From here on the task may be woken again, also by itself.
        *signal.queued.lock() = false;
        let waker = Waker::from(signal);
        let Some(task) = &mut self.tasks[number] else { return };
        self.polls += 1;
        if let Poll::Ready(()) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.tasks[number] = None;
        }
    }
}
