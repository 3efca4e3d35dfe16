//! How long to wait before something is tried again that has failed: [`Backoff`].

use std::time::Duration;

use orlop_core::Timestamp;

/// A wait that doubles with each failure: 10 s up to 5 minutes.
///
/// The rules are those of the kubelet: a crash loop is forgotten after ten minutes without a failure, an image that
/// cannot be pulled after twice the longest wait.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    forget: Duration,
    state: Option<(Duration, Timestamp)>,
}

impl Backoff {
    /// For a container that crashes.
    pub fn crash_loop() -> Backoff {
        Backoff::new(Duration::from_secs(10), Duration::from_secs(300), Duration::from_secs(600))
    }

    /// For an image that cannot be pulled.
    pub fn image_pull() -> Backoff {
        let max = Duration::from_secs(300);
        Backoff::new(Duration::from_secs(10), max, max * 2)
    }

    /// Waits from `initial` to `max`, forgotten when there was no failure for longer than `forget`.
    pub fn new(initial: Duration, max: Duration, forget: Duration) -> Backoff {
        Backoff { initial, max, forget, state: None }
    }

    /// The present wait; zero before the first failure.
    pub fn delay(&self) -> Duration {
        self.state.map_or(Duration::ZERO, |(delay, _)| delay)
    }

    /// Counts a try after a failure at `failed`.
    pub fn next(&mut self, now: Timestamp, failed: Timestamp) {
        let delay = match self.live(failed) {
            Some((delay, _)) => (delay * 2).min(self.max),
            None => self.initial,
        };
        self.state = Some((delay, now));
    }

    /// Until when to wait after a failure at `failed`; `None`: not at all.
    pub fn until(&self, failed: Timestamp) -> Option<Timestamp> {
        self.live(failed).map(|(delay, _)| failed + delay)
    }

    /// Whether `at` lies within the wait that the last try began.
    pub fn blocks(&self, at: Timestamp) -> bool {
        self.live(at).is_some_and(|(delay, updated)| at.since(updated) < delay)
    }

    fn live(&self, at: Timestamp) -> Option<(Duration, Timestamp)> {
        self.state.filter(|(_, updated)| at.since(*updated) <= self.forget)
    }
}
