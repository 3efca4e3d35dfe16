//! Watches as bytes: what is ready goes out in one piece.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use orlop_api::api::WatchStream;
use orlop_api::render::{Encoding, Renderer, Want};
use orlop_core::{Clock, Kind};

use crate::backend::Backend;
use crate::metrics::Watching;

/// A piece is not made longer once it has so many bytes.
const PIECE: usize = 64 * 1024;

/// The lines of a watch.
///
/// Each piece has all the events that are ready, up to [`PIECE`]: a chunk and a TLS record for each of many small
/// events would cost more than the events. A watcher that does not read holds one piece, and its place in the history.
pub(crate) struct Lines {
    frames: WatchStream,
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    kind: Kind,
    want: Want,
    /// No line went before.
    first: bool,
    ended: bool,
    _counted: Watching,
}

impl Lines {
    pub(crate) fn new(
        frames: WatchStream,
        (backend, clock): (Arc<dyn Backend>, Arc<dyn Clock>),
        kind: Kind,
        want: Want,
        counted: Watching,
    ) -> Lines {
        Lines { frames, backend, clock, kind, want, first: true, ended: false, _counted: counted }
    }
}

impl Stream for Lines {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let mut next = match this.frames.as_mut().poll_next(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(next) => Poll::Ready(next),
        };
        let columns = this.backend.custom_columns();
        let renderer = Renderer { custom: &columns, now: this.clock.now() };
        let mut out = Vec::new();
        loop {
            match next {
                Poll::Ready(Some(frame)) => {
                    let first = std::mem::take(&mut this.first);
                    if this.want.encoding == Encoding::Protobuf {
                        renderer.protobuf_frame(&this.kind, &frame, this.want.form, first, &mut out);
                    } else {
                        renderer.line(&this.kind, &frame, this.want.form, first, &mut out);
                    }
                    if out.len() >= PIECE {
                        break;
                    }
                }
                Poll::Ready(None) => {
                    this.ended = true;
                    break;
                }
                Poll::Pending => break,
            }
            next = this.frames.as_mut().poll_next(cx);
        }
        if out.is_empty() { Poll::Ready(None) } else { Poll::Ready(Some(out.into())) }
    }
}
