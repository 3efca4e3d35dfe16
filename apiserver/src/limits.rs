//! How long clients may take: [`Limits`].

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long clients may take, so that one that is slow, or gone without a word, costs little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the head of a request, and between two requests on a connection of HTTP/1.
    pub head: Duration,
    /// For the body of a request.
    pub body: Duration,
    /// For taking something of what is written: a watcher that takes nothing for so long has its connection closed.
    pub stall: Duration,
    /// Idle connections are asked this often whether the client is still there.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            handshake: Duration::from_secs(30),
            head: Duration::from_secs(90),
            body: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            keep_alive: Duration::from_secs(30),
        }
    }
}

/// The time for something, which begins when it is first waited for.
struct Wait {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    fn new(limit: Duration) -> Wait {
        Wait { limit, sleep: None }
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        self.sleep.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx)
    }
}

/// A connection that breaks when the other side takes nothing for too long.
pub(crate) struct Stalling<S> {
    inner: S,
    wait: Wait,
}

impl<S> Stalling<S> {
    pub(crate) fn new(inner: S, limit: Duration) -> Stalling<S> {
        Stalling { inner, wait: Wait::new(limit) }
    }

    /// What became of a write: one that waits must not wait for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.wait.sleep = None;
            return poll;
        }
        ready!(self.wait.poll_over(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.watch(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// With these bytes a connection of HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that breaks when the other side does not say in time which HTTP it speaks: before that is known, the
/// limits of neither version hold.
pub(crate) struct Greeting<S> {
    inner: S,
    wait: Wait,
    /// How much of the preface has been read; `None`: it is known what is spoken.
    read: Option<usize>,
}

impl<S> Greeting<S> {
    pub(crate) fn new(inner: S, limit: Duration) -> Greeting<S> {
        Greeting { inner, wait: Wait::new(limit), read: Some(0) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let Some(read) = self.read else { return poll };
        if poll.is_ready() {
            let new = &buffer.filled()[before..];
            let so_far = read + new.len();
            let goes_on = !new.is_empty() && PREFACE.get(read..so_far).is_some_and(|part| part == new);
            self.read = (goes_on && so_far < PREFACE.len()).then_some(so_far);
            if self.read.is_none() {
                self.wait.sleep = None;
            }
            return poll;
        }
        ready!(self.wait.poll_over(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client says nothing")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeting<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// A body that did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request's body did not come in time")]
pub(crate) struct TooSlow;

/// A body that must come in time, all of it.
pub(crate) struct Timely<B> {
    inner: B,
    wait: Wait,
}

impl<B> Timely<B> {
    pub(crate) fn new(inner: B, limit: Duration) -> Timely<B> {
        Timely { inner, wait: Wait::new(limit) }
    }
}

impl<B> Body for Timely<B>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = B::Data;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.wait.poll_over(cx));
        Poll::Ready(Some(Err(Box::new(TooSlow))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
