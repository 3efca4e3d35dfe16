//! How jobs are carried out: [`perform`], and [`perform_together`] for those that are one write each.

use orlop_api::{Link, Status};
use orlop_core::store::Revision;
use orlop_core::{Failure, Outcome, Write};

use crate::part::{Done, Job};

/// Work that ended, for the loop that began it.
pub struct Finished {
    pub(super) of: Of,
    pub(super) jobs: Vec<Ended>,
    /// Events that could not be written.
    pub(super) lost: Vec<(Write, Failure)>,
}

/// What ended.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Of {
    /// A job of which some steps may take their time.
    Steps,
    /// Jobs that only write.
    Writes,
    /// Events.
    Events,
}

/// A job that ended, and what it has to tell people.
pub(super) struct Ended {
    pub(super) done: Option<Done>,
    pub(super) events: Vec<Write>,
}

/// Whether a job only writes, and perhaps tells of it.
pub(super) fn only_writes(job: &Job) -> bool {
    job.effects.is_empty() && job.outside.is_none()
}

/// Whether a job is a write, or none, and perhaps events.
pub(super) fn is_one_write(job: &Job) -> bool {
    job.writes.len() <= 1 && only_writes(job)
}

/// Carries jobs out that are one write each.
pub(super) async fn perform_together(link: Link, jobs: Vec<Job>) -> Finished {
    let mut ended = Vec::with_capacity(jobs.len());
    let (mut writes, mut whose) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
    for (at, mut job) in jobs.into_iter().enumerate() {
        let done = |id| Done { id, outcome: Outcome::done(Revision(0)), outside: None };
        ended.push(Ended { done: job.id.map(done), events: job.events });
        if let Some(write) = job.writes.pop() {
            writes.push(write);
            whose.push(at);
        }
    }
    for (at, answer) in whose.into_iter().zip(link.perform_all(writes).await) {
        let Some(done) = &mut ended[at].done else { continue };
        match answer {
            Ok(revision) => done.outcome.revision = revision,
            Err(refused) if is_gone(&refused.0, &refused.1) => {}
            Err(refused) => {
                let (write, status) = *refused;
                done.outcome.failed = Some((Some(write), status.into()));
            }
        }
    }
    Finished { of: Of::Writes, jobs: ended, lost: Vec::new() }
}

/// Writes events.
pub(super) async fn tell(link: Link, events: Vec<Write>) -> Finished {
    let answers = link.perform_all(events).await.into_iter();
    let lost = answers.filter_map(|answer| {
        let (event, status) = *answer.err()?;
        Some((event, status.into()))
    });
    Finished { of: Of::Events, jobs: Vec::new(), lost: lost.collect() }
}

/// Whether what was to go is gone.
fn is_gone(write: &Write, status: &Status) -> bool {
    status.code == 404 && matches!(write.action, orlop_core::Action::Delete { .. })
}

/// Carries a job out.
pub(super) async fn perform(link: Link, job: Job, of: Of) -> Finished {
    let Job { id, writes, effects, outside, events } = job;
    let mut outcome = Outcome::done(Revision(0));
    outcome.failed = changes(&link, writes, effects, &mut outcome.revision).await.err();
    let outside = match outside {
        Some(call) if outcome.failed.is_none() => Some(call.await),
        _ => None,
    };
    let done = id.map(|id| Done { id, outcome, outside });
    Finished { of, jobs: vec![Ended { done, events }], lost: Vec::new() }
}

async fn changes(
    link: &Link,
    writes: Vec<Write>,
    effects: Vec<orlop_core::runner::EffectFuture>,
    last: &mut Revision,
) -> Result<(), (Option<Write>, Failure)> {
    for write in writes {
        change(link, write, last).await?;
    }
    for effect in effects {
        for write in effect.await.map_err(|failure| (None, failure))? {
            change(link, write, last).await?;
        }
    }
    Ok(())
}

async fn change(link: &Link, write: Write, last: &mut Revision) -> Result<(), (Option<Write>, Failure)> {
    match link.perform(write.clone()).await {
        Ok(revision) => *last = revision.max(*last),
        Err(status) if is_gone(&write, &status) => {}
        Err(status) => return Err((Some(write), status.into())),
    }
    Ok(())
}
