//! Where an object's name stands in the text of a body.

use std::ops::Range;

use crate::request::MediaType;

/// Where the name stands, without quotes. `None` where the body gives none, or in a way in which more than these bytes
/// depends on it: twice, or with escapes.
///
/// What is no such body at all may be answered with anything: it is asked of bodies that were decoded.
pub(super) fn name(media: MediaType, bytes: &[u8]) -> Option<Range<usize>> {
    match media {
        MediaType::Json => json(bytes),
        MediaType::Protobuf => protobuf(bytes),
        MediaType::Yaml => None,
    }
}

fn json(bytes: &[u8]) -> Option<Range<usize>> {
    let mut at = Tokens { bytes, at: 0 };
    let metadata = at.field("metadata")?;
    let mut within = Tokens { bytes: &bytes[..metadata.end], at: metadata.start };
    let value = within.field("name")?;
    let text = bytes[value.clone()].strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let plain = !text.is_empty() && !text.contains(&b'\\');
    plain.then_some(value.start + 1..value.end - 1)
}

/// Reads JSON, with white space.
struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Tokens<'_> {
    fn space(&mut self) -> Option<u8> {
        while matches!(self.bytes.get(self.at)?, b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, token: u8) -> Option<()> {
        let found = self.space()? == token;
        self.at += 1;
        found.then_some(())
    }

    /// Where the value of the one field of this name is, in the object that begins here.
    fn field(&mut self, name: &str) -> Option<Range<usize>> {
        let mut found = None;
        self.expect(b'{')?;
        while self.space()? != b'}' {
            let key = self.value()?;
            self.expect(b':')?;
            let value = self.value()?;
            let key = self.bytes[key].strip_prefix(b"\"")?.strip_suffix(b"\"")?;
            if key.contains(&b'\\') {
                return None;
            }
            if key.eq_ignore_ascii_case(name.as_bytes()) && found.replace(value).is_some() {
                return None;
            }
            match self.space()? {
                b',' => self.at += 1,
                b'}' => {}
                _ => return None,
            }
        }
        found
    }

    fn value(&mut self) -> Option<Range<usize>> {
        self.space()?;
        let (start, mut depth) = (self.at, 0usize);
        loop {
            match self.bytes.get(self.at)? {
                b'"' => {
                    self.string()?;
                    if depth == 0 {
                        break;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => break,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        break;
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        (self.at > start).then_some(start..self.at)
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => break self.at += 1,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        Some(())
    }
}

/// The object within the envelope is its second field; metadata is the first field of every object, and the name the
/// first of metadata.
fn protobuf(bytes: &[u8]) -> Option<Range<usize>> {
    let start = orlop_core::codec::protobuf::MAGIC.len();
    let object = only(bytes, start..bytes.len(), 2)?;
    let metadata = only(bytes, object, 1)?;
    only(bytes, metadata, 1).filter(|name| !name.is_empty())
}

/// Where in a message the one field of this number is, which has a length.
fn only(bytes: &[u8], message: Range<usize>, number: u64) -> Option<Range<usize>> {
    let (mut at, mut found) = (message.start, None);
    let bytes = bytes.get(..message.end)?;
    while at < bytes.len() {
        let tag = varint(bytes, &mut at)?;
        let field = match tag & 7 {
            0 => {
                varint(bytes, &mut at)?;
                continue;
            }
            1 => at..at.checked_add(8)?,
            2 => {
                let len = usize::try_from(varint(bytes, &mut at)?).ok()?;
                at..at.checked_add(len)?
            }
            5 => at..at.checked_add(4)?,
            _ => return None,
        };
        at = field.end;
        if field.end > bytes.len() || tag >> 3 == number && (tag & 7 != 2 || found.replace(field).is_some()) {
            return None;
        }
    }
    found
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut out = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        out |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(out);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_json() {
        let found = |text: &str| json(text.as_bytes()).map(|at| text[at].to_owned());
        let cases = [
            (r#"{"metadata":{"name":"a"}}"#, Some("a")),
            (
                "{ \"spec\" : [1, {\"name\":\"}\"}] ,\n\"metadata\": { \"x\":\"\\\"\", \"name\" : \"a-1\"\t}}\n",
                Some("a-1"),
            ),
            (r#"{"metadata":{"labels":{"name":"l"},"name":"a"},"name":"o"}"#, Some("a")),
            (r#"{"metadata":{"name":"a","name":"b"}}"#, None),
            (r#"{"metadata":{"name":"a","Name":"b"}}"#, None),
            (r#"{"metadata":{"name":"a"},"metadata":{}}"#, None),
            (r#"{"metadata":{"name":"a","n\u0061me":"b"}}"#, None),
            (r#"{"metadata":{"name":"\u0061"}}"#, None),
            (r#"{"metadata":{"name":""}}"#, None),
            (r#"{"metadata":{"name":7}}"#, None),
            (r#"{"metadata":{"generateName":"a"}}"#, None),
            (r#"{"metadata":"name"}"#, None),
            (r#"{"metadata":{"name":"a""#, None),
            ("", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(found(text).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn names_are_found_in_protobuf() {
        let field = |number: u8, inner: &[u8]| {
            let len = u8::try_from(inner.len()).expect("short");
            [&[number << 3 | 2, len], inner].concat()
        };
        let object = |metadata: &[u8]| {
            let object = [field(1, metadata), field(3, b"spec"), vec![2 << 3, 0x96, 1]].concat();
            [b"k8s\0".to_vec(), field(1, b"type"), field(2, &object)].concat()
        };
        let found = |bytes: &[u8]| protobuf(bytes).map(|at| bytes[at].to_vec());
        assert_eq!(found(&object(&[field(1, b"web"), field(2, b"w-")].concat())), Some(b"web".to_vec()));
        assert_eq!(found(&object(&field(2, b"w-"))), None);
        assert_eq!(found(&object(&[field(1, b"web"), field(1, b"w")].concat())), None, "twice");
        let whole = object(&field(1, b"web"));
        (0..whole.len()).for_each(|end| drop(found(&whole[..end])));
    }
}
