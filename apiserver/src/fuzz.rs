//! Entry points for fuzzers: each takes bytes, and panics where a promise is broken.

use crate::streams::spdy::{Event, read_any};

/// Reads bytes as a SPDY connection. Whatever they are, it ends, and holds no more than the bytes themselves and a
/// block of headers for each stream.
///
/// # Panics
/// When more data comes out than went in.
pub fn spdy_frames(bytes: &[u8]) {
    let Ok(events) = read_any(bytes) else { return };
    let data = events.iter().map(|event| match event {
        Event::Data { bytes, .. } => bytes.len(),
        _ => 0,
    });
    assert!(data.sum::<usize>() <= bytes.len(), "data comes from nowhere");
}
