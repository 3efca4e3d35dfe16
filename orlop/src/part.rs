//! What every component is to its shell: [`Part`].

use std::any::Any;
use std::future::Future;
use std::pin::Pin;

use crate::stats::LoopStats;
use futures_util::Stream;
use orlop_core::runner::EffectFuture;
use orlop_core::{Cut, Failure, Kind, Outcome, Timestamp, Write};

/// A component that decides and does nothing: cuts go in, jobs come out.
///
/// The controllers' runner, the scheduler, each node agent and the network planner are parts; one loop,
/// [`drive`](crate::drive::drive), runs them all, on the system's clock as on a simulator's.
pub trait Part: Send {
    /// The name in logs and metrics.
    fn name(&self) -> &str;

    /// The kinds that it reads. May be others after a cut: then the first cut of all of them is a reset.
    fn kinds(&self) -> Vec<Kind>;

    /// Whether these are [`Part::kinds`]. Asked after every cut, and so worth an answer that copies nothing.
    fn reads(&self, kinds: &[Kind]) -> bool {
        self.kinds() == kinds
    }

    /// Takes in what changed.
    fn on_cut(&mut self, cut: Cut);

    /// Takes in that the API does not serve one of the kinds, so that none can be followed. Asked for anew later.
    fn on_unserved(&mut self) {}

    /// What it hears besides the API. Asked for once.
    fn hears(&mut self) -> Option<Inlet> {
        None
    }

    /// Takes in what it has heard.
    fn on_heard(&mut self, heard: Box<dyn Any + Send>) {
        drop(heard);
    }

    /// Decides what is due now.
    fn poll(&mut self, now: Timestamp) -> Vec<Job>;

    /// Takes in how a job went. Answers with events to write.
    fn on_done(&mut self, now: Timestamp, done: Done) -> Vec<Write>;

    /// Takes in that an event was not written. Answers with what to write instead.
    fn on_lost_event(&mut self, now: Timestamp, event: &Write, failure: &Failure) -> Option<Write>;

    /// What its deciders have been doing.
    fn loops(&self, out: &mut Vec<LoopStats>) {
        out.clear();
    }

    /// How many objects it cannot read as they are now: to it they do not exist.
    fn malformed(&self) -> usize {
        0
    }

    /// When [`Part::poll`] has something to do even if nothing changes.
    fn next_wake(&self) -> Option<Timestamp>;
}

/// News for a part, which only the part understands.
pub type Inlet = Pin<Box<dyn Stream<Item = Box<dyn Any + Send>> + Send>>;

/// A request to the outside whose answer only the part understands.
pub type Outside = Pin<Box<dyn Future<Output = Box<dyn Any + Send>> + Send>>;

/// What a part wants done. The writes happen in order until one fails; then the effects, then the outside calls.
#[derive(Default)]
pub struct Job {
    /// Names the job in [`Part::on_done`]. `None`: the part does not ask how it went.
    pub id: Option<u64>,
    /// Changes of objects.
    pub writes: Vec<Write>,
    /// Requests to the outside that report in writes.
    pub effects: Vec<EffectFuture>,
    /// A request to the outside that reports to the part.
    pub outside: Option<Outside>,
    /// Events for people, written in any case.
    pub events: Vec<Write>,
}

/// How a job went.
pub struct Done {
    /// The job.
    pub id: u64,
    /// What was written, and what failed.
    pub outcome: Outcome,
    /// What the outside answered.
    pub outside: Option<Box<dyn Any + Send>>,
}
