//! Trees to YAML, for people.

use std::fmt::Write;

use serde_json::Value;

use super::resolve::needs_quotes;

/// A tree in block style, indented by two, ending with a line break. Texts that a reader of YAML 1.1 may take for something
/// else (`yes`, `0644`, `12:30`, `2024-01-02`) are quoted; texts of several lines stand as blocks.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(value, 0, &mut out),
        Value::Array(items) if !items.is_empty() => block(value, 0, &mut out),
        _ => {
            inline(value, 0, &mut out);
        }
    }
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    let pad = |out: &mut String| out.extend(std::iter::repeat_n(' ', indent));
    match value {
        Value::Object(map) => {
            for (at, (key, value)) in map.iter().enumerate() {
                // The first key of a list item stands behind its dash.
                if at > 0 || !out.ends_with("- ") {
                    pad(out);
                }
                text(key, indent, false, out);
                out.push(':');
                match value {
                    Value::Object(inner) if !inner.is_empty() => {
                        out.push('\n');
                        block(value, indent + 2, out);
                    }
                    // Lists stand in the column of their key.
                    Value::Array(items) if !items.is_empty() => {
                        out.push('\n');
                        block(value, indent, out);
                    }
                    _ => {
                        out.push(' ');
                        inline(value, indent + 2, out);
                    }
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 || !out.ends_with("- ") {
                    pad(out);
                }
                out.push_str("- ");
                match item {
                    Value::Object(inner) if !inner.is_empty() => block(item, indent + 2, out),
                    Value::Array(inner) if !inner.is_empty() => block(item, indent + 2, out),
                    _ => inline(item, indent + 2, out),
                }
            }
        }
        _ => inline(value, indent, out),
    }
}

/// A value on the rest of the line.
fn inline(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(inner) => {
            text(inner, indent, true, out);
            if out.ends_with('\n') {
                return;
            }
        }
        // Empty lists and objects, and scalars, are the same in JSON.
        _ => {
            let _ = write!(out, "{value}");
        }
    }
    out.push('\n');
}

fn text(text: &str, indent: usize, may_be_block: bool, out: &mut String) {
    let plain_start =
        |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '<' | '$' | '(' | '+' | '-');
    let printable = |c: char| !c.is_control() && c != '\u{feff}' && c != '\u{2028}' && c != '\u{2029}';
    let is_plain = text.starts_with(plain_start)
        && !text.starts_with("- ")
        && !matches!(text, "-" | "--" | "---" | "<<")
        && !text.starts_with("---")
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text.chars().all(printable)
        && !needs_quotes(text);
    if is_plain {
        out.push_str(text);
        return;
    }
    let fits_block = may_be_block
        && text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text.chars().all(|c| c == '\n' || printable(c))
        && !text.lines().any(|line| line.ends_with(' '));
    if fits_block {
        let chomp = match text.strip_suffix('\n') {
            None => "|-",
            Some(rest) if rest.ends_with('\n') => "|+",
            Some(_) => "|",
        };
        out.push_str(chomp);
        out.push('\n');
        for line in text.lines() {
            if !line.is_empty() {
                out.extend(std::iter::repeat_n(' ', indent));
                out.push_str(line);
            }
            out.push('\n');
        }
        return;
    }
    // JSON's way to quote is YAML's, too.
    let _ = write!(out, "{}", Value::from(text));
}
