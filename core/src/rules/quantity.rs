//! Amounts of resources.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::decimal::Decimal;

/// How an amount is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// With the suffixes n, u, m, k, M, G, T, P, E: `1500m`.
    #[default]
    DecimalSI,
    /// With the suffixes Ki, Mi, Gi, Ti, Pi, Ei: `2Gi`.
    BinarySI,
    /// With an exponent that is a multiple of three: `5e3`.
    DecimalExponent,
}

/// An amount of a resource: `100m`, `1Gi`, `1e3`.
///
/// Exact to a billionth (what is finer is rounded up while parsing) and of any size; 24 bytes, unless it needs more
/// than 64 bits. Prints canonically: as large a suffix as leaves a whole number. Equality and order are those of the
/// amounts, so `1000m == 1`.
///
/// ```
/// use orlop_core::rules::Quantity;
///
/// let cpu: Quantity = "1500m".parse()?;
/// assert_eq!((cpu.value(), cpu.milli_value()), (2, 1500));
/// assert_eq!((cpu + Quantity::from_milli(500)).to_string(), "2");
/// # Ok::<(), orlop_core::rules::InvalidQuantity>(())
/// ```
#[derive(Clone)]
pub struct Quantity {
    amount: Amount,
    format: Format,
}

#[derive(Clone)]
enum Amount {
    /// `value * 10^scale`.
    Small { value: i64, scale: i32 },
    /// The same, written in a way that is kept, though we would write it otherwise: `+1`, `1.005G`.
    Spelt(Box<Spelt>),
    /// What 64 bits do not hold, or what was parsed with more care than that.
    Large(Box<Decimal>),
}

#[derive(Clone)]
struct Spelt {
    value: i64,
    scale: i32,
    text: String,
}

/// A text that is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// It does not look like a number with a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Form,
    /// The suffix is none of those that there are.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// There is no number.
    #[error("unable to parse numeric part of quantity")]
    Number,
}

/// Nothing is finer than 10^-9.
const NANO: i32 = -9;
const MAX_FACTORS: i64 = 18;
/// No number of more zeros than this is written with all of them.
const SPELT_OUT_MAX: i32 = 4096;

impl Quantity {
    /// A whole number.
    pub const fn new(value: i64) -> Quantity {
        Quantity::from_parts(value, 0, Format::DecimalSI)
    }

    /// Thousandths.
    pub const fn from_milli(value: i64) -> Quantity {
        Quantity::from_parts(value, -3, Format::DecimalSI)
    }

    /// A number of bytes, written with binary suffixes.
    pub const fn from_bytes(value: i64) -> Quantity {
        Quantity::from_parts(value, 0, Format::BinarySI)
    }

    const fn from_parts(value: i64, scale: i32, format: Format) -> Quantity {
        Quantity { amount: Amount::Small { value, scale }, format }
    }

    /// How the amount is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// This amount, written otherwise.
    pub fn with_format(self, format: Format) -> Quantity {
        match self.small() {
            Some((value, scale)) => Quantity::from_parts(value, scale, format),
            None => Quantity { format, ..self },
        }
    }

    fn small(&self) -> Option<(i64, i32)> {
        match &self.amount {
            Amount::Small { value, scale } => Some((*value, *scale)),
            Amount::Spelt(spelt) => Some((spelt.value, spelt.scale)),
            Amount::Large(_) => None,
        }
    }

    fn decimal(&self) -> Decimal {
        match (&self.amount, self.small()) {
            (Amount::Large(decimal), _) => (**decimal).clone(),
            (_, small) => {
                let (value, scale) = small.unwrap_or_default();
                Decimal::from_int(value, scale)
            }
        }
    }

    /// Whether this is nothing.
    pub fn is_zero(&self) -> bool {
        self.signum() == 0
    }

    /// -1, 0 or 1.
    pub fn signum(&self) -> i32 {
        match (&self.amount, self.small()) {
            (Amount::Large(decimal), _) => decimal.signum(),
            (_, small) => small.unwrap_or_default().0.signum() as i32,
        }
    }

    /// The amount, rounded away from zero to a whole number; the nearest that 64 bits hold.
    pub fn value(&self) -> i64 {
        self.saturating(0)
    }

    /// The amount in thousandths, rounded away from zero; the nearest that 64 bits hold.
    pub fn milli_value(&self) -> i64 {
        self.saturating(-3)
    }

    fn saturating(&self, exponent: i32) -> i64 {
        self.scaled_value(exponent).unwrap_or(if self.signum() < 0 { i64::MIN } else { i64::MAX })
    }

