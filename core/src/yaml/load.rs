//! Events of the YAML parser to trees.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::{Map, Value};

use super::resolve;
use crate::codec::{DEPTH_MAX, height};

/// How much aliases may add, in bytes as [`cost`] counts them: a text of a few lines can stand for more than there is
/// memory in the world.
const ALIASES_MAX: usize = 16 << 20;

/// How many keys that stand twice are told.
const AGAIN_MAX: usize = 100;

/// What is wrong, and where; lines and columns from 1.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) path: String,
    pub(super) message: String,
    /// The line of the first of two.
    pub(super) first: Option<usize>,
}

pub(super) struct Loaded {
    pub(super) value: Value,
    /// Where its parts stand; nothing, unless that was asked for.
    pub(super) places: Places,
    /// The first key that stands twice in one object.
    pub(super) twice: Option<Failure>,
    /// The first keys that do, and their lines.
    pub(super) again: Vec<(String, usize)>,
}

/// Where the fields and items of an object or list stand, and theirs.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) fields: FxHashMap<String, Place>,
    pub(super) items: Vec<Place>,
}

/// Where a field or item stands, line and column from 1, and what is in it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) below: Places,
}

/// The documents of a text, without those that hold nothing; with the places of everything where `marks`.
pub(super) fn load(text: &str, marks: bool) -> Result<Vec<Loaded>, Failure> {
    let mut loader = Loader {
        parser: Parser::new_from_str(text),
        anchors: FxHashMap::default(),
        spent: 0,
        path: String::new(),
        marks,
        twice: None,
        again: Vec::new(),
    };
    let mut out = Vec::new();
    loop {
        let (event, span) = loader.next()?;
        match event {
            Event::StreamEnd => return Ok(out),
            Event::DocumentStart(_) | Event::DocumentEnd | Event::StreamStart | Event::Nothing => {}
            event => {
                let (value, places) = loader.node(event, span, 0)?;
                let twice = loader.twice.take();
                let again = std::mem::take(&mut loader.again);
                loader.anchors.clear();
                if !value.is_null() {
                    out.push(Loaded { value, places, twice, again });
                }
            }
        }
    }
}

struct Loader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: FxHashMap<usize, (Value, usize)>,
    spent: usize,
    path: String,
    marks: bool,
    twice: Option<Failure>,
    again: Vec<(String, usize)>,
}

