//! The functions of the language and of Kubernetes' libraries.
//!
//! Which there are, and of which types, is in [`signatures`]; here they run. A function that is given what none of its
//! overloads takes answers "no such overload".

pub(crate) mod authz;
pub(crate) mod convert;
mod formatting;
mod lists;
mod named;
mod net;
mod numbers;
mod quantity;
pub(crate) mod semver;
pub(crate) mod signatures;
mod strings;
mod time;
pub(crate) mod url;

use std::sync::Arc;

use super::ast::{Complaint, Const, Expr, Kind};
use super::eval;
use super::value::{List, Value, compare, concatenated, equal};
use crate::crd::pattern;

/// What a function answers; an error is a sentence.
pub(super) type Answer = Result<Value, String>;

pub(super) const NO_OVERLOAD: &str = "no such overload";

pub(super) fn no_overload() -> Answer {
    Err(NO_OVERLOAD.into())
}

/// Calls a function; of a member function the first argument is what it is called on.
pub(super) fn call(function: &str, args: &[Value]) -> Answer {
    use std::cmp::Ordering::{Greater, Less};
    match (function, args) {
        ("_==_", [a, b]) => Ok(Value::Bool(equal(a, b))),
        ("_!=_", [a, b]) => Ok(Value::Bool(!equal(a, b))),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => {
            let Some(order) = compare(a, b) else { return no_overload() };
            Ok(Value::Bool(match function {
                "_<_" => order == Less,
                "_<=_" => order != Greater,
                "_>_" => order == Greater,
                _ => order != Less,
            }))
        }
        ("!_", [Value::Bool(b)]) => Ok(Value::Bool(!b)),
        ("@in", [item, of]) => eval::contains(item, of).map(Value::Bool),
        ("_[_]", [of, key]) => eval::index(of, key),
        ("_?._" | "_[?_]", [of, key]) => eval::optional(of, key),
        ("_+_", [Value::String(a), Value::String(b)]) => Ok(Value::text(format!("{a}{b}"))),
        ("_+_", [Value::Bytes(a), Value::Bytes(b)]) => Ok(Value::Bytes([&**a, &**b].concat().into())),
        ("_+_", [Value::List(a), Value::List(b)]) => {
            Ok(Value::List(Arc::new(concatenated(List::clone(a), b))))
        }
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_" | "-_", _) => numbers::arithmetic(function, args),
        ("dyn", [value]) => Ok(value.clone()),
        ("type", [value]) => Ok(Value::Type(value.type_name())),
        ("size", [value]) => match value {
            Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => {
                Ok(Value::Int(i64::try_from(value.size()).unwrap_or(i64::MAX)))
            }
            _ => no_overload(),
        },
        ("bool" | "int" | "uint" | "double" | "string" | "bytes" | "timestamp" | "duration", [value]) => {
            convert::convert(function, value)
        }
        ("matches", [Value::String(text), Value::String(source)]) => {
            let pattern = pattern::compile(source).map_err(|e| format!("error parsing regexp: {e}"))?;
            Ok(Value::Bool(pattern.is_match(text)))
        }
        ("cel.@mapInsert", [Value::Map(map), rest @ ..]) => convert::inserted(map, rest),
        _ => other(function, args),
    }
}

/// The libraries, by the type of what a function is called on or given first.
fn other(function: &str, args: &[Value]) -> Answer {
    if let Some((namespace, name)) = function.split_once('.') {
        return match namespace {
            "sets" | "lists" => lists::namespaced(function, args),
            "optional" => convert::optional(name, args),
            "format" => named::make(name, args),
            "ip" => net::call(function, args),
            "jsonpatch" | "strings" => strings::namespaced(function, args),
            _ => no_overload(),
        };
    }
    match args.first() {
        Some(Value::Timestamp(_) | Value::Duration(_)) => time::call(function, args),
        Some(Value::List(_)) => lists::call(function, args),
        Some(Value::Optional(_)) => convert::optional(function, args),
        Some(Value::String(_)) => match function {
            "url" | "isURL" => url::call(function, args),
            "quantity" | "isQuantity" => quantity::call(function, args),
            "semver" | "isSemver" => semver::call(function, args),
            "ip" | "isIP" | "cidr" | "isCIDR" => net::call(function, args),
            "format" => formatting::format(args),
            _ => strings::call(function, args),
        },
        Some(Value::Opaque(opaque)) => {
            use super::value::Opaque;
            match &**opaque {
                Opaque::Url(_) => url::call(function, args),
                Opaque::Quantity(_) => quantity::call(function, args),
                Opaque::Semver(_) => semver::call(function, args),
                Opaque::Ip(_) | Opaque::Cidr(..) => net::call(function, args),
                Opaque::Format(name) => named::validate(function, name, args),
                Opaque::Authorizer(_) | Opaque::Question(_) | Opaque::Decision(_) => {
                    authz::call(function, args)
                }
                Opaque::Made(..) => no_overload(),
            }
        }
        _ => no_overload(),
    }
}

/// A tenth of a cost for each character.
fn walk(size: u64) -> u64 {
    size.div_ceil(10)
}

