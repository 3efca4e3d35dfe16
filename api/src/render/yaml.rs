//! YAML as Kubernetes writes it: keys sorted, texts quoted where YAML 1.1 would read something else, lines of about
//! eighty characters.

use serde_json::{Map, Value};

/// Where a long line is broken.
const WIDTH: usize = 80;

/// The tree as YAML.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => object(map, 0, &mut out),
        Value::Array(items) if !items.is_empty() => array(items, 0, &mut out),
        scalar => {
            inline(scalar, 0, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', depth));
}

fn object(map: &Map<String, Value>, depth: usize, out: &mut String) {
    let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
    pairs.sort_by_key(|(key, _)| key.as_str());
    for (at, (key, value)) in pairs.into_iter().enumerate() {
        // The first key stands behind the dash of a list, or where the caller has put the cursor.
        if at > 0 || !out.ends_with("- ") {
            indent(depth, out);
        }
        let before = out.len();
        scalar(key, Position::Key, depth, depth, out);
        out.push(':');
        let column = depth + out[before..].chars().count() + 1;
        entry(value, depth, column, false, out);
    }
}

fn array(items: &[Value], depth: usize, out: &mut String) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 || !out.ends_with("- ") {
            indent(depth, out);
        }
        out.push('-');
        entry(item, depth, depth + 2, true, out);
    }
}

/// What stands behind a key or a dash.
fn entry(value: &Value, depth: usize, column: usize, in_list: bool, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push(if in_list { ' ' } else { '\n' });
            object(map, depth + 2, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push(if in_list { ' ' } else { '\n' });
            array(items, if in_list { depth + 2 } else { depth }, out);
        }
        other => {
            out.push(' ');
            inline(other, depth + 2, column, out);
            out.push('\n');
        }
    }
}

fn inline(value: &Value, depth: usize, column: usize, out: &mut String) {
    match value {
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(text) => scalar(text, Position::Value, depth, column, out),
        other => out.push_str(&other.to_string()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Key,
    Value,
}

fn scalar(text: &str, position: Position, depth: usize, column: usize, out: &mut String) {
    let special = text.chars().any(|c| c != '\n' && !printable(c));
    let edge_space = text.starts_with(' ') || text.ends_with(' ') || text.contains(" \n");
    if text.contains('\n') && position == Position::Value && !special && !text.contains(" \n") {
        literal(text, depth, out);
    } else if special || text.contains('\n') || ambiguous(text) {
        double_quoted(text, position, depth, column, out);
    } else if !edge_space && plain_allowed(text) {
        folded(text, position, depth, column, out);
    } else {
        single_quoted(text, position, depth, column, out);
    }
}

fn printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

/// A text of several lines, as it is.
fn literal(text: &str, depth: usize, out: &mut String) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    let trimmed = text.trim_end_matches('\n');
    match text.len() - trimmed.len() {
        0 => out.push('-'),
        1 if !trimmed.is_empty() => {}
        _ => out.push('+'),
    }
    let body = text.strip_suffix('\n').unwrap_or(text);
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(depth, out);
            out.push_str(line);
        }
    }
}

/// Breaks at single spaces where the line has become too long.
fn folded(text: &str, position: Position, depth: usize, start: usize, out: &mut String) {
    let mut column = start;
    let chars: Vec<char> = text.chars().collect();
    let last = chars.len();
    for (at, c) in chars.iter().enumerate() {
        let alone = *c == ' '
            && at > 0
            && at + 1 < last
            && chars.get(at - 1) != Some(&' ')
            && chars.get(at + 1).is_some_and(|next| *next != ' ');
        if alone && column > WIDTH && position == Position::Value {
            out.push('\n');
            indent(depth, out);
            column = depth;
        } else {
            out.push(*c);
            column += 1;
        }
    }
}

fn single_quoted(text: &str, position: Position, depth: usize, column: usize, out: &mut String) {
    out.push('\'');
    let doubled = text.replace('\'', "''");
    folded(&doubled, position, depth, column + 1, out);
    out.push('\'');
}

fn double_quoted(text: &str, position: Position, depth: usize, start: usize, out: &mut String) {
    out.push('"');
    let chars: Vec<char> = text.chars().collect();
    let mut column = start + 1;
    for (at, c) in chars.iter().enumerate() {
        let escaped = match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\0' => "\\0".to_owned(),
            '\u{7}' => "\\a".to_owned(),
            '\u{8}' => "\\b".to_owned(),
            '\t' => "\\t".to_owned(),
            '\n' => "\\n".to_owned(),
            '\u{b}' => "\\v".to_owned(),
            '\u{c}' => "\\f".to_owned(),
            '\r' => "\\r".to_owned(),
            '\u{1b}' => "\\e".to_owned(),
            '\u{85}' => "\\N".to_owned(),
            '\u{2028}' => "\\L".to_owned(),
            '\u{2029}' => "\\P".to_owned(),
            c if printable(*c) => c.to_string(),
            c if u32::from(*c) <= 0xff => format!("\\x{:02X}", u32::from(*c)),
            c if u32::from(*c) <= 0xffff => format!("\\u{:04X}", u32::from(*c)),
            c => format!("\\U{:08X}", u32::from(*c)),
        };
        let inside = at > 0 && at + 1 < chars.len();
        if *c == ' ' && inside && column > WIDTH && position == Position::Value {
            out.push('\n');
            indent(depth, out);
            column = depth;
            if chars.get(at + 1) == Some(&' ') {
                out.push('\\');
                column += 1;
            }
            continue;
        }
        column += escaped.chars().count();
        out.push_str(&escaped);
    }
    out.push('"');
}

