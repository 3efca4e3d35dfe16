//! The stored form of an object: immutable bytes with a parsed header.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::meta::OwnerReference;
use crate::object::{Name, Object};
use crate::store::Revision;
use crate::time::Timestamp;

/// An object as it is stored: canonical JSON, and the part of its metadata that lookups need.
///
/// The bytes carry no `resourceVersion`, for it exists only after the commit; [`Body::parts`] splices it in without
/// encoding anything anew.
pub struct Body {
    bytes: Bytes,
    /// Offset just behind the brace that opens `metadata`.
    revision_at: usize,
    header: Header,
    known: Kept,
    /// The view that those who look at the object have in common, while any of them holds it.
    view: Mutex<Option<Weak<dyn Any + Send + Sync>>>,
}

/// What was made of an object and is kept with it, each for its type; mostly nothing.
#[derive(Default)]
struct Kept(OnceLock<Box<(Arc<dyn Any + Send + Sync>, Kept)>>);

/// A view that many share. Boxed, so that what is left behind by the last of them is small.
pub(crate) type View<T> = Arc<Boxed<T>>;

/// See [`View`].
#[derive(Debug)]
pub(crate) struct Boxed<T>(pub(crate) Box<T>);

/// What lookups and deletion need of an object without decoding it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// Unique in time and space.
    pub uid: Name,
    /// Sorted by key.
    pub labels: Box<[(Name, Name)]>,
    /// Objects that this one goes with.
    pub owners: Box<[OwnerReference]>,
    /// Who must still act before a deleted object goes.
    pub finalizers: Box<[Name]>,
    /// When the object was created.
    pub created: Option<Timestamp>,
    /// Set while the object is being deleted.
    pub deleted: Option<Timestamp>,
    /// Counts the changes of the desired state.
    pub generation: i64,
}

#[cfg(feature = "schema")]
impl Header {
    /// The header that [`Body::parse`] would read from the encoded form of this metadata. `None` where only that form
    /// can tell.
    pub(crate) fn of(metadata: &serde_json::Map<String, serde_json::Value>) -> Option<Header> {
        use serde_json::Value;
        let mut header = Header::default();
        for (field, value) in metadata {
            match (field.as_str(), value) {
                ("uid", Value::String(uid)) => header.uid = uid.as_str().into(),
                ("generation", Value::Number(n)) => header.generation = n.as_i64()?,
                ("creationTimestamp", value) => header.created = moment(value)?,
                ("deletionTimestamp", value) => header.deleted = moment(value)?,
                ("labels", Value::Object(labels)) => {
                    let pair = |(k, v): (&String, &Value)| Some((k.as_str().into(), v.as_str()?.into()));
                    header.labels = labels.iter().map(pair).collect::<Option<_>>()?;
                    header.labels.sort_unstable();
                }
                ("finalizers", Value::Array(names)) => {
                    let name = |name: &Value| name.as_str().map(Name::from);
                    header.finalizers = names.iter().map(name).collect::<Option<_>>()?;
                }
                ("ownerReferences", Value::Array(owners)) => {
                    let owner = |owner: &Value| OwnerReference::deserialize(owner).ok();
                    header.owners = owners.iter().map(owner).collect::<Option<_>>()?;
                }
                ("uid" | "generation" | "labels" | "finalizers" | "ownerReferences", _) => return None,
                _ => {}
            }
        }
        Some(header)
    }
}

/// A moment that is written as it is, or none; the outer `None`: the encoded form differs.
#[cfg(feature = "schema")]
fn moment(value: &serde_json::Value) -> Option<Option<Timestamp>> {
    match value.as_str() {
        None if value.is_null() => Some(None),
        Some(text) if text.len() == "2026-01-01T00:00:00Z".len() && text.ends_with('Z') => {
            text.parse().ok().map(Some)
        }
        _ => None,
    }
}

/// What cannot be a stored object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Bytes that are not one, or not one of the wanted type: why.
    #[error("not a stored object: {0}")]
    Contents(String),
    /// Nested so deeply that nobody could read it again.
    #[error("exceeded max depth of {0}")]
    TooDeep(usize),
}

impl Malformed {
    fn json(error: &serde_json::Error) -> Malformed {
        Malformed::Contents(error.to_string())
    }
}

