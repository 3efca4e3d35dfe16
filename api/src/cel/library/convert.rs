//! Conversions between types, and optional values.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_core::Timestamp;

use super::{Answer, no_overload, time};
use crate::cel::value::{Key, Opaque, Value};
use crate::crd::formats;

/// The type of that name.
pub(crate) fn type_named(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 15] = [
        "bool",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "null_type",
        "list",
        "map",
        "type",
        "optional_type",
        "google.protobuf.Timestamp",
        "google.protobuf.Duration",
        "net.IP",
        "net.CIDR",
    ];
    NAMES.into_iter().find(|known| *known == name)
}

/// A value as `string()` shows it.
pub(crate) fn to_text(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) => text.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(n) => double(*n),
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.to_owned(),
        Value::Timestamp(nanos) => time::shown(*nanos),
        Value::Duration(nanos) => seconds(*nanos),
        Value::Opaque(opaque) => match &**opaque {
            Opaque::Ip(ip) => ip.to_string(),
            Opaque::Cidr(net, ip) => format!("{ip}/{}", net.prefix_len()),
            _ => return None,
        },
        _ => return None,
    })
}

/// The shortest text that reads as the same number; very large and small ones with an exponent.
fn double(n: f64) -> String {
    if n.is_nan() {
        return "NaN".into();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    if n == 0.0 || (1e-4..1e21).contains(&n.abs()) {
        return format!("{n}");
    }
    let text = format!("{n:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text
            .split_once('e')
            .map_or(text.clone(), |(digits, exponent)| format!("{digits}e+{exponent:0>2}")),
    }
}

/// `90s`, `1.5s`.
fn seconds(nanos: i64) -> String {
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (whole, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    if fraction == 0 {
        return format!("{sign}{whole}s");
    }
    let fraction = format!("{fraction:09}");
    format!("{sign}{whole}.{}s", fraction.trim_end_matches('0'))
}

pub(super) fn convert(to: &str, value: &Value) -> Answer {
    use Value::{Bool, Bytes, Double, Duration, Int, String, Uint};
    let broken = |text: &str| Err(format!("strconv.Parse{to}: parsing {text:?}: invalid syntax"));
    match (to, value) {
        ("bool", Bool(_))
        | ("int", Int(_))
        | ("uint", Uint(_))
        | ("double", Double(_))
        | ("string", String(_))
        | ("bytes", Bytes(_))
        | ("timestamp", Value::Timestamp(_))
        | ("duration", Duration(_)) => Ok(value.clone()),
        ("bool", String(text)) => match &**text {
            "true" | "TRUE" | "True" | "t" | "T" | "1" => Ok(Bool(true)),
            "false" | "FALSE" | "False" | "f" | "F" | "0" => Ok(Bool(false)),
            other => broken(other),
        },
        ("int", Uint(n)) => i64::try_from(*n).map(Int).map_err(|_| "integer overflow".into()),
        ("int", Double(n)) if n.abs() < 9.223_372_036_854_775e18 => Ok(Int(n.trunc() as i64)),
        ("int", Double(_)) => Err("integer overflow".into()),
        ("int", String(text)) => text.parse().map(Int).or_else(|_| broken(text)),
        ("int", Value::Timestamp(nanos)) => {
            i64::try_from(nanos.div_euclid(1_000_000_000)).map(Int).map_err(|_| "integer overflow".into())
        }
        ("int", Duration(nanos)) => Ok(Int(*nanos)),
        ("uint", Int(n)) => u64::try_from(*n).map(Uint).map_err(|_| "unsigned integer overflow".into()),
        ("uint", Double(n)) if (0.0..1.844_674_407_370_955e19).contains(n) => Ok(Uint(n.trunc() as u64)),
        ("uint", Double(_)) => Err("unsigned integer overflow".into()),
        ("uint", String(text)) => text.parse().map(Uint).or_else(|_| broken(text)),
        ("double", Int(n)) => Ok(Double(*n as f64)),
        ("double", Uint(n)) => Ok(Double(*n as f64)),
        ("double", String(text)) => text.parse().map(Double).or_else(|_| broken(text)),
        ("bytes", String(text)) => Ok(Bytes(text.as_bytes().into())),
        ("string", Bytes(bytes)) if std::str::from_utf8(bytes).is_err() => {
            Err("invalid UTF-8 in bytes, cannot convert to string".into())
        }
        ("string", value) => to_text(value).map_or_else(no_overload, |text| Ok(Value::text(text))),
        ("timestamp", Int(secs)) => time::moment(i128::from(*secs) * 1_000_000_000),
        ("timestamp", String(text)) => match Timestamp::nanos_of(text) {
            Ok(nanos) => time::moment(nanos),
            Err(_) => Err(format!("parsing time {text:?}: cannot parse it as RFC 3339")),
        },
        ("duration", Int(nanos)) => Ok(Duration(*nanos)),
        ("duration", String(text)) => match formats::go_duration(text) {
            Some(nanos) => Ok(Duration(nanos)),
            None => Err(format!("time: invalid duration {text:?}")),
        },
        _ => no_overload(),
    }
}

/// A map with one more entry, or with another map's.
pub(super) fn inserted(map: &Arc<BTreeMap<Key, Value>>, rest: &[Value]) -> Answer {
    let mut out = BTreeMap::clone(map);
    let mut insert = |key: Key, value: Value| {
        if out.insert(key, value).is_some() {
            Err("insert failed: key already exists".to_owned())
        } else {
            Ok(())
        }
    };
    match rest {
        [key, value] => match Key::of(key) {
            Some(key) => insert(key, value.clone())?,
            None => return no_overload(),
        },
        [Value::Map(more)] => {
            for (key, value) in more.iter() {
                insert(key.clone(), value.clone())?;
            }
        }
        _ => return no_overload(),
    }
    Ok(Value::Map(Arc::new(out)))
}

/// Whether a value is the zero of its type.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(b) => !b,
        Value::Int(n) | Value::Duration(n) => *n == 0,
        Value::Uint(n) => *n == 0,
        Value::Double(n) => *n == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => list.items.is_empty(),
        Value::Map(map) => map.is_empty(),
        _ => false,
    }
}

pub(super) fn optional(function: &str, args: &[Value]) -> Answer {
    match (function, args) {
        ("of", [value]) => Ok(Value::some(value.clone())),
        ("ofNonZeroValue", [value]) if is_zero(value) => Ok(Value::Optional(None)),
        ("ofNonZeroValue", [value]) => Ok(Value::some(value.clone())),
        ("none", []) => Ok(Value::Optional(None)),
        ("hasValue", [Value::Optional(value)]) => Ok(Value::Bool(value.is_some())),
        ("value", [Value::Optional(Some(value))]) => Ok((**value).clone()),
        ("value", [Value::Optional(None)]) => Err("optional.none() dereference".into()),
        ("unwrap" | "unwrapOpt", [Value::List(list)]) => {
            let held = list.items.iter().filter_map(|item| match item {
                Value::Optional(value) => value.as_deref().cloned(),
                other => Some(other.clone()),
            });
            Ok(Value::list(held.collect()))
        }
        _ => no_overload(),
    }
}
