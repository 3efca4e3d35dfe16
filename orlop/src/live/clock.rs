//! The system's clock.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use orlop_core::{Clock, Timestamp};

/// The system's time at the start, and from then on what has really passed: setting the machine's clock does not
/// disturb a running cluster. Sleeps need a tokio runtime.
pub struct SystemClock {
    began: Timestamp,
    since: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl SystemClock {
    /// Reads the system's time.
    #[expect(clippy::disallowed_methods, reason = "this is the one place where time comes from the system")]
    pub fn new() -> SystemClock {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = i64::try_from(began.as_nanos()).unwrap_or(i64::MAX);
        SystemClock { began: Timestamp::from_nanos(nanos), since: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.began + self.since.elapsed()
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        // A timer may fire up to a millisecond early or late; a decision that came a moment too early would spin.
        let wait = at.since(self.now()) + Duration::from_micros(10);
        Box::pin(tokio::time::sleep(wait))
    }
}
