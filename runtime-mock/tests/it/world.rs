//! What the tests of containers share.

use std::time::Duration;

use orlop_core::{ManualClock, Name};

pub(crate) fn words(words: &[&str]) -> Vec<Name> {
    words.iter().map(|word| Name::from(*word)).collect()
}

/// Lets time pass until `future` is done.
pub(crate) async fn pass<T>(clock: &ManualClock, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        tokio::select! {
            biased;
            value = &mut future => return value,
            () = tokio::task::yield_now() => clock.advance(Duration::from_millis(50)),
        }
    }
}
