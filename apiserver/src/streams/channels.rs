//! Several streams in one WebSocket: each message begins with the number of its channel.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use orlop_api::Status;
use orlop_core::runtime::{ExecFrame, ExecSession};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::outcome::Outcome;
use super::session::{self, Channel, Outlet, Streams};
use super::upgrade::{Socket, unsupported};

/// How long a client may take to agree that the connection ends.
const GOODBYE: Duration = Duration::from_secs(5);
/// The channel on which a client of `v5` closes another.
const CLOSE: u8 = 255;

/// A way of putting channels into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protocol {
    /// Its name in the handshake.
    pub(super) name: &'static str,
    /// Messages are text: the channel as a digit, and base64.
    text: bool,
    /// The error channel ends with a Status, also of a success.
    status: bool,
    /// A client can close a channel and go on.
    pub(super) closes: bool,
}

const fn protocol(name: &'static str, text: bool, status: bool, closes: bool) -> Protocol {
    Protocol { name, text, status, closes }
}

const PROTOCOLS: [Protocol; 5] = [
    protocol("v5.channel.k8s.io", false, true, true),
    protocol("v4.channel.k8s.io", false, true, false),
    protocol("v4.base64.channel.k8s.io", true, true, false),
    protocol("channel.k8s.io", false, false, false),
    protocol("base64.channel.k8s.io", true, false, false),
];

impl Protocol {
    /// The first of a client's protocols that is known here. Who names none gets the oldest.
    ///
    /// # Errors
    /// When none is known.
    pub(super) fn choose(offered: &[String]) -> Result<Protocol, Status> {
        if offered.is_empty() {
            return Ok(protocol("", false, false, false));
        }
        let known = |name: &String| PROTOCOLS.into_iter().find(|protocol| protocol.name == name);
        offered.iter().find_map(known).ok_or_else(|| unsupported(offered, &PROTOCOLS.map(|p| p.name)))
    }

    /// A part of a channel as a message.
    pub(super) fn message(self, channel: u8, bytes: &[u8]) -> Message {
        if self.text {
            return Message::Text(format!("{channel}{}", STANDARD.encode(bytes)).into());
        }
        let mut message = BytesMut::with_capacity(bytes.len() + 1);
        message.put_u8(channel);
        message.extend_from_slice(bytes);
        Message::Binary(message.freeze())
    }

    /// The channel of a message, and the part of it. `None`: a message without.
    pub(super) fn read(self, message: Message) -> Option<(u8, Bytes)> {
        let mut bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            _ => return None,
        };
        if bytes.is_empty() {
            return None;
        }
        let channel = bytes.split_to(1)[0];
        if self.text {
            let bytes = STANDARD.decode(&bytes).ok()?;
            return Some((channel.checked_sub(b'0')?, bytes.into()));
        }
        Some((channel, bytes))
    }

    fn input(self, message: Message) -> Option<ExecFrame> {
        match self.read(message)? {
            (0, bytes) if !bytes.is_empty() => Some(ExecFrame::Stdin(bytes)),
            (4, bytes) => session::resize(&bytes),
            (CLOSE, bytes) if self.closes && bytes[..] == [0] => Some(ExecFrame::Close),
            _ => None,
        }
    }
}

struct Out(SplitSink<Socket, Message>, Protocol);

impl Outlet for Out {
    async fn send(&mut self, channel: Channel, bytes: Bytes) -> bool {
        self.0.send(self.1.message(channel as u8, &bytes)).await.is_ok()
    }
}

/// Carries a session, or the reason why there is none, over a WebSocket.
pub(super) async fn carry(
    socket: Socket,
    protocol: Protocol,
    streams: Streams,
    opened: Result<ExecSession, Status>,
) {
    let (sink, mut source) = socket.split();
    let mut out = Out(sink, protocol);
    // An empty message tells the client that the connection stands.
    let lowest = streams.wanted().into_iter().find(|channel| *channel > Channel::Stdin);
    if !out.send(lowest.unwrap_or(Channel::Error), Bytes::new()).await {
        return;
    }
    let outcome = match opened {
        Ok(session) => {
            let messages = source.by_ref().take_while(|message| std::future::ready(message.is_ok()));
            let frames = messages
                .filter_map(|message| std::future::ready(message.ok().and_then(|m| protocol.input(m))));
            session::carry(session, frames, streams, &mut out).await
        }
        Err(status) => Some(Outcome::Failed(Box::new(status))),
    };
    let Some(outcome) = outcome else { return };
    let last = if protocol.status { outcome.to_json() } else { outcome.to_text() };
    if !last.is_empty() && !out.send(Channel::Error, last.into()).await {
        return;
    }
    goodbye(out.0, source).await;
}

/// Ends a WebSocket so that the client has read everything before.
pub(super) async fn goodbye(mut sink: SplitSink<Socket, Message>, mut source: SplitStream<Socket>) {
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    if sink.send(Message::Close(Some(close))).await.is_ok() {
        let _ = tokio::time::timeout(GOODBYE, async { while let Some(Ok(_)) = source.next().await {} }).await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_the_first_protocol_that_both_know() {
        let choose = |offered: &[&str]| {
            let offered: Vec<String> = offered.iter().map(|name| (*name).to_owned()).collect();
            Protocol::choose(&offered).map(|protocol| protocol.name).map_err(|status| status.message)
        };
        assert_eq!(choose(&[]), Ok(""));
        assert_eq!(choose(&["v4.channel.k8s.io", "v5.channel.k8s.io"]), Ok("v4.channel.k8s.io"));
        assert_eq!(choose(&["v9", "base64.channel.k8s.io"]), Ok("base64.channel.k8s.io"));
        assert!(choose(&["v9"]).unwrap_err().contains("client supports [v9]"));
    }

    #[test]
    fn reads_input_resizes_and_the_end_of_input() {
        let input = |protocol: usize, bytes: &'static [u8]| {
            PROTOCOLS[protocol].input(Message::Binary(Bytes::from_static(bytes)))
        };
        assert_eq!(input(0, b"\0hi"), Some(ExecFrame::Stdin("hi".into())));
        assert_eq!(input(0, b"\xff\0"), Some(ExecFrame::Close));
        assert_eq!(input(1, b"\xff\0"), None, "before v5 nothing is closed");
        let size = input(1, br#"{"Width":80,"Height":24}"#);
        assert_eq!(size, None, "a size without its channel is no size");
        let size = input(1, b"\x04{\"Width\":80,\"Height\":24}");
        assert_eq!(size, Some(ExecFrame::Resize { width: 80, height: 24 }));
        assert_eq!(input(2, b"0aGk="), Some(ExecFrame::Stdin("hi".into())));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in any::<Vec<u8>>(), channel in 0u8..10, at in 0..PROTOCOLS.len()) {
            let message = PROTOCOLS[at].message(channel, &bytes);
            prop_assert_eq!(PROTOCOLS[at].read(message), Some((channel, bytes.into())));
        }

        #[test]
        fn nothing_that_clients_send_is_too_much(bytes in any::<Vec<u8>>(), at in 0..PROTOCOLS.len()) {
            let _ = PROTOCOLS[at].input(Message::Binary(bytes.clone().into()));
            let _ = PROTOCOLS[at].input(Message::Text(String::from_utf8_lossy(&bytes).into_owned().into()));
        }
    }
}
