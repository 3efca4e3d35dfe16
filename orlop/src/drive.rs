//! The one loop between parts and the API: [`drive`].
//!
//! # Events
//! What a part tells people goes behind what it does. Its events wait until there is nothing else to do and no job that
//! only writes is under way, but for a second at most, and for no more than some thousands; they are then written in the
//! order in which they were told, many in one go. None is written before the job that it tells of has ended. A part that
//! tells more than can be written decides nothing more until it was: what waits stays bounded. [`drive_until`] writes all
//! that waits before it ends; what is dropped, as if it had crashed, loses what waits.

mod carry;
mod events;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use orlop_api::api::Cuts;
use orlop_api::{Link, Status};
use orlop_core::{Clock, Kind, Timestamp};

use crate::part::{Inlet, Job, Part};
use crate::stats::Watched;
pub use carry::Finished;
use carry::{Of, is_one_write, only_writes, perform, perform_together, tell};
use events::Backlog;

/// How long to wait before following the API again when it refused or ended.
const RETRY: Duration = Duration::from_secs(1);
/// How many rounds a part may take before others get their turn.
const ROUNDS: usize = 64;
/// So many writes are worth a thread of their own.
const TOGETHER: usize = 16;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs a future beside the loop, on another thread if there is one, and answers with its outcome. Dropping the answer
/// ends the future.
pub type Beside = Arc<dyn Fn(Boxed<Finished>) -> Boxed<Finished> + Send + Sync>;

/// Runs a part until the future is dropped: follows the API, carries jobs out, wakes the part when its time comes.
///
/// Uses no executor and no clock of its own, so that the same loop runs on a thread pool and in a simulator.
pub fn drive(
    part: Box<dyn Part>,
    link: Link,
    clock: Arc<dyn Clock>,
    watched: Watched,
) -> impl Future<Output = ()> + Send {
    drive_until(part, link, clock, watched, (Arc::new(|writing| writing), std::future::pending()))
}

/// [`drive`], with a place for writes that need not wait for the part's next decisions, until `stop` is ready: then the
/// part decides nothing more, the writes under way end, what people are to be told is written, and the future ends.
pub fn drive_until(
    mut part: Box<dyn Part>,
    link: Link,
    clock: Arc<dyn Clock>,
    watched: Watched,
    (beside, stop): (Beside, impl Future<Output = ()> + Send + 'static),
) -> impl Future<Output = ()> + Send {
    let inlet = part.hears();
    Drive {
        beside,
        stop: Some(Box::pin(stop)),
        backlog: Backlog::default(),
        writes: 0,
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
    /// `None`: it is ready.
    stop: Option<Boxed<()>>,
    backlog: Backlog,
    /// How many groups of jobs of one write each are under way.
    writes: usize,
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
        if this.stop.as_mut().is_some_and(|stop| stop.as_mut().poll(cx).is_ready()) {
            this.stop = None;
        }
        if this.stop.is_none() {
            return this.finish(cx);
        }
        for _ in 0..ROUNDS {
            // Answers first: what cuts tell of writes that were answered is no news to the part.
            let moved =
                this.take_finished(cx) | this.take_cuts(cx) | this.take_heard(cx) | this.take_wake(cx);
            let now = this.clock.now();
            let jobs = if this.backlog.is_full() { Vec::new() } else { this.part.poll(now) };
            let idle = !moved && jobs.is_empty();
            // What is written goes before what is told of it, and so before what is told of anything else.
            if !this.tell(idle && this.writes == 0) && idle {
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
            let of = if only_writes(&job) { Of::Writes } else { Of::Steps };
            self.writes += usize::from(of == Of::Writes);
            self.jobs.push(Box::pin(perform(self.link.clone(), job, of)));
        }
        if !together.is_empty() {
            self.writes += 1;
            let many = together.len() >= TOGETHER;
            self.start(many, perform_together(self.link.clone(), together));
        }
    }

    /// Starts writing events, if it is time; answers whether it is.
    fn tell(&mut self, idle: bool) -> bool {
        let Some(events) = self.backlog.due(self.clock.now(), idle) else { return false };
        self.start(events.len() >= TOGETHER, tell(self.link.clone(), events));
        true
    }

    fn start(&mut self, many: bool, writing: impl Future<Output = Finished> + Send + 'static) {
        let writing: Boxed<Finished> = Box::pin(writing);
        self.jobs.push(if many { (self.beside)(writing) } else { writing });
    }

    /// The part decides nothing more. What takes its time is left; what was to be written is, and is told.
    fn finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.take_finished(cx) | self.tell(true) {}
        let over = self.writes == 0 && self.backlog.is_empty();
        if over { Poll::Ready(()) } else { Poll::Pending }
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
            match finished.of {
                Of::Steps => {}
                Of::Writes => self.writes -= 1,
                Of::Events => self.backlog.written(),
            }
            for ended in finished.jobs {
                self.backlog.take_in(now, ended.events);
                if let Some(done) = ended.done {
                    self.backlog.take_in(now, self.part.on_done(now, done));
                }
            }
            for (event, failure) in finished.lost {
                self.backlog.take_in(now, self.part.on_lost_event(now, &event, &failure));
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
        // A part that may not decide is not woken for it: the end of what is written wakes this loop.
        let wanted = if self.backlog.is_full() { None } else { self.part.next_wake() };
        let wanted = wanted.into_iter().chain(self.backlog.next_wake()).min();
        if self.sleep.as_ref().map(|(at, _)| *at) != wanted {
            // A part that wants to be woken in the past was polled a moment ago; it is asked again, but not at once.
            self.sleep = wanted.map(|at| {
                let at = at.max(now + Duration::from_nanos(1));
                (at, self.clock.sleep_until(at))
            });
        }
    }
}
