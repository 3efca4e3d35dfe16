//! Functions of lists, and of lists as sets.

use std::cmp::Ordering;

use super::{Answer, convert, no_overload, numbers};
use crate::cel::value::{List, Value, compare, equal};

/// No list is made longer than this.
const LENGTH_MAX: i64 = 1_000_000;

fn int(at: Option<usize>) -> Answer {
    Ok(Value::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

fn extreme(items: &[Value], wanted: Ordering, name: &str) -> Answer {
    let Some(first) = items.first() else { return Err(format!("{name} called on empty list")) };
    let mut best = first;
    for item in &items[1..] {
        match compare(item, best) {
            Some(order) if order == wanted => best = item,
            Some(_) => {}
            None => return no_overload(),
        }
    }
    Ok(best.clone())
}

pub(super) fn call(function: &str, args: &[Value]) -> Answer {
    let Some(Value::List(list)) = args.first() else { return no_overload() };
    let items = &list.items;
    match (function, &args[1..]) {
        ("join", rest) => {
            let by: &str = match rest {
                [] => "",
                [Value::String(by)] => by,
                _ => return no_overload(),
            };
            let texts: Option<Vec<&str>> = items
                .iter()
                .map(|item| match item {
                    Value::String(text) => Some(&**text),
                    _ => None,
                })
                .collect();
            texts.map_or_else(no_overload, |texts| Ok(Value::text(texts.join(by))))
        }
        ("indexOf", [item]) => int(items.iter().position(|known| equal(known, item))),
        ("lastIndexOf", [item]) => int(items.iter().rposition(|known| equal(known, item))),
        ("isSorted", []) => {
            let sorted = items.windows(2).all(|pair| compare(&pair[0], &pair[1]) != Some(Ordering::Greater));
            Ok(Value::Bool(sorted))
        }
        ("min", []) => extreme(items, Ordering::Less, "min"),
        ("max", []) => extreme(items, Ordering::Greater, "max"),
        ("sum", []) => {
            let Some(first) = items.first() else { return Ok(Value::Int(0)) };
            items[1..]
                .iter()
                .try_fold(first.clone(), |sum, item| numbers::arithmetic("_+_", &[sum, item.clone()]))
        }
        ("slice", [Value::Int(from), Value::Int(to)]) => {
            let at = |at: i64| usize::try_from(at).ok().filter(|at| *at <= items.len());
            match (at(*from), at(*to)) {
                (Some(from), Some(to)) if from <= to => Ok(Value::list(items[from..to].to_vec())),
                _ => Err(format!("cannot slice({from}, {to}), list is length {}", items.len())),
            }
        }
        ("flatten", rest) => {
            let depth = match rest {
                [] => 1,
                [Value::Int(depth)] if *depth >= 0 => *depth,
                [Value::Int(_)] => return Err("level must be non-negative".into()),
                _ => return no_overload(),
            };
            let mut out = Vec::new();
            flatten(items, depth.min(100), &mut out);
            Ok(Value::list(out))
        }
        ("distinct", []) => {
            let mut out: Vec<Value> = Vec::new();
            for item in items {
                if !out.iter().any(|known| equal(known, item)) {
                    out.push(item.clone());
                }
            }
            Ok(Value::list(out))
        }
        ("reverse", []) => Ok(Value::list(items.iter().rev().cloned().collect())),
        ("sort", []) => {
            if items.windows(2).any(|pair| compare(&pair[0], &pair[1]).is_none()) {
                return no_overload();
            }
            let mut out = items.clone();
            out.sort_by(|a, b| compare(a, b).unwrap_or(Ordering::Equal));
            Ok(Value::list(out))
        }
        ("@sortByAssociatedKeys", [Value::List(keys)]) => {
            let comparable = |pair: &[Value]| compare(&pair[0], &pair[1]).is_some();
            if keys.items.len() != items.len() || !keys.items.windows(2).all(comparable) {
                return no_overload();
            }
            let mut order: Vec<usize> = (0..items.len()).collect();
            order.sort_by(|a, b| compare(&keys.items[*a], &keys.items[*b]).unwrap_or(Ordering::Equal));
            Ok(Value::list(order.into_iter().map(|at| items[at].clone()).collect()))
        }
        ("first", []) => Ok(items.first().map_or(Value::Optional(None), |item| Value::some(item.clone()))),
        ("last", []) => Ok(items.last().map_or(Value::Optional(None), |item| Value::some(item.clone()))),
        ("unwrapOpt", []) => convert::optional("unwrapOpt", args),
        _ => no_overload(),
    }
}

fn flatten(items: &[Value], depth: i64, out: &mut Vec<Value>) {
    for item in items {
        match item {
            Value::List(list) if depth > 0 => flatten(&list.items, depth - 1, out),
            item => out.push(item.clone()),
        }
    }
}

pub(super) fn namespaced(function: &str, args: &[Value]) -> Answer {
    let within =
        |a: &List, b: &List| a.items.iter().all(|item| b.items.iter().any(|other| equal(item, other)));
    match (function, args) {
        ("sets.contains", [Value::List(a), Value::List(b)]) => Ok(Value::Bool(within(b, a))),
        ("sets.equivalent", [Value::List(a), Value::List(b)]) => {
            Ok(Value::Bool(within(a, b) && within(b, a)))
        }
        ("sets.intersects", [Value::List(a), Value::List(b)]) => {
            Ok(Value::Bool(a.items.iter().any(|item| b.items.iter().any(|other| equal(item, other)))))
        }
        ("lists.range", [Value::Int(n)]) if *n <= LENGTH_MAX => {
            Ok(Value::list((0..*n).map(Value::Int).collect()))
        }
        ("lists.range", [Value::Int(n)]) => Err(format!("list of {n} items is too long")),
        _ => no_overload(),
    }
}