impl Body {
    /// Reads the header of an encoded object. `resourceVersion` must not be among the bytes.
    ///
    /// # Errors
    /// When the bytes are not a JSON object with a `metadata` object that has at least one field.
    pub fn parse(bytes: Bytes) -> Result<Body, Malformed> {
        #[derive(Deserialize)]
        struct Top<'a> {
            #[serde(borrow)]
            metadata: &'a RawValue,
        }
        #[derive(Deserialize, Default)]
        #[serde(default, rename_all = "camelCase")]
        struct Fields {
            uid: Name,
            labels: BTreeMap<Name, Name>,
            owner_references: Vec<OwnerReference>,
            finalizers: Vec<Name>,
            creation_timestamp: Option<Timestamp>,
            deletion_timestamp: Option<Timestamp>,
            generation: i64,
        }
        let malformed = |e: serde_json::Error| Malformed::json(&e);
        let top: Top<'_> = serde_json::from_slice(&bytes).map_err(malformed)?;
        let raw = top.metadata.get();
        let fields: Fields = serde_json::from_str(raw).map_err(malformed)?;
        if !raw.starts_with('{') || raw[1..].trim_start().starts_with('}') {
            return Err(Malformed::Contents("metadata is empty".to_owned()));
        }
        let revision_at = raw.as_ptr().addr() - bytes.as_ptr().addr() + 1;
        let header = Header {
            uid: fields.uid,
            labels: fields.labels.into_iter().collect(),
            owners: fields.owner_references.into_boxed_slice(),
            finalizers: fields.finalizers.into_boxed_slice(),
            created: fields.creation_timestamp,
            deleted: fields.deletion_timestamp,
            generation: fields.generation,
        };
        Ok(Body { bytes, revision_at, header, known: Kept::default(), view: Mutex::default() })
    }

    /// The object that was encoded a moment ago: `metadata` opens just before `revision_at`, and is not empty.
    #[cfg(feature = "schema")]
    pub(crate) fn assemble(bytes: Bytes, revision_at: usize, header: Header) -> Body {
        Body { bytes, revision_at, header, known: Kept::default(), view: Mutex::default() }
    }

    /// The stored bytes, without `resourceVersion`.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What lookups need.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes before and behind the place where `"resourceVersion":"N",` belongs.
    pub fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(self.revision_at)
    }

    /// A typed view of the object, decoded once for all who hold it at a time.
    ///
    /// # Errors
    /// Those of [`Stored::decode`].
    pub(crate) fn view<T: Object>(&self) -> Result<View<T>, Malformed> {
        let held = self.view.lock().as_ref().and_then(Weak::upgrade);
        let free = held.is_none();
        if let Some(Ok(view)) = held.map(|held| held.downcast::<Boxed<T>>()) {
            return Ok(view);
        }
        let view = T::from_json(&self.bytes).map_err(|e| Malformed::json(&e))?;
        let view: View<T> = Arc::new(Boxed(Box::new(view)));
        // Where another type is in use, those of this one decode for themselves.
        if free {
            let weak: Weak<dyn Any + Send + Sync> = Arc::<Boxed<T>>::downgrade(&view);
            *self.view.lock() = Some(weak);
        }
        Ok(view)
    }

    /// A typed view that is kept with the object, for the few objects that many decisions look at: a namespace, a service
    /// account, a quota.
    ///
    /// # Errors
    /// Those of [`Stored::decode`].
    pub fn known<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>, Malformed> {
        if let Some(known) = self.at_hand() {
            return Ok(known);
        }
        let view = serde_json::from_slice(&self.bytes).map_err(|e| Malformed::json(&e))?;
        Ok(self.kept(|| view))
    }

    /// What `make` makes of the object, kept with it. There is one for each type: what types those are is to depend on
    /// the program alone.
    pub fn kept<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(known) = self.at_hand() {
            return known;
        }
        let made = Arc::new(make());
        let mut new = Box::new((made.clone() as Arc<dyn Any + Send + Sync>, Kept::default()));
        let mut place = &self.known;
        // Where somebody was quicker, this goes behind theirs; of one type, theirs is found from then on.
        while let Err(refused) = place.0.set(new) {
            new = refused;
            match place.0.get() {
                Some(before) => place = &before.1,
                None => break,
            }
        }
        made
    }

    fn at_hand<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let mut place = &self.known;
        while let Some(kept) = place.0.get() {
            if kept.0.is::<T>() {
                return kept.0.clone().downcast().ok();
            }
            place = &kept.1;
        }
        None
    }

    /// One label's text.
    pub fn label(&self, name: &str) -> Option<&str> {
        let at = self.header.labels.binary_search_by(|(k, _)| k.as_str().cmp(name)).ok()?;
        Some(self.header.labels[at].1.as_str())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes))
    }
}

