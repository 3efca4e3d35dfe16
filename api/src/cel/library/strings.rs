//! Functions of texts; places are counted in characters.

use super::{Answer, no_overload};
use crate::cel::value::Value;
use crate::crd::pattern;

fn place(at: i64, len: usize) -> Result<usize, String> {
    usize::try_from(at).ok().filter(|at| *at <= len).ok_or_else(|| format!("index out of range: {at}"))
}

fn find(text: &[char], what: &[char], from: usize) -> Option<usize> {
    (from..=text.len().checked_sub(what.len())?).find(|at| text[*at..].starts_with(what))
}

fn find_last(text: &[char], what: &[char], from: usize) -> Option<usize> {
    let last = text.len().checked_sub(what.len())?;
    (0..=last.min(from)).rev().find(|at| text[*at..].starts_with(what))
}

fn int(at: Option<usize>) -> Answer {
    Ok(Value::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

/// As often, where the number says so; always, where it is negative.
fn times(limit: i64) -> Option<usize> {
    usize::try_from(limit).ok()
}

pub(super) fn call(function: &str, args: &[Value]) -> Answer {
    use Value::{Int, String};
    let Some(String(text)) = args.first() else { return no_overload() };
    let chars = || text.chars().collect::<Vec<char>>();
    match (function, &args[1..]) {
        ("contains", [String(what)]) => Ok(Value::Bool(text.contains(&**what))),
        ("startsWith", [String(what)]) => Ok(Value::Bool(text.starts_with(&**what))),
        ("endsWith", [String(what)]) => Ok(Value::Bool(text.ends_with(&**what))),
        ("charAt", [Int(at)]) => {
            let chars = chars();
            let at = place(*at, chars.len())?;
            Ok(Value::text(chars.get(at).map(char::to_string).unwrap_or_default()))
        }
        ("indexOf", [String(what), rest @ ..]) => {
            let (chars, what) = (chars(), what.chars().collect::<Vec<_>>());
            let from = match rest {
                [] => 0,
                [Int(from)] => place(*from, chars.len())?,
                _ => return no_overload(),
            };
            int(find(&chars, &what, from))
        }
        ("lastIndexOf", [String(what), rest @ ..]) => {
            let (chars, what) = (chars(), what.chars().collect::<Vec<_>>());
            let from = match rest {
                [] => chars.len(),
                [Int(from)] => place(*from, chars.len())?,
                _ => return no_overload(),
            };
            int(find_last(&chars, &what, from))
        }
        ("lowerAscii", []) => Ok(Value::text(text.to_ascii_lowercase())),
        ("upperAscii", []) => Ok(Value::text(text.to_ascii_uppercase())),
        ("trim", []) => Ok(Value::text(text.trim())),
        ("replace", [String(what), String(with)]) => Ok(Value::text(text.replace(&**what, with))),
        ("replace", [String(what), String(with), Int(limit)]) => Ok(Value::text(match times(*limit) {
            Some(limit) => text.replacen(&**what, with, limit),
            None => text.replace(&**what, with),
        })),
        ("split", [String(by), rest @ ..]) => {
            let limit = match rest {
                [] => None,
                [Int(limit)] => times(*limit),
                _ => return no_overload(),
            };
            let parts = |parts: Vec<&str>| Ok(Value::list(parts.into_iter().map(Value::text).collect()));
            match (limit, by.is_empty()) {
                (Some(0), _) => parts(Vec::new()),
                (None, false) => parts(text.split(&**by).collect()),
                (Some(limit), false) => parts(text.splitn(limit, &**by).collect()),
                (limit, true) => {
                    let limit = limit.unwrap_or(usize::MAX);
                    let mut out: Vec<std::string::String> = Vec::new();
                    for c in text.chars() {
                        if out.len() < limit {
                            out.push(c.to_string());
                        } else if let Some(last) = out.last_mut() {
                            last.push(c);
                        }
                    }
                    Ok(Value::list(out.into_iter().map(Value::text).collect()))
                }
            }
        }
        ("substring", [Int(from), rest @ ..]) => {
            let chars = chars();
            let from = place(*from, chars.len())?;
            let to = match rest {
                [] => chars.len(),
                [Int(to)] => place(*to, chars.len())?,
                _ => return no_overload(),
            };
            if from > to {
                return Err(format!("invalid substring range. start: {from}, end: {to}"));
            }
            Ok(Value::text(chars[from..to].iter().collect::<std::string::String>()))
        }
        ("find", [String(source)]) => {
            let pattern = pattern::compile(source).map_err(|e| format!("Illegal regex: {e}"))?;
            Ok(Value::text(pattern.find(text).map_or("", |m| m.as_str())))
        }
        ("findAll", [String(source), rest @ ..]) => {
            let limit = match rest {
                [] => usize::MAX,
                [Int(limit)] => times(*limit).unwrap_or(usize::MAX),
                _ => return no_overload(),
            };
            let pattern = pattern::compile(source).map_err(|e| format!("Illegal regex: {e}"))?;
            let found = pattern.find_iter(text).take(limit).map(|m| Value::text(m.as_str()));
            Ok(Value::list(found.collect()))
        }
        _ => no_overload(),
    }
}

pub(super) fn namespaced(function: &str, args: &[Value]) -> Answer {
    match (function, args) {
        ("jsonpatch.escapeKey", [Value::String(key)]) => {
            Ok(Value::text(key.replace('~', "~0").replace('/', "~1")))
        }
        ("strings.quote", [Value::String(text)]) => {
            let mut out = std::string::String::from("\"");
            for c in text.chars() {
                match c {
                    '\u{7}' => out.push_str("\\a"),
                    '\u{8}' => out.push_str("\\b"),
                    '\u{c}' => out.push_str("\\f"),
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\t' => out.push_str("\\t"),
                    '\u{b}' => out.push_str("\\v"),
                    '\\' => out.push_str("\\\\"),
                    '"' => out.push_str("\\\""),
                    c => out.push(c),
                }
            }
            out.push('"');
            Ok(Value::text(out))
        }
        _ => no_overload(),
    }
}
