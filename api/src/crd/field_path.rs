//! Paths of fields in a schema: `.spec.a`, `.spec['a.b']`.

use serde_json::Value;

/// What a path leads to.
pub(crate) struct Found<'a> {
    /// The path as field errors print it.
    pub(crate) path: String,
    /// Its first field.
    pub(crate) root: String,
    /// The schema there.
    pub(crate) schema: &'a Value,
}

/// Delimiters, quoted texts and names, each apart.
fn tokens(path: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '.' | '[' | ']' => 1,
            '\'' => {
                let bytes = rest.as_bytes();
                (1..bytes.len())
                    .find(|i| bytes[*i] == b'\'' && bytes[i - 1] != b'\\')
                    .map_or(rest.len(), |i| i + 1)
            }
            _ => rest.find(['.', '[', ']']).unwrap_or(rest.len()),
        };
        out.push(&rest[..end]);
        rest = &rest[end..];
    }
    out
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some('\'') => '\'',
            Some('\\') => '\\',
            other => return Err(format!("invalid escape char \\{}", other.unwrap_or_default())),
        });
    }
    Ok(out)
}

/// Follows a path through a schema.
///
/// # Errors
/// Why it leads nowhere.
pub(crate) fn find<'a>(path: &str, schema: &'a Value, brackets: bool) -> Result<Found<'a>, String> {
    const NOWHERE: &str = "does not refer to a valid field";
    let mut found = Found { path: String::new(), root: String::new(), schema };
    let tokens = tokens(path);
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        let end = || "unexpected end of JSON path".to_owned();
        let name = match token {
            "[" if !brackets => return Err("array notation is not allowed".into()),
            "[" => {
                let quoted = tokens.next().ok_or_else(end)?;
                let inner = quoted
                    .strip_prefix('\'')
                    .and_then(|t| t.strip_suffix('\''))
                    .ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                unescaped(inner).map_err(|e| format!("invalid string literal: {e}"))?
            }
            "." => tokens.next().ok_or_else(end)?.to_owned(),
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        let properties = found.schema["properties"].as_object();
        let additional = &found.schema["additionalProperties"];
        if let Some(properties) = properties {
            found.schema = properties.get(&name).ok_or(NOWHERE)?;
            if found.path.is_empty() {
                found.path = name.clone();
            } else {
                found.path = format!("{}.{name}", found.path);
            }
        } else if additional.is_object() {
            found.schema = additional;
            found.path = format!("{}[{name}]", found.path);
        } else {
            return Err(NOWHERE.into());
        }
        if found.root.is_empty() {
            found.root = name;
        }
        if token == "[" {
            match tokens.next() {
                None => return Err(end()),
                Some("]") => {}
                Some(other) => return Err(format!("expected ] but got {other}")),
            }
        }
    }
    Ok(found)
}
