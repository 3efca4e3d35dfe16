//! What is sent to a client: [`Outbound`].

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress};

use super::dictionary::dictionary;
use super::{FLAG_FIN, StreamId, kind};

/// The longest data frame, in bytes: a frame on its way holds up all other streams.
const DATA_MAX: usize = 32 * 1024;

/// Writes one direction of a connection.
pub(crate) struct Outbound {
    headers: Compress,
    out: BytesMut,
}

impl Outbound {
    /// The beginning of a connection.
    pub(crate) fn new() -> Outbound {
        let mut headers = Compress::new(Compression::fast(), true);
        headers.set_dictionary(&dictionary()).expect("a new compressor takes a dictionary");
        Outbound { headers, out: BytesMut::new() }
    }

    /// What is to be sent; empty if there is nothing.
    pub(crate) fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    /// Accepts a stream that the client has opened.
    pub(crate) fn reply(&mut self, stream: StreamId) {
        // A count of headers: none.
        let block = self.compress(&0u32.to_be_bytes());
        self.head(kind::SYN_REPLY, 0, 4 + block.len());
        self.out.put_u32(stream);
        self.out.extend_from_slice(&block);
    }

    /// Opens a stream. Servers have no need of it; what reads clients is tested with it.
    #[cfg(test)]
    pub(crate) fn open(&mut self, stream: StreamId, headers: &[(&str, &str)], fin: bool) {
        let mut plain = Vec::new();
        plain.put_u32(u32::try_from(headers.len()).unwrap_or_default());
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(u32::try_from(text.len()).unwrap_or_default());
            plain.extend_from_slice(text.as_bytes());
        }
        let block = self.compress(&plain);
        self.head(kind::SYN_STREAM, if fin { FLAG_FIN } else { 0 }, 10 + block.len());
        self.out.put_u32(stream);
        self.out.put_bytes(0, 6);
        self.out.extend_from_slice(&block);
    }

    /// Sends a part of a stream, or its end.
    pub(crate) fn data(&mut self, stream: StreamId, bytes: &[u8], fin: bool) {
        let mut rest = bytes;
        loop {
            let (part, after) = rest.split_at(rest.len().min(DATA_MAX));
            rest = after;
            let last = rest.is_empty();
            self.out.put_u32(stream);
            self.length(if fin && last { FLAG_FIN } else { 0 }, part.len());
            self.out.extend_from_slice(part);
            if last {
                return;
            }
        }
    }

    /// Refuses a stream.
    pub(crate) fn reset(&mut self, stream: StreamId) {
        const REFUSED: u32 = 3;
        self.head(kind::RST_STREAM, 0, 8);
        self.out.put_u32(stream);
        self.out.put_u32(REFUSED);
    }

    /// Answers a ping.
    pub(crate) fn ping(&mut self, id: u32) {
        self.head(kind::PING, 0, 4);
        self.out.put_u32(id);
    }

    /// Says that the connection ends; no stream after `last` was looked at.
    pub(crate) fn go_away(&mut self, last: StreamId) {
        self.head(kind::GOAWAY, 0, 8);
        self.out.put_u32(last);
        self.out.put_u32(0);
    }

    fn head(&mut self, kind: u16, flags: u8, length: usize) {
        self.out.put_u16(0x8003);
        self.out.put_u16(kind);
        self.length(flags, length);
    }

    fn length(&mut self, flags: u8, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX) & 0x00ff_ffff;
        self.out.put_u32(u32::from(flags) << 24 | length);
    }

    fn compress(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(plain.len() + 64);
        let before = self.headers.total_in();
        loop {
            let taken = usize::try_from(self.headers.total_in() - before).unwrap_or_default();
            let full = out.len() == out.capacity();
            if full {
                out.reserve(64);
            }
            let step = self.headers.compress_vec(&plain[taken..], &mut out, FlushCompress::Sync);
            let taken = usize::try_from(self.headers.total_in() - before).unwrap_or_default();
            // Room that is left says that the flush is through.
            if step.is_err() || (taken == plain.len() && out.len() < out.capacity()) {
                return out;
            }
        }
    }
}
