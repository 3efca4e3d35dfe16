//! Answers that go on for long, in not too many pieces: [`Paced`].

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::body::AnswerBody;

/// Two pieces of a watch are so far apart at least. What happens meanwhile goes out as one: a wake-up, a TLS record and
/// a packet for each of many events, and for each of many watchers, cost far more than the events.
const GAP: Duration = Duration::from_millis(2);

/// A body whose pieces keep a distance.
///
/// What comes after a silence goes out at once; so does the rest of what is ready already.
pub(crate) struct Paced {
    inner: AnswerBody,
    distance: Duration,
    /// A piece was the last that happened.
    sent: bool,
    /// Since nothing was ready behind a piece.
    gap: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    pub(crate) fn new(inner: AnswerBody) -> Paced {
        Paced { inner, distance: GAP, sent: false, gap: None }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(gap) = &mut self.gap {
            ready!(gap.as_mut().poll(cx));
            self.gap = None;
        }
        let poll = Pin::new(&mut self.inner).poll_frame(cx);
        if poll.is_pending() && self.sent {
            // A timer for each silence, and none for what goes out at once.
            self.gap = Some(Box::pin(sleep(self.distance)));
        }
        self.sent = poll.is_ready();
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::body::streaming;

    /// Each of ten thousand events was a packet for each watcher. Now the first after a silence is, and what comes right
    /// behind it waits for the gap to end.
    #[tokio::test]
    async fn pieces_keep_a_distance() {
        for distance in [Duration::from_secs(3600), Duration::from_millis(1)] {
            let (send, mut receive) = unbounded_channel::<Bytes>();
            let stream = futures_util::stream::poll_fn(move |cx| receive.poll_recv(cx));
            let mut body = Paced { distance, ..Paced::new(streaming("text/plain", stream).into_body()) };
            let data = |frame: Option<Result<Frame<Bytes>, Infallible>>| {
                frame.map(|frame| frame.unwrap().into_data().unwrap())
            };
            assert!(body.frame().now_or_never().is_none());
            send.send("a".into()).unwrap();
            send.send("b".into()).unwrap();
            // What is ready already follows at once.
            assert_eq!(data(body.frame().now_or_never().flatten()).unwrap(), "a");
            assert_eq!(data(body.frame().now_or_never().flatten()).unwrap(), "b");
            assert!(body.frame().now_or_never().is_none());
            send.send("c".into()).unwrap();
            drop(send);
            if distance > Duration::from_secs(1) {
                assert!(body.frame().now_or_never().is_none());
            } else {
                assert_eq!(data(body.frame().await).unwrap(), "c");
                assert!(body.frame().await.is_none());
            }
        }
    }
}
