//! One thread, one queue, one order: [`Executor`].

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use orlop_core::{Clock, ManualClock, Timestamp};
use parking_lot::Mutex;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Ready = Arc<Mutex<VecDeque<usize>>>;

/// Runs futures on a virtual clock: first come, first served; time moves only when nobody can go on, and then to the
/// earliest moment for which somebody waits.
pub struct Executor {
    clock: ManualClock,
    tasks: Vec<Option<Task>>,
    signals: Vec<Arc<Signal>>,
    ready: Ready,
    orders: Arc<Mutex<Orders>>,
    polls: u64,
}

/// Names a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(usize);

/// Starts and ends tasks, also from within a task.
#[derive(Clone)]
pub struct Handle(Arc<Mutex<Orders>>);

#[derive(Default)]
struct Orders {
    next: usize,
    queue: VecDeque<Order>,
    halted: bool,
}

enum Order {
    Spawn(Task),
    Cancel(TaskId),
}

impl Handle {
    /// Adds a task, to be run after those that are ready now.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> TaskId {
        let mut orders = self.0.lock();
        orders.next += 1;
        orders.queue.push_back(Order::Spawn(Box::pin(task)));
        TaskId(orders.next - 1)
    }

    /// Drops a task before anything else is run.
    pub fn cancel(&self, task: TaskId) {
        self.0.lock().queue.push_back(Order::Cancel(task));
    }

    /// Has [`Executor::run_until`] return before the next task is run.
    pub fn halt(&self) {
        self.0.lock().halted = true;
    }
}

struct Signal {
    task: usize,
    queued: Mutex<bool>,
    ready: Ready,
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
        Executor {
            clock,
            tasks: Vec::new(),
            signals: Vec::new(),
            ready: Arc::default(),
            orders: Arc::default(),
            polls: 0,
        }
    }

    /// Starts and ends tasks.
    pub fn handle(&self) -> Handle {
        Handle(self.orders.clone())
    }

    /// How often a task was run.
    pub fn polls(&self) -> u64 {
        self.polls
    }

    /// Runs until nothing more can happen before `end`, and moves the clock there. Answers `false` if it was halted.
    pub fn run_until(&mut self, end: Timestamp) -> bool {
        loop {
            while let Some(task) = self.next() {
                self.poll(task);
                if std::mem::take(&mut self.orders.lock().halted) {
                    return false;
                }
            }
            match self.clock.next_deadline() {
                Some(at) if at <= end => self.clock.advance_to(at),
                _ if self.clock.now() < end => self.clock.advance_to(end),
                _ => return true,
            }
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
        let id = self.handle().spawn(async move {
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
                _ => {
                    self.handle().cancel(id);
                    return None;
                }
            }
        }
    }

    /// Carries out what handles have asked for, and takes the next task.
    fn next(&mut self) -> Option<usize> {
        loop {
            // Dropping a task may drop handles: not under the lock.
            let order = self.orders.lock().queue.pop_front();
            match order {
                None => return self.ready.lock().pop_front(),
                Some(Order::Cancel(TaskId(task))) => drop(self.tasks[task].take()),
                Some(Order::Spawn(task)) => {
                    let number = self.tasks.len();
                    self.tasks.push(Some(task));
                    let ready = self.ready.clone();
                    let signal = Arc::new(Signal { task: number, queued: Mutex::new(false), ready });
                    self.signals.push(signal.clone());
                    signal.wake();
                }
            }
        }
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
