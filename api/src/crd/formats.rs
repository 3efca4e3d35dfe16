//! The formats that a text may be asked to have.

pub(crate) use orlop_core::rules::duration::go_duration;
use std::net::{Ipv4Addr, Ipv6Addr};

use orlop_core::Timestamp;
use orlop_core::rules::names::{dns_label, dns_subdomain};

/// Formats that Kubernetes 1.36 knows; others are ignored, with a warning.
const KNOWN: [&str; 33] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "date-time",
    "int32",
    "int64",
    "float",
    "double",
    "k8s-short-name",
    "k8s-long-name",
    "ip",
    "int-or-string",
];

/// Whether the format is one that is checked, or that says something about numbers.
pub(crate) fn is_known(format: &str) -> bool {
    KNOWN[..31].contains(&format)
}

/// Whether the text has the format; any text has a format that is not known.
pub(crate) fn is(format: &str, text: &str) -> bool {
    match format {
        "bsonobjectid" => text.len() == 24 && hex(text),
        "uri" => uri(text),
        "email" => email(text),
        "hostname" => text.len() <= 253 && !text.is_empty() && text.split('.').all(host_label),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.parse::<ipnet::IpNet>().is_ok(),
        "mac" => mac(text),
        "uuid" => uuid(text, None),
        "uuid3" => uuid(text, Some(b'3')),
        "uuid4" => uuid(text, Some(b'4')),
        "uuid5" => uuid(text, Some(b'5')),
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "creditcard" => credit_card(text),
        "ssn" => ssn(text),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && hex(digits)
        }
        "rgbcolor" => rgb(text),
        "byte" => {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.decode(text).is_ok()
        }
        "date" => date(text),
        "duration" => go_duration(text).is_some() || word_duration(text),
        "date-time" | "datetime" => date_time(text).is_some(),
        "k8s-short-name" => dns_label(text).is_empty(),
        "k8s-long-name" => dns_subdomain(text).is_empty(),
        _ => true,
    }
}

fn hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn host_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// A URI as a request may name it: absolute, or a path from the root.
fn uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, _)) = text.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn email(text: &str) -> bool {
    let address = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(at), Some(inner)) => &inner[at + 1..],
        _ => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    (quoted || local.split('.').all(atom)) && domain.split('.').all(atom)
}

fn mac(text: &str) -> bool {
    for separator in [':', '-'] {
        let parts: Vec<&str> = text.split(separator).collect();
        if matches!(parts.len(), 6 | 8 | 20) {
            return parts.iter().all(|p| p.len() == 2 && hex(p));
        }
    }
    let parts: Vec<&str> = text.split('.').collect();
    matches!(parts.len(), 3 | 4 | 10) && parts.iter().all(|p| p.len() == 4 && hex(p))
}

/// With or without dashes; the version stands in the thirteenth digit.
fn uuid(text: &str, version: Option<u8>) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let dashes_right = match text.len() {
        32 => true,
        36 => [8, 13, 18, 23].iter().all(|at| text.as_bytes()[*at] == b'-'),
        _ => false,
    };
    dashes_right
        && digits.len() == 32
        && digits.iter().all(u8::is_ascii_hexdigit)
        && version.is_none_or(|v| {
            digits[12] == v
                && (v == b'3' || matches!(digits[16].to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b'))
        })
}

fn isbn10(text: &str) -> bool {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !matches!(c, ' ' | '-'))
        .map(|c| if c == 'X' { 10 } else { c.to_digit(10).unwrap_or(99) })
        .collect();
    digits.len() == 10
        && digits[..9].iter().all(|d| *d < 10)
        && digits[9] <= 10
        && digits.iter().zip(1..).map(|(d, place)| d * place).sum::<u32>() % 11 == 0
}

fn isbn13(text: &str) -> bool {
    let digits: Option<Vec<u32>> =
        text.chars().filter(|c| !matches!(c, ' ' | '-')).map(|c| c.to_digit(10)).collect();
    digits.is_some_and(|d| {
        d.len() == 13
            && d.iter().enumerate().map(|(i, d)| d * if i % 2 == 0 { 1 } else { 3 }).sum::<u32>() % 10 == 0
    })
}

fn credit_card(text: &str) -> bool {
    let digits: Option<Vec<u32>> =
        text.chars().filter(|c| !matches!(c, ' ' | '-')).map(|c| c.to_digit(10)).collect();
    digits.is_some_and(|d| {
        let doubled = |(i, d): (usize, &u32)| if i % 2 == 1 { (d * 2) / 10 + (d * 2) % 10 } else { *d };
        (13..=16).contains(&d.len()) && d.iter().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
    })
}

fn ssn(text: &str) -> bool {
    let shape = |b: &[u8]| b.len() == 11 && matches!(b[3], b'-' | b' ') && matches!(b[6], b'-' | b' ');
    shape(text.as_bytes()) && text.bytes().enumerate().all(|(i, b)| matches!(i, 3 | 6) || b.is_ascii_digit())
}

fn rgb(text: &str) -> bool {
    let inside = text.strip_prefix("rgb(").and_then(|t| t.strip_suffix(')'));
    inside.is_some_and(|t| {
        let parts: Vec<&str> = t.split(',').map(str::trim).collect();
        parts.len() == 3 && parts.iter().all(|p| p.parse::<u8>().is_ok())
    })
}

pub(crate) fn date(text: &str) -> bool {
    text.len() == 10 && format!("{text}T00:00:00Z").parse::<Timestamp>().is_ok()
}

/// The moment that a `date-time` names, with any of the layouts that Kubernetes accepts.
pub(crate) fn date_time(text: &str) -> Option<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    if date(text) {
        return format!("{text}T00:00:00Z").parse().ok();
    }
    // Fractions, and offsets without a colon.
    let (main, offset) = match text.len().checked_sub(5).and_then(|at| text.split_at_checked(at)) {
        Some((main, offset)) if offset.starts_with(['+', '-']) && !offset.contains(':') => {
            (main, format!("{}:{}", &offset[..3], &offset[3..]))
        }
        _ => return format!("{text}Z").parse().ok().filter(|_| text.contains('T')),
    };
    format!("{main}{offset}").parse().ok()
}

/// `3 days`, `1 hour 5 minutes`: what the registry of formats accepts besides.
fn word_duration(text: &str) -> bool {
    const UNITS: [&str; 29] = [
        "ns",
        "nano",
        "nanosecond",
        "nanosecs",
        "nanoseconds",
        "nanos",
        "us",
        "µs",
        "micro",
        "microsecs",
        "microseconds",
        "ms",
        "milli",
        "millis",
        "milliseconds",
        "s",
        "sec",
        "secs",
        "second",
        "seconds",
        "m",
        "min",
        "mins",
        "minute",
        "minutes",
        "h",
        "hour",
        "hours",
        "hr",
    ];
    const LONG: [&str; 7] = ["d", "day", "days", "w", "week", "weeks", "hrs"];
    let mut rest = text.trim();
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if digits == 0 {
            return false;
        }
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let unit = rest[..letters].to_lowercase();
        if !UNITS.contains(&unit.as_str()) && !LONG.contains(&unit.as_str()) {
            return false;
        }
        rest = rest[letters..].trim_start();
    }
    true
}
