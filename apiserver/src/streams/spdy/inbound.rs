//! What a client sends: [`Inbound`].

use std::collections::BTreeSet;

use bytes::{Buf, Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};

use super::dictionary::dictionary;
use super::{FLAG_FIN, ProtocolError, StreamId, kind};

/// The longest control frame, in bytes. What clients send is a tenth of it.
const CONTROL_MAX: usize = 16 * 1024;
/// The longest block of headers once it is decompressed, in bytes.
const HEADERS_MAX: usize = 32 * 1024;
/// How many streams may be open at a time. A forwarded connection takes two.
const STREAMS_MAX: usize = 2_000;

/// Something that a client has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It opens a stream. It must be replied to.
    Open {
        /// The stream.
        stream: StreamId,
        /// Its headers, by lower-case names.
        headers: Vec<(String, String)>,
        /// Nothing else will be sent on it.
        fin: bool,
    },
    /// A part of a stream. A frame may come in several parts.
    Data {
        /// The stream.
        stream: StreamId,
        /// The part; may be empty at the end.
        bytes: Bytes,
        /// It was the last.
        fin: bool,
    },
    /// The client takes and sends nothing more on this stream.
    Reset(StreamId),
    /// To be sent back.
    Ping(u32),
    /// The client opens no more streams.
    GoAway,
}

/// Reads one direction of a connection.
pub(crate) struct Inbound {
    buffer: BytesMut,
    /// The data frame whose rest is to come: its stream, how many bytes, and whether it is the last.
    data: Option<(StreamId, usize, bool)>,
    headers: Decompress,
    last: StreamId,
    /// Streams on which the client may still send.
    open: BTreeSet<StreamId>,
}

impl Inbound {
    /// The beginning of a connection.
    pub(crate) fn new() -> Inbound {
        Inbound {
            buffer: BytesMut::new(),
            data: None,
            headers: Decompress::new(true),
            last: 0,
            open: BTreeSet::new(),
        }
    }

    /// Takes what has arrived.
    ///
    /// # Errors
    /// When it is not SPDY; nothing may be received after that.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<Vec<Event>, ProtocolError> {
        self.buffer.extend_from_slice(bytes);
        let mut events = Vec::new();
        loop {
            if let Some((stream, left, fin)) = self.data {
                let part = self.buffer.split_to(left.min(self.buffer.len())).freeze();
                let left = left - part.len();
                self.data = (left > 0).then_some((stream, left, fin));
                let fin = fin && left == 0;
                // Data of a stream that is closed, or never was, concerns nobody.
                if self.open.contains(&stream) && (fin || !part.is_empty()) {
                    events.push(Event::Data { stream, bytes: part, fin });
                }
                if fin {
                    self.open.remove(&stream);
                }
                if left > 0 {
                    return Ok(events);
                }
            }
            let Some(head) = self.buffer.first_chunk::<8>() else { return Ok(events) };
            let word = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let (flags, length) = (head[4], usize_of([0, head[5], head[6], head[7]]));
            if word >> 31 == 0 {
                self.buffer.advance(8);
                self.data = Some((word, length, flags & FLAG_FIN != 0));
                continue;
            }
            if word >> 16 & 0x7fff != 3 {
                return Err(ProtocolError::Version);
            }
            if length > CONTROL_MAX {
                return Err(ProtocolError::FrameTooLong(length));
            }
            if self.buffer.len() < 8 + length {
                return Ok(events);
            }
            self.buffer.advance(8);
            let frame = self.buffer.split_to(length).freeze();
            let kind = u16::try_from(word & 0xffff).unwrap_or_default();
            events.extend(self.control(kind, flags, &frame)?);
        }
    }

    fn control(&mut self, kind: u16, flags: u8, frame: &[u8]) -> Result<Option<Event>, ProtocolError> {
        let word = |at: usize| -> Result<u32, ProtocolError> {
            let bytes = frame.get(at..).and_then(|rest| rest.first_chunk::<4>());
            bytes.map(|bytes| u32::from_be_bytes(*bytes)).ok_or(ProtocolError::FrameTooShort)
        };
        let id = |at: usize| word(at).map(|word| word & 0x7fff_ffff);
        Ok(match kind {
            kind::SYN_STREAM => {
                let (stream, fin) = (id(0)?, flags & FLAG_FIN != 0);
                let block = frame.get(10..).ok_or(ProtocolError::FrameTooShort)?;
                if stream % 2 == 0 || stream <= self.last {
                    return Err(ProtocolError::StreamId(stream));
                }
                let headers = self.headers(block)?;
                self.last = stream;
                if !fin && !self.open.contains(&stream) {
                    if self.open.len() >= STREAMS_MAX {
                        return Err(ProtocolError::TooManyStreams);
                    }
                    self.open.insert(stream);
                }
                Some(Event::Open { stream, headers, fin })
            }
            kind::RST_STREAM => {
                let stream = id(0)?;
                self.open.remove(&stream);
                Some(Event::Reset(stream))
            }
            kind::PING => Some(Event::Ping(word(0)?)),
            kind::GOAWAY => Some(Event::GoAway),
            // Of an answer's headers there is nothing to learn, but all headers share one compression.
            kind::SYN_REPLY | 8 => {
                id(0)?;
                self.headers(&frame[4..])?;
                None
            }
            // Settings, windows, credentials, and what is not known: to be passed over.
            _ => None,
        })
    }

    /// Decompresses and reads a block of headers.
    fn headers(&mut self, block: &[u8]) -> Result<Vec<(String, String)>, ProtocolError> {
        let mut plain = vec![0; 4 * 1024];
        let (mut taken, mut made) = (0, 0);
        loop {
            if made == plain.len() {
                if made >= HEADERS_MAX {
                    return Err(ProtocolError::HeadersTooLong);
                }
                plain.resize((made * 2).min(HEADERS_MAX), 0);
            }
            let (before_in, before_out) = (self.headers.total_in(), self.headers.total_out());
            let step = self.headers.decompress(&block[taken..], &mut plain[made..], FlushDecompress::Sync);
            let advanced = |after: u64, before: u64| usize::try_from(after - before).unwrap_or_default();
            taken += advanced(self.headers.total_in(), before_in);
            let more = advanced(self.headers.total_out(), before_out);
            made += more;
            match step {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.headers.set_dictionary(&dictionary()).map_err(|_| ProtocolError::Headers)?;
                }
                Err(_) | Ok(Status::StreamEnd) => return Err(ProtocolError::Headers),
                // There is room left, so everything is out.
                Ok(_) if made < plain.len() && (taken == block.len() || more == 0) => break,
                Ok(_) => {}
            }
        }
        if taken < block.len() {
            return Err(ProtocolError::Headers);
        }
        read_headers(&plain[..made]).ok_or(ProtocolError::Headers)
    }
}

fn usize_of(bytes: [u8; 4]) -> usize {
    usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX)
}

/// Pairs of texts, each with its length before it, after their number.
fn read_headers(mut plain: &[u8]) -> Option<Vec<(String, String)>> {
    let length = |plain: &mut &[u8]| -> Option<usize> {
        let (bytes, rest) = plain.split_first_chunk::<4>()?;
        *plain = rest;
        Some(usize_of(*bytes))
    };
    let count = length(&mut plain)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let mut text = || -> Option<String> {
            let length = length(&mut plain)?;
            let (text, rest) = plain.split_at_checked(length)?;
            plain = rest;
            String::from_utf8(text.to_vec()).ok()
        };
        let name = text()?;
        headers.push((name.to_ascii_lowercase(), text()?));
    }
    plain.is_empty().then_some(headers)
}