impl<'a> Loader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Failure> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let mark = error.marker();
                Err(Failure {
                    line: mark.line(),
                    column: mark.col() + 1,
                    path: self.path.clone(),
                    message: error.info().to_owned(),
                    first: None,
                })
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn failure(&self, span: Span, message: impl Into<String>) -> Failure {
        let (line, column) = place(span);
        Failure { line, column, path: self.path.clone(), message: message.into(), first: None }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<(Value, Places), Failure> {
        let opens = matches!(event, Event::SequenceStart(..) | Event::MappingStart(..));
        if opens && depth >= DEPTH_MAX {
            return Err(self.failure(span, format!("nested more than {DEPTH_MAX} levels deep")));
        }
        let mut places = Places::default();
        let (value, anchor) = match event {
            Event::Alias(id) => {
                let Some((value, cost)) = self.anchors.get(&id) else {
                    return Err(self.failure(span, "the alias names an anchor that is not complete"));
                };
                self.spent = self.spent.saturating_add(*cost);
                if self.spent > ALIASES_MAX {
                    return Err(self.failure(span, "the document contains excessive aliasing"));
                }
                if depth + height(value) > DEPTH_MAX {
                    return Err(self.failure(span, format!("nested more than {DEPTH_MAX} levels deep")));
                }
                return Ok((value.clone(), places));
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(text, style, tag.as_deref()).map_err(|m| self.failure(span, m))?;
                (value, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.sequence(depth, &mut places)?, anchor),
            Event::MappingStart(anchor, _) => (self.mapping(depth, &mut places)?, anchor),
            _ => return Err(self.failure(span, "unexpected end of the document")),
        };
        if anchor > 0 {
            let cost = cost(&value);
            self.anchors.insert(anchor, (value.clone(), cost));
            // Copies are kept for aliases: they count, too.
            self.spent = self.spent.saturating_add(cost);
            if self.spent > ALIASES_MAX {
                return Err(self.failure(span, "the document contains excessive aliasing"));
            }
        }
        Ok((value, places))
    }

    fn sequence(&mut self, depth: usize, places: &mut Places) -> Result<Value, Failure> {
        let mut items = Vec::new();
        let length = self.path.len();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::Array(items));
            }
            self.path.push_str(&format!("[{}]", items.len()));
            let (item, below) = self.node(event, span, depth + 1)?;
            if self.marks {
                places.items.push(Place::at(span, below));
            }
            items.push(item);
            self.path.truncate(length);
        }
    }

    fn mapping(&mut self, depth: usize, places: &mut Places) -> Result<Value, Failure> {
        let mut fields = Map::new();
        let mut merged: Vec<Value> = Vec::new();
        let length = self.path.len();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let key = match self.node(event, span, depth + 1)?.0 {
                Value::String(text) => text,
                key @ (Value::Bool(_) | Value::Number(_)) => key.to_string(),
                Value::Null => return Err(self.failure(span, "a key is missing in front of the colon")),
                _ => return Err(self.failure(span, "a key must be a text, not a list or an object")),
            };
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            let twice = fields.contains_key(&key) && !is_merge;
            if twice {
                self.tell_twice(&key, span, places);
            }
            let stands = span;
            let (event, span) = self.next()?;
            let (value, below) = self.node(event, span, depth + 1)?;
            if self.marks && !twice {
                places.fields.insert(key.clone(), Place::at(stands, below));
            }
            match value {
                Value::Object(_) if is_merge => merged.push(value),
                Value::Array(items) if is_merge && items.iter().all(Value::is_object) => merged.extend(items),
                _ if is_merge => {
                    return Err(self.failure(span, "map merge requires map or sequence of maps as the value"));
                }
                value => {
                    fields.insert(key, value);
                }
            }
            self.path.truncate(length);
        }
        for value in merged {
            let Value::Object(more) = value else { continue };
            for (key, value) in more {
                fields.entry(key).or_insert(value);
            }
        }
        Ok(Value::Object(fields))
    }

    fn tell_twice(&mut self, key: &str, span: Span, places: &Places) {
        let (line, _) = place(span);
        if self.marks && self.twice.is_none() {
            let first = places.fields.get(key).map(|place| place.line as usize);
            let message = format!("{key:?} stands here for the second time");
            self.twice = Some(Failure { first, ..self.failure(span, message) });
        }
        if self.again.len() < AGAIN_MAX {
            self.again.push((key.to_owned(), line));
        }
    }
}

impl Place {
    fn at(span: Span, below: Places) -> Place {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (line, column) = place(span);
        Place { line: small(line), column: small(column), below }
    }
}

fn place(span: Span) -> (usize, usize) {
    (span.start.line().max(1), span.start.col() + 1)
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, &'static str> {
    let core = tag.filter(|t| t.is_yaml_core_schema()).map(|t| t.suffix.as_str());
    match core {
        Some("str") => return Ok(text.into_owned().into()),
        Some("int" | "float" | "bool" | "null") => return resolve::plain(&text),
        Some("binary") => {
            let compact: String = text.split_whitespace().collect();
            let bytes = crate::codec::scalar::decode_base64(&compact)
                .map_err(|_| "!!binary value contains invalid base64 data")?;
            return String::from_utf8(bytes).map(Value::String).map_err(|_| "!!binary value is not a text");
        }
        _ => {}
    }
    match style {
        // A tag of its own, `!`, also makes a text of it.
        ScalarStyle::Plain if tag.is_none_or(|t| !t.suffix.is_empty()) => resolve::plain(&text),
        _ => Ok(text.into_owned().into()),
    }
}

/// Bytes of memory that a tree takes, roughly.
fn cost(value: &Value) -> usize {
    const NODE: usize = 64;
    NODE + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(cost).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + cost(value)).sum(),
        _ => 0,
    }
}
