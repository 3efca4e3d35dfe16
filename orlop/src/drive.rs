//! The one loop between parts and the API: [`drive`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use orlop_api::api::Cuts;
use orlop_api::{Link, Status};
use orlop_core::store::Revision;
use orlop_core::{Clock, Failure, Kind, Outcome, Timestamp, Write};

use crate::part::{Done, Inlet, Job, Part};
use crate::stats::Watched;

/// How long to wait before following the API again when it refused or ended.
const RETRY: Duration = Duration::from_secs(1);
/// How many rounds a part may take before others get their turn.
const ROUNDS: usize = 64;
/// So many writes are worth a thread of their own.
const TOGETHER: usize = 16;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs a future beside the loop, on another thread if there is one, and answers with its outcome. Dropping the answer
/// ends the future.
pub type Beside = Arc<dyn Fn(Boxed<Vec<Finished>>) -> Boxed<Vec<Finished>> + Send + Sync>;

/// Runs a part until the future is dropped: follows the API, carries jobs out, wakes the part when its time comes.
///
/// Uses no executor and no clock of its own, so that the same loop runs on a thread pool and in a simulator.
pub fn drive(
    part: Box<dyn Part>,
    link: Link,
    clock: Arc<dyn Clock>,
    watched: Watched,
) -> impl Future<Output = ()> + Send {
    drive_beside(part, link, clock, watched, Arc::new(|writing| writing))
}

/// [`drive`], with a place for writes that need not wait for the part's next decisions.
pub fn drive_beside(
    mut part: Box<dyn Part>,
    link: Link,
    clock: Arc<dyn Clock>,
    watched: Watched,
    beside: Beside,
) -> impl Future<Output = ()> + Send {
    let inlet = part.hears();
    Drive {
        beside,
        follow: Follow::ask(&link, part.as_ref()),
        ahead: None,
        inlet,
        watched,
        part,
        link,
        clock,
        jobs: FuturesUnordered::new(),
        sleep: None,
    }
}

struct Drive {
    part: Box<dyn Part>,
    link: Link,
    clock: Arc<dyn Clock>,
    follow: Follow,
    /// What will be followed instead, since the part reads other kinds now.
    ahead: Option<Follow>,
    inlet: Option<Inlet>,
    watched: Watched,
    beside: Beside,
    jobs: FuturesUnordered<Boxed<Vec<Finished>>>,
    sleep: Option<(Timestamp, Boxed<()>)>,
}

/// Kinds, and how far we are with following them.
struct Follow {
    kinds: Vec<Kind>,
    state: State,
}

enum State {
    Asking(Boxed<Result<Cuts, Status>>),
    Following(Cuts),
    Waiting(Boxed<()>),
}

/// A job that ended, and the events that it could not write.
pub struct Finished {
    done: Option<Done>,
    lost: Vec<(Write, Failure)>,
}

impl Follow {
    fn ask(link: &Link, part: &dyn Part) -> Follow {
        let (link, kinds) = (link.clone(), part.kinds());
        let asked = kinds.clone();
        let asking = Box::pin(async move { link.api.follow(&link.user, &asked).await });
        Follow { kinds, state: State::Asking(asking) }
    }

    /// Goes on until cuts come. After a refusal it goes on, too, and tries again in a while.
    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        (link, part, clock): (&Link, &dyn Part, &dyn Clock),
    ) -> Poll<Result<(), Status>> {
        loop {
            match &mut self.state {
                State::Following(_) => return Poll::Ready(Ok(())),
                State::Asking(asking) => match ready!(asking.as_mut().poll(cx)) {
                    Ok(cuts) => self.state = State::Following(cuts),
                    Err(status) => {
                        self.state = State::Waiting(clock.sleep_until(clock.now() + RETRY));
                        return Poll::Ready(Err(status));
                    }
                },
                State::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    *self = Follow::ask(link, part);
                }
            }
        }
    }
}

