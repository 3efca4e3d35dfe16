//! How far a data plane has come, and how others wait for it, in whatever async runtime or in none.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use orlop_core::Revision;

use crate::plane::DataPlane;

/// The revision that somebody has reached. Clones are handles of one value; it only rises.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    reached: Revision,
    waiting: Vec<(Revision, Waker)>,
}

impl Progress {
    /// Nothing reached yet.
    pub fn new() -> Progress {
        Progress::default()
    }

    /// The revision reached so far.
    pub fn reached(&self) -> Revision {
        self.state().reached
    }

    /// `revision` is reached. An earlier one than before changes nothing.
    pub fn reach(&self, revision: Revision) {
        let due: Vec<Waker> = {
            let mut state = self.state();
            if revision <= state.reached {
                return;
            }
            state.reached = revision;
            state.waiting.extract_if(.., |(wanted, _)| *wanted <= revision).map(|(_, waker)| waker).collect()
        };
        due.into_iter().for_each(Waker::wake);
    }

    /// Completes once `revision` is reached.
    pub fn passed(&self, revision: Revision) -> Passed {
        Passed { progress: self.clone(), revision }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is whole between any two statements, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wait for one revision.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Passed {
    progress: Progress,
    revision: Revision,
}

impl Future for Passed {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.progress.state();
        if state.reached >= self.revision {
            return Poll::Ready(());
        }
        // A future that is polled often must not pile up wakers.
        let revision = self.revision;
        if !state.waiting.iter().any(|(wanted, waker)| *wanted == revision && waker.will_wake(cx.waker())) {
            state.waiting.push((revision, cx.waker().clone()));
        }
        Poll::Pending
    }
}

/// What must have happened before a container is told to stop: every data plane has passed the revision that unroutes
/// its pod.
///
/// The planner treats a pod as terminating from the very commit that set its `deletionTimestamp`, without waiting for
/// EndpointSlices to follow; therefore **the revision that unroutes a pod is the revision of the pod object in which
/// `deletionTimestamp` was first seen**. A node agent awaits `gate.passed(that)` (or the end of the pod's grace)
/// before it stops the first container. Without planes everything has passed.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    planes: Vec<Progress>,
}

impl Gate {
    /// A gate before those whose progress this is.
    pub fn new(planes: impl IntoIterator<Item = Progress>) -> Gate {
        Gate { planes: planes.into_iter().collect() }
    }

    /// A gate before these planes.
    pub fn of<'a>(planes: impl IntoIterator<Item = &'a Arc<dyn DataPlane>>) -> Gate {
        Gate::new(planes.into_iter().map(|plane| plane.progress()))
    }

    /// The revision that all have reached; `None` where there is nobody to wait for.
    pub fn reached(&self) -> Option<Revision> {
        self.planes.iter().map(Progress::reached).min()
    }

    /// Whether all have reached `revision`.
    pub fn has_passed(&self, revision: Revision) -> bool {
        self.reached().is_none_or(|reached| reached >= revision)
    }

    /// Completes once all have reached `revision`.
    pub async fn passed(&self, revision: Revision) {
        for plane in &self.planes {
            plane.passed(revision).await;
        }
    }
}
