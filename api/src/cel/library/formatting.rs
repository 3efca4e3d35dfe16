//! `"%s has %d".format([a, b])`.

use super::{Answer, convert, no_overload};
use crate::cel::value::{Key, Value};

/// No more digits are written behind the point.
const PRECISION_MAX: usize = 100;

pub(super) fn format(args: &[Value]) -> Answer {
    let [Value::String(text), Value::List(list)] = args else { return no_overload() };
    let mut out = String::new();
    let mut given = list.items.iter().enumerate();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let mut precision = None;
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = digits.parse::<usize>().ok().map(|p| p.min(PRECISION_MAX));
        }
        let Some(clause) = chars.next() else { return Err("unexpected end of format string".into()) };
        let Some((at, value)) = given.next() else {
            return Err(format!("index {} out of range", list.items.len()));
        };
        let shown = clause_of(clause, precision, value);
        out.push_str(&shown.ok_or_else(|| {
            format!(
                "error during formatting: argument {at} of type {} does not fit %{clause}",
                value.type_name()
            )
        })?);
    }
    Ok(Value::text(out))
}

fn clause_of(clause: char, precision: Option<usize>, value: &Value) -> Option<String> {
    Some(match (clause, value) {
        ('s', value) => plain(value)?,
        ('d', Value::Int(n)) => n.to_string(),
        ('d', Value::Uint(n)) => n.to_string(),
        ('d' | 'f' | 'e', Value::Double(n)) if !n.is_finite() => plain(value)?,
        ('d', Value::Double(n)) if n.fract() == 0.0 => format!("{n:.0}"),
        ('f', Value::Double(n)) => format!("{n:.*}", precision.unwrap_or(6)),
        ('f', Value::Int(n)) => format!("{:.*}", precision.unwrap_or(6), *n as f64),
        ('e', Value::Double(n)) => {
            let text = format!("{n:.*e}", precision.unwrap_or(6));
            let (digits, exponent) = text.split_once('e')?;
            let exponent: i32 = exponent.parse().ok()?;
            format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
        }
        ('b', Value::Bool(b)) => u8::from(*b).to_string(),
        ('b', Value::Int(n)) if *n < 0 => format!("-{:b}", n.unsigned_abs()),
        ('b', Value::Int(n)) => format!("{n:b}"),
        ('b', Value::Uint(n)) => format!("{n:b}"),
        ('o', Value::Int(n)) if *n < 0 => format!("-{:o}", n.unsigned_abs()),
        ('o', Value::Int(n)) => format!("{n:o}"),
        ('o', Value::Uint(n)) => format!("{n:o}"),
        ('x' | 'X', value) => {
            let text = match value {
                Value::Int(n) if *n < 0 => format!("-{:x}", n.unsigned_abs()),
                Value::Int(n) => format!("{n:x}"),
                Value::Uint(n) => format!("{n:x}"),
                Value::String(text) => text.bytes().map(|b| format!("{b:02x}")).collect(),
                Value::Bytes(bytes) => bytes.iter().map(|b| format!("{b:02x}")).collect(),
                _ => return None,
            };
            if clause == 'X' { text.to_uppercase() } else { text }
        }
        _ => return None,
    })
}

/// A value as `%s` shows it.
fn plain(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => "null".into(),
        Value::Type(name) => (*name).into(),
        Value::Double(n) if n.is_infinite() => if *n > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        Value::List(list) => {
            let items: Option<Vec<String>> = list.items.iter().map(plain).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Map(map) => {
            let entry =
                |(key, value): (&Key, &Value)| Some(format!("{}: {}", plain(&key.value())?, plain(value)?));
            let entries: Option<Vec<String>> = map.iter().map(entry).collect();
            format!("{{{}}}", entries?.join(", "))
        }
        Value::Optional(Some(value)) => format!("optional({})", plain(value)?),
        Value::Optional(None) => "optional.none()".into(),
        other => convert::to_text(other).or_else(|| other.to_json().map(|json| json.to_string()))?,
    })
}