    /// The amount in units of `10^exponent`, rounded away from zero; `None` where 64 bits do not hold it.
    pub fn scaled_value(&self, exponent: i32) -> Option<i64> {
        let Some((value, scale)) = self.small() else { return self.decimal().to_int(exponent) };
        match i64::from(scale) - i64::from(exponent) {
            _ if value == 0 => Some(0),
            0 => Some(value),
            up @ 1..=18 => value.checked_mul(10_i64.pow(up as u32)),
            down @ -18..=-1 => {
                let unit = 10_i64.pow((-down) as u32);
                Some(value / unit + if value % unit == 0 { 0 } else { value.signum() })
            }
            19.. => None,
            _ => Some(value.signum()),
        }
    }

    /// The amount, if it is kept as a whole number of at most 64 bits.
    pub fn as_whole(&self) -> Option<i64> {
        match self.small()? {
            (value, 0) => Some(value),
            (_, scale) if scale < 0 => None,
            (value, scale) => 10_i64.checked_pow(scale as u32).and_then(|unit| value.checked_mul(unit)),
        }
    }

    /// All digits, without suffix or exponent. `None` where these would be thousands.
    pub fn to_decimal_string(&self) -> Option<String> {
        let mut decimal = self.decimal();
        if decimal.is_zero() {
            return Some("0".to_owned());
        }
        if decimal.exponent.unsigned_abs() > SPELT_OUT_MAX.unsigned_abs() {
            return None;
        }
        if decimal.exponent > 0 {
            decimal = decimal.rescaled(0);
        }
        let mut text = decimal.digits();
        let places = decimal.exponent.unsigned_abs() as usize;
        if places > 0 {
            if text.len() <= places {
                text.insert_str(0, &"0".repeat(places + 1 - text.len()));
            }
            text.insert(text.len() - places, '.');
        }
        Some(if decimal.signum() < 0 { format!("-{text}") } else { text })
    }

    fn combine(&self, other: &Quantity, negate: bool) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        if let (Some(a), Some((value, scale))) = (self.small(), other.small()) {
            let b =
                if negate { value.checked_neg().map(|value| (value, scale)) } else { Some((value, scale)) };
            if let Some((value, scale)) = b.and_then(|b| add_small(a, b)) {
                return Quantity::from_parts(value, scale, format);
            }
        }
        let mut other = other.decimal();
        if negate {
            other.negate();
        }
        Quantity { amount: Amount::Large(Box::new(self.decimal().add(&other))), format }
    }
}

fn add_small(a: (i64, i32), b: (i64, i32)) -> Option<(i64, i32)> {
    if a.0 == 0 || b.0 == 0 {
        return Some(if a.0 == 0 { b } else { a });
    }
    let (coarse, fine) = if a.1 >= b.1 { (a, b) } else { (b, a) };
    let unit = 10_i64.checked_pow(u32::try_from(i64::from(coarse.1) - i64::from(fine.1)).ok()?)?;
    Some((coarse.0.checked_mul(unit)?.checked_add(fine.0)?, fine.1))
}

impl Default for Quantity {
    /// Zero.
    fn default() -> Quantity {
        Quantity::new(0)
    }
}

impl From<i64> for Quantity {
    fn from(value: i64) -> Quantity {
        Quantity::new(value)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        match (self.small(), other.small()) {
            (Some((a, s)), Some((b, t))) if s == t || a.signum() != b.signum() => a.cmp(&b),
            _ => self.decimal().cmp(&other.decimal()),
        }
    }
}

/// The result is written like the left operand, unless that is zero.
impl std::ops::Add for Quantity {
    type Output = Quantity;

    fn add(self, rhs: Quantity) -> Quantity {
        self.combine(&rhs, false)
    }
}

impl std::ops::AddAssign<&Quantity> for Quantity {
    fn add_assign(&mut self, rhs: &Quantity) {
        *self = self.combine(rhs, false);
    }
}

/// The result is written like the left operand, unless that is zero.
impl std::ops::Sub for Quantity {
    type Output = Quantity;

    fn sub(self, rhs: Quantity) -> Quantity {
        self.combine(&rhs, true)
    }
}

impl std::ops::SubAssign<&Quantity> for Quantity {
    fn sub_assign(&mut self, rhs: &Quantity) {
        *self = self.combine(rhs, true);
    }
}

impl std::ops::Neg for Quantity {
    type Output = Quantity;

