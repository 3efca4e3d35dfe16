//! Scalars with a canonical form: moments, amounts, base64.

use std::borrow::Cow;

use crate::rules::Quantity;
use crate::rules::quantity::is_canonical;
use crate::time::Moment;

/// Why a text is not base64: the offset of the first byte that does not belong.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, usize> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut buffer, mut count) = (0u32, 0);
    let mut bytes = text.bytes().enumerate().filter(|(_, b)| !matches!(b, b'\r' | b'\n'));
    while let Some((at, byte)) = bytes.next() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                match count {
                    2 => match bytes.next() {
                        Some((_, b'=')) => {}
                        Some((at, _)) => return Err(at),
                        None => return Err(text.len()),
                    },
                    3 => {}
                    _ => return Err(at),
                }
                out.push((buffer >> (6 * count - 8)) as u8);
                if count == 3 {
                    out.push((buffer >> 2) as u8);
                }
                return match bytes.next() {
                    Some((at, _)) => Err(at),
                    None => Ok(out),
                };
            }
            _ => return Err(at),
        };
        buffer = buffer << 6 | u32::from(digit);
        count += 1;
        if count == 4 {
            out.extend_from_slice(&buffer.to_be_bytes()[1..]);
            (buffer, count) = (0, 0);
        }
    }
    if count == 0 { Ok(out) } else { Err(text.len() - count) }
}

/// Bytes as base64 with padding.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes(word);
        for place in 0..4 {
            if place <= chunk.len() {
                out.push(char::from(DIGITS[(word >> (18 - 6 * place) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// A moment in the only form that Kubernetes reads: `2026-01-01T00:00:00Z`, with an optional fraction and offset;
/// with `micro`, with exactly six digits of it.
pub(crate) fn parse_time(text: &str, micro: bool) -> Option<Moment> {
    let (moment, digits) = Moment::parse(text)?;
    (!micro || digits == 6).then_some(moment)
}

/// A moment in canonical form: UTC, whole seconds or, with `micro`, six digits more. A text that is no moment stays.
pub(crate) fn canonical_time(text: &str, micro: bool) -> Cow<'_, str> {
    let canonical_already =
        text.ends_with('Z') && text.len() == if micro { 27 } else { 20 } && !text.contains(',');
    if canonical_already {
        return Cow::Borrowed(text);
    }
    match parse_time(text, micro).and_then(|moment| moment.text(micro)) {
        Some(canonical) => Cow::Owned(canonical),
        None => Cow::Borrowed(text),
    }
}

/// An amount in canonical form. A text that is no amount stays.
pub(crate) fn canonical_quantity(text: &str) -> Cow<'_, str> {
    if is_canonical(text) {
        return Cow::Borrowed(text);
    }
    match text.parse::<Quantity>() {
        Ok(quantity) => Cow::Owned(quantity.to_string()),
        Err(_) => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_both_ways() {
        for text in ["", "f", "fo", "foo", "foob", "fooba", "foobar"] {
            assert_eq!(decode_base64(&encode_base64(text.as_bytes())).unwrap(), text.as_bytes());
        }
        assert_eq!(decode_base64("Zm9v\nYmFy").unwrap(), b"foobar");
        // The offsets that Kubernetes names.
        assert_eq!(decode_base64("not base64!"), Err(3));
        assert_eq!(decode_base64("***"), Err(0));
        assert_eq!(decode_base64("Zg==x"), Err(4));
    }

    #[test]
    fn times() {
        assert_eq!(canonical_time("2024-01-02T03:04:05.678+01:00", false), "2024-01-02T02:04:05Z");
        assert_eq!(canonical_time("9999-12-31T23:30:00.5-00:15", false), "9999-12-31T23:45:00Z");
        assert_eq!(canonical_time("0001-01-01T01:00:00.000001+01:00", true), "0001-01-01T00:00:00.000001Z");
        assert!(parse_time("9999-12-31T23:59:59Z", false).is_some());
        assert!(parse_time("2024-01-02T03:04:60Z", false).is_none());
        assert!(parse_time("2024-01-02T03:04:05Z", true).is_none());
        assert!(parse_time("2024-01-02 03:04:05Z", false).is_none());
        assert!(parse_time("2024-01-02T03:04:05.Z", false).is_none());
    }
}
