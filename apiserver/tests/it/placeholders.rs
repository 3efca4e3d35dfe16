//! `${steps[3].body.metadata.name}` and `${repeat(x,9)}` in recorded requests.

use serde_json::Value;

/// The value at `steps[3].body.metadata["a b"][0]`.
fn place<'a>(answers: &'a [Value], path: &str) -> Option<&'a Value> {
    let path = path.strip_prefix("steps[")?;
    let (index, mut rest) = path.split_once(']')?;
    let mut value = answers.get(index.parse::<usize>().ok()?)?;
    while !rest.is_empty() {
        if let Some(field) = rest.strip_prefix('.') {
            let end = field.find(['.', '[']).unwrap_or(field.len());
            value = value.get(&field[..end])?;
            rest = &field[end..];
        } else if let Some(quoted) = rest.strip_prefix("[\"") {
            let (key, after) = quoted.split_once("\"]")?;
            value = value.get(key)?;
            rest = after;
        } else {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            value = value.get(index.parse::<usize>().ok()?)?;
            rest = after;
        }
    }
    Some(value)
}

fn filled(text: &str, answers: &[Value]) -> Value {
    let only = text.strip_prefix("${").and_then(|t| t.strip_suffix('}'));
    if let Some(only) = only.filter(|t| !t.contains("${") && !t.starts_with("repeat(")) {
        return place(answers, only).cloned().unwrap_or_default();
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((inside, after)) = after.split_once('}') else { break };
        out.push_str(before);
        if let Some(repeat) = inside.strip_prefix("repeat(") {
            let (what, times) = repeat.trim_end_matches(')').split_once(',').expect("what and how often");
            out.push_str(&what.repeat(times.parse().expect("a number")));
        } else {
            match place(answers, inside) {
                Some(Value::String(text)) => out.push_str(text),
                Some(other) => out.push_str(&other.to_string()),
                None => out.push_str("absent"),
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out.into()
}

/// Fills in every placeholder of a request.
pub(crate) fn fill(value: &Value, answers: &[Value]) -> Value {
    match value {
        Value::String(text) => filled(text, answers),
        Value::Array(items) => items.iter().map(|v| fill(v, answers)).collect(),
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), fill(v, answers))).collect()),
        other => other.clone(),
    }
}
