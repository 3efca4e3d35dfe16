//! The entries of `managedFields`.

use serde_json::{Map, Value, json};

use super::Writer;
use super::set::FieldSet;
use crate::patch::DEPTH_MAX;

/// How many managers of ordinary writes an object remembers; the oldest of more are put together.
const UPDATERS_MAX: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// One manager's fields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) manager: String,
    pub(crate) operation: Operation,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
    pub(crate) time: String,
    pub(crate) set: FieldSet,
}

impl Entry {
    /// The manager as messages name it.
    pub(crate) fn name(&self) -> String {
        let mut name = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            name.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            name.push_str(&format!(" using {}", self.api_version));
        }
        name
    }

    /// Whether this is the entry of that manager. Whoever applies has one entry, in whatever version.
    fn is_of(&self, by: &Writer<'_>, operation: Operation) -> bool {
        self.operation == operation
            && self.manager == by.manager
            && self.subresource == by.subresource
            && (operation == Operation::Apply || self.api_version == by.api_version)
    }
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Managers {
    pub(crate) entries: Vec<Entry>,
}

impl Managers {
    /// Reads the field; entries that cannot be read are left out.
    pub(crate) fn read(managed: &Value) -> Managers {
        let entries = managed.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            let operation = match entry["operation"].as_str()? {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            Some(Entry {
                manager: text("manager"),
                operation,
                api_version: text("apiVersion"),
                subresource: text("subresource"),
                time: text("time"),
                set: FieldSet::from_value(&entry["fieldsV1"], DEPTH_MAX),
            })
        });
        Managers { entries: entries.collect() }
    }

    /// The entry of that manager.
    pub(crate) fn find(&self, by: &Writer<'_>, operation: Operation) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.is_of(by, operation))
    }

    /// Adds fields to what the manager owns; the time is that of the write.
    pub(crate) fn own(&mut self, by: &Writer<'_>, operation: Operation, set: FieldSet) {
        let time = by.now.to_string();
        match self.entries.iter_mut().find(|entry| entry.is_of(by, operation)) {
            Some(entry) => {
                entry.set.extend(&set);
                entry.time = time;
            }
            None => self.entries.push(Entry {
                manager: by.manager.to_owned(),
                operation,
                api_version: by.api_version.to_owned(),
                subresource: by.subresource.to_owned(),
                time,
                set,
            }),
        }
    }

    /// Takes the time out of the manager's entry.
    pub(crate) fn forget_time(&mut self, by: &Writer<'_>, operation: Operation) {
        for entry in self.entries.iter_mut().filter(|entry| entry.is_of(by, operation)) {
            entry.time.clear();
        }
    }

    /// Puts the oldest of too many updaters together, by version.
    pub(crate) fn cap_updaters(&mut self) {
        let updaters = |all: &[Entry]| all.iter().filter(|e| e.operation == Operation::Update).count();
        if updaters(&self.entries) <= UPDATERS_MAX {
            return;
        }
        self.entries.retain(|entry| !entry.set.is_empty());
        self.entries
            .sort_by(|a, b| (a.operation, &a.time, &a.manager).cmp(&(b.operation, &b.time, &b.manager)));
        let mut at = 0;
        while updaters(&self.entries) > UPDATERS_MAX && at < self.entries.len() {
            let entry = &self.entries[at];
            let version = entry.api_version.clone();
            let earlier = self.entries[..at]
                .iter()
                .position(|other| other.operation == Operation::Update && other.api_version == version);
            if let (Operation::Update, Some(first)) = (entry.operation, earlier) {
                let entry = self.entries.remove(at);
                let bucket = &mut self.entries[first];
                bucket.manager = ANCIENT.into();
                bucket.subresource.clear();
                bucket.time = entry.time;
                bucket.set.extend(&entry.set);
            } else {
                at += 1;
            }
        }
    }

    /// The field, in Kubernetes' order; who owns nothing is left out.
    pub(crate) fn to_value(&self) -> Value {
        let mut entries: Vec<&Entry> = self.entries.iter().filter(|e| !e.set.is_empty()).collect();
        entries.sort_by(|a, b| {
            let key = |e: &Entry| (e.operation, e.time.clone());
            key(a)
                .cmp(&key(b))
                .then_with(|| a.manager.cmp(&b.manager))
                .then_with(|| a.api_version.cmp(&b.api_version))
                .then_with(|| a.subresource.cmp(&b.subresource))
        });
        entries
            .into_iter()
            .map(|entry| {
                let mut map = Map::new();
                map.insert("manager".into(), json!(entry.manager));
                map.insert("operation".into(), json!(entry.operation.as_str()));
                map.insert("apiVersion".into(), json!(entry.api_version));
                if !entry.time.is_empty() {
                    map.insert("time".into(), json!(entry.time));
                }
                map.insert("fieldsType".into(), json!("FieldsV1"));
                map.insert("fieldsV1".into(), entry.set.to_value());
                if !entry.subresource.is_empty() {
                    map.insert("subresource".into(), json!(entry.subresource));
                }
                Value::Object(map)
            })
            .collect()
    }
}
