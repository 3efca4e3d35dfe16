//! What differs between two objects.

use orlop_core::Name;
use rustc_hash::FxHashMap;
use serde_json::Value;

use super::set::{FieldSet, field};
use super::typed::{At, Shape};

/// The fields in which two objects differ.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) added: FieldSet,
    pub(crate) modified: FieldSet,
    pub(crate) removed: FieldSet,
}

impl Comparison {
    pub(crate) fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// What is new or other than it was.
    pub(crate) fn changed(&self) -> FieldSet {
        let mut changed = self.added.clone();
        changed.extend(&self.modified);
        changed
    }
}

pub(crate) fn compare(at: At<'_>, old: &Value, new: &Value) -> Comparison {
    let mut walk = Walk { found: Comparison::default(), path: Vec::new() };
    walk.value(at, Some(old), Some(new));
    walk.found
}

#[derive(Clone)]
enum Part<'a> {
    Field(&'a str),
    Item(Name),
}

struct Walk<'a> {
    found: Comparison,
    path: Vec<Part<'a>>,
}

#[derive(Clone, Copy)]
enum Kind {
    Added,
    Modified,
    Removed,
}

impl<'a> Walk<'a> {
    fn note(&mut self, kind: Kind) {
        let set = match kind {
            Kind::Added => &mut self.found.added,
            Kind::Modified => &mut self.found.modified,
            Kind::Removed => &mut self.found.removed,
        };
        set.insert(self.path.iter().map(|part| match part {
            Part::Field(name) => field(name),
            Part::Item(name) => name.clone(),
        }));
    }

    fn value(&mut self, at: At<'_>, old: Option<&'a Value>, new: Option<&'a Value>) {
        if old == new {
            return;
        }
        let bare = |v: Option<&Value>| match v {
            None | Some(Value::Null) => true,
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            Some(_) => false,
        };
        let shape = at.shape(old, new);
        let misfit = |v: Option<&Value>| match (shape, v) {
            (_, None | Some(Value::Null)) => false,
            (Shape::Object, Some(v)) => !v.is_object(),
            (Shape::List(_), Some(v)) => !v.is_array(),
            (Shape::Leaf, _) => false,
        };
        match shape {
            Shape::Leaf => return self.leaf(old, new),
            _ if bare(old) && bare(new) || misfit(old) || misfit(new) => return self.leaf(old, new),
            Shape::List(list) => {
                let items = |v: Option<&'a Value>| v.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                let (mut parts, mut seen) = (Vec::new(), FxHashMap::default());
                for (side, item) in items(old).iter().map(|i| (0, i)).chain(items(new).iter().map(|i| (1, i)))
                {
                    let Ok(part) = at.element(list, item).map(Name::from) else { continue };
                    let sides: &mut [Vec<&'a Value>; 2] = seen.entry(part.clone()).or_insert_with(|| {
                        parts.push(part);
                        Default::default()
                    });
                    sides[side].push(item);
                }
                for part in parts {
                    let [old, new] = &seen[&part];
                    self.path.push(Part::Item(part.clone()));
                    self.items(at.items(list), old, new);
                    self.path.pop();
                }
            }
            Shape::Object => {
                let fields = |v: Option<&'a Value>| v.and_then(Value::as_object);
                let (before, after) = (fields(old), fields(new));
                for (name, value) in before.into_iter().flatten() {
                    let Some((_, below)) = at.child(name) else { continue };
                    self.path.push(Part::Field(name));
                    self.value(below, Some(value), after.and_then(|map| map.get(name)));
                    self.path.pop();
                }
                for (name, value) in after.into_iter().flatten() {
                    if before.is_some_and(|map| map.contains_key(name)) {
                        continue;
                    }
                    let Some((_, below)) = at.child(name) else { continue };
                    self.path.push(Part::Field(name));
                    self.value(below, None, Some(value));
                    self.path.pop();
                }
            }
        }
        match (old, new) {
            (None, _) => self.note(Kind::Added),
            (_, None) => self.note(Kind::Removed),
            _ => {}
        }
    }

    /// Items of one key. Where a key occurs more than once its items are one value.
    fn items(&mut self, at: At<'_>, old: &[&'a Value], new: &[&'a Value]) {
        match (old.len(), new.len()) {
            (0 | 1, 0 | 1) => self.value(at, old.first().copied(), new.first().copied()),
            (0 | 1, _) => {
                if let Some(old) = old.first() {
                    self.value(at, Some(old), None);
                }
                self.note(Kind::Added);
            }
            (_, 0 | 1) => {
                if let Some(new) = new.first() {
                    self.value(at, None, Some(new));
                }
                self.note(Kind::Removed);
            }
            _ if old != new => self.note(Kind::Modified),
            _ => {}
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        self.note(match (old, new) {
            (None, _) => Kind::Added,
            (_, None) => Kind::Removed,
            _ => Kind::Modified,
        });
    }
}
