//! Who spends how much CPU time.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// What all threads of this process that still run have spent.
pub(crate) fn process() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.map(|thread| spent(&thread.path())).sum()
}

/// As the scheduler of the system counts it; nothing where it does not.
fn spent(thread: &Path) -> Duration {
    let figures = std::fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    let nanoseconds = figures.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// What one task has spent, whatever threads it ran on.
#[derive(Clone, Default)]
pub(crate) struct Meter(Arc<AtomicU64>);

impl Meter {
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// The task, metered.
    pub(crate) fn around<F: Future>(&self, task: F) -> Metered<F> {
        Metered { task: Box::pin(task), meter: self.clone() }
    }
}

pub(crate) struct Metered<F> {
    task: Pin<Box<F>>,
    meter: Meter,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let thread = Path::new("/proc/thread-self");
        let before = spent(thread);
        let polled = self.task.as_mut().poll(cx);
        let nanoseconds = spent(thread).saturating_sub(before).as_nanos();
        self.meter.0.fetch_add(u64::try_from(nanoseconds).unwrap_or(u64::MAX), Ordering::Relaxed);
        polled
    }
}