    fn neg(self) -> Quantity {
        if let Some((value, scale)) =
            self.small().and_then(|(value, scale)| Some((value.checked_neg()?, scale)))
        {
            return Quantity::from_parts(value, scale, self.format);
        }
        let mut decimal = self.decimal();
        decimal.negate();
        Quantity { amount: Amount::Large(Box::new(decimal)), format: self.format }
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(s: &str) -> Result<Quantity, InvalidQuantity> {
        if let Some((value, scale, format)) = common(s).and_then(Common::amount) {
            return Ok(Quantity::from_parts(value, scale, format));
        }
        let parts = split(s)?;
        let (format, exponent) = suffix(parts.suffix).ok_or(InvalidQuantity::Suffix)?;
        let (whole, fraction) = (parts.whole.len() as i64, parts.fraction.len() as i64);
        let (scale, precision) = match format {
            Format::BinarySI if fraction == 0 => (0, 15 - whole - i64::from(exponent) * 3 / 10 - 1),
            Format::BinarySI => (0, -1),
            Format::DecimalSI | Format::DecimalExponent => (exponent, MAX_FACTORS - whole - fraction),
        };
        let scale = scale.wrapping_sub(fraction as i32);
        if precision >= 0 && scale >= NANO {
            let digits = format!("{}{}", parts.whole, parts.fraction);
            let unscaled: i64 = digits.parse().map_err(|_| InvalidQuantity::Number)?;
            let factor = if format == Format::BinarySI { 1_i64 << exponent } else { 1 };
            if let Some(value) = unscaled.checked_mul(factor) {
                let value = if parts.negative { -value } else { value };
                let canonical = Quantity::from_parts(value, scale, format);
                let kept = match format {
                    Format::BinarySI => unscaled & 7 != 0,
                    _ => scale % 3 == 0 && !digits.ends_with("000") && !digits.starts_with('0'),
                };
                if kept && canonical.to_string() != s {
                    let spelt = Spelt { value, scale, text: s.to_owned() };
                    return Ok(Quantity { amount: Amount::Spelt(Box::new(spelt)), format });
                }
                return Ok(canonical);
            }
        }
        if !parts.has_digits {
            return Err(InvalidQuantity::Number);
        }
        parse_large(&parts, format, exponent)
    }
}

/// The spelling of almost every amount: digits and a suffix of letters, without sign, fraction or needless zero.
#[derive(Clone, Copy)]
struct Common {
    digits: i64,
    /// How many there are.
    count: i32,
    format: Format,
    exponent: i32,
}

fn common(s: &str) -> Option<Common> {
    let bytes = s.as_bytes();
    let count = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 || count > MAX_FACTORS as usize || bytes[0] == b'0' && count > 1 {
        return None;
    }
    let digits = bytes[..count].iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
    let (format, exponent) = match &bytes[count..] {
        b"" => (Format::DecimalSI, 0),
        b"m" => (Format::DecimalSI, -3),
        b"k" => (Format::DecimalSI, 3),
        b"M" => (Format::DecimalSI, 6),
        b"G" => (Format::DecimalSI, 9),
        b"Ki" => (Format::BinarySI, 10),
        b"Mi" => (Format::BinarySI, 20),
        b"Gi" => (Format::BinarySI, 30),
        b"Ti" => (Format::BinarySI, 40),
        _ => return None,
    };
    Some(Common { digits, count: count as i32, format, exponent })
}

impl Common {
    /// Value and scale. Such a spelling is either the canonical one or not kept: there is nothing to remember of it.
    fn amount(self) -> Option<(i64, i32, Format)> {
        match self.format {
            Format::BinarySI if self.count > 14 - self.exponent * 3 / 10 => None,
            Format::BinarySI => Some((self.digits.checked_mul(1 << self.exponent)?, 0, self.format)),
            _ => Some((self.digits, self.exponent, self.format)),
        }
    }
}

/// Whether the text is certainly an amount as we would write it.
#[cfg(feature = "schema")]
pub(crate) fn is_canonical(s: &str) -> bool {
    common(s).is_some_and(|c| {
        let unit = if c.format == Format::BinarySI { 1024 } else { 1000 };
        c.amount().is_some() && (c.digits % unit != 0 || s == "0")
    })
}

fn parse_large(parts: &Parts<'_>, format: Format, exponent: i32) -> Result<Quantity, InvalidQuantity> {
    let digits = format!("{}{}", parts.whole, parts.fraction);
    let mut decimal = Decimal::from_digits(false, &digits, -(parts.fraction.len() as i32));
    match format {
        Format::BinarySI => (0..exponent / 10).for_each(|_| decimal.multiply(1024)),
        Format::DecimalSI | Format::DecimalExponent => {
            decimal.exponent = decimal.exponent.saturating_add(exponent);
        }
    }
    if decimal.exponent < NANO {
        decimal = decimal.rescaled(NANO);
    }
    let mut format = format;
    if format == Format::BinarySI {
        let most = Decimal::from_int(i64::MAX, 0);
        if decimal.cmp(&most).is_gt() {
            decimal = most;
        }
        if !decimal.is_zero() && decimal.cmp(&Decimal::from_int(1, 0)).is_lt() {
            format = Format::DecimalSI;
        }
    }
    if parts.negative {
        decimal.negate();
    }
    Ok(Quantity { amount: Amount::Large(Box::new(decimal)), format })
}

struct Parts<'a> {
    negative: bool,
    /// Without leading zeros, but `0` if there is nothing else.
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
    has_digits: bool,
}

