//! Bodies of requests and answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody, combinators::UnsyncBoxBody};
use orlop_api::Status;
use orlop_api::render::{Encoding, to_protobuf, to_yaml};

use crate::limits::TooSlow;
use crate::negotiate::content_type;

/// The body of an answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, Infallible>;

/// An HTTP answer.
pub type Answer = Response<AnswerBody>;

/// The greatest request body, in bytes: Kubernetes' own limit.
pub const BODY_MAX: usize = 3 * 1024 * 1024;

/// An answer of known length.
pub(crate) fn answer(code: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    with_head(code, content_type, Full::new(body.into()).boxed_unsync())
}

/// A success whose body is there in pieces, all of them shared with other answers.
pub(crate) fn in_pieces(content_type: &'static str, pieces: Vec<Bytes>) -> Answer {
    with_head(200, content_type, Pieces(pieces.into_iter()).boxed_unsync())
}

struct Pieces(std::vec::IntoIter<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0.as_slice().iter().map(|piece| piece.len() as u64).sum())
    }
}

/// An answer that goes on as long as its stream.
pub(crate) fn streaming(
    content_type: &'static str,
    stream: impl Stream<Item = Bytes> + Send + 'static,
) -> Answer {
    let frames = stream.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    let boxed: Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(frames);
    with_head(200, content_type, StreamBody::new(boxed).boxed_unsync())
}

fn with_head(code: u16, content_type: &'static str, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    answer
}

/// A refusal, as the client likes it.
pub(crate) fn refusal(status: &Status, encoding: Encoding) -> Answer {
    let mut body = status.to_bytes();
    if encoding != Encoding::Json
        && let Ok(tree) = serde_json::from_slice(&body)
    {
        body = match encoding {
            Encoding::Protobuf => to_protobuf(&tree).unwrap_or(body),
            _ => to_yaml(&tree).into(),
        };
    }
    let mut answer = answer(status.code, content_type(encoding), body);
    if let Some(seconds) = status.details.as_ref().and_then(|details| details.retry_after_seconds) {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(beside) = &status.beside {
        warn(&mut answer, &beside.warnings);
        note(&mut answer, beside.audit.clone());
    }
    answer
}

/// What the audit log is told of an answer besides, by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(pub(crate) Vec<(String, String)>);

/// Leaves notes for the audit log with the answer.
pub(crate) fn note(answer: &mut Answer, notes: Vec<(String, String)>) {
    if !notes.is_empty() {
        answer.extensions_mut().insert(Notes(notes));
    }
}

/// The characters that all warnings of an answer may have before each is cut: Kubernetes' own limits.
const WARNINGS_MAX: usize = 4 * 1024;
/// The characters that are left of each then.
const WARNING_CUT: usize = 256;

/// What is told of warnings: all, unless that is too much; each only once.
fn told(warnings: &[String]) -> Vec<&str> {
    let mut told: Vec<&str> = Vec::new();
    for text in warnings.iter().filter(|text| !text.is_empty()) {
        if !told.contains(&text.as_str()) {
            told.push(text);
        }
    }
    let length = |text: &str| text.chars().count();
    if told.iter().map(|text| length(text)).sum::<usize>() <= WARNINGS_MAX {
        return told;
    }
    let mut written = 0;
    told.into_iter()
        .map(|text| text.char_indices().nth(WARNING_CUT).map_or(text, |(end, _)| &text[..end]))
        .take_while(|text| {
            let fits = written < WARNINGS_MAX;
            written += length(text);
            fits
        })
        .collect()
}

/// Adds warnings as `kubectl` prints them (RFC 7234, code 299).
pub(crate) fn warn(answer: &mut Answer, warnings: &[String]) {
    for text in told(warnings) {
        let mut quoted = String::with_capacity(text.len() + 2);
        for c in text.chars().filter(|c| !c.is_control()) {
            if matches!(c, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            answer.headers_mut().append(WARNING, value);
        }
    }
}

/// Reads a request's body.
///
/// # Errors
/// 413 where it is larger than [`BODY_MAX`]; 504 where it does not come in time; 400 where it breaks off.
pub(crate) async fn read<B>(body: B) -> Result<Bytes, Status>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Status::too_large(format!("Request entity too large: limit is {BODY_MAX}")))
        }
        Err(error) if error.is::<TooSlow>() => Err(Status {
            code: 504,
            reason: "Timeout".into(),
            message: "Timeout: request did not complete within requested timeout".into(),
            ..Status::default()
        }),
        Err(error) => Err(Status::bad_request(format!("the request's body breaks off: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred complaints of keys of a kilobyte each made a head that no client takes.
    #[test]
    fn warnings_are_cut_when_they_are_many() {
        let texts = |count: usize, len: usize| -> Vec<String> {
            (0..count).map(|n| format!("{n:03}{}", "\u{e9}".repeat(len - 3))).collect()
        };
        for (count, len, shown, cut) in [
            (1, 4096, 1, 4096),
            (4, 1024, 4, 1024),
            (5, 1024, 5, 256),
            (100, 1000, 16, 256),
            (300, 100, 41, 100),
        ] {
            let warnings = texts(count, len);
            let told = told(&warnings);
            assert_eq!((told.len(), told[0].chars().count()), (shown, cut), "{count} of {len}");
        }
        let again = ["a".to_owned(), "b".to_owned(), String::new(), "a".to_owned()];
        assert_eq!(told(&again), ["a", "b"]);
    }
}
