//! Versions by semver.org, 2.0.0.

use std::cmp::Ordering;

use super::{Answer, no_overload};
use crate::cel::value::{Opaque, Value};

/// A version; what was built does not count in comparisons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Semver {
    numbers: [u64; 3],
    pre: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Number(u64),
    Text(String),
}

impl Semver {
    fn parse(text: &str) -> Option<Semver> {
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            (plain && (text == "0" || !text.starts_with('0'))).then(|| text.parse::<u64>().ok())?
        };
        let word =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let mut parts = core.split('.');
        let numbers = [number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?];
        if parts.next().is_some() || build.is_some_and(|b| !b.split('.').all(word)) {
            return None;
        }
        let mut out = Semver { numbers, pre: Vec::new() };
        for part in pre.into_iter().flat_map(|pre| pre.split('.')) {
            if !word(part) {
                return None;
            }
            out.pre.push(if part.bytes().all(|b| b.is_ascii_digit()) {
                Part::Number(number(part)?)
            } else {
                Part::Text(part.into())
            });
        }
        Some(out)
    }

    /// With what people leave out: a leading `v` goes, missing numbers are zero, leading zeros go.
    fn parse_loosely(text: &str) -> Option<Semver> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (core, rest) = text.split_at(end);
        let mut parts: Vec<String> = core
            .split('.')
            .map(|part| match part.trim_start_matches('0') {
                "" if !part.is_empty() => "0".to_owned(),
                trimmed => trimmed.to_owned(),
            })
            .collect();
        if parts.len() < 3 && !rest.is_empty() {
            return None;
        }
        while parts.len() < 3 {
            parts.push("0".into());
        }
        Semver::parse(&format!("{}{rest}", parts.join(".")))
    }

    pub(crate) fn cmp(&self, other: &Semver) -> Ordering {
        let part = |a: &Part, b: &Part| match (a, b) {
            (Part::Number(a), Part::Number(b)) => a.cmp(b),
            (Part::Text(a), Part::Text(b)) => a.cmp(b),
            (Part::Number(_), Part::Text(_)) => Ordering::Less,
            (Part::Text(_), Part::Number(_)) => Ordering::Greater,
        };
        // Without a pre-release comes after all with one.
        let pre = match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self
                .pre
                .iter()
                .zip(&other.pre)
                .map(|(a, b)| part(a, b))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| self.pre.len().cmp(&other.pre.len())),
        };
        self.numbers.cmp(&other.numbers).then(pre)
    }
}

pub(super) fn call(function: &str, args: &[Value]) -> Answer {
    if let Some(Value::String(text)) = args.first() {
        let loosely = match &args[1..] {
            [] | [Value::Bool(false)] => false,
            [Value::Bool(true)] => true,
            _ => return no_overload(),
        };
        let parsed = if loosely { Semver::parse_loosely(text) } else { Semver::parse(text) };
        return match function {
            "isSemver" => Ok(Value::Bool(parsed.is_some())),
            _ => parsed
                .map(|v| Value::opaque(Opaque::Semver(v)))
                .ok_or_else(|| format!("semver parse error for {text:?}")),
        };
    }
    let Some(Value::Opaque(of)) = args.first() else { return no_overload() };
    let Opaque::Semver(of) = &**of else { return no_overload() };
    let number = |at: usize| Ok(Value::Int(i64::try_from(of.numbers[at]).unwrap_or(i64::MAX)));
    match (function, &args[1..]) {
        ("major", []) => number(0),
        ("minor", []) => number(1),
        ("patch", []) => number(2),
        (_, [Value::Opaque(other)]) => {
            let Opaque::Semver(other) = &**other else { return no_overload() };
            let order = of.cmp(other);
            Ok(match function {
                "isGreaterThan" => Value::Bool(order.is_gt()),
                "isLessThan" => Value::Bool(order.is_lt()),
                "compareTo" => Value::Int(order as i64),
                _ => return no_overload(),
            })
        }
        _ => no_overload(),
    }
}