fn split(s: &str) -> Result<Parts<'_>, InvalidQuantity> {
    if s.is_empty() {
        return Err(InvalidQuantity::Form);
    }
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let (negative, unsigned) = match s.as_bytes()[0] {
        b'-' => (true, &s[1..]),
        b'+' => (false, &s[1..]),
        _ => (false, s),
    };
    let (all, rest) = unsigned.split_at(digits(unsigned));
    let trimmed = all.trim_start_matches('0');
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = suffix.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let exponent = suffix[letters..].strip_prefix(['-', '+']).unwrap_or(&suffix[letters..]);
    if digits(exponent) != exponent.len() {
        return Err(InvalidQuantity::Form);
    }
    Ok(Parts {
        negative,
        whole: if trimmed.is_empty() { "0" } else { trimmed },
        fraction,
        suffix,
        has_digits: !all.is_empty() || !fraction.is_empty(),
    })
}

const DECIMAL_SUFFIXES: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// The format and the power (of ten, or of two in binary) that a suffix stands for.
fn suffix(s: &str) -> Option<(Format, i32)> {
    if let Some((_, power)) = DECIMAL_SUFFIXES.iter().find(|(suffix, _)| *suffix == s) {
        return Some((Format::DecimalSI, *power));
    }
    if let Some(at) = BINARY_SUFFIXES.iter().position(|suffix| *suffix == s) {
        return Some((Format::BinarySI, at as i32 * 10));
    }
    let power: i64 = s.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((Format::DecimalExponent, i32::try_from(power).ok()?))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Amount::Spelt(spelt) = &self.amount {
            return f.write_str(&spelt.text);
        }
        if self.is_zero() {
            return f.write_str("0");
        }
        if self.format == Format::BinarySI
            && let Some((mut value, 0)) = self.small()
            && (value <= -1024 || value >= 1024)
        {
            let mut power = 0;
            while power + 1 < BINARY_SUFFIXES.len() && value % 1024 == 0 {
                value /= 1024;
                power += 1;
            }
            return write!(f, "{value}{}", BINARY_SUFFIXES[power]);
        }
        if self.format == Format::BinarySI {
            let decimal = self.decimal();
            let beyond = |n| decimal.cmp(&Decimal::from_int(n, 0));
            // A sum may have taken the format of the lesser number, and an exponent of millions of the greater.
            let can_be_spelt_out = decimal.exponent <= SPELT_OUT_MAX;
            if can_be_spelt_out
                && (beyond(-1024).is_le() || beyond(1024).is_ge())
                && decimal.is_multiple_of_power(0)
            {
                let mut whole = decimal.rescaled(0);
                let suffix = BINARY_SUFFIXES[whole.remove_factors(1024, 6) as usize];
                return write!(f, "{}{}{suffix}", if whole.signum() < 0 { "-" } else { "" }, whole.digits());
            }
        }
        let (mantissa, exponent) = match self.small().and_then(canonical_small) {
            Some((mantissa, exponent)) => (mantissa.to_string(), exponent),
            None => {
                let mut decimal = self.decimal();
                let taken = decimal.remove_factors(10, u32::MAX) as i32;
                decimal.exponent = decimal.exponent.saturating_add(taken);
                let exponent = decimal.exponent.div_euclid(3).saturating_mul(3);
                let decimal = decimal.rescaled(exponent);
                let sign = if decimal.signum() < 0 { "-" } else { "" };
                (format!("{sign}{}", decimal.digits()), exponent)
            }
        };
        let suffix = DECIMAL_SUFFIXES.iter().find(|(_, power)| *power == exponent);
        match (self.format, suffix) {
            // No suffix says so much: an exponent does.
            (Format::DecimalExponent, _) | (_, None) if exponent != 0 => write!(f, "{mantissa}e{exponent}"),
            (_, suffix) => write!(f, "{mantissa}{}", suffix.map_or("", |(s, _)| s)),
        }
    }
}

/// As few digits as possible, with an exponent that is a multiple of three.
fn canonical_small((mut value, mut exponent): (i64, i32)) -> Option<(i64, i32)> {
    while value != 0 && value % 10 == 0 {
        value /= 10;
        exponent = exponent.checked_add(1)?;
    }
    let over = exponent.rem_euclid(3);
    Some((value.checked_mul(10_i64.pow(over as u32))?, exponent.checked_sub(over)?))
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quantity({self})")
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity, such as 100m or 1Gi")
            }

            fn visit_str<E: de::Error>(self, s: &str) -> Result<Quantity, E> {
                s.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Quantity, E> {
                Ok(Quantity::new(n))
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Quantity, E> {
                n.to_string().parse().map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Quantity, E> {
                n.to_string().parse().map_err(E::custom)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Quantity, E> {
                Ok(Quantity::default())
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