impl Future for Drive {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..ROUNDS {
            let moved =
                this.take_cuts(cx) | this.take_heard(cx) | this.take_finished(cx) | this.take_wake(cx);
            let now = this.clock.now();
            let jobs = this.part.poll(now);
            if !moved && jobs.is_empty() {
                this.arm(now);
                // The sleep must have been polled once, or nobody wakes this task.
                if !this.take_wake(cx) {
                    this.publish();
                    return Poll::Pending;
                }
            }
            let many = jobs.len() >= TOGETHER;
            this.carry_out(jobs);
            if many {
                // Those who carry them out get their turn before more is decided.
                break;
            }
        }
        this.publish();
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drive {
    /// Lets others see how the part is doing.
    fn publish(&self) {
        self.watched.set(|stats| {
            stats.jobs = self.jobs.len();
            stats.malformed = self.part.malformed();
            self.part.loops(&mut stats.loops);
        });
    }

    /// Starts jobs: those of one write together, those that take several steps each for itself.
    fn carry_out(&mut self, jobs: Vec<Job>) {
        let (together, alone): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(is_one_write);
        for job in alone {
            let link = self.link.clone();
            self.jobs.push(Box::pin(async move { vec![perform(link, job).await] }));
        }
        if together.is_empty() {
            return;
        }
        let many = together.len() >= TOGETHER;
        let writing: Boxed<Vec<Finished>> = Box::pin(perform_together(self.link.clone(), together));
        self.jobs.push(if many { (self.beside)(writing) } else { writing });
    }

    fn take_cuts(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        loop {
            self.take_ahead(cx);
            let State::Following(cuts) = &mut self.follow.state else {
                match self.follow.poll_open(cx, (&self.link, self.part.as_ref(), self.clock.as_ref())) {
                    Poll::Pending => return moved,
                    Poll::Ready(Ok(())) => self.watched.set(|stats| stats.follows += 1),
                    Poll::Ready(Err(status)) if status.code == 404 => self.part.on_unserved(),
                    Poll::Ready(Err(_)) => {}
                }
                continue;
            };
            match cuts.poll_next_unpin(cx) {
                Poll::Pending => return moved,
                Poll::Ready(Some(cut)) => {
                    self.watched.set(|stats| stats.seen = cut.revision);
                    self.part.on_cut(cut);
                    self.look_ahead();
                    moved = true;
                }
                Poll::Ready(None) => {
                    self.ahead = None;
                    self.follow.state = State::Waiting(self.clock.sleep_until(self.clock.now() + RETRY));
                }
            }
        }
    }

    /// Asks anew if the part reads other kinds now. What is followed goes on until that was granted: so a refusal costs
    /// only what is new.
    fn look_ahead(&mut self) {
        if self.part.reads(&self.follow.kinds) {
            self.ahead = None;
        } else if self.ahead.as_ref().is_none_or(|ahead| !self.part.reads(&ahead.kinds)) {
            self.ahead = Some(Follow::ask(&self.link, self.part.as_ref()));
        }
    }

    fn take_ahead(&mut self, cx: &mut Context<'_>) {
        while let Some(mut ahead) = self.ahead.take() {
            match ahead.poll_open(cx, (&self.link, self.part.as_ref(), self.clock.as_ref())) {
                Poll::Ready(Ok(())) => {
                    self.watched.set(|stats| stats.follows += 1);
                    self.follow = ahead;
                }
                Poll::Ready(Err(_)) => self.ahead = Some(ahead),
                Poll::Pending => {
                    self.ahead = Some(ahead);
                    return;
                }
            }
        }
    }

    fn take_heard(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while let Some(inlet) = &mut self.inlet {
            match inlet.poll_next_unpin(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(heard)) => {
                    self.part.on_heard(heard);
                    moved = true;
                }
                Poll::Ready(None) => self.inlet = None,
            }
        }
        moved
    }

    fn take_finished(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while let Poll::Ready(Some(finished)) = self.jobs.poll_next_unpin(cx) {
            moved = true;
            let now = self.clock.now();
            let mut told = Vec::new();
            for Finished { done, lost } in finished {
                let mut events: Vec<Write> = lost
                    .iter()
                    .filter_map(|(event, failure)| self.part.on_lost_event(now, event, failure))
                    .collect();
                if let Some(done) = done {
                    events.extend(self.part.on_done(now, done));
                }
                if !events.is_empty() {
                    told.push(Job { events, ..Job::default() });
                }
            }
            self.carry_out(told);
        }
        moved
    }

    fn take_wake(&mut self, cx: &mut Context<'_>) -> bool {
        let woken = self.sleep.as_mut().is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready());
        if woken {
            self.sleep = None;
        }
        woken
    }

    /// Sees to it that the part is woken when it wants to be.
    fn arm(&mut self, now: Timestamp) {
        let wanted = self.part.next_wake();
        if self.sleep.as_ref().map(|(at, _)| *at) != wanted {
            // A part that wants to be woken in the past was polled a moment ago; it is asked again, but not at once.
            self.sleep = wanted.map(|at| {
                let at = at.max(now + Duration::from_nanos(1));
                (at, self.clock.sleep_until(at))
            });
        }
    }
}

/// Whether a job is a write, or none, and perhaps events.
fn is_one_write(job: &Job) -> bool {
    job.writes.len() <= 1 && job.effects.is_empty() && job.outside.is_none()
}

/// Carries jobs out that are one write each; and then their events.
async fn perform_together(link: Link, jobs: Vec<Job>) -> Vec<Finished> {
    let mut finished = Vec::with_capacity(jobs.len());
    let (mut writes, mut whose) = (Vec::new(), Vec::new());
    let (mut events, mut about) = (Vec::new(), Vec::new());
    for (at, mut job) in jobs.into_iter().enumerate() {
        let done = |id| Done { id, outcome: Outcome::done(Revision(0)), outside: None };
        finished.push(Finished { done: job.id.map(done), lost: Vec::new() });
        if let Some(write) = job.writes.pop() {
            writes.push(write);
            whose.push(at);
        }
        about.extend(job.events.iter().map(|_| at));
        events.append(&mut job.events);
    }
    for (at, answer) in whose.into_iter().zip(link.perform_all(writes).await) {
        let Some(done) = &mut finished[at].done else { continue };
        match answer {
            Ok(revision) => done.outcome.revision = revision,
            Err((write, status)) if is_gone(&write, &status) => {}
            Err((write, status)) => done.outcome.failed = Some((Some(write), status.into())),
        }
    }
    for (at, answer) in about.into_iter().zip(link.perform_all(events).await) {
        if let Err((event, status)) = answer {
            finished[at].lost.push((event, status.into()));
        }
    }
    finished
}

/// Whether what was to go is gone.
fn is_gone(write: &Write, status: &Status) -> bool {
    status.code == 404 && matches!(write.action, orlop_core::Action::Delete { .. })
}

/// Carries a job out.
async fn perform(link: Link, job: Job) -> Finished {
    let Job { id, writes, effects, outside, events } = job;
    let mut outcome = Outcome::done(Revision(0));
    outcome.failed = changes(&link, writes, effects, &mut outcome.revision).await.err();
    let outside = match outside {
        Some(call) if outcome.failed.is_none() => Some(call.await),
        _ => None,
    };
    let mut lost = Vec::new();
    for event in events {
        if let Err(status) = link.perform(event.clone()).await {
            lost.push((event, status.into()));
        }
    }
    Finished { done: id.map(|id| Done { id, outcome, outside }), lost }
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
