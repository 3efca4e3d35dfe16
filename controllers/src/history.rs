//! The templates that a StatefulSet or DaemonSet has had, as ControllerRevisions.

use std::cmp::Ordering;

use orlop_core::kinds::ControllerRevision;
use orlop_core::rules::Selector;
use orlop_core::{Item, Kind, Labels, Meta, Name, OwnerReference, Write};
use serde_json::{Map, Value, json};

/// The label that tells the revision of a pod.
pub const POD_REVISION: &str = "controller-revision-hash";
/// The label of a ControllerRevision with the hash of what it holds.
pub const HASH: &str = "controller.kubernetes.io/hash";
/// Longer names of owners are cut, so that the hash fits in.
const LONGEST_PREFIX: usize = 223;

/// What a revision remembers of its owner: a patch that puts the template back.
pub fn template_patch(template: &Value) -> Value {
    let mut template = sorted(template);
    if let Some(fields) = template.as_object_mut() {
        fields.shift_insert(0, "$patch".to_owned(), "replace".into());
    }
    json!({"spec": {"template": template}})
}

/// The template that a revision remembers; null if it holds none.
pub fn template_of(revision: &ControllerRevision) -> Value {
    let mut template = revision.data.pointer("/spec/template").cloned().unwrap_or_default();
    if let Some(fields) = template.as_object_mut() {
        fields.shift_remove("$patch");
    }
    template
}

/// With the fields of every object in order: equal data has equal texts.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            fields
                .into_iter()
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// A short name for what a revision holds; another for each `collisions`. FNV-1 of the text with its fields in order,
/// and of the count.
pub fn hash(data: &Value, collisions: i32) -> String {
    let mut hash = 0x811c_9dc5_u32;
    for byte in format!("{}{collisions}", sorted(data)).bytes() {
        hash = hash.wrapping_mul(0x0100_0193) ^ u32::from(byte);
    }
    safe_letters(hash)
}

/// A number in letters that spell no words.
pub fn safe_letters(number: u32) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    number.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

/// The name of `owner`'s revision with this hash.
pub fn name(owner: &str, hash: &str) -> Name {
    let end = (0..=owner.len().min(LONGEST_PREFIX)).rev().find(|at| owner.is_char_boundary(*at)).unwrap_or(0);
    smol_str::format_smolstr!("{}-{hash}", &owner[..end])
}

/// Orders revisions from old to new.
pub fn by_age(a: &ControllerRevision, b: &ControllerRevision) -> Ordering {
    a.revision
        .cmp(&b.revision)
        .then_with(|| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp))
        .then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// Whether `revision` is one that `owner`, which is being deleted, leaves to others. It is still known as its own: it
/// would be made anew else.
pub(crate) fn is_left_behind(owner: &Meta, selector: &Selector, revision: &ControllerRevision) -> bool {
    let meta = &revision.metadata;
    owner.is_terminating() && meta.controller().is_none() && selector.matches(&meta.labels)
}

/// Whether two revisions hold the same.
pub fn same(a: &Value, b: &Value) -> bool {
    sorted(a) == sorted(b)
}

/// What is to be done so that the present template has the newest revision.
#[derive(Clone, Debug, PartialEq)]
pub enum Newest {
    /// It has it already.
    Is(Name),
    /// A former revision holds the same: it becomes the newest, under this number.
    Renumber(Name, i64),
    /// It is created.
    Create {
        /// Its name.
        name: Name,
        /// Its number.
        revision: i64,
        /// The hash in its name.
        hash: String,
    },
}

impl Newest {
    /// The revision's name.
    pub fn name(&self) -> &Name {
        match self {
            Newest::Is(name) | Newest::Renumber(name, _) | Newest::Create { name, .. } => name,
        }
    }
}

/// Finds the revision for `data` among those of `owner`, which are given from old to new. A name that is taken by
/// something else (`taken`) makes `collisions` grow.
pub fn newest<'a>(
    owner: &str,
    data: &Value,
    revisions: impl IntoIterator<Item = &'a ControllerRevision>,
    collisions: &mut i32,
    taken: impl Fn(&str) -> bool,
    hash: impl Fn(i32) -> String,
) -> Newest {
    let revisions: Vec<&ControllerRevision> = revisions.into_iter().collect();
    let next = revisions.last().map_or(1, |last| last.revision + 1);
    match revisions.iter().rposition(|revision| same(&revision.data, data)) {
        Some(at) if at + 1 == revisions.len() => Newest::Is(revisions[at].metadata.name.clone()),
        Some(at) => Newest::Renumber(revisions[at].metadata.name.clone(), next),
        None => loop {
            let hash = hash(*collisions);
            let name = name(owner, &hash);
            if !taken(&name) {
                return Newest::Create { name, revision: next, hash };
            }
            *collisions += 1;
        },
    }
}

/// A revision as it is created.
pub fn object(kind: &Kind, owner: &Meta, labels: &Value, name: &Name, revision: i64, data: Value) -> Value {
    let mut metadata = json!({"name": name, "namespace": owner.namespace, "labels": labels});
    if !owner.annotations.is_empty() {
        metadata["annotations"] = json!(owner.annotations);
    }
    metadata["ownerReferences"] = json!([OwnerReference::controller_of(kind, owner)]);
    json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "data": data,
        "revision": revision,
    })
}

/// Gives a former revision a new number.
pub fn renumber(revision: &Item<ControllerRevision>, number: i64) -> Write {
    Write::merge_seen(revision, json!({"revision": number}))
}

/// Which revisions have outlived their use: beyond the newest `limit` of those (given from old to new) that nobody uses.
pub fn outlived<'a>(
    revisions: impl IntoIterator<Item = &'a ControllerRevision>,
    limit: usize,
    in_use: impl Fn(&ControllerRevision) -> bool,
) -> Vec<Name> {
    let unused: Vec<&ControllerRevision> =
        revisions.into_iter().filter(|revision| !in_use(revision)).collect();
    let surplus = unused.len().saturating_sub(limit);
    unused[..surplus].iter().map(|revision| revision.metadata.name.clone()).collect()
}

/// The revision that a pod's labels name.
pub fn of_pod(labels: &Labels) -> &str {
    labels.get(POD_REVISION).map_or("", Name::as_str)
}
