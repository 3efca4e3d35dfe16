//! From HTTP to another protocol on the same connection.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use orlop_api::Status;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::body::Answer;

/// A client's connection once it is upgraded.
pub(super) type Io = TokioIo<Upgraded>;
/// The same as a WebSocket.
pub(super) type Socket = WebSocketStream<Io>;

/// Where SPDY clients name the protocols that they would speak above it.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// The greatest message of a client, in bytes. What is sent in pieces has no limit.
const MESSAGE_MAX: usize = 16 << 20;

/// Which protocol a client wants, and what it would speak above that, the most wanted first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    WebSocket { key: String, protocols: Vec<String> },
    Spdy { protocols: Vec<String> },
}

/// The refusal of a request that asks for no upgrade.
pub(super) fn required() -> Status {
    Status::bad_request("Upgrade request required")
}

/// The refusal of a client that speaks nothing that is spoken here.
pub(super) fn unsupported(offered: &[String], spoken: &[&str]) -> Status {
    Status::bad_request(format!(
        "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
        offered.join(" "),
        spoken.join(" ")
    ))
}

/// What a request's headers ask for.
///
/// # Errors
/// When they ask for no upgrade, or for one that is not known.
pub(super) fn wish(headers: &HeaderMap) -> Result<Wish, Status> {
    let listed = |name: &HeaderName| -> Vec<String> {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let words = values.flat_map(|value| value.split(',')).map(str::trim);
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    if !listed(&CONNECTION).iter().any(|word| word.eq_ignore_ascii_case("upgrade")) {
        return Err(required());
    }
    let upgrades = listed(&UPGRADE);
    let asked = |protocol: &str| upgrades.iter().any(|word| word.eq_ignore_ascii_case(protocol));
    if asked("websocket") {
        let key = headers.get(SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
        let key = key.ok_or_else(|| Status::bad_request("a WebSocket request needs a Sec-WebSocket-Key"))?;
        return Ok(Wish::WebSocket { key: key.to_owned(), protocols: listed(&SEC_WEBSOCKET_PROTOCOL) });
    }
    if asked("SPDY/3.1") {
        return Ok(Wish::Spdy { protocols: listed(&STREAM_PROTOCOL) });
    }
    Err(required())
}

/// Agrees to a WebSocket that speaks `protocol`; empty: none was asked for.
pub(super) fn to_websocket(key: &str, protocol: &str) -> Answer {
    // RFC 6455, section 4.2.2: this shows that the request was understood as one for a WebSocket.
    const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let mut digest = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(MAGIC);
    let accept = STANDARD.encode(digest.finish());
    let mut answer = switching("websocket");
    insert(&mut answer, SEC_WEBSOCKET_ACCEPT, &accept);
    if !protocol.is_empty() {
        insert(&mut answer, SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    answer
}

/// Agrees to SPDY, with `protocol` above it.
pub(super) fn to_spdy(protocol: &str) -> Answer {
    let mut answer = switching("SPDY/3.1");
    insert(&mut answer, STREAM_PROTOCOL, protocol);
    answer
}

fn switching(to: &'static str) -> Answer {
    let mut answer = Response::new(Empty::<Bytes>::new().boxed_unsync());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static(to));
    answer
}

fn insert(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// The WebSocket over an upgraded connection.
pub(super) async fn socket(io: Io) -> Socket {
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn reads_what_clients_wish_for() {
        let socket = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v5.channel.k8s.io, v4.channel.k8s.io"),
        ]);
        let Ok(Wish::WebSocket { key, protocols }) = wish(&socket) else { panic!("a WebSocket") };
        assert_eq!(protocols, ["v5.channel.k8s.io", "v4.channel.k8s.io"]);
        // The example of RFC 6455, section 1.3.
        let answer = to_websocket(&key, "v5.channel.k8s.io");
        assert_eq!(answer.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");

        let spdy = headers(&[("connection", "upgrade"), ("upgrade", "SPDY/3.1")]);
        assert_eq!(wish(&spdy), Ok(Wish::Spdy { protocols: Vec::new() }));
        let plain = headers(&[("connection", "keep-alive"), ("upgrade", "websocket")]);
        assert_eq!(wish(&plain).map_err(|status| status.message), Err("Upgrade request required".into()));
    }
}