/// What a call costs, as far as its arguments tell.
pub(super) fn cost_before(function: &str, args: &[Value]) -> u64 {
    let size = |i: usize| args.get(i).map_or(1, Value::size);
    match function {
        "check" => 350_000,
        "_<_" | "_<=_" | "_>_" | "_>=_" | "_==_" | "_!=_" => match args {
            [Value::String(_) | Value::Bytes(_), _] => walk(size(0).min(size(1))),
            [a @ (Value::List(_) | Value::Map(_)), b] => weight(a).min(weight(b)).max(1),
            _ => 1,
        },
        "@in" => match args {
            [_, Value::List(_)] => size(1),
            _ => 1,
        },
        "contains" => walk(size(0)).saturating_mul(walk(size(1))),
        "matches" | "find" | "findAll" => walk(size(0) + 1).saturating_mul(size(1).div_ceil(4)),
        "startsWith" | "endsWith" => walk(size(1)),
        "_+_" => match args {
            [Value::String(_) | Value::Bytes(_), _] => walk(size(0) + size(1)),
            _ => 1,
        },
        "string" | "bytes" | "format" | "strings.quote" => walk(size(0)).max(1),
        "isSorted"
        | "sum"
        | "max"
        | "min"
        | "indexOf"
        | "lastIndexOf"
        | "distinct"
        | "flatten"
        | "reverse"
        | "sort"
        | "@sortByAssociatedKeys" => args.first().map_or(1, weight),
        "url" | "isURL" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "quantity" | "isQuantity"
        | "ip" | "isIP" | "cidr" | "isCIDR" | "semver" | "isSemver" | "validate" => walk(size(0)).max(1),
        "replace" | "split" | "ip.isCanonical" => walk(size(0) * 2),
        "sets.contains" | "sets.intersects" => size(0).saturating_mul(size(1)).max(1),
        "sets.equivalent" => size(0).saturating_mul(size(1)).saturating_mul(2).max(1),
        "lists.range" => match args {
            [Value::Int(n)] => u64::try_from(*n).unwrap_or(1),
            _ => 1,
        },
        _ => 1,
    }
}

/// What a call costs for the size of its result.
pub(super) fn cost_after(function: &str, result: &Value) -> u64 {
    match function {
        "join" => walk(result.size() * 2),
        _ => 0,
    }
}

/// The cost of walking through all of a value.
fn weight(value: &Value) -> u64 {
    match value {
        Value::List(list) => list.items.iter().map(weight).sum(),
        Value::Map(map) => map.values().map(|v| weight(v) + 1).sum(),
        Value::String(_) | Value::Bytes(_) => walk(value.size()).max(1),
        _ => 1,
    }
}

/// Complains of literals that no run could use.
pub(super) fn literals(expr: &Expr, complaints: &mut Vec<Complaint>) {
    let mut below: Vec<&Expr> = Vec::new();
    match &expr.kind {
        Kind::Call { target, function, args } => {
            let text = |expr: &Expr| match &expr.kind {
                Kind::Const(Const::String(text)) => Some(text.to_string()),
                _ => None,
            };
            let broken = match function.as_str() {
                "matches" => args.last().filter(|a| text(a).is_some_and(|t| pattern::compile(&t).is_err())),
                "timestamp" | "duration" => args.first().filter(|a| {
                    text(a).is_some_and(|t| convert::convert(function, &Value::text(t)).is_err())
                }),
                _ => None,
            };
            if let Some(arg) = broken {
                complaints.push(Complaint::new(arg.at, format!("invalid {function} argument")));
            }
            below.extend(target.as_deref());
            // What is formatted may be of any types.
            for arg in args {
                match &arg.kind {
                    Kind::List(items, _) if function == "format" => below.extend(items),
                    _ => below.push(arg),
                }
            }
        }
        Kind::List(items, _) => {
            mixed(items.iter(), complaints);
            below.extend(items);
        }
        Kind::Map(entries) => {
            mixed(entries.iter().map(|e| &e.key), complaints);
            mixed(entries.iter().map(|e| &e.value), complaints);
            below.extend(entries.iter().flat_map(|e| [&e.key, &e.value]));
        }
        Kind::Select { operand, .. } => below.push(operand),
        Kind::Struct { fields, .. } => below.extend(fields.iter().map(|f| &f.value)),
        Kind::Fold(fold) => {
            below.extend([&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result]);
        }
        Kind::Const(_) | Kind::Ident(_) => {}
    }
    for expr in below {
        literals(expr, complaints);
    }
}

/// Lists and maps are of one type each, as far as literals tell.
fn mixed<'a>(items: impl Iterator<Item = &'a Expr>, complaints: &mut Vec<Complaint>) {
    let name = |expr: &Expr| match &expr.kind {
        Kind::Const(Const::Bool(_)) => Some("bool"),
        Kind::Const(Const::Int(_)) => Some("int"),
        Kind::Const(Const::Uint(_)) => Some("uint"),
        Kind::Const(Const::Double(_)) => Some("double"),
        Kind::Const(Const::String(_)) => Some("string"),
        Kind::Const(Const::Bytes(_)) => Some("bytes"),
        _ => None,
    };
    let mut first = None;
    for item in items {
        let Some(ty) = name(item) else { continue };
        match first {
            None => first = Some(ty),
            Some(first) if first != ty => {
                complaints.push(Complaint::new(item.at, format!("expected type '{first}' but found '{ty}'")));
                return;
            }
            Some(_) => {}
        }
    }
}