/// An object in the state that one commit gave it. Two words; cheap to clone.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The object.
    pub body: Arc<Body>,
    /// The commit that wrote it; what clients know as `resourceVersion`.
    pub revision: Revision,
}

impl Stored {
    /// The object with its `resourceVersion`, as clients see it.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.body.bytes.len() + 40);
        self.write_to(&mut out);
        out.into()
    }

    /// Appends [`Stored::to_bytes`] to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let (head, tail) = self.body.parts();
        out.extend_from_slice(head);
        write!(out, "\"resourceVersion\":\"{}\",", self.revision).expect("writing to memory");
        out.extend_from_slice(tail);
    }

    /// A typed view of the object. Its `resourceVersion` is empty: [`Stored::revision`] has it.
    ///
    /// # Errors
    /// When a field that the view declares is not of the declared type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Malformed> {
        serde_json::from_slice(&self.body.bytes).map_err(|e| Malformed::json(&e))
    }

    /// The object as a tree, with its `resourceVersion`.
    pub fn to_value(&self) -> serde_json::Value {
        let bytes = &self.body.bytes;
        let mut value: serde_json::Value =
            serde_json::from_slice(bytes).unwrap_or_else(|_| piece_by_piece(bytes));
        value["metadata"]["resourceVersion"] = self.revision.to_string().into();
        value
    }
}

/// The tree of what is nested too deeply to be read at once, such as an object that was stored by others and must still
/// be shown and deleted. What cannot be read at all is null.
fn piece_by_piece(bytes: &[u8]) -> serde_json::Value {
    use serde_json::{Value, from_slice};
    let piece = |raw: &RawValue| {
        let bytes = raw.get().as_bytes();
        from_slice(bytes).unwrap_or_else(|_| piece_by_piece(bytes))
    };
    if let Ok(fields) = from_slice::<BTreeMap<String, &RawValue>>(bytes) {
        Value::Object(fields.into_iter().map(|(name, raw)| (name, piece(raw))).collect())
    } else if let Ok(items) = from_slice::<Vec<&RawValue>>(bytes) {
        Value::Array(items.into_iter().map(piece).collect())
    } else {
        Value::Null
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splices_the_revision_in() {
        let bytes = Bytes::from_static(
            br#"{"kind":"Pod","metadata":{"name":"a","labels":{"z":"1","b":"2"},"uid":"u"},"spec":{}}"#,
        );
        let stored = Stored { body: Arc::new(Body::parse(bytes).unwrap()), revision: Revision(42) };
        assert_eq!(stored.to_value()["metadata"]["resourceVersion"], "42");
        let spliced: serde_json::Value = serde_json::from_slice(&stored.to_bytes()).unwrap();
        assert_eq!(spliced, stored.to_value());
        assert_eq!((stored.body.label("z"), stored.body.label("c")), (Some("1"), None));
    }

    /// Such an object could be stored once, and then neither be changed nor deleted: whoever read it panicked.
    #[test]
    fn what_is_nested_too_deeply_is_read_all_the_same() {
        let deep = |levels: usize| format!("{}1{}", r#"[{"a":"#.repeat(levels), "}]".repeat(levels));
        for levels in [1, 62, 63, 64, 200] {
            let text = format!(r#"{{"kind":"X","metadata":{{"name":"a"}},"spec":{}}}"#, deep(levels));
            let body = Body::parse(text.into()).unwrap();
            let tree = Stored { body: Arc::new(body), revision: Revision(7) }.to_value();
            let mut at = &tree["spec"];
            for _ in 0..levels {
                at = &at[0]["a"];
            }
            assert_eq!((at, &tree["metadata"]["resourceVersion"]), (&1.into(), &"7".into()), "{levels}");
        }
    }

    /// A table's row once kept an account's view away, which was then decoded for every decision.
    #[test]
    fn keeps_one_of_each_type() {
        let body = Body::parse(Bytes::from_static(br#"{"metadata":{"name":"a"}}"#)).unwrap();
        let row = body.kept(|| 1u8);
        let view = body.known::<serde_json::Value>().unwrap();
        assert!(Arc::ptr_eq(&row, &body.kept(|| 2u8)) && Arc::ptr_eq(&view, &body.known().unwrap()));
        assert_eq!((*row, view["metadata"]["name"].as_str()), (1, Some("a")));
    }

    #[test]
    fn refuses_what_is_no_object() {
        for bad in ["", "[]", "{}", r#"{"metadata":{}}"#, r#"{"metadata":3}"#] {
            assert!(Body::parse(Bytes::copy_from_slice(bad.as_bytes())).is_err(), "{bad}");
        }
    }
}
