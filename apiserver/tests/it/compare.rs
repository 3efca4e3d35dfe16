//! Whether two normalised responses say the same, and where not.

use serde_json::Value;

/// Where `got` differs from `expected`; nothing where it does not.
pub(crate) fn differences(expected: &Value, got: &Value) -> Vec<String> {
    let mut out = Vec::new();
    compare("", expected, got, &mut out);
    out
}

fn compare(path: &str, expected: &Value, got: &Value, out: &mut Vec<String>) {
    match (expected, got) {
        (Value::Object(a), Value::Object(b)) => {
            let failure = expected["kind"] == "Status" && expected["status"] == "Failure";
            for (key, value) in a {
                match b.get(key) {
                    Some(other) if key == "message" && failure => texts(path, value, other, out),
                    Some(other) if key == "causes" && path.ends_with(".details") => {
                        causes(path, value, other, out);
                    }
                    Some(other) => compare(&format!("{path}.{key}"), value, other, out),
                    None => out.push(format!("{path}.{key}: expected {value}, got nothing")),
                }
            }
            for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                out.push(format!("{path}.{key}: expected nothing, got {value}"));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{i}]"), x, y, out);
            }
        }
        _ if expected == got => {}
        _ => out.push(format!("{path}: expected {expected}, got {got}")),
    }
}

fn texts(path: &str, expected: &Value, got: &Value, out: &mut Vec<String>) {
    let same = match (expected.as_str(), got.as_str()) {
        (Some(a), Some(b)) => same_text(a, b),
        _ => expected == got,
    };
    if !same {
        out.push(format!("{path}.message: expected {expected}, got {got}"));
    }
}

fn causes(path: &str, expected: &Value, got: &Value, out: &mut Vec<String>) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (a, b) = (list(expected), list(got));
    if a.len() != b.len() {
        return out.push(format!("{path}.causes: expected {expected}, got {got}"));
    }
    for (i, (x, y)) in a.iter().zip(&b).enumerate() {
        for field in ["reason", "field"] {
            compare(&format!("{path}.causes[{i}].{field}"), &x[field], &y[field], out);
        }
        texts(&format!("{path}.causes[{i}]"), &x["message"], &y["message"], out);
    }
}

/// Texts that only the original's internals explain.
const ACCIDENTS: [&str; 21] = [
    "strconv.",
    "parsing time",
    "yaml: ",
    "error converting YAML",
    "json parse error",
    "json: ",
    "invalid character '",
    "unexpected end of JSON",
    "unexpected EOF",
    "error parsing regexp",
    "encoding/hex",
    "map[",
    "interface {}",
    "&value.",
    "&user.",
    "struct {",
    "missing value",
    "Unable to access invalid index",
    "[]uint8",
    "core.Conversion",
    "(core.",
];

/// Whether a refusal's text says the same, as far as it is not an accident of the Go implementation.
fn same_text(expected: &str, got: &str) -> bool {
    if expected == got {
        return true;
    }
    let (a, b) = (masked(expected), masked(got));
    for end in ["json: cannot unmarshal", "compilation failed"] {
        if let Some(at) = a.find(end) {
            let upto = &a[..at + end.len()];
            return b.starts_with(upto) || accident(&a[..at]);
        }
    }
    if let Some(at) = a.find("\n@@") {
        // Behind the difference of two objects a list of complaints may go on.
        return a[..at] == b || a.contains("is invalid: [") && b.starts_with(&a[..at]);
    }
    a == b || accident(&a)
}

fn accident(text: &str) -> bool {
    ACCIDENTS.iter().any(|a| text.contains(a))
}

/// Masks whole objects and lists that are quoted as values.
fn masked(text: &str) -> String {
    const LEAD: &str = "Invalid value: ";
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(LEAD) {
        let after = &rest[at + LEAD.len()..];
        out.push_str(&rest[..at + LEAD.len()]);
        rest = after;
        if let Some(end) = quoted_tree(after).or_else(|| tree(after)) {
            out.push_str("<value>");
            rest = &after[end..];
        }
    }
    out.push_str(rest);
    out
}

/// The length of an object or list in a Go string.
fn quoted_tree(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('"')?;
    if !inside.starts_with('{') && !inside.starts_with('[') {
        return None;
    }
    let mut escaped = false;
    for (i, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(i + 2),
            _ => {}
        }
    }
    None
}

/// The length of an object or list in JSON.
fn tree(text: &str) -> Option<usize> {
    if !text.starts_with(['{', '[']) {
        return None;
    }
    let (mut depth, mut string, mut escaped) = (0, false, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if string => escaped = true,
            '"' => string = !string,
            '{' | '[' if !string => depth += 1,
            '}' | ']' if !string => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_agree_but_for_accidents() {
        assert!(same_text("a: Invalid value: {\"A\":1}: no", "a: Invalid value: {\"a\":1}: no"));
        assert!(!same_text("a: Invalid value: {\"A\":1}: no", "a: Invalid value: {\"a\":1}: yes"));
        assert!(same_text("x: json: cannot unmarshal a", "x: json: cannot unmarshal b"));
        assert!(!same_text("x: json: cannot unmarshal a", "y: json: cannot unmarshal b"));
        assert!(same_text("spec: Forbidden: no\n@@ -1 +1 @@", "spec: Forbidden: no"));
        assert!(!same_text("spec: Forbidden: no\n@@ -1 +1 @@", "spec: Forbidden: no way"));
        assert!(!same_text("a", "b"));
    }
}
