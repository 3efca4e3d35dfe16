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

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs a part until the future is dropped: follows the API, carries jobs out, wakes the part when its time comes.
///
/// Uses no executor and no clock of its own, so that the same loop runs on a thread pool and in a simulator.
pub fn drive(
    mut part: Box<dyn Part>,
    link: Link,
    clock: Arc<dyn Clock>,
    watched: Watched,
) -> impl Future<Output = ()> + Send {
    let inlet = part.hears();
    Drive {
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
    jobs: FuturesUnordered<Boxed<Finished>>,
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
struct Finished {
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
            for job in jobs {
                this.jobs.push(Box::pin(perform(this.link.clone(), job)));
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
        while let Poll::Ready(Some(Finished { done, lost })) = self.jobs.poll_next_unpin(cx) {
            moved = true;
            let now = self.clock.now();
            let mut events: Vec<Write> = lost
                .iter()
                .filter_map(|(event, failure)| self.part.on_lost_event(now, event, failure))
                .collect();
            if let Some(done) = done {
                events.extend(self.part.on_done(now, done));
            }
            if !events.is_empty() {
                self.jobs.push(Box::pin(perform(self.link.clone(), Job { events, ..Job::default() })));
            }
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
    let deleting = matches!(write.action, orlop_core::Action::Delete { .. });
    match link.perform(write.clone()).await {
        Ok(revision) => *last = revision.max(*last),
        // What was to go is gone.
        Err(status) if deleting && status.code == 404 => {}
        Err(status) => return Err((Some(write), status.into())),
    }
    Ok(())
}
