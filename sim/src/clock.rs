//! A node's own clock, which may run ahead of the others': [`SkewedClock`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use orlop_core::{Clock, ManualClock, Timestamp};

/// A clock that is ahead of another one. It only ever jumps forward, as a clock must not run backwards.
#[derive(Clone)]
pub struct SkewedClock {
    base: ManualClock,
    ahead: Arc<AtomicI64>,
}

impl SkewedClock {
    /// A clock that shows what `base` shows.
    pub fn new(base: ManualClock) -> SkewedClock {
        SkewedClock { base, ahead: Arc::default() }
    }

    /// Jumps forward.
    pub fn jump(&self, by: Duration) {
        self.ahead.fetch_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// By how much it is ahead.
    pub fn ahead(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.ahead.load(Ordering::Relaxed)).unwrap_or(0))
    }
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        self.base.now() + self.ahead()
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        // Whoever sleeps while the clock jumps is woken when the moment would have come without that.
        self.base.sleep_until(at - self.ahead())
    }
}
