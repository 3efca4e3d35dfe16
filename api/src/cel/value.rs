//! Values while an expression runs.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use orlop_core::rules::Quantity;
use serde_json::Value as Json;

use super::library::authz::{Authority, Question};
use super::library::semver::Semver;
use super::library::url::Url;
use crate::auth::Decision;

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Arc<List>),
    Map(Arc<BTreeMap<Key, Value>>),
    /// Nanoseconds since the epoch.
    Timestamp(i128),
    /// Nanoseconds.
    Duration(i64),
    /// A type, by its name.
    Type(&'static str),
    Optional(Option<Arc<Value>>),
    Opaque(Arc<Opaque>),
}

/// What a library's own values are.
#[derive(Clone, Debug)]
pub(crate) enum Opaque {
    Url(Url),
    Quantity(Quantity),
    Semver(Semver),
    Ip(IpAddr),
    Cidr(ipnet::IpNet, IpAddr),
    Format(&'static str),
    Authorizer(Authority),
    Question(Question),
    Decision(Decision),
    /// A made value: `Object{…}` or `JSONPatch{…}`, with its fields.
    Made(String, BTreeMap<String, Value>),
}

/// A list; how its items are told apart decides what `==` and `+` mean.
#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    pub(crate) items: Vec<Value>,
    pub(crate) kind: ListKind,
}

/// How a list's items are told apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum ListKind {
    #[default]
    Plain,
    Set,
    /// By these fields.
    Map(Arc<[String]>),
}

/// A key of a map; numbers of the same worth are the same key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Bool(bool),
    Int(i64),
    /// More than an int holds.
    Uint(u64),
    String(Arc<str>),
}

impl Key {
    pub(crate) fn of(value: &Value) -> Option<Key> {
        Some(match value {
            Value::Bool(b) => Key::Bool(*b),
            Value::Int(n) => Key::Int(*n),
            Value::Uint(n) => i64::try_from(*n).map_or(Key::Uint(*n), Key::Int),
            Value::Double(n) if n.fract() == 0.0 && n.abs() < 9.2e18 => Key::Int(*n as i64),
            Value::String(text) => Key::String(text.clone()),
            _ => return None,
        })
    }

    pub(crate) fn value(&self) -> Value {
        match self {
            Key::Bool(b) => Value::Bool(*b),
            Key::Int(n) => Value::Int(*n),
            Key::Uint(n) => Value::Uint(*n),
            Key::String(text) => Value::String(text.clone()),
        }
    }
}

impl Value {
    pub(crate) fn text(text: impl AsRef<str>) -> Value {
        Value::String(Arc::from(text.as_ref()))
    }

    pub(crate) fn list(items: Vec<Value>) -> Value {
        Value::List(Arc::new(List { items, kind: ListKind::Plain }))
    }

    pub(crate) fn opaque(value: Opaque) -> Value {
        Value::Opaque(Arc::new(value))
    }

    pub(crate) fn some(value: Value) -> Value {
        Value::Optional(Some(Arc::new(value)))
    }

    /// A tree without a schema.
    pub(crate) fn from_json(json: &Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => match n.as_i64() {
                Some(n) => Value::Int(n),
                None => Value::Double(n.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Value::text(text),
            Json::Array(items) => Value::list(items.iter().map(Value::from_json).collect()),
            Json::Object(map) => Value::Map(Arc::new(
                map.iter().map(|(k, v)| (Key::String(Arc::from(k.as_str())), Value::from_json(v))).collect(),
            )),
        }
    }

    /// As a tree; `None` where trees have nothing like it.
    pub(crate) fn to_json(&self) -> Option<Json> {
        Some(match self {
            Value::Null => Json::Null,
            Value::Bool(b) => (*b).into(),
            Value::Int(n) => (*n).into(),
            Value::Uint(n) => (*n).into(),
            Value::Double(n) => serde_json::Number::from_f64(*n).map(Json::Number)?,
            Value::String(text) => (&**text).into(),
            Value::Bytes(bytes) => {
                use base64::Engine;
                base64::engine::general_purpose::STANDARD.encode(bytes).into()
            }
            Value::List(list) => list.items.iter().map(Value::to_json).collect::<Option<Vec<_>>>()?.into(),
            Value::Map(map) => {
                let mut out = serde_json::Map::new();
                for (key, value) in map.iter() {
                    out.insert(super::library::convert::to_text(&key.value())?, value.to_json()?);
                }
                out.into()
            }
            Value::Timestamp(_) | Value::Duration(_) => super::library::convert::to_text(self)?.into(),
            Value::Optional(Some(value)) => value.to_json()?,
            Value::Opaque(made) => match &**made {
                Opaque::Made(_, fields) => {
                    let mut out = serde_json::Map::new();
                    for (key, value) in fields {
                        out.insert(key.clone(), value.to_json()?);
                    }
                    out.into()
                }
                Opaque::Quantity(quantity) => quantity.to_string().into(),
                Opaque::Ip(ip) => ip.to_string().into(),
                _ => return None,
            },
            Value::Type(_) | Value::Optional(None) => return None,
        })
    }

    /// The name of its type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Type(_) => "type",
            Value::Optional(_) => "optional_type",
            Value::Opaque(opaque) => match &**opaque {
                Opaque::Url(_) => "kubernetes.URL",
                Opaque::Quantity(_) => "kubernetes.Quantity",
                Opaque::Semver(_) => "kubernetes.Semver",
                Opaque::Ip(_) => "net.IP",
                Opaque::Cidr(..) => "net.CIDR",
                Opaque::Format(_) => "kubernetes.NamedFormat",
                Opaque::Authorizer(_) => "kubernetes.authorization.Authorizer",
                Opaque::Question(_) => "kubernetes.authorization.ResourceCheck",
                Opaque::Decision(_) => "kubernetes.authorization.Decision",
                Opaque::Made(..) => "Object",
            },
        }
    }

    /// How large it is to those who count: characters, bytes, items, entries; 1 for what has no parts.
    pub(crate) fn size(&self) -> u64 {
        let size = match self {
            Value::String(text) => text.chars().count(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(list) => list.items.len(),
            Value::Map(map) => map.len(),
            Value::Opaque(opaque) => match &**opaque {
                Opaque::Ip(IpAddr::V4(_)) | Opaque::Cidr(ipnet::IpNet::V4(_), _) => 4,
                Opaque::Ip(_) | Opaque::Cidr(..) => 16,
                _ => 1,
            },
            _ => 1,
        };
        size as u64
    }
}

