//! The way to the API, which is not always open: [`FaultyApi`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::Stream;
use orlop_api::api::{Cuts, WatchStream};
use orlop_api::{Api, Request, Response, Status, User};
use orlop_core::{Clock, Cut, Entropy, Key, Kind, ManualClock};
use parking_lot::Mutex;

use super::{Faults, Switch};

/// In so many requests, one fails before it reaches the API, and another after.
const ONE_IN: u64 = 60;
/// In so many requests, one is slow.
const SLOW_ONE_IN: u64 = 40;

/// Told of a pod whose binding happens though its scheduler will not know.
pub(crate) type Doubt = Arc<dyn Fn(Key) + Send + Sync>;

/// One component's way to the API: requests take time and fail, before they have happened or after; watches end.
///
/// Without faults it passes everything through at once.
#[derive(Clone)]
pub struct FaultyApi {
    inner: Arc<dyn Api>,
    clock: ManualClock,
    entropy: Arc<Mutex<Entropy>>,
    faults: Faults,
    on: Switch,
    doubt: Doubt,
}

/// How a request fares.
struct Fate {
    latency: Duration,
    refused: bool,
    lost: bool,
}

impl FaultyApi {
    pub(crate) fn new(
        inner: Arc<dyn Api>,
        clock: ManualClock,
        entropy: Entropy,
        faults: Faults,
        on: Switch,
        doubt: Doubt,
    ) -> FaultyApi {
        FaultyApi { inner, clock, entropy: Arc::new(Mutex::new(entropy)), faults, on, doubt }
    }

    fn fate(&self) -> Option<Fate> {
        if !self.faults.api || !self.on.is_on() {
            return None;
        }
        let mut entropy = self.entropy.lock();
        let slow = entropy.below(SLOW_ONE_IN) == 0;
        let micros = entropy.below(if slow { 2_000_000 } else { 10_000 });
        let chance = entropy.below(ONE_IN);
        Some(Fate { latency: Duration::from_micros(micros), refused: chance == 0, lost: chance == 1 })
    }

    fn pause(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.clock.sleep_until(self.clock.now() + time)
    }

    /// How long until a watch ends, and how long it is away then.
    fn interruption(&self) -> Option<(Duration, Duration)> {
        if !self.faults.watches || !self.on.is_on() {
            return None;
        }
        let mut entropy = self.entropy.lock();
        let lasts = Duration::from_millis(5_000 + entropy.below(240_000));
        Some((lasts, Duration::from_millis(entropy.below(5_000))))
    }
}

fn away() -> Status {
    Status::unavailable("the simulated network is down".to_owned())
}

#[async_trait]
impl Api for FaultyApi {
    async fn call(&self, request: Request) -> Result<Response, Status> {
        let Some(fate) = self.fate() else { return self.inner.call(request).await };
        self.pause(fate.latency).await;
        if fate.refused {
            return Err(away());
        }
        if fate.lost && request.subresource == "binding" {
            (self.doubt)(request.key.clone());
        }
        let answer = self.inner.call(request).await;
        if fate.lost {
            self.pause(fate.latency).await;
            return Err(away());
        }
        answer
    }

    async fn watch(&self, request: Request) -> Result<WatchStream, Status> {
        self.inner.watch(request).await
    }

    async fn follow(&self, user: &User, kinds: &[Kind]) -> Result<Cuts, Status> {
        if let Some(fate) = self.fate() {
            self.pause(fate.latency).await;
            if fate.refused || fate.lost {
                return Err(away());
            }
        }
        let cuts = self.inner.follow(user, kinds).await?;
        let Some((lasts, gap)) = self.interruption() else { return Ok(cuts) };
        let end = self.pause(lasts);
        let (api, user, kinds) = (self.clone(), user.clone(), kinds.to_vec());
        Ok(Box::pin(Interrupted { api, user, kinds, gap, state: State::Open(cuts, Some(end)) }))
    }
}

type Asking = Pin<Box<dyn Future<Output = Result<Cuts, Status>> + Send>>;

/// A watch that ends now and then, and goes on with everything anew.
struct Interrupted {
    api: FaultyApi,
    user: User,
    kinds: Vec<Kind>,
    gap: Duration,
    state: State,
}

enum State {
    Open(Cuts, Option<Pin<Box<dyn Future<Output = ()> + Send>>>),
    Away(Pin<Box<dyn Future<Output = ()> + Send>>),
    Asking(Asking),
}

impl Stream for Interrupted {
    type Item = Cut;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Cut>> {
        let this = &mut *self;
        loop {
            let next = match &mut this.state {
                State::Open(cuts, end) => {
                    if end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
                        State::Away(this.api.pause(this.gap))
                    } else {
                        return cuts.as_mut().poll_next(cx);
                    }
                }
                State::Away(gap) => match gap.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => {
                        let (api, user, kinds) =
                            (this.api.inner.clone(), this.user.clone(), this.kinds.clone());
                        State::Asking(Box::pin(async move { api.follow(&user, &kinds).await }))
                    }
                },
                State::Asking(asking) => match asking.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    // A kind is gone: whoever follows has to ask for others.
                    Poll::Ready(Err(status)) if status.code == 404 => return Poll::Ready(None),
                    Poll::Ready(Err(_)) => State::Away(this.api.pause(Duration::from_secs(1))),
                    Poll::Ready(Ok(cuts)) => {
                        let next = this.api.interruption();
                        this.gap = next.map_or(this.gap, |(_, gap)| gap);
                        State::Open(cuts, next.map(|(lasts, _)| this.api.pause(lasts)))
                    }
                },
            };
            this.state = next;
        }
    }
}
