//! Durations as Go writes them.

/// Nanoseconds of a duration in Go's notation: `1h30m`, `-1.5s`, `0`; `None` for what Go refuses, and beyond
/// the 292 years that it counts.
pub fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number = &rest[..digits];
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit: i128 = match &rest[..letters] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &rest[letters..];
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 19 {
            return None;
        }
        total += if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()? } * unit;
        let places = fraction.len().min(18);
        let part = fraction[..places].parse::<i128>().unwrap_or(0);
        total += part * unit / 10_i128.pow(u32::try_from(places).unwrap_or(18));
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fraction once overflowed where the whole just did not.
    #[test]
    fn durations_end_where_those_of_go_do() {
        for (text, expected) in [
            ("18446744073.9s", None),
            ("9223372036.854775807s", Some(i64::MAX)),
            ("9223372036.854775808s", None),
            ("2562048h", None),
            ("1h1h", Some(7_200_000_000_000)),
            ("-1.5s", Some(-1_500_000_000)),
            (".5m", Some(30_000_000_000)),
            ("1.", None),
            ("", None),
        ] {
            assert_eq!(go_duration(text), expected, "{text}");
        }
    }
}