/// Whether two values are equal; values of unlike types are not.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => lists_equal(a, b),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| equal(v, w)))
        }
        (Value::Optional(a), Value::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(a, b),
            (a, b) => a.is_none() && b.is_none(),
        },
        (Value::Null, Value::Null) => true,
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::Opaque(a), Value::Opaque(b)) => match (&**a, &**b) {
            (Opaque::Url(a), Opaque::Url(b)) => a == b,
            (Opaque::Quantity(a), Opaque::Quantity(b)) => a.partial_cmp(b) == Some(Ordering::Equal),
            (Opaque::Semver(a), Opaque::Semver(b)) => a.cmp(b) == Ordering::Equal,
            (Opaque::Ip(a), Opaque::Ip(b)) => a == b,
            (Opaque::Cidr(a, x), Opaque::Cidr(b, y)) => a == b && x == y,
            (Opaque::Format(a), Opaque::Format(b)) => a == b,
            (Opaque::Decision(a), Opaque::Decision(b)) => a == b,
            (Opaque::Made(a, x), Opaque::Made(b, y)) => {
                a == b && x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| equal(v, w)))
            }
            _ => false,
        },
        _ => compare(a, b) == Some(Ordering::Equal),
    }
}

fn lists_equal(a: &List, b: &List) -> bool {
    if a.items.len() != b.items.len() {
        return false;
    }
    match &a.kind {
        ListKind::Plain => a.items.iter().zip(&b.items).all(|(a, b)| equal(a, b)),
        ListKind::Set => a.items.iter().all(|a| b.items.iter().any(|b| equal(a, b))),
        ListKind::Map(keys) => a.items.iter().all(|a| {
            let key = key_of(a, keys);
            b.items.iter().any(|b| keys_equal(&key_of(b, keys), &key) && equal(a, b))
        }),
    }
}

fn key_of(item: &Value, keys: &[String]) -> Vec<Option<Value>> {
    let Value::Map(map) = item else { return Vec::new() };
    keys.iter().map(|key| map.get(&Key::String(Arc::from(key.as_str()))).cloned()).collect()
}

fn keys_equal(a: &[Option<Value>], b: &[Option<Value>]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| match (a, b) {
            (Some(a), Some(b)) => equal(a, b),
            (a, b) => a.is_none() && b.is_none(),
        })
}

/// What `a + b` is for lists: sets and maps stay such.
pub(crate) fn concatenated(mut a: List, b: &List) -> List {
    match a.kind.clone() {
        ListKind::Plain => a.items.extend(b.items.iter().cloned()),
        ListKind::Set => {
            for item in &b.items {
                if !a.items.iter().any(|known| equal(known, item)) {
                    a.items.push(item.clone());
                }
            }
        }
        ListKind::Map(keys) => {
            for item in &b.items {
                let key = key_of(item, &keys);
                match a.items.iter_mut().find(|known| keys_equal(&key_of(known, &keys), &key)) {
                    Some(known) => *known = item.clone(),
                    None => a.items.push(item.clone()),
                }
            }
        }
    }
    a
}

/// Which of two values comes first, where values of their types have an order.
pub(crate) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    use Value::{Bool, Bytes, Double, Duration, Int, String, Timestamp, Uint};
    Some(match (a, b) {
        (Bool(a), Bool(b)) => a.cmp(b),
        (Int(a), Int(b)) => a.cmp(b),
        (Uint(a), Uint(b)) => a.cmp(b),
        (Double(a), Double(b)) => return a.partial_cmp(b),
        (Int(a), Uint(b)) => i128::from(*a).cmp(&i128::from(*b)),
        (Uint(a), Int(b)) => i128::from(*a).cmp(&i128::from(*b)),
        (Int(a), Double(b)) => return whole_with(i128::from(*a), *b),
        (Uint(a), Double(b)) => return whole_with(i128::from(*a), *b),
        (Double(a), Int(b)) => return whole_with(i128::from(*b), *a).map(Ordering::reverse),
        (Double(a), Uint(b)) => return whole_with(i128::from(*b), *a).map(Ordering::reverse),
        (String(a), String(b)) => a.cmp(b),
        (Bytes(a), Bytes(b)) => a.cmp(b),
        (Timestamp(a), Timestamp(b)) => a.cmp(b),
        (Duration(a), Duration(b)) => a.cmp(b),
        _ => return None,
    })
}

fn whole_with(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double.abs() >= 1e30 {
        return Some(if double > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let floor = double.floor();
    Some(whole.cmp(&(floor as i128)).then(if double > floor { Ordering::Less } else { Ordering::Equal }))
}