/// Whether a reader would take the bare text for a text, and not for punctuation.
fn plain_allowed(text: &str) -> bool {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return false };
    if "#,[]{}&*!|>'\"%@`".contains(first) || text.starts_with("---") || text.starts_with("...") {
        return false;
    }
    let second_is_space = chars.next().is_none_or(|c| c == ' ');
    if "-?:".contains(first) && second_is_space {
        return false;
    }
    !(text.contains(": ") || text.contains(" #") || text.ends_with(':'))
}

/// Whether a reader of YAML 1.1 would take the bare text for something else than a text.
fn ambiguous(text: &str) -> bool {
    const WORDS: [&str; 32] = [
        "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO", "on",
        "On", "ON", "off", "Off", "OFF", "true", "True", "TRUE", "false", "False", "FALSE", "<<", "=",
        ".nan", ".NaN", ".NAN",
    ];
    WORDS.contains(&text) || number(text) || sexagesimal(text) || timestamp(text)
}

fn number(text: &str) -> bool {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    if [".inf", ".Inf", ".INF"].contains(&bare) {
        return true;
    }
    if !bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let plain = bare.replace('_', "");
    let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    if let Some(hex) = plain.strip_prefix("0x") {
        return digits(hex, 16);
    }
    if let Some(binary) = plain.strip_prefix("0b") {
        return digits(binary, 2);
    }
    if let Some(octal) = plain.strip_prefix("0o") {
        return digits(octal, 8);
    }
    let (mantissa, exponent) =
        plain.split_once(['e', 'E']).map_or((plain.as_str(), None), |(m, e)| (m, Some(e)));
    let exponent = exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e), 10));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole_fine = whole.chars().all(|c| c.is_ascii_digit());
    let fraction_fine = fraction.chars().all(|c| c.is_ascii_digit());
    exponent && whole_fine && fraction_fine && !(whole.is_empty() && fraction.is_empty())
}

/// `1:30`, which was a number once.
fn sexagesimal(text: &str) -> bool {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = bare.split_once('.').unwrap_or((bare, ""));
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    first.starts_with(|c: char| c.is_ascii_digit())
        && digits(first)
        && !rest.is_empty()
        && rest.iter().all(|part| {
            matches!(part.len(), 1 | 2) && digits(part) && (part.len() == 1 || part.as_bytes()[0] < b'6')
        })
        && digits(fraction)
}

fn timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |from: usize, most: usize| {
        bytes.get(from..).unwrap_or_default().iter().take(most).take_while(|b| b.is_ascii_digit()).count()
    };
    if digits(0, 5) != 4 || bytes.get(4) != Some(&b'-') {
        return false;
    }
    let month = digits(5, 2);
    let day_at = 6 + month;
    if month == 0 || bytes.get(5 + month) != Some(&b'-') {
        return false;
    }
    let day = digits(day_at, 2);
    match bytes.get(day_at + day) {
        _ if day == 0 => false,
        None => month == 2 && day == 2,
        Some(b'T' | b't' | b' ') => {
            let hour_at = day_at + day + 1;
            let hour = digits(hour_at, 2);
            hour > 0 && bytes.get(hour_at + hour) == Some(&b':') && digits(hour_at + hour + 1, 2) == 2
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::to_yaml;

    #[test]
    fn texts_are_quoted_only_where_they_must_be() {
        let value = json!({
            "b": ["x", {"k": "1", "a": true}, [], {}],
            "a": {"date": "2026-11-23T06:48:00Z", "no": "no", "text": "plain text", "colon": "a: b"},
            "lines": "a\nb",
            "end": "a\n",
            "empty": "",
            "hash": "x/y=",
        });
        let expected = "\
a:
  colon: 'a: b'
  date: \"2026-11-23T06:48:00Z\"
  \"no\": \"no\"
  text: plain text
b:
- x
- a: true
  k: \"1\"
- []
- {}
empty: \"\"
end: |
  a
hash: x/y=
lines: |-
  a
  b
";
        assert_eq!(to_yaml(&value), expected);
    }

    #[test]
    fn long_lines_are_broken() {
        let text = "word ".repeat(30).trim_end().to_owned();
        let yaml = to_yaml(&json!({"a": text}));
        assert!(yaml.lines().all(|line| line.len() < 90), "{yaml}");
        assert!(yaml.lines().skip(1).all(|line| line.starts_with("  word")), "{yaml}");
    }
}
