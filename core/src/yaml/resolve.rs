//! What a plain scalar means in YAML 1.1, as kubectl's reader resolves it.

use serde_json::{Number, Value};

/// A scalar that JSON cannot hold.
pub(super) const NOT_JSON: &str = "infinity and not-a-number have no JSON form";

/// The value of an unquoted scalar.
pub(super) fn plain(text: &str) -> Result<Value, &'static str> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => true.into(),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => false.into(),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" | ".nan"
        | ".NaN" | ".NAN" => return Err(NOT_JSON),
        _ => match text.as_bytes()[0] {
            b'0'..=b'9' | b'+' | b'-' | b'.' => number(text).unwrap_or_else(|| text.into()),
            _ => text.into(),
        },
    })
}

/// Whether the text might be read as something else than a text if it were not quoted: by us, or by those who know the
/// dates of YAML 1.1 and its numbers in base 60.
pub(super) fn needs_quotes(text: &str) -> bool {
    let bytes = text.trim_start_matches(['+', '-']).as_bytes();
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit() || **b == b'_').count();
    let of_base_60 = digits > 0 && bytes.get(digits) == Some(&b':');
    let date = digits == 4 && bytes.get(digits) == Some(&b'-');
    of_base_60 || date || !matches!(plain(text), Ok(Value::String(_)))
}

fn number(text: &str) -> Option<Value> {
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    if let Some(whole) = integer(&digits) {
        return Some(whole);
    }
    if !is_float(&digits) {
        return None;
    }
    let float: f64 = digits.trim_start_matches('+').parse().ok()?;
    // Whole numbers lose their point on the way through JSON.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    if float.fract() == 0.0 && float.abs() < 9e15 {
        return Some((float as i64).into());
    }
    Number::from_f64(float).map(Value::Number)
}

/// `12`, `-0x1F`, `0o17`, `017` and `0b11`; a leading zero makes it octal.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0i64.checked_sub_unsigned(size).map(Value::from);
    }
    Some(size.into())
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && all_digits(fraction),
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && all_digits(e)
    });
    mantissa_fits && exponent_fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_1_1() {
        for (text, value) in [
            ("yes", json!(true)),
            ("n", json!(false)),
            ("Off", json!(false)),
            ("0644", json!(420)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("-0b11", json!(-3)),
            ("1_000", json!(1000)),
            ("+12", json!(12)),
            ("1e3", json!(1000)),
            ("1.50", json!(1.5)),
            (".5", json!(0.5)),
            ("089", json!(89)),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1.2.3", json!("1.2.3")),
            ("12:30", json!("12:30")),
            ("2024-01-02", json!("2024-01-02")),
            ("-", json!("-")),
            ("0x", json!("0x")),
            ("1e", json!("1e")),
            ("~", json!(null)),
            ("nil", json!("nil")),
        ] {
            assert_eq!(plain(text), Ok(value), "{text}");
        }
        assert!(plain("-.inf").is_err());
        for (text, quoted) in [
            ("12:30", true),
            ("-1:02:03.5", true),
            ("2024-01-02", true),
            ("2024-01-02T03:04:05Z", true),
            ("yes", true),
            ("1.2.3", false),
            ("10.0.0.1", false),
            ("nginx:1.27", false),
            ("a", false),
        ] {
            assert_eq!(needs_quotes(text), quoted, "{text}");
        }
    }
}
