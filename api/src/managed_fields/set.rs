//! Sets of fields.

use std::borrow::Cow;
use std::collections::BTreeMap;

use orlop_core::Name;
use serde_json::{Map, Value};

/// A set of paths within an object: the form in which `managedFields` says who owns what.
///
/// An element of a path is written as Kubernetes writes it: `f:NAME` a field, `k:{…}` the item of a list with these
/// keys, `v:…` the item of a set, `i:N` an item by its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    entries: BTreeMap<Name, Entry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// Whether the path that ends here is in the set.
    member: bool,
    below: FieldSet,
}

impl FieldSet {
    /// Whether there is no path in the set.
    pub fn is_empty(&self) -> bool {
        self.entries.values().all(|entry| !entry.member && entry.below.is_empty())
    }

    /// Adds the path.
    pub fn insert(&mut self, path: impl IntoIterator<Item = Name>) {
        let mut path = path.into_iter();
        let Some(first) = path.next() else { return };
        let mut entry = self.entries.entry(first).or_default();
        for part in path {
            entry = entry.below.entries.entry(part).or_default();
        }
        entry.member = true;
    }

    /// Whether the path of this one element is in the set.
    pub fn has(&self, part: &str) -> bool {
        self.entries.get(part).is_some_and(|entry| entry.member)
    }

    /// What the set says below this element.
    pub fn below(&self, part: &str) -> Option<&FieldSet> {
        self.entries.get(part).map(|entry| &entry.below).filter(|below| !below.is_empty())
    }

    /// Adds all paths of the other set.
    pub fn extend(&mut self, other: &FieldSet) {
        for (part, theirs) in &other.entries {
            let ours = self.entries.entry(part.clone()).or_default();
            ours.member |= theirs.member;
            ours.below.extend(&theirs.below);
        }
    }

    /// Takes out all paths of the other set.
    pub fn subtract(&mut self, other: &FieldSet) {
        self.entries.retain(|part, ours| {
            if let Some(theirs) = other.entries.get(part) {
                ours.member &= !theirs.member;
                ours.below.subtract(&theirs.below);
            }
            ours.member || !ours.below.is_empty()
        });
    }

    /// Takes out all paths that begin with this element.
    pub(super) fn prune(&mut self, part: &str) {
        self.entries.remove(part);
    }

    /// The paths that both sets have.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut both = FieldSet::default();
        for (part, ours) in &self.entries {
            let Some(theirs) = other.entries.get(part) else { continue };
            let entry =
                Entry { member: ours.member && theirs.member, below: ours.below.intersection(&theirs.below) };
            if entry.member || !entry.below.is_empty() {
                both.entries.insert(part.clone(), entry);
            }
        }
        both
    }

    /// Makes members of the elements that `named` picks, at every level; it answers too what is to be asked below.
    pub(super) fn promote<T: Copy>(&mut self, at: T, named: &impl Fn(T, &str) -> (bool, T)) {
        for (part, entry) in &mut self.entries {
            let (member, next) = named(at, part);
            entry.member |= member && !entry.below.is_empty();
            entry.below.promote(next, named);
        }
    }

    /// Calls for each path; at every level first for those that end there.
    pub fn for_each(&self, call: &mut impl FnMut(&[&str])) {
        fn walk<'a>(set: &'a FieldSet, path: &mut Vec<&'a str>, call: &mut impl FnMut(&[&str])) {
            for (part, entry) in &set.entries {
                if entry.member {
                    path.push(part);
                    call(path);
                    path.pop();
                }
            }
            for (part, entry) in &set.entries {
                path.push(part);
                walk(&entry.below, path, call);
                path.pop();
            }
        }
        walk(self, &mut Vec::new(), call);
    }

    /// The set as `fieldsV1` has it.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        for (part, entry) in &self.entries {
            let mut below = match entry.below.to_value() {
                Value::Object(map) => map,
                _ => Map::new(),
            };
            if entry.member && !below.is_empty() {
                below.shift_insert(0, ".".into(), Value::Object(Map::new()));
            }
            if entry.member || !below.is_empty() {
                map.insert(part.to_string(), Value::Object(below));
            }
        }
        Value::Object(map)
    }

    /// Reads `fieldsV1`; what is no path is left out. Levels deeper than `depth` are too.
    pub fn from_value(value: &Value, depth: usize) -> FieldSet {
        let mut set = FieldSet::default();
        let Value::Object(map) = value else { return set };
        if depth == 0 {
            return set;
        }
        for (part, below) in map {
            let Some(name) = canonical(part) else { continue };
            let member = below.as_object().is_none_or(|below| below.is_empty() || below.contains_key("."));
            let below = FieldSet::from_value(below, depth - 1);
            set.entries.insert(name, Entry { member, below });
        }
        set
    }
}

/// The element in the one spelling that we use; `None` for what is no element.
fn canonical(part: &str) -> Option<Name> {
    let (kind, rest) = part.split_once(':')?;
    match kind {
        "f" | "i" => Some(Name::new(part)),
        "v" => serde_json::from_str::<Value>(rest).ok().map(|value| item(&value).into()),
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
            let mut keys: Vec<_> = keys.iter().map(|(k, v)| (k.as_str(), Cow::Borrowed(v))).collect();
            Some(keyed(&mut keys).into())
        }
        _ => None,
    }
}

/// The element of a field.
pub(super) fn field(name: &str) -> Name {
    smol_str::format_smolstr!("f:{name}")
}

/// The element of a set's item.
pub(super) fn item(value: &Value) -> String {
    let mut text = String::from("v:");
    push_json(&mut text, value);
    text
}

/// The element of a list's item with these keys.
pub(super) fn keyed(keys: &mut [(&str, Cow<'_, Value>)]) -> String {
    keys.sort_unstable_by(|a, b| a.0.cmp(b.0));
    let mut text = String::with_capacity(64);
    text.push_str("k:{");
    for (i, (key, value)) in keys.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        push_text(&mut text, key);
        text.push(':');
        push_json(&mut text, value);
    }
    text.push('}');
    text
}

fn push_json(out: &mut String, value: &Value) {
    use std::fmt::Write as _;
    match value {
        Value::String(text) => push_text(out, text),
        value => {
            let _ = write!(out, "{value}");
        }
    }
}

fn push_text(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    // Almost every key is a name.
    if text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        let _ = write!(out, "{}", Value::from(text));
    }
}

/// A path as messages spell it: `.spec.containers[name="app"].image`.
pub fn path_text(path: &[&str]) -> String {
    let mut text = String::new();
    for part in path {
        text.push_str(&part_text(part));
    }
    text
}

pub(super) fn part_text(part: &str) -> String {
    match part.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("v", value)) => format!("[={value}]"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some((_, index)) => format!("[{index}]"),
        None => part.to_owned(),
    }
}
