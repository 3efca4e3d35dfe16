//! Watching a collection: a cursor on the store, and what a watcher sees of its changes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use orlop_core::scheme::Resource;
use orlop_core::store::{Batch, Event, Revision, Store, StoreError, Watch};
use orlop_core::{Clock, Stored, Timestamp};

use super::convert;
use super::read::{Selection, asked_revision, check_options};
use super::served::Served;
use crate::api::WatchStream;
use crate::request::{Request, WatchFrame};
use crate::status::Status;

/// As many frames are made ready at a time at most.
const READY_MAX: usize = 1024;

/// Begins a watch.
pub(super) fn watch<S: Store>(
    request: &Request,
    resource: &Arc<Resource>,
    served: Arc<Served>,
    store: &S,
    clock: &Arc<dyn Clock>,
    bookmark_every: Duration,
) -> Result<WatchStream, Status> {
    let options = &request.options.list;
    check_options(options, true)?;
    let selection = Selection::new(request, resource, &served)?;
    let asked = asked_revision(options).map_err(Status::plain)?;
    let latest = store.view();
    // Without a revision, or at 0, a watch begins with what is there, unless it is told not to.
    let initial = options.send_initial_events.unwrap_or(asked.is_none());
    let mut frames = VecDeque::new();
    let future = asked.filter(|asked| *asked > latest.revision().0);
    if let (Some(asked), Some(true)) = (future, options.send_initial_events) {
        let status = Status::future_revision(&asked.to_string(), latest.revision().0);
        frames.push_back(WatchFrame::Error(status));
        return Ok(Box::pin(Frames::ended(frames)));
    }
    let from = match (initial, asked) {
        (true, _) | (false, None) => latest.revision(),
        // What does not exist yet is waited for.
        (false, Some(asked)) => Revision(asked).min(latest.revision()),
    };
    if initial {
        for entry in latest.range(&selection.prefix, "", usize::MAX) {
            if selection.matches(&served.scheme, &entry) {
                frames.push_back(WatchFrame::Added(
                    resource.kind.clone(),
                    convert::shown(&served, resource, &entry.object),
                ));
            }
        }
        if options.send_initial_events == Some(true) && options.allow_watch_bookmarks {
            frames.push_back(WatchFrame::Bookmark { revision: latest.revision(), initial_end: true });
        }
    }
    let source = match store.watch(&selection.prefix, from) {
        Ok(source) => source,
        Err(error) => {
            frames.push_back(WatchFrame::Error(failure(error)));
            return Ok(Box::pin(Frames::ended(frames)));
        }
    };
    let now = clock.now();
    let every = options.allow_watch_bookmarks.then_some(bookmark_every);
    let mut stream = Frames {
        frames,
        source: Some(source),
        lens: Some(Lens { selection, resource: resource.clone(), served, skip: future.map(Revision) }),
        reached: from,
        told: from,
        clock: Some(clock.clone()),
        end: options.timeout_seconds.map(|seconds| clock.sleep_until(now + Duration::from_secs(seconds))),
        bookmark: None,
        every,
    };
    stream.rearm(now);
    Ok(Box::pin(stream))
}

/// Why a watch cannot go on.
fn failure(error: StoreError) -> Status {
    match error {
        StoreError::Expired { asked, oldest } => {
            Status::expired(format!("too old resource version: {asked} ({oldest})"))
        }
        StoreError::Future { asked, latest } => Status::future_revision(&asked.to_string(), latest.0),
        other => Status::unavailable(other.to_string()),
    }
}

/// What one watcher sees of an event.
struct Lens {
    selection: Selection,
    resource: Arc<Resource>,
    served: Arc<Served>,
    /// Changes up to here are older than what was asked for.
    skip: Option<Revision>,
}

impl Lens {
    fn frame(&self, event: &Event) -> Option<WatchFrame> {
        if self.skip.is_some_and(|skip| event.revision <= skip) {
            return None;
        }
        let scheme = &self.served.scheme;
        let now = event.now.as_ref().filter(|entry| self.selection.matches(scheme, entry));
        let before = event.before.as_ref().filter(|entry| self.selection.matches(scheme, entry));
        let kind = self.resource.kind.clone();
        let shown = |stored: &Stored| convert::shown(&self.served, &self.resource, stored);
        // A deleted object is shown as it was last, at the revision at which it left.
        let left = |stored: &Stored| shown(&Stored { body: stored.body.clone(), revision: event.revision });
        match (before, now) {
            (None, Some(now)) => Some(WatchFrame::Added(kind, shown(&now.object))),
            (Some(_), Some(now)) => Some(WatchFrame::Modified(kind, shown(&now.object))),
            (Some(before), None) => Some(WatchFrame::Deleted(kind, left(&before.object))),
            (None, None) => None,
        }
    }
}

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Frames {
    /// Ready to be told.
    frames: VecDeque<WatchFrame>,
    /// `None`: nothing more will come.
    source: Option<Watch>,
    lens: Option<Lens>,
    /// Everything up to here was seen.
    reached: Revision,
    /// Up to here the watcher knows.
    told: Revision,
    clock: Option<Arc<dyn Clock>>,
    end: Option<Sleep>,
    bookmark: Option<Sleep>,
    every: Option<Duration>,
}

impl Frames {
    /// Tells these and ends.
    fn ended(frames: VecDeque<WatchFrame>) -> Frames {
        Frames {
            frames,
            source: None,
            lens: None,
            reached: Revision(0),
            told: Revision(0),
            clock: None,
            end: None,
            bookmark: None,
            every: None,
        }
    }

    fn rearm(&mut self, now: Timestamp) {
        if let (Some(every), Some(clock)) = (self.every, &self.clock) {
            self.bookmark = Some(clock.sleep_until(now + every));
        }
    }

    fn take(&mut self, batch: &Batch) {
        self.reached = self.reached.max(batch.revision);
        let Some(lens) = &self.lens else { return };
        for event in &batch.events {
            if let Some(frame) = lens.frame(event) {
                self.told = event.revision;
                self.frames.push_back(frame);
            }
        }
    }
}

impl Stream for Frames {
    type Item = WatchFrame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchFrame>> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Poll::Ready(Some(frame));
            }
            if self.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
                self.source = None;
                self.end = None;
            }
            let Some(source) = &mut self.source else { return Poll::Ready(None) };
            match source.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(batch))) => {
                    self.take(&batch);
                    while self.frames.len() < READY_MAX {
                        let Some(source) = &mut self.source else { break };
                        match source.as_mut().poll_next(cx) {
                            Poll::Ready(Some(Ok(batch))) => self.take(&batch),
                            Poll::Ready(Some(Err(error))) => {
                                self.frames.push_back(WatchFrame::Error(failure(error)));
                                self.source = None;
                            }
                            Poll::Ready(None) => self.source = None,
                            Poll::Pending => break,
                        }
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.frames.push_back(WatchFrame::Error(failure(error)));
                    self.source = None;
                }
                Poll::Ready(None) => self.source = None,
                Poll::Pending => {
                    let due = self.bookmark.as_mut().is_some_and(|b| b.as_mut().poll(cx).is_ready());
                    if !due {
                        return Poll::Pending;
                    }
                    if let Some(now) = self.clock.as_ref().map(|clock| clock.now()) {
                        self.rearm(now);
                    }
                    self.told = self.told.max(self.reached);
                    let revision = self.told;
                    self.frames.push_back(WatchFrame::Bookmark { revision, initial_end: false });
                }
            }
        }
    }
}
