//! SPDY/3.1 as far as Kubernetes' clients speak it: framing, without any I/O.
//!
//! [`Inbound`] turns bytes into [`Event`]s, [`Outbound`] turns answers into bytes. They share nothing, so that one task
//! may read while another writes. Flow control is absent, as in the library of the clients: whoever does not read is
//! held by the connection beneath.

mod dictionary;
mod inbound;
mod outbound;

pub(crate) use inbound::{Event, Inbound};
pub(crate) use outbound::Outbound;

/// A stream's number; those that clients open are odd.
pub(crate) type StreamId = u32;

/// What is wrong with the bytes of a connection. It cannot go on after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    /// Another version than 3.
    #[error("not SPDY/3")]
    Version,
    /// A control frame that is longer than anybody needs.
    #[error("a control frame of {0} bytes")]
    FrameTooLong(usize),
    /// A control frame that is shorter than its kind needs.
    #[error("a control frame is too short")]
    FrameTooShort,
    /// Headers that do not decompress, or not to headers.
    #[error("headers that cannot be read")]
    Headers,
    /// Headers that are longer than anybody needs.
    #[error("headers that are too long")]
    HeadersTooLong,
    /// A stream whose number is not the client's to give, or not greater than the one before.
    #[error("stream {0} may not be opened")]
    StreamId(StreamId),
    /// More streams than a connection may have at a time.
    #[error("too many streams")]
    TooManyStreams,
}

/// Numbers of the control frames.
mod kind {
    pub(super) const SYN_STREAM: u16 = 1;
    pub(super) const SYN_REPLY: u16 = 2;
    pub(super) const RST_STREAM: u16 = 3;
    pub(super) const PING: u16 = 6;
    pub(super) const GOAWAY: u16 = 7;
}

/// The stream's last frame.
const FLAG_FIN: u8 = 1;

/// Reads bytes as a connection's, in pieces of the length that their first byte says; see
/// [`crate::fuzz::spdy_frames`].
pub(crate) fn read_any(bytes: &[u8]) -> Result<Vec<Event>, ProtocolError> {
    let mut inbound = Inbound::new();
    let step = usize::from(bytes.first().copied().unwrap_or(1)).max(1);
    let mut events = Vec::new();
    for part in bytes.chunks(step) {
        events.extend(inbound.receive(part)?);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    /// What comes out of `sent`, however it is cut.
    fn received(sent: &[u8], step: usize) -> Vec<Event> {
        let mut inbound = Inbound::new();
        let mut events: Vec<Event> = Vec::new();
        for part in sent.chunks(step) {
            for event in inbound.receive(part).expect("a connection") {
                match (events.last_mut(), event) {
                    (
                        Some(Event::Data { stream, bytes, fin }),
                        Event::Data { stream: next, bytes: more, fin: last },
                    ) if *stream == next && !*fin => {
                        *bytes = Bytes::from([&bytes[..], &more[..]].concat());
                        *fin = last;
                    }
                    (_, event) => events.push(event),
                }
            }
        }
        events
    }

    fn arb_headers() -> impl Strategy<Value = Vec<(String, String)>> {
        proptest::collection::vec(("[a-z:-]{0,20}", "[ -~\\PC]{0,40}"), 0..6)
    }

    proptest! {
        #[test]
        fn streams_arrive_as_they_were_sent(
            streams in proptest::collection::vec((arb_headers(), any::<Vec<u8>>()), 1..8),
            step in 1usize..100,
        ) {
            let mut outbound = Outbound::new();
            let mut expected = Vec::new();
            for (at, (headers, data)) in streams.iter().enumerate() {
                let stream = u32::try_from(at).unwrap() * 2 + 1;
                let borrowed: Vec<(&str, &str)> =
                    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                outbound.open(stream, &borrowed, false);
                expected.push(Event::Open { stream, headers: headers.clone(), fin: false });
                outbound.data(stream, data, true);
                expected.push(Event::Data { stream, bytes: data.clone().into(), fin: true });
                outbound.ping(stream);
                expected.push(Event::Ping(stream));
            }
            prop_assert_eq!(received(&outbound.take(), step), expected);
        }

        #[test]
        fn any_bytes_end_in_events_or_an_error(bytes in any::<Vec<u8>>()) {
            crate::fuzz::spdy_frames(&bytes);
        }

        /// Most random bytes are refused at once; a connection that goes wrong somewhere gets further.
        #[test]
        fn a_damaged_connection_is_no_harm(
            headers in arb_headers(), at in any::<prop::sample::Index>(), with in any::<u8>(), step in 1usize..50,
        ) {
            let mut outbound = Outbound::new();
            for stream in [1, 3, 5] {
                let borrowed: Vec<(&str, &str)> =
                    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                outbound.open(stream, &borrowed, false);
                outbound.data(stream, b"some data", stream == 3);
            }
            let mut bytes = outbound.take().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = with;
            let mut inbound = Inbound::new();
            for part in bytes.chunks(step) {
                if inbound.receive(part).is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn headers_that_swell_are_refused() {
        let mut outbound = Outbound::new();
        let long = "a".repeat(1 << 20);
        outbound.open(1, &[("x", &long)], false);
        let sent = outbound.take();
        assert!(sent.len() < 16 * 1024, "a megabyte is sent in {} bytes", sent.len());
        assert_eq!(Inbound::new().receive(&sent), Err(ProtocolError::HeadersTooLong));
    }

    #[test]
    fn streams_are_opened_once_and_in_order() {
        let receive = |streams: &[StreamId]| {
            let mut outbound = Outbound::new();
            streams.iter().for_each(|stream| outbound.open(*stream, &[], false));
            Inbound::new().receive(&outbound.take()).map(|events| events.len())
        };
        assert_eq!(receive(&[1, 3, 7]), Ok(3));
        assert_eq!(receive(&[1, 1]), Err(ProtocolError::StreamId(1)));
        assert_eq!(receive(&[3, 1]), Err(ProtocolError::StreamId(1)));
        assert_eq!(receive(&[2]), Err(ProtocolError::StreamId(2)));
    }
}
