//! Manifests as kubectl reads them: YAML 1.1, with the place of everything.
//!
//! [`documents`] splits a text where kubectl would and reads each document by itself, so that one mistake does not
//! hide the others. A [`Document`] knows where its fields stand: complaints of [`crate::codec::conform`] become places
//! through [`Document::locate`].
//!
//! ```
//! let text = "kind: Pod\nmetadata: {name: a}\n---\n# nothing but a comment\n---\na: 1\n b: 2";
//! let read = orlop_core::yaml::documents(text);
//! assert_eq!(read[0].as_ref().unwrap().locate("metadata.name"), Some((2, 12)));
//! let error = read[1].as_ref().unwrap_err();
//! assert_eq!((error.document, error.line), (2, 7));
//! ```

mod diagnose;
mod load;
mod resolve;
mod write;

use std::fmt;

use load::Places;
use serde_json::Value;

pub use write::to_string;

/// One document of a manifest.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its tree; keys in the order of the text.
    pub value: Value,
    /// Which one it is, from 0; empty ones count.
    pub index: usize,
    /// The line that it begins at, from 1.
    pub line: usize,
    places: Places,
}

/// A document that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// Which document, from 0.
    pub document: usize,
    /// Line of the text, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The field, where there is one: `spec.containers[0].name`.
    pub path: String,
    /// What is wrong, and where possible what to do.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "document {}, line {}, column {}: ", self.document + 1, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// What a YAML request body decodes to.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The first document of the body.
    pub value: Value,
    /// What strict decoding says of keys that were given twice, as Kubernetes words it; the later value counts.
    pub complaint: Option<String>,
}

/// Reads every document of a manifest; empty ones and those of comments alone are skipped.
///
/// Read as kubectl reads: booleans and octals of YAML 1.1, merge keys, keys that are numbers or booleans as texts.
/// JSON is YAML, and several JSON objects one after another are as many documents. Keys that stand twice in one
/// object are refused. Expanding aliases is bounded, as is nesting.
pub fn documents(text: &str) -> Vec<Result<Document, Error>> {
    let mut out = Vec::new();
    for (index, chunk) in chunks(text).enumerate() {
        match load::load(chunk.text, true) {
            Ok(loaded) => {
                out.extend(loaded.into_iter().map(|loaded| document(loaded, index, &chunk)));
            }
            Err(error) => {
                match json_stream(chunk.text) {
                    Some(values) => out.extend(values.into_iter().map(|value| {
                        Ok(Document { value, index, line: chunk.line, places: Places::default() })
                    })),
                    None => out.push(Err(chunk.error(index, error))),
                }
            }
        }
    }
    out
}

/// Reads the one document of a request body. Keys that stand twice are told, not refused.
///
/// # Errors
/// When the body is not YAML.
pub fn decode(text: &str) -> Result<Decoded, Error> {
    let chunk = Chunk { text, line: 1 };
    let loaded = load::load(text, false).map_err(|error| chunk.error(0, error))?;
    let Some(first) = loaded.into_iter().next() else {
        return Ok(Decoded { value: Value::Null, complaint: None });
    };
    let again = first.again.iter();
    let lines: Vec<String> =
        again.map(|(key, line)| format!("\n  line {line}: key {key:?} already set in map")).collect();
    let complaint = (!lines.is_empty()).then(|| format!("yaml: unmarshal errors:{}", lines.concat()));
    Ok(Decoded { value: first.value, complaint })
}

impl Document {
    /// The line and column, both from 1, of the field or item at `path` (`spec.containers[0].image`); of the nearest
    /// one around it where the path leads nowhere. `None` for a document that was given as JSON objects in a row.
    pub fn locate(&self, path: &str) -> Option<(usize, usize)> {
        let (_, (line, column)) = self.places.nearest(path, true)?;
        Some(((self.line - 1) + line as usize, column as usize))
    }
}

impl Places {
    /// The place of the last part that a path leads to, and how much of the path is left behind it. Keys may have dots
    /// and brackets in them: whatever leads furthest is right.
    fn nearest(&self, path: &str, first: bool) -> Option<(usize, (u32, u32))> {
        let mut best: Option<(usize, (u32, u32))> = None;
        let mut look = |place: &load::Place, rest: &str| {
            let here = (rest.len(), (place.line, place.column));
            let found = place.below.nearest(rest, false).unwrap_or(here);
            if best.is_none_or(|(left, _)| found.0 < left) {
                best = Some(found);
            }
        };
        if let Some((index, rest)) = path.strip_prefix('[').and_then(|rest| rest.split_once(']'))
            && let Some(place) = index.parse().ok().and_then(|index: usize| self.items.get(index))
        {
            look(place, rest);
        }
        if let Some(path) = if first { Some(path) } else { path.strip_prefix('.') } {
            let ends = path.match_indices(['.', '[']).map(|(end, _)| end).chain([path.len()]);
            for (key, rest) in ends.map(|end| path.split_at(end)) {
                if let Some(place) = self.fields.get(key) {
                    look(place, rest);
                }
            }
        }
        best
    }
}

fn document(loaded: load::Loaded, index: usize, chunk: &Chunk<'_>) -> Result<Document, Error> {
    if let Some(error) = diagnose::lost_indentation(chunk.text) {
        return Err(chunk.error(index, error));
    }
    if let Some(twice) = loaded.twice {
        return Err(chunk.error(index, twice));
    }
    Ok(Document { value: loaded.value, index, line: chunk.line, places: loaded.places })
}

/// Some JSON objects in a row, which YAML does not allow but kubectl does; also JSON indented by tabs.
fn json_stream(text: &str) -> Option<Vec<Value>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().ok()
}

struct Chunk<'a> {
    text: &'a str,
    /// The first line's number.
    line: usize,
}

impl Chunk<'_> {
    fn error(&self, document: usize, error: load::Failure) -> Error {
        // The indentation that was lost is the reason of whatever else is wrong.
        let error = diagnose::lost_indentation(self.text).unwrap_or(error);
        let offset = self.line - 1;
        let message = match error.first {
            Some(first) => format!("{}, after line {}", error.message, first + offset),
            None => error.message,
        };
        Error { document, line: error.line + offset, column: error.column, path: error.path, message }
    }
}

/// The text between lines of three dashes, with nothing but a comment behind them.
fn chunks(text: &str) -> impl Iterator<Item = Chunk<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = Some((text, 1));
    std::iter::from_fn(move || {
        let (text, line) = rest.take()?;
        let mut at = 0;
        for (count, current) in text.split_inclusive('\n').enumerate() {
            let separates = current.strip_prefix("---").is_some_and(|more| {
                let more = more.trim();
                more.is_empty() || more.starts_with('#')
            });
            if separates {
                let end = at + current.len();
                rest = Some((&text[end..], line + count + 1));
                return Some(Chunk { text: &text[..at], line });
            }
            at += current.len();
        }
        Some(Chunk { text, line })
    })
}
